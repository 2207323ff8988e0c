"""What an agent that goes on keeps of its record: its bound, each durability and kind of tool, takeovers, resumes."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_backends.memory_store import MemoryStore
from investigation_sdk import (
    BackendUnavailable,
    Durability,
    InvestigationInterrupt,
    InvestigationSDK,
    LeaseLost,
    NotRecorded,
    ToolState,
    tool,
)
from investigation_sdk.testing import SimulatedCrash, crash_at
from investigation_sdk.testing.faults import Fault, FaultKind, FaultyBackend, Plan

Make = Callable[..., InvestigationSDK]
Tools = dict[str, Callable[[int], Any]]

ran: list[Any] = []
"""What bodies did, in order."""


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@tool
async def step(n: int) -> int:
    ran.append(n)
    return n


@tool
def sync_step(n: int) -> int:
    ran.append(n)
    return n


@tool(effect="idempotent")
async def put(n: int) -> int:
    ran.append(("put", n))
    return n


@tool(effect="unsafe")
async def pay(n: int) -> int:
    ran.append(("pay", n))
    return n


@tool(effect="unsafe")
def sync_pay(n: int) -> int:
    raise AssertionError("must not run")


@tool
def items(n: int) -> Iterator[int]:
    ran.append(n)
    yield from (n, n)


@tool
async def async_items(n: int) -> AsyncIterator[int]:
    ran.append(n)
    for item in (n, n):
        yield item


async def one_of_each(n: int) -> None:
    """Calls of every kind; each gives what its body gave."""
    assert await step(n) == n
    assert sync_step(n) == n
    assert await put(n) == n
    assert list(items(n)) == [n, n]
    assert [item async for item in async_items(n)] == [n, n]


KINDS = 5
"""Calls that :func:`one_of_each` makes."""


class Store:
    """One store, an agent that goes on though its way there is broken, and others who reach it."""

    def __init__(self, make_sdk: Make, **options: Any) -> None:
        self.plan = Plan()
        self.data = MemoryStore()
        self.make_sdk = make_sdk
        self.faulty = FaultyBackend(self.backend(), self.plan)
        self.sdk = make_sdk(self.faulty, on_store_failure="continue", **options)

    def backend(self) -> MemoryBackend:
        """Another handle on it."""
        return MemoryBackend(writer=True, store=self.data)

    def down(self, kind: FaultKind = "failure") -> None:
        self.plan.outage = Fault(kind)

    async def up(self) -> None:
        self.plan.outage = None
        self.faulty.release_hanging()
        assert await self.sdk.flush(30) == 0

    async def other(self) -> InvestigationSDK:
        """An SDK that finds every lease given up, as if their owners had not been heard of for too long."""
        with self.data.lock:
            self.data.leases.clear()
        return self.make_sdk(self.backend())


Options = Callable[..., Store]


@pytest.fixture
def make_store(make_sdk: Make) -> Options:
    def make(**options: Any) -> Store:
        return Store(make_sdk, **options)

    return make


@pytest.mark.parametrize("durability", list(Durability))
async def test_every_kind_of_tool_is_recorded_in_order(make_store: Options, durability: Durability) -> None:
    store = make_store(durability=durability)
    async with store.sdk.investigation("goes on") as investigation:
        await one_of_each(0)
        store.down()
        for n in range(1, 5):
            await one_of_each(n)
        async with investigation.phase("p"):
            await one_of_each(5)
    await store.up()
    calls = await store.sdk.tools(investigation.id, limit=1000)
    assert [call.input_parameters["n"] for call in calls] == [n for n in range(6) for _ in range(KINDS)]
    assert {call.status for call in calls} == {ToolState.COMPLETED}
    assert len(ran) == len(calls)
    assert (await store.sdk.get(investigation.id)).status == "completed"
    assert (await store.sdk.verify(investigation.id)).ok


@pytest.mark.parametrize("durability", list(Durability))
async def test_never_more_is_kept_than_its_limit(make_store: Options, durability: Durability) -> None:
    store = make_store(durability=durability, spool_limit=40)
    async with store.sdk.investigation("goes on") as investigation:
        session = investigation._driver.session
        store.down()
        most = 0
        for n in range(30):
            await one_of_each(n)
            most = max(most, session.queued_events)
        assert 40 <= most <= 42  # a call that began when there was room ends in any case
        assert len(ran) == 30 * KINDS
    await store.up()
    recorded = await store.sdk.tools(investigation.id, limit=1000)
    assert {call.status for call in recorded} == {ToolState.COMPLETED}
    (warning,) = [e async for e in store.sdk.iter_events(investigation.id, event_type="recorder.warning")]
    assert (warning.event_data["kind"], warning.event_data["count"]) == ("left_out", len(ran) - len(recorded))
    assert (await store.sdk.get(investigation.id)).status == "completed"
    assert (await store.sdk.verify(investigation.id)).ok


@pytest.mark.parametrize("durability", list(Durability))
async def test_those_who_wait_at_the_limit_go_on_when_the_store_is_found_not_to_answer(
    make_store: Options, durability: Durability
) -> None:
    store = make_store(durability=durability, spool_limit=10)
    store.sdk._recorder._writer._patience = 0.3
    async with store.sdk.investigation("goes on") as investigation:
        store.down("hang")
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for n in range(30):
                tasks.create_task(step(n))
        assert sorted(ran) == list(range(30))
    await store.up()
    recorded = await store.sdk.tools(investigation.id, limit=1000)
    warnings = [e async for e in store.sdk.iter_events(investigation.id, event_type="recorder.warning")]
    assert len(recorded) + sum(e.event_data["count"] for e in warnings) == 30
    assert (await store.sdk.verify(investigation.id)).ok


async def test_the_limit_holds_callers_of_a_store_that_is_only_slow(make_store: Options) -> None:
    store = make_store(durability=Durability.BATCHED, spool_limit=10)
    async with store.sdk.investigation("slow") as investigation:
        session = investigation._driver.session
        store.plan.outage = Fault("delay", 0.05)
        for n in range(30):
            await step(n)
            assert session.queued_events <= 12
        store.plan.outage = None
    assert len(await store.sdk.tools(investigation.id, limit=1000)) == 30, "nothing is left out"


@pytest.mark.parametrize("durability", list(Durability))
async def test_somebody_else_takes_it_over_meanwhile(make_store: Options, durability: Durability) -> None:
    store = make_store(durability=durability)
    with pytest.raises(LeaseLost):
        async with store.sdk.investigation("goes on", key="k") as investigation:
            await step(0)
            assert await store.sdk.flush(30) == 0
            store.down()
            await one_of_each(1)
            async with investigation.phase("not in the log"):
                await one_of_each(2)
            other = await store.other()
            async with other.investigation("goes on", key="k") as taken:
                assert taken.id == investigation.id
                await pay(3)
            await store.up()
            with pytest.raises(InvestigationInterrupt) as stopped:
                await step(4)
            raise stopped.value
    assert 4 not in ran
    calls = await other.tools(investigation.id, limit=1000)
    assert sorted(call.input_parameters["n"] for call in calls) == [0, *[1] * KINDS, *[2] * KINDS, 3]
    assert {call.status for call in calls} == {ToolState.COMPLETED}
    events = [e async for e in other.iter_events(investigation.id)]
    started = {e.id for e in events if e.event_type == "tool.started"}
    assert started == {e.event_data["call"] for e in events if e.event_type == "tool.completed"}
    assert sum(e.metadata.get("late", False) for e in events if e.event_type == "tool.started") == 2 * KINDS
    assert await other.phases(investigation.id) == [], "a phase that others did not let begin"
    assert (await other.get(investigation.id)).status == "completed"
    assert (await other.verify(investigation.id)).ok


@pytest.mark.parametrize("durability", list(Durability))
async def test_a_resume_runs_again_what_was_only_kept(make_store: Options, durability: Durability) -> None:
    """The process dies while the store is away: what was durable is given back, the rest runs again."""
    store = make_store(durability=durability)

    async def agent() -> None:
        assert await step(0) == 0
        assert await pay(1) == 1

    with pytest.raises(SimulatedCrash), crash_at("tool.completed", nth=5):
        async with store.sdk.investigation("dies", key="k"):
            await agent()
            assert await store.sdk.flush(30) == 0
            store.down()
            for n in range(2, 10):
                await step(n)
    assert ran == [0, ("pay", 1), 2, 3, 4]
    store.plan.outage = None
    ran.clear()
    async with store.sdk.investigation("dies", key="k") as investigation:
        await agent()
        for n in range(2, 10):
            await step(n)
    assert ran == list(range(2, 10)), "the unsafe one is given back"
    calls = await store.sdk.tools(investigation.id, status=ToolState.COMPLETED, limit=1000)
    assert [call.input_parameters["n"] for call in calls] == list(range(10))
    assert (await store.sdk.verify(investigation.id)).ok


async def test_in_a_resume_nothing_is_left_out(make_store: Options) -> None:
    store = make_store(spool_limit=10)
    with pytest.raises(SimulatedCrash), crash_at("tool.completed", nth=2):
        async with store.sdk.investigation("dies", key="k"):
            await step(0)
            await step(1)
    ran.clear()
    with pytest.raises(NotRecorded, match="Not started"):
        async with store.sdk.investigation("dies", key="k") as investigation:
            store.down()
            for n in range(20):
                await step(n)
    assert ran == list(range(1, len(ran) + 1))
    assert len(ran) < 10
    await store.up()
    recorded = await store.sdk.tools(investigation.id, status=ToolState.COMPLETED, limit=1000)
    assert [call.input_parameters["n"] for call in recorded] == [0, *ran]
    async with store.sdk.investigation("dies", key="k") as investigation:
        for n in range(20):
            await step(n)
    assert ran == list(range(1, 20)), "each ran once"


def test_a_file_that_another_program_has_locked(sqlite_url: str) -> None:
    """Nothing waits for longer than the store's patience, and all is there when the lock is gone."""
    sdk = InvestigationSDK(sqlite_url, backend_options={"busy_timeout": 0.05}, on_store_failure="continue")
    sdk._recorder._writer._patience = 0.3
    with sdk, contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), timeout=30)) as program:
        with sdk.investigation("locked") as run:
            assert sync_step(0) == 0
            program.execute("BEGIN IMMEDIATE")
            for n in range(1, 20):
                assert sync_step(n) == n
            with run.phase("p"):
                assert list(items(20)) == [20, 20]
            with pytest.raises(InvestigationInterrupt, match="another connection holds its write lock"):
                sync_pay(21)
            assert run._driver.session.down is not None
            program.execute("ROLLBACK")
            assert sdk.sync.flush(30) == 0
            assert sync_step(22) == 22
        assert [call.input_parameters["n"] for call in sdk.sync.tools(run.id)] == [*range(21), 22]
        assert sdk.sync.get(run.id).status == "completed"
        assert sdk.sync.verify(run.id).ok


def test_opening_needs_the_store(make_store: Options) -> None:
    store = make_store()
    store.plan.unreadable = True
    store.down()
    with pytest.raises(BackendUnavailable), store.sdk.investigation("goes on", key="k"):
        raise AssertionError("must not run")
