"""The tail of a log: everything behind a place, once and in order, then what comes, to the end."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from investigation_sdk import (
    InvalidArgument,
    InvestigationEvent,
    InvestigationNotFound,
    InvestigationSDK,
    InvestigationState,
    tool,
)

LONG = 60.0
"""Seconds that anything here may take on a machine that does other things."""


@tool(effect="read")
def lookup(number: int) -> int:
    return number * 2


def work(sdk: InvestigationSDK, calls: int = 5, key: str = "case-1") -> str:
    with sdk.investigation("account 42", key=key) as investigation:
        with investigation.phase("devices"):
            for number in range(calls):
                lookup(number)
        return investigation.id


async def collected(sdk: InvestigationSDK, id: str, after: int = 0) -> list[InvestigationEvent]:
    async with asyncio.timeout(LONG):
        return [event async for event in sdk.tail(id, after=after)]


async def stored(sdk: InvestigationSDK, id: str) -> list[InvestigationEvent]:
    return [event async for event in sdk.iter_events(id)]


async def test_of_a_finished_one_all_is_given_and_it_ends(sdk: InvestigationSDK) -> None:
    id = await asyncio.to_thread(work, sdk)
    events = await collected(sdk, id)
    assert events == await stored(sdk, id)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))


@pytest.mark.parametrize("after", [1, 7])
async def test_after_gives_what_is_behind_it(sdk: InvestigationSDK, after: int) -> None:
    id = await asyncio.to_thread(work, sdk)
    everything = await stored(sdk, id)
    assert await collected(sdk, id, after) == everything[after:]


async def test_after_the_last_event_of_a_finished_one_there_is_nothing(sdk: InvestigationSDK) -> None:
    id = await asyncio.to_thread(work, sdk)
    assert await collected(sdk, id, len(await stored(sdk, id))) == []


async def test_behind_the_end_of_the_log_is_refused(sdk: InvestigationSDK) -> None:
    id = await asyncio.to_thread(work, sdk)
    last = len(await stored(sdk, id))
    with pytest.raises(InvalidArgument, match=f"after={last + 1} is behind the end .*last event is {last}"):
        await collected(sdk, id, last + 1)


async def test_of_an_unknown_one(sdk: InvestigationSDK) -> None:
    with pytest.raises(InvestigationNotFound, match="no investigation"):
        await collected(sdk, "019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b7e")
    with pytest.raises(InvalidArgument, match="after=-1 is not the sequence"):
        await collected(sdk, "019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b7e", -1)


async def test_what_comes_is_given_as_it_comes(sdk: InvestigationSDK) -> None:
    """Each call is made only when the tail has given the one before: it lags behind nothing."""
    seen = threading.Semaphore(0)
    begun = threading.Event()
    ids: list[str] = []

    def drive() -> None:
        with sdk.investigation("account 42", key="case-live") as investigation:
            ids.append(investigation.id)
            begun.set()
            with investigation.phase("devices"):
                for number in range(5):
                    assert seen.acquire(timeout=LONG), f"the tail did not give call {number}"
                    lookup(number)

    driver = asyncio.create_task(asyncio.to_thread(drive))
    assert await asyncio.to_thread(begun.wait, LONG)
    events = []
    async with asyncio.timeout(LONG):
        async for event in sdk.tail(ids[0]):
            events.append(event)
            if event.event_type in ("phase.started", "tool.completed"):
                seen.release()
    await asyncio.wait_for(driver, LONG)
    assert events == await stored(sdk, ids[0])


async def test_many_at_once_see_the_same(sdk: InvestigationSDK) -> None:
    record = await sdk.service.create_investigation("gil", "account 42", "general", {}, queue=False)
    tails = [asyncio.create_task(collected(sdk, record.id, after)) for after in (0, 0, 1, 1)]

    def drive() -> None:
        with sdk.attach(record.id) as investigation, investigation.phase("devices"):
            for number in range(200):
                lookup(number)

    await asyncio.to_thread(drive)
    everything = await stored(sdk, record.id)
    found = await asyncio.gather(*tails)
    assert [len(events) for events in found] == [len(everything) - after for after in (0, 0, 1, 1)]
    assert all(events == everything[-len(events) :] for events in found)


async def test_one_that_another_handle_drives(lite: InvestigationSDK, other: InvestigationSDK) -> None:
    """No broker: the store is looked at."""
    record = await lite.service.create_investigation("gil", "account 42", "general", {}, queue=False)
    following = asyncio.create_task(collected(lite, record.id))
    await asyncio.sleep(0)

    def drive() -> None:
        with other.attach(record.id) as investigation, investigation.phase("devices"):
            for number in range(20):
                lookup(number)

    await asyncio.to_thread(drive)
    events = await following
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events == await stored(lite, record.id)


async def test_a_failed_one_ends_it_and_goes_on_when_tried_again(sdk: InvestigationSDK) -> None:
    def fails() -> str:
        with pytest.raises(ZeroDivisionError), sdk.investigation("account 42", key="case-2") as investigation:
            1 / 0  # noqa: B018
        return str(investigation.id)

    id = await asyncio.to_thread(fails)
    first = await collected(sdk, id)
    assert "investigation.failed" in [event.event_type for event in first]
    assert await asyncio.to_thread(work, sdk, 5, "case-2") == id
    second = await collected(sdk, id, first[-1].sequence)
    assert second[-1].sequence == len(first) + len(second)
    assert [*first, *second] == await stored(sdk, id)


async def test_a_deleted_one_ends_it_with_an_error(lite: InvestigationSDK) -> None:
    record = await lite.service.create_investigation("gil", "account 42", "general", {}, queue=False)
    tail = lite.tail(record.id)
    first = await anext(tail)
    assert first.event_type == "investigation.created"
    waiting: asyncio.Task[Any] = asyncio.ensure_future(anext(tail))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    backend = lite._recorder.backend
    assert await lite._recorder.acall(backend.delete([(record.id, record.version)])) == 1
    with pytest.raises(InvestigationNotFound, match=record.id):
        await asyncio.wait_for(waiting, LONG)


async def test_a_tail_that_nobody_awaits_any_more_leaves_nothing(sdk: InvestigationSDK) -> None:
    record = await sdk.service.create_investigation("gil", "account 42", "general", {}, queue=False)
    waiting = asyncio.create_task(collected(sdk, record.id))
    until = time.monotonic() + LONG
    while not sdk._hub._waiting:
        assert time.monotonic() < until
        await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    while sdk._hub._waiting:
        assert time.monotonic() < until, "it still waits"
        await asyncio.sleep(0.01)


def test_the_blocking_face(sdk: InvestigationSDK) -> None:
    id = work(sdk)
    assert list(sdk.sync.tail(id)) == list(sdk.sync.iter_events(id))
    assert [event.sequence for event in sdk.sync.tail(id, after=3)][:2] == [4, 5]


def test_it_goes_on_after_the_store_was_closed_and_opened_again(
    sqlite_url: str, make_sdk: Callable[..., InvestigationSDK]
) -> None:
    sdk = make_sdk(sqlite_url)
    id = work(sdk)
    before = list(sdk.sync.tail(id))
    sdk.sync.close()
    assert list(sdk.sync.tail(id)) == before
    assert sdk.hearing() == (None, None)
    assert sdk.sync.get(id).status is InvestigationState.COMPLETED
