"""The part of the contract suite that makes values by hypothesis."""

import sys
from unittest import SkipTest

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_backends.memory_store import MemoryStore
from investigation_sdk.testing._contract import values
from investigation_sdk.testing.contract import StoreUnderTest, opened


async def test_without_hypothesis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    store = MemoryStore()
    async with opened(StoreUnderTest(lambda: MemoryBackend(store=store))) as opened_store:
        with pytest.raises(SkipTest, match="not installed; run: pip install hypothesis"):
            await values.ValueTests().test_any_json_comes_back_as_it_was(opened_store)
