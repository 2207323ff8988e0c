"""All parts of the contract, for whoever runs them: pytest, or the report."""

from __future__ import annotations

from .batches import BatchTests
from .blobs import BlobTests
from .commits import CommitTests
from .events import EventTests
from .leases import LeaseTests
from .queries import AggregateTests, FindTests
from .queueing import QueueTests
from .races import ProcessRaceTests, RaceTests
from .sharing import ProcessTests, SharingTests
from .upkeep import AdvanceTests, DeleteTests, PutRowsTests
from .values import ValueTests


class Suite(
    CommitTests,
    BatchTests,
    EventTests,
    BlobTests,
    ValueTests,
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
    """All tests."""
