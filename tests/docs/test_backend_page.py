"""The backend of docs/howto/write-a-backend.md passes the contract suite, registered as the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "howto" / "write-a-backend.md").read_text(encoding="utf-8")


def test_it_passes_the_contract_suite(tmp_path: Path) -> None:
    backend, test = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "journal_backend.py").write_text(backend, encoding="utf-8")
    (tmp_path / "test_journal_backend.py").write_text(test, encoding="utf-8")
    # as installed: what pip makes of the entry point in pyproject.toml
    group, scheme, target = re.fullmatch(r'\[project\.entry-points\."(.*)"\]\n(\w+) = "(.*)"\n', toml).groups()  # type: ignore[union-attr]
    info = tmp_path / "journal_backend-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: journal-backend\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{group}]\n{scheme} = {target}\n", encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_journal_backend.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 78
    assert re.findall(r"(\d+) skipped", done.stdout) == ["6"], (
        "those of AdvancingBackend, OverviewBackend and TextsBackend"
    )
