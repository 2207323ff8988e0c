"""A store that does not take the record: NotRecorded with the value, later calls refused, and recovery."""

import asyncio
from typing import Any

import pytest

from investigation_sdk import (
    BackendUnavailable,
    InvestigationInterrupt,
    InvestigationSDK,
    NotRecorded,
    PhaseState,
    ToolState,
    tool,
)
from tests.recording.failing import Make, Store, all_is_durable, ran, step, sync_step


@pytest.fixture
def store(make_sdk: Make) -> Store:
    return Store(make_sdk)


@tool
async def broken(n: int) -> int:
    ran.append(n)
    raise KeyError(n)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_not_recorded_carries_the_value_and_later_calls_are_refused(store: Store, kind: str) -> None:
    sdk = store.sdk

    async def call(n: int) -> int:
        return await step(n) if kind == "async" else sync_step(n)

    with pytest.raises(NotRecorded) as stopped:
        async with sdk.investigation("down") as investigation:
            assert await call(1) == 10
            store.down()
            with pytest.raises(InvestigationInterrupt) as first:
                await call(2)
            with pytest.raises(InvestigationInterrupt):
                await call(3)
            with pytest.raises(InvestigationInterrupt) as later:
                await call(3)
            assert ran == [1, 2]
            raise first.value
    error = stopped.value
    assert (error.value, error.investigation_id) == (20, investigation.id)
    assert error is first.value.error
    assert "stays queued" in str(error)
    assert isinstance(later.value.error, NotRecorded)
    assert "Not started" in str(later.value.error)
    assert later.value.error.value is None
    await store.up()
    calls = await sdk.tools(investigation.id)
    assert [(c.input_parameters["n"], c.output_result) for c in calls] == [(1, 10), (2, 20)]
    assert error.call_id == calls[1].id
    assert (await sdk.events(investigation.id))[-1].event_type == "investigation.released"
    assert (await sdk.verify(investigation.id)).ok


async def test_an_except_exception_does_not_catch_it(store: Store) -> None:
    caught: list[Exception] = []
    with pytest.raises(NotRecorded):
        async with store.sdk.investigation("down"):
            store.down()
            try:
                await step(1)
            except Exception as error:
                caught.append(error)
    assert caught == []
    await store.up()


async def test_calls_go_on_when_the_store_answers_again(store: Store) -> None:
    async with store.sdk.investigation("recovers") as investigation:
        store.down()
        with pytest.raises(InvestigationInterrupt):
            await step(1)
        with pytest.raises(InvestigationInterrupt):
            await step(2)
        await store.up()
        assert await step(3) == 30
    assert ran == [1, 3]
    assert [c.status for c in await store.sdk.tools(investigation.id)] == [ToolState.COMPLETED] * 2
    assert (await store.sdk.get(investigation.id)).status == "completed"


def chain(error: BaseException | None) -> set[type[BaseException]]:
    """The types of an exception, its causes and contexts."""
    seen: list[BaseException] = []
    left = [error]
    while left:
        error = left.pop()
        if error is not None and error not in seen:
            seen.append(error)
            left += [error.__cause__, error.__context__]
    return {type(error) for error in seen}


async def test_an_exception_that_cannot_be_recorded(store: Store) -> None:
    with pytest.raises(NotRecorded) as stopped:
        async with store.sdk.investigation("down") as investigation:
            store.down()
            await broken(1)
    assert stopped.value.value is None
    assert KeyError in chain(stopped.value)  # what the tool raised is not lost
    assert "what it raised is the cause" in str(stopped.value)
    await store.up()
    (call,) = await store.sdk.tools(investigation.id)
    assert call.status is ToolState.FAILED


async def test_an_unsafe_tool_does_not_run_while_the_store_is_down(store: Store) -> None:
    @tool(effect="unsafe")
    async def pays() -> None:
        raise AssertionError("must not run")

    with pytest.raises(BackendUnavailable):
        async with store.sdk.investigation("down") as investigation:
            store.down()
            await pays()
    await store.up()
    assert len(await store.sdk.tools(investigation.id)) == 0


async def test_a_phase_is_not_entered_while_the_store_is_down(store: Store) -> None:
    with pytest.raises(BackendUnavailable):
        async with store.sdk.investigation("down") as investigation:
            store.down()
            async with investigation.phase("p"):
                raise AssertionError("must not run")
    await store.up()
    assert await store.sdk.phases(investigation.id) == []


async def test_a_phase_whose_end_is_not_durable(store: Store) -> None:
    with pytest.raises(BackendUnavailable, match="The end of phase 'p' is queued, but not durable yet"):
        async with store.sdk.investigation("down") as investigation, investigation.phase("p"):
            store.down()
    await store.up()
    (phase,) = await store.sdk.phases(investigation.id)
    assert phase.status is PhaseState.COMPLETED


async def test_the_end_of_a_block_is_written_when_the_store_answers(store: Store) -> None:
    with pytest.raises(BackendUnavailable, match="is queued, but not durable yet"):
        async with store.sdk.investigation("down") as investigation:
            investigation.result = 1
            store.down()
    await store.up()
    record = await store.sdk.get(investigation.id)
    assert (record.status, record.result) == ("completed", 1)
    with pytest.raises(KeyError, match="mine"):  # the user's exception comes first
        async with store.sdk.investigation("down") as second:
            store.down()
            raise KeyError("mine")
    await store.up()
    assert (await store.sdk.get(second.id)).status == "failed"


async def test_commands_of_the_block_stop_it_too(store: Store) -> None:
    for command in ("checkpoint", "pause", "cancel"):
        with pytest.raises(BackendUnavailable):
            async with store.sdk.investigation("down") as investigation:
                store.down()
                with pytest.raises(InvestigationInterrupt):
                    await getattr(investigation, command)("x")
                raise InvestigationInterrupt(BackendUnavailable("as the command did"))
        await store.up()
        assert (await store.sdk.get(investigation.id)).status == "running"


async def test_an_outage_of_one_investigation_in_many_tasks(store: Store) -> None:
    with pytest.raises(NotRecorded):
        async with store.sdk.investigation("tasks") as investigation:
            store.down()
            async with asyncio.TaskGroup() as group:
                for n in range(5):
                    group.create_task(step(n))
    await store.up()
    calls = await store.sdk.tools(investigation.id)
    assert len(calls) == len(ran)
    assert {c.status for c in calls} <= {ToolState.COMPLETED, ToolState.INTERRUPTED}
    assert (await store.sdk.verify(investigation.id)).ok


async def test_a_full_disk(sqlite_url: str, make_sdk: Make) -> None:
    sdk = make_sdk(sqlite_url)
    with pytest.raises(BackendUnavailable, match="full") as stopped:
        async with sdk.investigation("full") as investigation:
            limit_pages(sdk, 1)  # it cannot grow any more
            for n in range(100):
                await fill(n)
    assert isinstance(stopped.value, NotRecorded)
    assert stopped.value.value == "x" * 20_000
    limit_pages(sdk, 1_000_000)
    await all_is_durable(sdk)
    calls = await sdk.tools(investigation.id, limit=1000)
    assert {c.status for c in calls} == {ToolState.COMPLETED}
    assert calls[-1].id == stopped.value.call_id
    assert (await sdk.verify(investigation.id)).ok


@tool
async def fill(n: int) -> str:
    return "x" * 20_000


def limit_pages(sdk: InvestigationSDK, pages: int) -> None:
    """As a disk that is full: no more pages than the file has."""
    link: Any = sdk._recorder.backend._link  # type: ignore[attr-defined]
    with link._lock:
        link._connection.execute(f"PRAGMA max_page_count={pages}")
