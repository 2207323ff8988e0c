"""How a block ends: well, with an error, interrupted; and what is recorded of that."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from investigation_sdk import (
    InvestigationCancelled,
    InvestigationInterrupt,
    InvestigationSDK,
    PayloadTooLarge,
    PhaseState,
    ToolState,
    current_investigation,
    tool,
)
from investigation_sdk.recording.scope import find_interrupt
from investigation_sdk.testing import assert_state_path

BEGUN = ["created", "queued", "initializing", "running"]


async def test_a_block_that_ends_well(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("well") as investigation:
        investigation.result = {"verdict": "fraud"}
        assert investigation.result == {"verdict": "fraud"}
        assert investigation.state == "running"
    assert investigation.state == "completed"
    await assert_state_path(sdk, investigation.id, [*BEGUN, "completing", "completed"])
    record = await sdk.get(investigation.id)
    assert (record.result, record.progress_percentage, record.error_message) == ({"verdict": "fraud"}, 100, None)
    assert record.started_at is not None
    assert record.completed_at is not None
    types = [e.event_type for e in await sdk.events(investigation.id)]
    assert types[-1] == "investigation.released"
    assert types.count("investigation.started") == 1


def test_a_sync_block_that_ends_well(sdk: InvestigationSDK) -> None:
    with sdk.investigation("well") as investigation:
        investigation.result = 1
    assert sdk.sync.get(investigation.id).result == 1


def test_the_end_of_a_block_is_durable(lite: InvestigationSDK, other: InvestigationSDK) -> None:
    with lite.investigation("durable") as investigation:
        investigation.result = 1
        investigation.record("my.note", {"n": 1})
        investigation.report(tokens_used=3)
    record = other.sync.get(investigation.id)
    assert (record.status, record.result, record.usage.tokens_used) == ("completed", 1, 3)


class Trouble(Exception):
    """Something of the user's."""


ERRORS = [
    (Trouble("x"), "error"),
    (KeyboardInterrupt(), "interrupted"),
    (SystemExit(3), "interrupted"),
    (asyncio.CancelledError(), "interrupted"),
    (ExceptionGroup("g", [Trouble("a"), Trouble("b")]), "error"),
    (BaseExceptionGroup("g", [Trouble("a"), KeyboardInterrupt()]), "interrupted"),
]


@pytest.mark.parametrize(("error", "kind"), ERRORS, ids=lambda e: type(e).__name__)
async def test_a_block_that_ends_with_an_error(sdk: InvestigationSDK, error: BaseException, kind: str) -> None:
    with pytest.raises(type(error)) as found:
        async with sdk.investigation("error") as investigation, investigation.phase("p"):
            raise error
    assert found.value is error
    assert current_investigation() is None
    await assert_state_path(sdk, investigation.id, [*BEGUN, "failed"])
    record = await sdk.get(investigation.id)
    assert record.failure_kind == kind
    assert record.error_message is not None
    assert type(error).__name__ in record.error_message
    (failed,) = await sdk.events(investigation.id, event_type="investigation.failed")
    assert failed.event_data["error"]["type"].endswith(type(error).__name__)
    assert "Traceback" in failed.event_data["error"]["traceback"]
    (phase,) = await sdk.phases(investigation.id)
    assert phase.status is (PhaseState.FAILED if kind == "error" else PhaseState.PENDING)


@pytest.mark.parametrize(("error", "kind"), ERRORS[:3], ids=lambda e: type(e).__name__)
def test_a_sync_block_that_ends_with_an_error(sdk: InvestigationSDK, error: BaseException, kind: str) -> None:
    with pytest.raises(type(error)) as found, sdk.investigation("error") as investigation:
        raise error
    assert found.value is error
    assert sdk.sync.get(investigation.id).failure_kind == kind


async def test_a_task_that_is_cancelled_reaches_a_recorded_state(sdk: InvestigationSDK) -> None:
    running = asyncio.Event()
    ids: list[str] = []

    @tool
    async def waits() -> None:
        running.set()
        await asyncio.sleep(60)

    async def work() -> None:
        async with sdk.investigation("task") as investigation:
            ids.append(investigation.id)
            async with investigation.phase("p"):
                await waits()

    task = asyncio.create_task(work())
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await sdk.get(ids[0])).status == "failed"
    assert [c.status for c in await sdk.tools(ids[0])] == [ToolState.INTERRUPTED]
    async with sdk.attach(ids[0]) as again:  # its lease was given up
        assert again.attempt == 2


async def test_a_cancelled_exit_lets_go(make_sdk: Callable[..., InvestigationSDK]) -> None:
    """Whoever breaks off the wait for the last commit leaves no lease behind that is renewed for ever."""
    from investigation_backends.memory import MemoryBackend
    from investigation_sdk.testing.faults import Fault, FaultyBackend, Plan

    plan = Plan()
    sdk = make_sdk(FaultyBackend(MemoryBackend(), plan))

    async def work() -> str:
        async with sdk.investigation("exit") as investigation:
            ids.append(investigation.id)
            plan.outage = Fault("delay", 0.3)
        return investigation.id

    ids: list[str] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await work()
    plan.outage = None
    await sdk.flush()
    assert (await sdk.get(ids[0])).status == "completed"
    assert await sdk._recorder.acall(sdk._recorder.backend.holder(ids[0])) is None


SIGTERM = """
import sys, time
from investigation_sdk import InvestigationSDK, tool

sdk = InvestigationSDK(sys.argv[1])

@tool
def slow():
    print("running", flush=True)
    for _ in range(600):  # a signal that comes just before a sleep does not wake it
        time.sleep(0.1)

with sdk.investigation("signal") as investigation:
    print(investigation.id, flush=True)
    with investigation.phase("p"):
        slow()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)])
def test_signals_reach_a_recorded_state(sqlite_url: str, other: InvestigationSDK, number: int, code: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SIGTERM, sqlite_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        id = process.stdout.readline().strip()
        assert process.stdout.readline() == "running\n"
        os.kill(process.pid, number)
        process.communicate(timeout=20)
    assert process.returncode == code
    record = other.sync.get(id)
    assert (record.status, record.failure_kind) == ("failed", "interrupted")
    assert [c.status for c in other.sync.tools(id)] == [ToolState.INTERRUPTED]
    assert [p.status for p in other.sync.phases(id)] == [PhaseState.PENDING]


def test_the_signal_handler_is_only_there_while_a_block_is_open(sdk: InvestigationSDK) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert before is signal.SIG_DFL
    with sdk.investigation("outer"):
        with sdk.investigation("inner"):
            assert signal.getsignal(signal.SIGTERM) is not before
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    mine = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        handler = signal.getsignal(signal.SIGTERM)
        with sdk.investigation("with a handler of the application's"):
            assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, mine)


async def stop_inside(investigation: Any) -> None:
    await investigation.cancel("enough")


async def test_an_interrupt_is_unpacked_out_of_groups(sdk: InvestigationSDK) -> None:
    async def fails() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise Trouble("also")

    with pytest.raises(InvestigationCancelled, match="cancelled") as found:
        async with sdk.investigation("group") as investigation, asyncio.TaskGroup() as outer:
            outer.create_task(fails())
            async with asyncio.TaskGroup() as inner:
                inner.create_task(stop_inside(investigation))
    assert found.value.investigation_id == investigation.id
    assert isinstance(found.value.__cause__, BaseExceptionGroup)  # nothing of what else went wrong is lost
    assert (await sdk.get(investigation.id)).status == "cancelled"


def test_an_interrupt_is_found_however_deep_it_is() -> None:
    error = InvestigationCancelled("x")
    interrupt = InvestigationInterrupt(error)
    group = BaseExceptionGroup("a", [ValueError(), BaseExceptionGroup("b", [KeyError(), interrupt])])
    assert find_interrupt(group) is find_interrupt(interrupt) is interrupt
    assert find_interrupt(ExceptionGroup("c", [ValueError()])) is find_interrupt(None) is None
    assert not isinstance(interrupt, Exception)
    assert str(interrupt) == "x"


@pytest.mark.parametrize("url", ["memory://"])
async def test_a_result_that_is_too_large_is_refused_where_it_is_assigned(sdk: InvestigationSDK, most: int) -> None:
    async with sdk.investigation("large") as investigation:
        investigation.result = "fits"
        with pytest.raises(PayloadTooLarge) as refused:
            investigation.result = "x" * 40_000
        assert f"{most:,} bytes are the most" in str(refused.value)
        assert investigation.result == "fits"
        async with investigation.phase("p") as p:
            with pytest.raises(PayloadTooLarge):
                p.output_data = "x" * 40_000
            assert p.output_data is None
        for refuse in (lambda: investigation.record("my.note", {"x": "x" * 40_000}),):
            with pytest.raises(PayloadTooLarge):
                refuse()
        with pytest.raises(PayloadTooLarge):
            await investigation.checkpoint("x" * 40_000)
        with pytest.raises(PayloadTooLarge):
            async with investigation.phase("q", input_data="x" * 40_000):
                raise AssertionError("must not run")
    assert (await sdk.get(investigation.id)).result == "fits"
    with pytest.raises(PayloadTooLarge):
        sdk.investigation("x", metadata={"x": "x" * 40_000})


async def test_a_result_that_grew_after_it_was_assigned_gives_way_to_a_note(sdk: InvestigationSDK, most: int) -> None:
    rows: list[str] = []
    async with sdk.investigation("grows") as investigation:
        investigation.result = rows
        async with investigation.phase("p") as p:
            p.output_data = rows
            rows.extend(["x" * 1000] * 40)
    record = await sdk.get(investigation.id)
    assert record.status == "completed"
    assert record.result is not None
    assert len(str(record.result)) < 1000
    warnings = await sdk.events(investigation.id, event_type="recorder.warning")
    assert [w.event_data["kind"] for w in warnings] == ["output", "result"]


async def test_a_scope_is_entered_once(sdk: InvestigationSDK) -> None:
    scope = sdk.investigation("once")
    async with scope:
        with pytest.raises(RuntimeError, match="entered before"):
            async with scope:
                raise AssertionError("must not run")
    assert len(await sdk.list()) == 1
