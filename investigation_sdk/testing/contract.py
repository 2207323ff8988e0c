"""The contract suite: what :mod:`investigation_sdk.storage.backend` promises, as tests for any backend.

For a backend of your own::

    from investigation_sdk.testing.contract import BackendContract, StoreUnderTest

    class TestMyBackend(BackendContract):
        def new_store(self, folder):
            path = folder / "cases.db"
            return StoreUnderTest(lambda: MyBackend(path), url=f"mine:///{path}")

It needs pytest and pytest-asyncio, and nothing of the engine: the events are made here.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

_PARTS: Final = "investigation_sdk.testing._contract"
if _PARTS not in sys.modules:  # else somebody had them before: they check the same, and pytest would only warn
    pytest.register_assert_rewrite(_PARTS)

from ._contract.building import Case  # noqa: E402
from ._contract.opening import OpenStore, StoreUnderTest, opened  # noqa: E402
from ._contract.suite import Suite  # noqa: E402


@pytest.mark.asyncio
class BackendContract(Suite):
    """All tests. Subclass it with a name that pytest collects, and define :meth:`new_store`."""

    @pytest_asyncio.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[OpenStore]:
        """An open store for one test."""
        async with opened(self.new_store(tmp_path)) as store:
            yield store


__all__ = ["BackendContract", "Case", "OpenStore", "StoreUnderTest", "opened"]
