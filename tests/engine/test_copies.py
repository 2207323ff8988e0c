"""What is handed to users and to authors of backends is copied and pickled like any value, compiled or not."""

import copy
import pickle  # noqa: TID251 - what users may do, we do not
from collections.abc import Callable
from typing import Any

import pytest

from investigation_sdk import EventType, InvestigationSDK, tool
from investigation_sdk.storage.commit import (
    APPLIED,
    Aggregate,
    Commit,
    CommitResult,
    CommitStatus,
    Kind,
    Lease,
    Query,
    Where,
)
from tests.engine.rig import Rig

WAYS: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]  # noqa: S301 - ours
KIND: Kind = "tool"
VALUES = [
    EventType.TOOL_STARTED,
    CommitStatus.CONFLICT,
    APPLIED,
    CommitResult(CommitStatus.DATA, None, "no"),
    Lease("investigation:1", "me", 5),
    Where("id", "=", "1"),
    Query(KIND, (Where("id", "=", "1"),), limit=5),
    Aggregate(KIND, group_by=("status",)),
]


def same(one: Any, other: Any) -> bool:
    """Equal, or where a class compares by identity, of equal parts."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Commit):
        return all(getattr(one, name) == getattr(other, name) for name in ("id", "events", "rows", "blobs", "lease"))
    return bool(one == other)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values(value: Any) -> None:
    for way in WAYS:
        assert same(way(value), value)


async def test_a_commit_and_its_events(rig: Rig) -> None:
    session = await rig.drive()
    rig.note(session)
    await rig.recorder.aflush()
    commit = rig.backend.batches[-1][0]
    for way in WAYS:
        assert same(way(commit), commit)
        assert [way(event) for event in commit.events] == list(commit.events)


async def test_records_of_a_user(make_sdk: Callable[..., InvestigationSDK]) -> None:
    sdk = make_sdk("memory://")
    seen: list[Any] = []

    @sdk.service.on_state()
    def note(record: Any, event: Any) -> None:
        seen.extend((record, event))

    @tool
    def double(n: int) -> int:
        return 2 * n

    async with sdk.investigation("s") as investigation, investigation.phase("p"):
        double(1)
    seen += [event async for event in sdk.iter_events(investigation.id)]
    seen += [await sdk.get(investigation.id), *await sdk.phases(investigation.id), *await sdk.tools(investigation.id)]
    seen += [await sdk.progress(investigation.id), await sdk.verify(investigation.id)]
    assert len(seen) > 15
    for way in WAYS:
        assert [way(value) for value in seen] == seen


def test_what_the_types_of_events_say_of_themselves() -> None:
    assert (EventType.__doc__ or "").startswith("The events that the SDK writes")
