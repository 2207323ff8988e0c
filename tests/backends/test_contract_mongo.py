"""The contract suite on MongoDB's protocol, with both drivers' clients."""

from pathlib import Path

import pytest

from investigation_sdk.storage.registry import create_backend
from investigation_sdk.testing.contract import BackendContract, StoreUnderTest


class OnMongo(BackendContract):
    driver: str

    @pytest.fixture(autouse=True)
    def place(self, mongo_store: str) -> None:
        self.url = f"{mongo_store}&driver={self.driver}"

    def new_store(self, folder: Path) -> StoreUnderTest:
        return StoreUnderTest(lambda: create_backend(self.url), url=self.url)


class TestMotor(OnMongo):
    driver = "motor"


@pytest.mark.server  # the same once more, by the other client
class TestPyMongo(OnMongo):
    driver = "pymongo"
