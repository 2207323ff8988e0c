"""The contract suite, tested: bugs are planted in backends that pass, and it must notice each."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_backends.memory_store import MemoryStore
from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk.testing.contract import BackendContract, StoreUnderTest
from tests.backends import bugs_in_memory, bugs_in_memory_leases, bugs_in_sqlite
from tests.backends.noticing import passes

Patch = pytest.MonkeyPatch
IN_MEMORY = [*bugs_in_memory.BUGS, *bugs_in_memory_leases.BUGS]
IN_SQLITE = bugs_in_sqlite.BUGS


class Memory(BackendContract):
    backend: type[MemoryBackend] = MemoryBackend

    def new_store(self, folder: Path) -> StoreUnderTest:
        store = MemoryStore()
        return StoreUnderTest(lambda: self.backend(store=store))


class SQLite(BackendContract):
    backend: type[SQLiteBackend] = SQLiteBackend

    def new_store(self, folder: Path) -> StoreUnderTest:
        path = folder / "cases.db"
        return StoreUnderTest(lambda: self.backend(path, synchronous="NORMAL"), url=f"sqlite:///{path}")


def test_without_a_bug_all_of_these_pass(tmp_path: Path) -> None:
    for contract, bugs in ((Memory(), IN_MEMORY), (SQLite(), IN_SQLITE)):
        for _, name in bugs:
            folder = Path(tempfile.mkdtemp(dir=tmp_path))
            assert passes(contract, name, folder), name


@pytest.mark.parametrize(("bug", "by"), IN_MEMORY)
def test_a_bug_in_memory_is_noticed(bug: Callable[[Patch], None], by: str, tmp_path: Path, monkeypatch: Patch) -> None:
    bug(monkeypatch)
    assert not passes(Memory(), by, tmp_path), f"the contract's {by} does not notice"


@pytest.mark.parametrize(("bug", "by"), IN_SQLITE)
def test_a_bug_in_sqlite_is_noticed(bug: Callable[[Patch], None], by: str, tmp_path: Path, monkeypatch: Patch) -> None:
    bug(monkeypatch)
    assert not passes(SQLite(), by, tmp_path), f"the contract's {by} does not notice"
