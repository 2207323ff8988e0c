"""Generators and async generators under @tool."""

import asyncio
import gc
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from investigation_sdk import InvestigationSDK, ToolState, current_tool, tool
from investigation_sdk.domain.records import ToolExecution


async def only_call(sdk: InvestigationSDK, id: str) -> ToolExecution:
    (call,) = await sdk.tools(id)
    return call


@tool
def numbers(n: int) -> Iterator[int]:
    yield from range(n)


@tool
async def anumbers(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


async def test_an_early_break_ends_the_call_with_what_was_given(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("break") as investigation:
        for i in numbers(10):
            if i == 2:
                break
        async for i in anumbers(10):
            if i == 2:
                break
        for _ in range(200):  # the loop closes the abandoned one, in a task of its own
            if len([c for c in await sdk.tools(investigation.id) if c.status is ToolState.COMPLETED]) == 2:
                break
            await asyncio.sleep(0.01)
    for call in await sdk.tools(investigation.id):
        assert call.status is ToolState.COMPLETED
        assert call.output_result == {"count": 3, "exhausted": False, "items": [0, 1, 2]}


async def test_a_break_runs_the_bodys_cleanup_inside_the_call(sdk: InvestigationSDK) -> None:
    cleaned: list[tuple[str, bool]] = []

    @tool
    def steps() -> Iterator[int]:
        try:
            yield 1
        finally:
            cleaned.append(("sync", current_tool().recording))

    @tool
    async def asteps() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            cleaned.append(("async", current_tool().recording))

    async with sdk.investigation("cleanup"):
        for _ in steps():
            break
        items = asteps()
        async for _ in items:
            break
        await items.aclose()  # type: ignore[attr-defined]
    assert cleaned == [("sync", True), ("async", True)]


async def test_aclose_from_another_task(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("aclose") as investigation:
        items: Any = anumbers(5)
        assert await anext(items) == 0
        await asyncio.create_task(items.aclose())
        assert not current_tool().recording
        await numbers_are_over(items)
    call = await only_call(sdk, investigation.id)
    assert (call.status, call.output_result["count"]) == (ToolState.COMPLETED, 1)


async def numbers_are_over(items: AsyncIterator[int]) -> None:
    with pytest.raises(StopAsyncIteration):
        await anext(items)


async def test_items_may_be_taken_by_different_tasks(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("tasks") as investigation:
        items = anumbers(3)
        taken = [await asyncio.create_task(take(items)) for _ in range(3)]
        with pytest.raises(StopAsyncIteration):
            await anext(items)
        assert not current_tool().recording
    assert taken == [0, 1, 2]
    assert (await only_call(sdk, investigation.id)).output_result["exhausted"] is True


async def take(items: AsyncIterator[int]) -> int:
    return await anext(items)


async def test_send_throw_and_return_pass_through(sdk: InvestigationSDK) -> None:
    @tool
    def talks() -> Generator[str, str, int]:
        got = yield "first"
        try:
            yield f"got {got}"
        except KeyError as error:
            yield f"caught {error.args[0]}"
        return 7

    @tool
    async def atalks() -> Any:
        got = yield "first"
        try:
            yield f"got {got}"
        except KeyError as error:
            yield f"caught {error.args[0]}"

    async with sdk.investigation("talk") as investigation:
        talk = talks()
        assert [next(talk), talk.send("x"), talk.throw(KeyError("k"))] == ["first", "got x", "caught k"]
        with pytest.raises(StopIteration) as end:
            next(talk)
        assert end.value.value == 7
        atalk = atalks()
        assert await atalk.asend(None) == "first"
        assert await atalk.asend("x") == "got x"
        assert await atalk.athrow(KeyError("k")) == "caught k"
        with pytest.raises(StopAsyncIteration):
            await anext(atalk)
    first, second = await sdk.tools(investigation.id)
    assert first.output_result == {
        "count": 3,
        "exhausted": True,
        "items": ["first", "got x", "caught k"],
        "sent": None,
        "value": 7,
    }
    assert second.output_result["count"] == 3


async def test_an_exception_thrown_in_or_raised_fails_the_call(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("throw") as investigation:
        talk: Any = numbers(3)
        next(talk)
        thrown = KeyError("k")
        with pytest.raises(KeyError) as found:
            talk.throw(thrown)
        assert found.value is thrown
        atalk: Any = anumbers(3)
        await anext(atalk)
        with pytest.raises(KeyError) as found:
            await atalk.athrow(thrown)
        assert found.value is thrown
    assert [c.status for c in await sdk.tools(investigation.id)] == [ToolState.FAILED] * 2


async def test_the_context_does_not_leak_to_the_consumer(sdk: InvestigationSDK) -> None:
    inside: list[bool] = []

    @tool
    def leaf(n: int) -> int:
        return n

    @tool
    def steps() -> Iterator[int]:
        for i in range(2):
            inside.append(current_tool().recording)
            leaf(i)
            yield i

    @tool
    async def asteps() -> AsyncIterator[int]:
        for i in range(2):
            inside.append(current_tool().recording)
            leaf(i)
            yield i

    async with sdk.investigation("leak") as investigation:
        for i in steps():
            assert not current_tool().recording
            leaf(10 + i)
        assert not current_tool().recording
        async for i in asteps():
            assert not current_tool().recording
            leaf(10 + i)
        assert not current_tool().recording
    assert inside == [True] * 4
    import json

    recorder = sdk._recorder
    stored = await recorder.acall(recorder.backend.read_events(investigation.id, event_type=["tool.started"]))
    starts = [(json.loads(e.header).get("parent_call"), json.loads(e.event_data)) for e in stored]
    generator = [e.id for e, (_, data) in zip(stored, starts, strict=True) if data["tool"] != "leaf"]
    of_consumer = {
        data["input"]["n"]: parent for parent, data in starts if data["tool"] == "leaf" and data["input"]["n"] > 9
    }
    of_body = [parent for parent, data in starts if data["tool"] == "leaf" and data["input"]["n"] < 9]
    assert of_consumer == {10: None, 11: None}
    assert of_body == [generator[0]] * 2 + [generator[1]] * 2


async def test_two_generators_interleaved_keep_their_own_contexts(sdk: InvestigationSDK) -> None:
    seen: dict[str, set[str]] = {"a": set(), "b": set()}

    @tool
    async def steps(name: str) -> AsyncIterator[int]:
        for i in range(3):
            seen[name].add(current_tool().id)
            yield i

    async with sdk.investigation("interleaved"):
        a, b = steps("a"), steps("b")
        for _ in range(3):
            await anext(a)
            await anext(b)
        for items in (a, b):
            with pytest.raises(StopAsyncIteration):
                await anext(items)
    assert len(seen["a"]) == len(seen["b"]) == 1
    assert seen["a"] != seen["b"]


async def test_beyond_the_limit_items_are_only_counted(url: str, make_sdk: Any) -> None:
    sdk: InvestigationSDK = make_sdk(url, max_inline_bytes=2048)

    @tool
    def lines(n: int) -> Iterator[str]:
        for i in range(n):
            yield f"{i:0100d}"

    async with sdk.investigation("many") as investigation:
        assert sum(1 for _ in lines(1000)) == 1000
    result = (await only_call(sdk, investigation.id)).output_result
    assert result["count"] == 1000
    assert 5 < len(result["items"]) < 21
    assert result["items"][0] == f"{0:0100d}"
    (completed,) = await sdk.events(investigation.id, event_type="tool.completed")
    assert len(str(completed.event_data)) < 4096


@pytest.mark.parametrize(("size", "warnings"), [(5000, 0), (40_000, 1)])
async def test_a_returned_value_beyond_the_limit_stands_beside_the_log(
    url: str, make_sdk: Any, most: int, size: int, warnings: int
) -> None:
    sdk: InvestigationSDK = make_sdk(url, max_inline_bytes=2048)

    @tool
    def lines() -> Generator[int, None, str]:
        yield 1
        return "x" * size

    async with sdk.investigation("big") as investigation:
        talk = lines()
        next(talk)
        with pytest.raises(StopIteration) as end:
            next(talk)
        assert end.value.value == "x" * size
    (completed,) = await sdk.events(investigation.id, event_type="tool.completed")
    assert len(str(completed.event_data)) < 2048
    result = await sdk.payload(investigation.id, completed.event_data["output"])
    assert (result["value"] == "x" * size) is (size < most)
    assert len(await sdk.events(investigation.id, event_type="recorder.warning")) == warnings


async def test_items_that_are_not_json_are_warned_of(sdk: InvestigationSDK) -> None:
    @tool
    def things() -> Iterator[object]:
        yield 1
        yield object()

    async with sdk.investigation("things") as investigation:
        assert len(list(things())) == 2
    (warning,) = await sdk.events(investigation.id, event_type="recorder.warning")
    assert warning.event_data["tool"] == "things"


async def test_a_generator_that_is_never_started_is_no_call(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("never") as investigation:
        numbers(3)
        anumbers(3)
    assert len(await sdk.tools(investigation.id)) == 0


async def test_a_generator_closed_by_the_garbage_collector(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("gc") as investigation:
        items: Any = anumbers(5)
        await anext(items)
        cycle: list[Any] = [items]
        cycle.append(cycle)
        del items, cycle
        gc.collect()
        for _ in range(200):  # the loop closes it, in a task of its own
            if any(c.status is ToolState.COMPLETED for c in await sdk.tools(investigation.id)):
                break
            await asyncio.sleep(0.01)
    assert (await only_call(sdk, investigation.id)).output_result["count"] == 1
    assert (await sdk.verify(investigation.id)).ok


def test_an_async_generator_left_behind_by_a_closed_loop(sdk: InvestigationSDK) -> None:
    left: list[Any] = []

    async def main() -> str:
        async with sdk.investigation("loop") as investigation:
            items: Any = anumbers(5)
            await anext(items)
            left.append(items)
        return investigation.id

    id = asyncio.run(main())
    left.clear()
    gc.collect()
    (call,) = sdk.sync.tools(id)
    assert call.status in (ToolState.INTERRUPTED, ToolState.COMPLETED)
    assert sdk.sync.verify(id).ok


def test_the_garbage_collector_may_close_a_generator_in_the_middle_of_anything(sdk: InvestigationSDK) -> None:
    """Also while this very thread is numbering an event: the log must not get two events of one number."""
    gc.disable()
    try:
        with sdk.investigation("gc") as investigation:
            items: Any = numbers(5)
            next(items)
            cycle: list[Any] = [items]
            cycle.append(cycle)
            del items, cycle
            session = sdk._recorder.sessions.get(investigation.id)
            assert session is not None
            with session.lock:
                before = session.decided.version
                gc.collect()
                assert session.decided.version == before
    finally:
        gc.enable()
    sdk.sync.flush()
    (call,) = sdk.sync.tools(investigation.id)
    assert call.status is ToolState.COMPLETED
    assert call.output_result["count"] == 1
    assert sdk.sync.verify(investigation.id).ok
