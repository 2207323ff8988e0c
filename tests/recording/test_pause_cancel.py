"""Pause and cancel, from inside and outside, and how they reach the code that runs."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from investigation_sdk import (
    InvalidStateTransition,
    InvestigationCancelled,
    InvestigationInterrupt,
    InvestigationPaused,
    InvestigationSDK,
    PhaseState,
    ToolState,
    tool,
)
from investigation_sdk.testing import assert_state_path

BEGUN = ["created", "queued", "initializing", "running"]
ENDED = ["completing", "completed"]
Make = Callable[..., InvestigationSDK]


@tool
async def step(n: int) -> int:
    return n


@tool
def sync_step(n: int) -> int:
    return n


@pytest.fixture(params=["same SDK", "another SDK on the same file"])
def outside(request: pytest.FixtureRequest, sqlite_url: str, make_sdk: Make) -> Callable[[InvestigationSDK], Any]:
    """From an SDK that drives, the one that somebody outside commands it with."""

    def choose(sdk: InvestigationSDK) -> InvestigationSDK:
        return sdk if request.param == "same SDK" else make_sdk(sqlite_url)

    return choose


async def until_known(sdk: InvestigationSDK, id: str) -> None:
    """Until the owner knows what others have written: it learns of it by its next commit, or its heartbeat."""
    await sdk._recorder.acall(sdk._recorder.session(id))


async def test_a_pause_from_outside_waits_until_it_is_resumed(
    sqlite_url: str,
    make_sdk: Make,
    outside: Callable[[InvestigationSDK], InvestigationSDK],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sdk = make_sdk(sqlite_url)
    operator = outside(sdk)
    async with sdk.investigation("pause") as investigation:
        await step(1)
        record = await operator.service.pause(investigation.id, "look first", actor="gil")
        assert record.status == "paused"
        await until_known(sdk, investigation.id)
        assert investigation.state == "paused"
        task = asyncio.create_task(step(2))
        thread = asyncio.create_task(asyncio.to_thread(sync_step, 3))
        await asyncio.sleep(0.05)
        assert len(await operator.tools(investigation.id)) == 1  # neither has begun
        (said,) = [record.getMessage() for record in caplog.records if "is paused" in record.getMessage()]
        assert said.endswith(f"The log says why: investigate events {investigation.id}")  # once, for two that wait
        assert (await operator.service.resume(investigation.id, actor="gil")).status == "running"
        assert await asyncio.wait_for(task, 10) == 2
        assert await asyncio.wait_for(thread, 10) == 3
    await assert_state_path(sdk, investigation.id, [*BEGUN, "paused", "running", *ENDED])
    transitions = await sdk.events(investigation.id, event_type="state.transition")
    pause = next(e for e in transitions if e.new_state == "paused")
    assert (pause.actor, pause.previous_state, pause.event_data) == ("gil", "running", {"reason": "look first"})


async def test_a_pause_from_outside_raises(
    sqlite_url: str, make_sdk: Make, outside: Callable[[InvestigationSDK], InvestigationSDK]
) -> None:
    sdk = make_sdk(sqlite_url, on_pause="raise")
    operator = outside(sdk)
    reached: list[object] = []
    with pytest.raises(InvestigationPaused) as stopped:
        async with sdk.investigation("pause") as investigation, investigation.phase("p"):
            await step(1)
            await operator.service.pause(investigation.id)
            await until_known(sdk, investigation.id)
            try:
                await step(2)
            except Exception as error:
                reached.append(error)
            reached.append("went on")
    assert reached == []
    assert stopped.value.investigation_id == investigation.id
    assert (await sdk.get(investigation.id)).status == "paused"
    (phase,) = await sdk.phases(investigation.id)
    assert phase.status is PhaseState.PENDING
    assert (await sdk.events(investigation.id))[-1].event_type == "investigation.released"
    with pytest.raises(InvestigationPaused):  # attaching does not overrule a pause
        async with sdk.attach(investigation.id):
            await step(3)
    await operator.service.resume(investigation.id)
    async with sdk.attach(investigation.id) as again:
        await step(4)
        assert again.attempt == 3
    assert [c.input_parameters["n"] for c in await sdk.tools(investigation.id)] == [1, 4]
    assert (await sdk.verify(investigation.id)).ok


async def test_a_cancellation_from_outside(
    sqlite_url: str, make_sdk: Make, outside: Callable[[InvestigationSDK], InvestigationSDK]
) -> None:
    sdk = make_sdk(sqlite_url)
    operator = outside(sdk)
    with pytest.raises(InvestigationCancelled) as stopped:
        async with sdk.investigation("cancel") as investigation, investigation.phase("p"):
            assert (await operator.service.cancel(investigation.id, "duplicate", actor="gil")).status == "cancelled"
            await until_known(sdk, investigation.id)
            await step(1)
            raise AssertionError("must not run")
    assert investigation.id in str(stopped.value)
    await assert_state_path(sdk, investigation.id, [*BEGUN, "paused", "cancelled"])
    assert len(await sdk.tools(investigation.id)) == 0
    (phase,) = await sdk.phases(investigation.id)
    assert phase.status is PhaseState.PENDING
    (event,) = await sdk.events(investigation.id, event_type="investigation.cancelled")
    assert (event.actor, event.event_data["reason"]) == ("gil", "duplicate")
    with pytest.raises(InvestigationCancelled):
        async with sdk.attach(investigation.id):
            raise AssertionError("must not run")


async def test_an_owner_learns_of_a_pause_by_its_next_commit(sqlite_url: str, make_sdk: Make) -> None:
    sdk, operator = make_sdk(sqlite_url, on_pause="raise"), make_sdk(sqlite_url)
    with pytest.raises(InvestigationPaused):
        async with sdk.investigation("conflict") as investigation:
            await operator.service.pause(investigation.id)
            assert await step(1) == 1  # begun before it was known: its value is given, and it is recorded
            await step(2)
            raise AssertionError("must not run")
    assert [c.status for c in await sdk.tools(investigation.id)] == [ToolState.COMPLETED]


async def test_an_idle_owner_learns_of_a_pause_by_its_heartbeat(sqlite_url: str, make_sdk: Make) -> None:
    from datetime import timedelta

    sdk = make_sdk(sqlite_url, on_pause="raise", lease_ttl=timedelta(milliseconds=300))
    operator = make_sdk(sqlite_url)
    async with sdk.investigation("idle") as investigation:
        await operator.service.pause(investigation.id)
        for _ in range(200):
            if investigation.state == "paused":
                break
            await asyncio.sleep(0.02)
        assert investigation.state == "paused"


@pytest.mark.parametrize("boundary", ["tool", "phase", "checkpoint", "sync tool", "generator", "async generator"])
async def test_each_boundary_stops(url: str, make_sdk: Make, boundary: str) -> None:
    sdk = make_sdk(url, on_pause="raise")

    @tool
    def items() -> Any:
        yield 1

    @tool
    async def aitems() -> Any:
        yield 1

    with pytest.raises(InvestigationPaused):
        async with sdk.investigation("boundaries") as investigation:
            await sdk.service.pause(investigation.id)
            with pytest.raises(InvestigationInterrupt):  # and again at each boundary
                await step(0)
            match boundary:
                case "tool":
                    await step(1)
                case "sync tool":
                    sync_step(1)
                case "phase":
                    await investigation.phase("p").__aenter__()
                case "checkpoint":
                    await investigation.checkpoint(1)
                case "generator":
                    next(items())
                case "async generator":
                    await anext(aitems())
            raise AssertionError("must not run")
    assert len(await sdk.tools(investigation.id)) == 0
    assert await sdk.phases(investigation.id) == []


async def test_a_pause_while_a_tool_runs_never_takes_its_value_away(url: str, make_sdk: Make) -> None:
    sdk = make_sdk(url, on_pause="raise")

    @tool
    async def slow() -> str:
        await sdk.service.pause(investigation.id)
        return "value"

    with pytest.raises(InvestigationPaused):
        async with sdk.investigation("in flight") as investigation:
            async with investigation.phase("p") as p:
                p.output_data = await slow()  # leaving the phase is no boundary either
            got = p.output_data
            await step(1)
    assert got == "value"
    assert [c.status for c in await sdk.tools(investigation.id)] == [ToolState.COMPLETED]
    (phase,) = await sdk.phases(investigation.id)
    assert (phase.status, phase.output_data) == (PhaseState.COMPLETED, "value")


async def test_a_cancellation_while_a_tool_runs_records_the_value_late(url: str, make_sdk: Make) -> None:
    sdk = make_sdk(url)

    @tool
    async def slow() -> str:
        await sdk.service.cancel(investigation.id)
        return "value"

    got = ""
    with pytest.raises(InvestigationCancelled):
        async with sdk.investigation("in flight") as investigation:
            got = await slow()
            investigation.result = got
    assert got == "value"
    (call,) = await sdk.tools(investigation.id)
    assert (call.status, call.output_result) == (ToolState.COMPLETED, "value")
    (completed,) = await sdk.events(investigation.id, event_type="tool.completed")
    assert completed.metadata["late"] is True
    notes = await sdk.events(investigation.id, event_type="note.recorded")
    assert [n.event_data["result"] for n in notes] == ["value"]  # the block ended well: its result is kept
    await assert_state_path(sdk, investigation.id, [*BEGUN, "paused", "cancelled"])


async def test_pausing_from_inside_waits(url: str, make_sdk: Make) -> None:
    sdk = make_sdk(url)
    async with sdk.investigation("inside") as investigation:
        task = asyncio.create_task(investigation.pause("ask a human"))
        for _ in range(200):
            if (await sdk.get(investigation.id)).status == "paused":
                break
            await asyncio.sleep(0.01)
        assert not task.done()
        await sdk.service.resume(investigation.id)
        await asyncio.wait_for(task, 10)
        await step(1)
    await assert_state_path(sdk, investigation.id, [*BEGUN, "paused", "running", *ENDED])


def test_pausing_a_sync_block_from_inside_waits(url: str, make_sdk: Make) -> None:
    sdk = make_sdk(url)
    with sdk.investigation("inside") as investigation:

        def resume() -> None:
            while sdk.sync.get(investigation.id).status != "paused":
                pass
            sdk.sync.service.resume(investigation.id)

        thread = threading.Thread(target=resume)
        thread.start()
        investigation.pause()
        thread.join(10)
        assert investigation.state == "running"


async def test_pausing_and_cancelling_from_inside_raises(url: str, make_sdk: Make) -> None:
    sdk = make_sdk(url, on_pause="raise")
    with pytest.raises(InvestigationPaused):
        async with sdk.investigation("pause") as paused:
            await paused.pause("ask")
            raise AssertionError("must not run")
    assert (await sdk.get(paused.id)).status == "paused"
    with pytest.raises(InvestigationCancelled):
        async with sdk.investigation("cancel") as cancelled:
            try:
                await cancelled.cancel("enough")
            except Exception:
                raise AssertionError("an ordinary `except` must not catch it") from None
    assert (await sdk.get(cancelled.id)).status == "cancelled"
    with pytest.raises(InvestigationCancelled), sdk.investigation("cancel") as third:
        third.cancel()


async def test_a_paused_block_may_end_well(url: str, make_sdk: Make) -> None:
    sdk = make_sdk(url, on_pause="raise")
    async with sdk.investigation("ends") as investigation:
        await sdk.service.pause(investigation.id)
        investigation.result = 1
    await assert_state_path(sdk, investigation.id, [*BEGUN, "paused", "running", *ENDED])
    assert (await sdk.get(investigation.id)).result == 1


async def test_an_unsafe_tool_does_not_begin_in_a_paused_investigation(sqlite_url: str, make_sdk: Make) -> None:
    """Its start is a command: it is refused though the owner did not know of the pause when it submitted it."""
    sdk, operator = make_sdk(sqlite_url, on_pause="raise"), make_sdk(sqlite_url)

    @tool(effect="unsafe")
    async def pays() -> None:
        raise AssertionError("must not run")

    with pytest.raises(InvestigationPaused):
        async with sdk.investigation("unsafe") as investigation:
            await operator.service.pause(investigation.id)
            await pays()
    assert len(await sdk.tools(investigation.id)) == 0


async def test_an_unsafe_tool_begins_when_the_pause_is_over(sqlite_url: str, make_sdk: Make) -> None:
    sdk, operator = make_sdk(sqlite_url), make_sdk(sqlite_url)

    @tool(effect="unsafe")
    async def pays() -> str:
        return "paid"

    async with sdk.investigation("unsafe") as investigation:
        await operator.service.pause(investigation.id)
        task = asyncio.create_task(pays())
        for _ in range(200):
            if investigation.state == "paused":
                break
            await asyncio.sleep(0.01)
        assert not task.done()
        await operator.service.resume(investigation.id)
        assert await asyncio.wait_for(task, 10) == "paid"
    (call,) = await sdk.tools(investigation.id)
    assert call.status is ToolState.COMPLETED


async def test_what_only_appends_does_not_wait_for_a_pause(url: str, make_sdk: Make) -> None:
    sdk = make_sdk(url)
    async with sdk.investigation("appends") as investigation:
        await sdk.service.pause(investigation.id)
        investigation.record("my.note")
        investigation.report(tokens_used=1)
        investigation.skip_phase("p")
        investigation.plan("q")
        investigation.result = 1
        await sdk.service.resume(investigation.id)
    assert (await sdk.get(investigation.id)).usage.tokens_used == 1
    assert [p.phase_name for p in await sdk.phases(investigation.id)] == ["p", "q"]


async def test_a_second_pause_is_nothing_and_a_cancelled_one_cannot_pause(url: str, make_sdk: Make) -> None:
    sdk = make_sdk(url)
    with pytest.raises(InvestigationCancelled):
        async with sdk.investigation("table") as investigation:
            await sdk.service.pause(investigation.id)
            version = (await sdk.get(investigation.id)).version
            await sdk.service.pause(investigation.id)
            assert (await sdk.get(investigation.id)).version == version
            await sdk.service.cancel(investigation.id)
    with pytest.raises(InvalidStateTransition):
        await sdk.service.pause(investigation.id)
