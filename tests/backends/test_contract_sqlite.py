from pathlib import Path

from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk.testing.contract import BackendContract, StoreUnderTest


class TestSQLite(BackendContract):
    def new_store(self, folder: Path) -> StoreUnderTest:
        path = folder / "cases.db"
        return StoreUnderTest(lambda: SQLiteBackend(path), url=f"sqlite:///{path}")
