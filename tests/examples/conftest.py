"""The examples are scripts: loaded as `python examples/name.py` finds them, with their folder on the path."""

import importlib
import os
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
