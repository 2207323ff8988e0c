from pathlib import Path

from investigation_backends.memory import MemoryBackend
from investigation_backends.memory_store import MemoryStore
from investigation_sdk.testing.contract import BackendContract, StoreUnderTest


class TestMemory(BackendContract):
    def new_store(self, folder: Path) -> StoreUnderTest:
        store = MemoryStore()
        return StoreUnderTest(lambda: MemoryBackend(store=store))


class TestMemoryWithWriter(BackendContract):
    def new_store(self, folder: Path) -> StoreUnderTest:
        store = MemoryStore()
        return StoreUnderTest(lambda: MemoryBackend(writer=True, store=store))
