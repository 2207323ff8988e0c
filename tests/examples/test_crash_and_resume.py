"""The example that kills itself: what it prints is in the tutorial, and what it counted is what was recorded."""

import sqlite3
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "crash_and_resume.py"


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments], cwd=cwd, capture_output=True, text=True, timeout=200, check=False
    )


def test_it_prints_what_the_tutorial_shows(tmp_path):
    done = run("--db", "sqlite:///crash.db", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    tutorial = (ROOT / "docs" / "tutorial" / "first-investigation.md").read_text(encoding="utf-8")
    _, _, block = tutorial.partition("```text\n1. run:")
    shown, _, _ = block.partition("```")
    assert done.stdout.startswith(f"1. run:{shown}")
    assert "investigate show case-981 --db sqlite:///crash.db" in done.stdout
    with sqlite3.connect(tmp_path / "crash.db") as db:
        calls = db.execute("SELECT tool_name, status, attempt FROM tool_executions ORDER BY id").fetchall()
        actors = db.execute("SELECT actor FROM investigation_events WHERE event_type = 'tool.resolved'").fetchall()
    assert calls == [("collect_logins", "completed", 1), ("score", "completed", 1)] * 3 + [
        ("freeze_account", "completed", 1)
    ]
    assert actors == [("ann",)]
    again = run("--db", "sqlite:///crash.db", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "crash_and_resume.py: sqlite:///crash.db has a case-981 already; name a new database\n"


def test_by_default_it_leaves_nothing_behind(tmp_path):
    assert run(cwd=tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []
