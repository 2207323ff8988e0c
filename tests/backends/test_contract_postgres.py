from pathlib import Path

import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_sdk.testing.contract import BackendContract, StoreUnderTest


class TestPostgres(BackendContract):
    @pytest.fixture(autouse=True)
    def url(self, postgres_store: str) -> None:
        self._url = postgres_store

    def new_store(self, folder: Path) -> StoreUnderTest:
        return StoreUnderTest(lambda: PostgresBackend(self._url), url=self._url)
