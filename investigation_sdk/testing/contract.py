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

import pytest

pytest.register_assert_rewrite("investigation_sdk.testing._contract")

from ._contract.blobs import BlobTests  # noqa: E402
from ._contract.building import Case  # noqa: E402
from ._contract.commits import BatchTests, CommitTests  # noqa: E402
from ._contract.events import EventTests  # noqa: E402
from ._contract.leases import LeaseTests  # noqa: E402
from ._contract.opening import OpenStore, StoreUnderTest, opened  # noqa: E402
from ._contract.queries import AggregateTests, FindTests  # noqa: E402
from ._contract.queueing import QueueTests  # noqa: E402
from ._contract.races import ProcessRaceTests, RaceTests  # noqa: E402
from ._contract.sharing import ProcessTests, SharingTests  # noqa: E402
from ._contract.upkeep import AdvanceTests, DeleteTests, PutRowsTests  # noqa: E402


@pytest.mark.asyncio
class BackendContract(
    CommitTests,
    BatchTests,
    EventTests,
    BlobTests,
    FindTests,
    AggregateTests,
    PutRowsTests,
    AdvanceTests,
    DeleteTests,
    LeaseTests,
    QueueTests,
    SharingTests,
    ProcessTests,
    RaceTests,
    ProcessRaceTests,
):
    """All tests. Subclass it with a name that pytest collects, and define :meth:`new_store`."""


__all__ = ["BackendContract", "Case", "OpenStore", "StoreUnderTest", "opened"]
