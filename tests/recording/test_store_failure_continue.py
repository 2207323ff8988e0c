"""``on_store_failure="continue"``: the agent goes on; its record is whole in the end, or says what is not in it."""

import asyncio
import logging
from typing import Any

import pytest

from investigation_sdk import InvestigationInterrupt, InvestigationSDK, NotRecorded, PhaseState, ToolState, tool
from tests.recording.failing import Make, Store, all_is_durable, ran, step, sync_step


@pytest.fixture
def store(make_sdk: Make) -> Store:
    return Store(make_sdk, on_store_failure="continue")


@tool(effect="idempotent")
async def put(n: int) -> int:
    ran.append(n)
    return n * 10


@tool(effect="unsafe")
async def pay(n: int) -> int:
    ran.append(n)
    return n


@tool
async def broken(n: int) -> int:
    raise KeyError(n)


async def test_everything_is_written_in_order_when_the_store_answers(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    sdk = store.sdk
    async with sdk.investigation("goes on") as investigation:
        assert await step(0) == 0
        store.down()
        async with investigation.phase("p"):
            assert await step(1) == 10
            assert sync_step(2) == 20
            assert await put(3) == 30
            with pytest.raises(KeyError):
                await broken(4)
            await investigation.checkpoint({"at": 4})
        investigation.result = "done"
    said = [record for record in caplog.records if "goes on" in record.getMessage()]
    assert [record.levelno for record in said] == [logging.WARNING]
    assert investigation.id in said[0].getMessage()
    await store.up()
    calls = await sdk.tools(investigation.id)
    assert [call.input_parameters["n"] for call in calls] == [0, 1, 2, 3, 4]
    assert [call.status for call in calls] == [ToolState.COMPLETED] * 4 + [ToolState.FAILED]
    (phase,) = await sdk.phases(investigation.id)
    assert phase.status is PhaseState.COMPLETED
    record = await sdk.get(investigation.id)
    assert (record.status, record.result) == ("completed", "done")
    types = [event.event_type for event in await sdk.events(investigation.id, limit=1000)]
    assert "investigation.completed" in types[-2:]
    assert "checkpoint.saved" in types
    assert "recorder.warning" not in types
    assert (await sdk.verify(investigation.id)).ok


async def test_an_unsafe_tool_does_not_begin(store: Store) -> None:
    with pytest.raises(NotRecorded, match=r"takes no records|does not take"):
        async with store.sdk.investigation("goes on") as investigation:
            store.down()
            await step(1)
            await pay(2)
    assert ran == [1]
    await store.up()
    assert [call.tool_name for call in await store.sdk.tools(investigation.id)] == ["step"]


async def test_what_an_unsafe_tool_returned_passes(store: Store) -> None:
    @tool(effect="unsafe")
    async def pays_and_then() -> str:
        store.down()
        return "paid"

    async with store.sdk.investigation("goes on") as investigation:
        assert await pays_and_then() == "paid"
    await store.up()
    (call,) = await store.sdk.tools(investigation.id)
    assert (call.status, call.output_result) == (ToolState.COMPLETED, "paid")


@pytest.mark.parametrize("recovers", ["before the end", "after the end"])
async def test_what_does_not_fit_is_counted_in_the_record(
    make_sdk: Make, caplog: pytest.LogCaptureFixture, recovers: str
) -> None:
    store = Store(make_sdk, on_store_failure="continue", spool_limit=20)
    async with store.sdk.investigation("goes on") as investigation:
        store.down()
        for n in range(50):
            assert await step(n) == n * 10
            assert sync_step(n) == n * 10
        if recovers == "before the end":
            await store.up()
            assert await step(100) == 1000
    await store.up()
    assert len(ran) == 100 + (recovers == "before the end")
    recorded = await store.sdk.tools(investigation.id, limit=1000)
    assert {call.status for call in recorded} == {ToolState.COMPLETED}
    assert 5 < len(recorded) < 20
    events = await store.sdk.events(investigation.id, limit=1000)
    (warning,) = [event for event in events if event.event_type == "recorder.warning"]
    assert warning.event_data["kind"] == "left_out"
    assert warning.event_data["count"] == len(ran) - len(recorded)
    assert f"{len(ran) - len(recorded)} calls ran that are not recorded" in warning.event_data["message"]
    assert "are not recorded" in caplog.text
    assert (await store.sdk.verify(investigation.id)).ok


async def test_an_unsafe_tool_or_a_phase_is_never_left_out(make_sdk: Make) -> None:
    store = Store(make_sdk, on_store_failure="continue", spool_limit=10)
    with pytest.raises(Exception, match="take") as stopped:
        async with store.sdk.investigation("goes on") as investigation:
            store.down()
            for n in range(20):
                await step(n)
            with pytest.raises(InvestigationInterrupt):
                await pay(1)
            async with investigation.phase("p"):
                raise AssertionError("must not run")
    assert not isinstance(stopped.value, AssertionError)
    await store.up()
    assert ran == list(range(20))


async def test_many_tasks(store: Store) -> None:
    async with store.sdk.investigation("goes on") as investigation:
        store.down()
        async with asyncio.TaskGroup() as group:
            for n in range(40):
                group.create_task(step(n))
        await store.up()
    calls = await store.sdk.tools(investigation.id, limit=1000)
    assert sorted(call.output_result for call in calls) == [n * 10 for n in range(40)]
    assert (await store.sdk.verify(investigation.id)).ok


async def test_a_full_disk(sqlite_url: str, make_sdk: Make) -> None:
    sdk = make_sdk(sqlite_url, on_store_failure="continue")
    async with sdk.investigation("full") as investigation:
        limit_pages(sdk, 1)  # it cannot grow any more
        for n in range(60):
            assert await fill(n) == "x" * 20_000
        limit_pages(sdk, 1_000_000)
    await all_is_durable(sdk)
    calls = await sdk.tools(investigation.id, limit=1000)
    assert [call.input_parameters["n"] for call in calls] == list(range(60))
    assert {call.status for call in calls} == {ToolState.COMPLETED}
    assert (await sdk.verify(investigation.id)).ok


@tool
async def fill(n: int) -> str:
    return "x" * 20_000


def limit_pages(sdk: InvestigationSDK, pages: int) -> None:
    """As a disk that is full: no more pages than the file has."""
    link: Any = sdk._recorder.backend._link  # type: ignore[attr-defined]
    with link._lock:
        link._connection.execute(f"PRAGMA max_page_count={pages}")
