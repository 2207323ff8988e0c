"""What goes on after its phase or its block has ended, and what is kept of what is over."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from investigation_sdk import InvestigationCancelled, InvestigationSDK, LeaseLost, ToolState, tool
from investigation_sdk.testing import assert_state_path

ENDED_WELL = ["created", "queued", "initializing", "running", "completing", "completed"]


async def test_a_call_that_outlives_its_phase(sdk: InvestigationSDK) -> None:
    go = asyncio.Event()

    @tool
    async def slow() -> str:
        await go.wait()
        return "late"

    async with sdk.investigation("phase") as investigation:
        async with investigation.phase("p") as p:
            task = asyncio.create_task(slow())
            await asyncio.sleep(0)
        async with investigation.phase("q"):
            go.set()
            assert await task == "late"
    (call,) = await sdk.tools(investigation.id)
    assert (call.status, call.phase_id) == (ToolState.COMPLETED, p.id)
    (event,) = await sdk.events(investigation.id, event_type="tool.completed")
    assert event.metadata == {}  # late for its phase, not for its investigation


@pytest.mark.parametrize("fails", [False, True])
async def test_a_call_that_outlives_its_block_is_a_late_fact(sdk: InvestigationSDK, fails: bool) -> None:
    go = asyncio.Event()

    @tool
    async def slow() -> str:
        await go.wait()
        if fails:
            raise OSError("late")
        return "late"

    async with sdk.investigation("block") as investigation:
        task = asyncio.create_task(slow())
        await asyncio.sleep(0)
    (call,) = await sdk.tools(investigation.id)
    assert call.status is ToolState.INTERRUPTED
    go.set()
    if fails:
        with pytest.raises(OSError, match="late"):
            await task
    else:
        assert await task == "late"
    (call,) = await sdk.tools(investigation.id)
    assert call.status is (ToolState.FAILED if fails else ToolState.COMPLETED)
    interrupted, closed = await sdk.events(investigation.id, event_type=["tool.interrupted", *CLOSED])
    assert interrupted.event_data["kind"] == "outlived"
    assert closed.metadata["late"] is True
    await assert_state_path(sdk, investigation.id, ENDED_WELL)
    assert (await sdk.verify(investigation.id)).ok


CLOSED = ["tool.completed", "tool.failed"]


async def test_a_call_that_begins_after_its_block(sdk: InvestigationSDK) -> None:
    go = asyncio.Event()

    @tool
    async def reads() -> str:
        return "read"

    @tool(effect="unsafe")
    async def pays() -> str:
        raise AssertionError("must not run")

    async def background() -> list[object]:
        await go.wait()
        results: list[object] = [await reads()]
        with pytest.raises(LeaseLost, match="nobody drives it"):
            await pays()
        return results

    async with sdk.investigation("after") as investigation:
        task = asyncio.create_task(background())
        await asyncio.sleep(0)
    go.set()
    assert await task == ["read"]
    await sdk.flush()
    (call,) = await sdk.tools(investigation.id)
    assert (call.tool_name, call.status) == ("reads", ToolState.COMPLETED)
    started, closed = await sdk.events(investigation.id, event_type=["tool.started", *CLOSED])
    assert started.metadata["late"] is closed.metadata["late"] is True
    assert (await sdk.get(investigation.id)).status == "completed"


async def test_what_is_late_after_a_cancellation(sdk: InvestigationSDK) -> None:
    go = asyncio.Event()

    @tool
    async def slow() -> str:
        await go.wait()
        return "late"

    with pytest.raises(InvestigationCancelled):
        async with sdk.investigation("cancelled") as investigation:
            task = asyncio.create_task(slow())
            await asyncio.sleep(0)
            await investigation.cancel()
    go.set()
    assert await task == "late"
    (call,) = await sdk.tools(investigation.id)
    assert call.status is ToolState.COMPLETED
    assert (await sdk.get(investigation.id)).status == "cancelled"


class Big:
    def __init__(self) -> None:
        self.payload = bytearray(1 << 20)


async def test_nothing_refers_to_arguments_results_or_errors_any_more(sdk: InvestigationSDK) -> None:
    seen: list[weakref.ref[object]] = []

    class Failure(Exception):
        pass

    def big() -> Big:
        value = Big()
        seen.append(weakref.ref(value))
        return value

    @tool
    def takes(value: Big) -> Big:
        return big()

    @tool
    async def atakes(value: Big) -> Big:
        return big()

    @tool
    def gives(value: Big) -> Iterator[Big]:
        yield big()

    @tool
    async def agives(value: Big) -> AsyncIterator[Big]:
        yield big()

    @tool
    def fails(value: Big) -> None:
        error = Failure(value)
        seen.append(weakref.ref(error))
        raise error

    async with sdk.investigation("memory") as investigation:
        async with investigation.phase("p", input_data=big()) as p:
            takes(big())
            await atakes(big())
            assert len(list(gives(big()))) == 1
            assert len([1 async for _ in agives(big())]) == 1
            with pytest.raises(Failure):
                fails(big())
            p.output_data = big()
        del p
        gc.collect()
        assert [ref() for ref in seen if ref() is not None] == []  # while the investigation goes on
        investigation.result = big()
        await investigation.checkpoint(big())
    del investigation
    gc.collect()
    assert len(seen) == 14
    assert [ref() for ref in seen if ref() is not None] == []


async def test_nothing_refers_to_an_investigation_that_is_over(
    sdk: InvestigationSDK, make_sdk: Callable[..., InvestigationSDK]
) -> None:
    another = make_sdk("memory://?writer=true")
    async with sdk.investigation("memory") as investigation:
        assert len(await another.list()) == 0  # opened in here, and stays open
        reference = weakref.ref(investigation)
        session = weakref.ref(investigation._driver.session)
    del investigation
    gc.collect()
    assert reference() is None
    assert session() is None
