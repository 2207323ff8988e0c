"""mypy --strict and pyright strict, on a user's code: it sees what it should, and flags what is wrong."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROGRAMS = [HERE / "programs" / "p1_sync.py", HERE / "programs" / "p2_async.py"]

Errors = dict[str, dict[int, list[str]]]
"""By file and line, what a checker said."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project, somewhere else."""
    folder = tmp_path_factory.mktemp("project")
    for path in (*PROGRAMS, HERE / "cases.py"):
        shutil.copy(path, folder)
    shutil.copy(HERE / "wrong.txt", folder / "wrong.py")
    settings = {"include": ["."], "strict": ["."], "pythonVersion": "3.11", "reportUnusedCoroutine": "error"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def mypy(folder: Path) -> Errors:
    options = ["--strict", "--enable-error-code=unused-awaitable", "--no-error-summary", "--no-incremental"]
    names = [path.name for path in folder.glob("*.py")]
    command = [sys.executable, "-m", "mypy", *options, f"--config-file={folder}/none.ini", *names]
    (folder / "none.ini").write_text("[mypy]\n", encoding="utf-8")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors: Errors = {}
    for name, line, message in re.findall(r"^(\w+\.py):(\d+): error: (.*)$", done.stdout, re.MULTILINE):
        errors.setdefault(name, {}).setdefault(int(line), []).append(message)
    return errors


def pyright(folder: Path) -> Errors:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors: Errors = {}
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        if found["severity"] == "error":
            line = found["range"]["start"]["line"] + 1
            errors.setdefault(Path(found["file"]).name, {}).setdefault(line, []).append(found["message"])
    return errors


@pytest.mark.parametrize("check", [mypy, pyright])
def test_types(project: Path, check: Callable[[Path], Errors]) -> None:
    errors = check(project)
    wrong = errors.pop("wrong.py", {})
    assert errors == {}
    lines = list(enumerate((project / "wrong.py").read_text(encoding="utf-8").splitlines(), 1))
    certain = {number for number, line in lines if "# E:" in line}
    possible = {number for number, line in lines if "# E" in line}
    assert len(certain) >= 15
    assert certain - set(wrong) == set(), "not flagged"
    assert {n: wrong[n] for n in set(wrong) - possible} == {}, "flagged, though right"
    assert (possible - certain) & set(wrong), "the wrong hook is flagged in no line"


def run(program: Path, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sync_program_runs(tmp_path: Path) -> None:
    from investigation_sdk import InvestigationSDK

    assert run(PROGRAMS[0], tmp_path, "42") == "0.91\n"
    assert run(PROGRAMS[0], tmp_path, "42") == "0.91\n"  # its key is finished
    with InvestigationSDK(f"sqlite:///{tmp_path}/fraud.db") as sdk:
        (record,) = sdk.sync.list()
        assert (record.status, record.result, record.key) == ("completed", 0.91, "ato-42")
        calls = sdk.sync.tools(record.id, phase="triage")
        assert [(c.tool_name, c.result_summary) for c in calls] == [("lookup_account", None), ("score", "risk 0.91")]


def test_the_async_program_runs(tmp_path: Path) -> None:
    from investigation_sdk import InvestigationSDK

    assert run(PROGRAMS[1], tmp_path, "42", "10.0.0.1") == "2000 tokens, $0.002036\nfraud\n"
    assert run(PROGRAMS[1], tmp_path, "42", "10.0.0.1") == "fraud\n"
    assert run(PROGRAMS[1], tmp_path, "43").endswith("fraud\n")
    with InvestigationSDK(f"sqlite:///{tmp_path}/fraud.db") as sdk:
        second, first = sdk.sync.list(investigation_type="account_takeover")
        assert [c.status.value for c in sdk.sync.tools(first.id, agent="network_agent")] == ["failed", "completed"]
        assert sdk.sync.phases(first.id)[1].output_data == {"geo": None, "vpn": True}
        assert [p.status.value for p in sdk.sync.phases(second.id)] == [
            "completed",
            "skipped",
            "completed",
            "completed",
        ]
        assert [e.event_data for e in sdk.sync.events(first.id, event_type="fraud.note")] == [{"where": "deep"}]
        assert "account:42" not in str(list(sdk.sync.iter_events(first.id)))
        assert all(sdk.sync.verify(i.id).ok for i in (first, second))
