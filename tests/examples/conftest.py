"""The examples are scripts: loaded as `python examples/name.py` finds them, with their folder on the path."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INVESTIGATION_TEST_DATA") or ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def load_example():
    sys.path.insert(0, str(ROOT / "examples"))
    yield importlib.import_module
    sys.path.remove(str(ROOT / "examples"))


@pytest.fixture
def real_data():
    """Finds a real input by its name, or skips."""

    def find(name):
        if not (path := DATA / name).is_file():
            pytest.skip(f"{path} is not there; INVESTIGATION_TEST_DATA names the folder that has {name}")
        return path

    return find


@pytest.fixture
def awk():
    """Counts with awk: `c[name]` at its end, as a dictionary."""
    if not (program := shutil.which("awk")):
        pytest.skip("awk is not installed; it is the independent method")

    def run(path, text):
        text += r' END { for (name in c) printf "%s\t%s\n", c[name], name }'
        done = subprocess.run([program, text, path], capture_output=True, text=True, check=True, env={"LC_ALL": "C"})
        rows = (line.split("\t", 1) for line in done.stdout.splitlines())
        return {name: int(value) if value.isdecimal() else value for value, name in rows}

    return run
