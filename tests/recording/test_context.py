"""Where a call finds its investigation: threads, executors, tasks, nested and concurrent investigations."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from investigation_sdk import (
    InvestigationSDK,
    ToolState,
    agent,
    current_investigation,
    current_tool,
    phase,
    propagate,
    tool,
)


@tool
def note(n: int) -> int:
    return n


@tool
async def anote(n: int) -> int:
    await asyncio.sleep(0)
    return n


async def inputs(sdk: InvestigationSDK, id: str) -> list[int]:
    return [c.input_parameters["n"] for c in await sdk.tools(id)]


async def test_to_thread_carries_the_context(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("to_thread") as investigation, investigation.phase("p") as p:
        assert await asyncio.to_thread(note, 1) == 1
    (call,) = await sdk.tools(investigation.id)
    assert call.phase_id == p.id


async def test_executors_and_threads_do_not_carry_it_unless_propagated(sdk: InvestigationSDK) -> None:
    loop = asyncio.get_running_loop()
    async with sdk.investigation("executors") as investigation:
        with ThreadPoolExecutor(2) as pool:
            assert await loop.run_in_executor(pool, note, 1) == 1
            assert pool.submit(note, 2).result() == 2
            assert await loop.run_in_executor(pool, propagate(note), 3) == 3
            assert pool.submit(propagate(note), 4).result() == 4
        thread = threading.Thread(target=propagate(note), args=(5,))
        thread.start()
        await asyncio.to_thread(thread.join)
    assert await inputs(sdk, investigation.id) == [3, 4, 5]


async def test_propagate_captures_the_context_of_its_own_moment(sdk: InvestigationSDK) -> None:
    outside = propagate(note)
    async with sdk.investigation("moment") as investigation:
        async with investigation.phase("first") as first:
            with agent("alpha"):
                in_first = propagate(note)
        async with investigation.phase("second"):
            await asyncio.to_thread(in_first, 1)
            assert await asyncio.to_thread(outside, 2) == 2
    (call,) = await sdk.tools(investigation.id)
    assert (call.input_parameters, call.phase_id, call.agent_name) == ({"n": 1}, first.id, "alpha")


async def test_a_propagated_function_may_run_many_times_at_once(sdk: InvestigationSDK) -> None:
    together = threading.Barrier(4, timeout=10)

    @tool
    def waits(n: int) -> str:
        together.wait()
        return current_tool().id

    async with sdk.investigation("concurrent") as investigation:
        bound = propagate(waits)
        with ThreadPoolExecutor(4) as pool:
            ids = list(pool.map(bound, range(4)))
    assert len(set(ids)) == 4
    assert sorted(await inputs(sdk, investigation.id)) == [0, 1, 2, 3]


async def test_a_propagated_coroutine_function(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("coroutine") as investigation:
        bound = propagate(anote)
        assert asyncio.iscoroutinefunction(bound)
        assert await asyncio.to_thread(lambda: asyncio.run(bound(1))) == 1
    assert await inputs(sdk, investigation.id) == [1]


async def test_gather_and_task_groups(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("tasks") as investigation, investigation.phase("p") as p:
        assert await asyncio.gather(*(anote(n) for n in range(5))) == [0, 1, 2, 3, 4]
        async with asyncio.TaskGroup() as group:
            for n in range(5, 10):
                group.create_task(anote(n))
    calls = await sdk.tools(investigation.id)
    assert sorted(c.input_parameters["n"] for c in calls) == list(range(10))
    assert {c.phase_id for c in calls} == {p.id}
    assert (await sdk.verify(investigation.id)).ok


async def test_nested_investigations(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("outer") as outer:
        await anote(1)
        async with sdk.investigation("inner") as inner:
            await anote(2)
        async with sdk.investigation("named", parent=inner) as named:
            await anote(3)
        await anote(4)
    async with sdk.investigation("given", parent=outer.id) as given:
        pass
    async with sdk.investigation("alone") as alone:
        pass
    parents = {i.id: i.parent_investigation_id for i in await sdk.list()}
    assert parents == {outer.id: None, inner.id: outer.id, named.id: inner.id, given.id: outer.id, alone.id: None}
    assert [await inputs(sdk, i.id) for i in (outer, inner, named)] == [[1, 4], [2], [3]]


async def test_an_investigation_in_another_store_is_no_child(
    sdk: InvestigationSDK, make_sdk: Callable[..., InvestigationSDK]
) -> None:
    another = make_sdk("memory://")
    async with sdk.investigation("outer"), another.investigation("elsewhere") as elsewhere:
        await anote(1)
    assert (await another.get(elsewhere.id)).parent_investigation_id is None
    assert await inputs(another, elsewhere.id) == [1]


async def test_a_nested_failure_is_the_outer_ones_to_handle(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("outer") as outer:
        with pytest.raises(ValueError, match="inner"):
            async with sdk.investigation("inner") as inner:
                raise ValueError("inner")
        await anote(1)
    assert (await sdk.get(inner.id)).status == "failed"
    assert (await sdk.get(outer.id)).status == "completed"


async def test_concurrent_investigations_do_not_mix(sdk: InvestigationSDK) -> None:
    async def investigate(base: int) -> str:
        async with sdk.investigation(f"i{base}") as investigation:
            for n in range(base, base + 10):
                async with investigation.phase(f"p{n}"):
                    await anote(n)
                    await asyncio.to_thread(note, n)
        assert current_investigation() is None
        return investigation.id

    ids = await asyncio.gather(*(investigate(base) for base in (0, 100, 200)))
    for base, id in zip((0, 100, 200), ids, strict=True):
        assert await inputs(sdk, id) == [n for n in range(base, base + 10) for _ in range(2)]
        assert (await sdk.verify(id)).ok


def test_sync_investigations_in_threads_do_not_mix(sdk: InvestigationSDK) -> None:
    def investigate(base: int) -> str:
        with sdk.investigation(f"i{base}") as investigation:
            for n in range(base, base + 10):
                note(n)
        return investigation.id

    with ThreadPoolExecutor(3) as pool:
        ids = list(pool.map(investigate, (0, 100, 200)))
    for base, id in zip((0, 100, 200), ids, strict=True):
        assert [c.input_parameters["n"] for c in sdk.sync.tools(id)] == list(range(base, base + 10))


async def test_the_context_is_put_back_whatever_happens(sdk: InvestigationSDK) -> None:
    @tool
    async def fails() -> None:
        raise OSError("x")

    async with sdk.investigation("put back") as investigation:
        with contextlib.suppress(OSError):
            async with investigation.phase("p"):
                await fails()
        await anote(1)
        (call,) = await sdk.tools(investigation.id, tool="anote")
        assert call.phase_id is None
        assert not current_tool().recording
    assert current_investigation() is None


async def test_a_sync_tool_in_an_async_block(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("mixed") as investigation:
        assert note(1) == 1
        with phase("by hand"):
            assert note(2) == 2
    assert await inputs(sdk, investigation.id) == [1, 2]


def test_an_async_tool_under_asyncio_run_in_a_sync_block(sdk: InvestigationSDK) -> None:
    async def part() -> int:
        async with phase("inside"):
            return await anote(2) + note(3)

    with sdk.investigation("mixed") as investigation:
        assert asyncio.run(anote(1)) == 1
        assert asyncio.run(part()) == 5
        note(4)
    assert [c.input_parameters["n"] for c in sdk.sync.tools(investigation.id)] == [1, 2, 3, 4]
    assert [p.phase_name for p in sdk.sync.phases(investigation.id)] == ["inside"]


async def test_a_sync_block_in_a_running_loop(sdk: InvestigationSDK) -> None:
    with sdk.investigation("blocking") as investigation, investigation.phase("p"):
        note(1)
        assert await anote(2) == 2
    assert await inputs(sdk, investigation.id) == [1, 2]


async def test_one_agent_scope_for_many_tasks(sdk: InvestigationSDK) -> None:
    shared = agent("shared")
    first_is_in, second_is_out = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        with agent("outer"):
            with shared:
                first_is_in.set()
                await second_is_out.wait()
                await anote(1)
            await anote(2)

    async def second() -> None:
        await first_is_in.wait()
        with shared:
            await anote(3)
        await anote(4)
        second_is_out.set()

    async with sdk.investigation("agents") as investigation:
        await asyncio.gather(first(), second())
    names = {c.input_parameters["n"]: c.agent_name for c in await sdk.tools(investigation.id)}
    assert names == {1: "shared", 2: "outer", 3: "shared", 4: "main"}


async def test_states_are_complete_at_the_end_of_the_block(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("complete") as investigation:
        await asyncio.gather(*(anote(n) for n in range(20)))
    assert {c.status for c in await sdk.tools(investigation.id)} == {ToolState.COMPLETED}


async def test_sync_tools_that_hold_the_loop_often_are_logged_once(
    make_sdk: Callable[..., InvestigationSDK], sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    sdk = make_sdk(sqlite_url)

    @tool
    def quick() -> int:
        return 1

    async with sdk.investigation("held") as investigation:
        for _ in range(99):
            quick()
        assert not caplog.records
        for _ in range(10):
            quick()
    (record,) = caplog.records
    assert record.name == "investigation_sdk.recording"
    assert investigation.id in record.getMessage()
    assert "asyncio.to_thread" in record.getMessage()
