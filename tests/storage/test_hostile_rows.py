"""Stored rows that somebody else wrote are data: whatever they say, nothing is imported, executed or opened."""

import json
import subprocess
import sys
from pathlib import Path


def test_hostile_rows_import_and_execute_nothing(tmp_path: Path) -> None:
    """Every text column gets hostile texts; everything is read, verified and rebuilt. See ``hostile.py``."""
    script = Path(__file__).with_name("hostile.py")
    ran = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["seen"] == [], "audit events while hostile rows were read"
    assert told["imported"] == [], "modules that came while hostile rows were read"
    assert not told["owned"], "a command in a stored row was executed"
    assert told["unexpected"] == [], "what is no error of the SDK's own"
    assert told["cases"] > 300
    assert not told["blind"], "the hook notices what it is there for"
