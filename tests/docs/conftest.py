import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

CI = Path(__file__).resolve().parents[2] / ".ci"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    """Imports a script of .ci by name."""
    monkeypatch.syspath_prepend(str(CI))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    ours = {path.stem for path in CI.glob("*.py")}
    for name in ours & set(sys.modules):
        del sys.modules[name]
