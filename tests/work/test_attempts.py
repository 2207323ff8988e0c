"""Attempts that fail, run out of time or cannot be stopped: what the record says, and what is tried again."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from investigation_sdk import AsyncInvestigationRun, InvestigationRun, InvestigationSDK, InvestigationState, tool
from investigation_sdk.recording import entering
from investigation_sdk.work.attempt import Attempt
from tests.work.processes import LONG
from tests.work.rig import double, ended, until

pytestmark = pytest.mark.usefixtures("impatient")


async def test_an_error_fails_it_and_is_in_the_log(sdk: InvestigationSDK) -> None:
    @sdk.investigator("sync")
    def on_a_thread(run: InvestigationRun) -> None:
        raise LookupError("no such account")

    @sdk.investigator("async")
    async def on_the_loop(run: AsyncInvestigationRun) -> None:
        raise SystemExit(3)

    async with sdk.worker() as worker:
        done = await ended(sdk, await sdk.submit("sync", "x"))
        assert (done.status, done.failure_kind) == (InvestigationState.FAILED, "error")
        assert done.error_message == "LookupError: no such account"
        gone = await ended(sdk, await sdk.submit("async", "x"))
        assert (gone.status, gone.failure_kind) == (InvestigationState.FAILED, "interrupted")
        assert worker.ready


async def test_retries_reuse_what_finished(sdk: InvestigationSDK) -> None:
    calls: list[int] = []

    @tool(effect="read")
    def expensive(number: int) -> int:
        calls.append(number)
        return number

    @sdk.investigator("case", retries=2)
    def handle(run: InvestigationRun) -> int:
        value = expensive(1)
        if run.attempt < 3:
            raise ConnectionError(f"try {run.attempt}")
        return value

    async with sdk.worker():
        done = await ended(sdk, await sdk.submit("case", "x"))
    assert (done.status, done.result, done.retry_count) == (InvestigationState.COMPLETED, 1, 2)
    assert calls == [1]
    changes = [e.new_state async for e in sdk.iter_events(done.id) if e.new_state is not None]
    assert changes.count(InvestigationState.FAILED) == changes.count(InvestigationState.RETRYING) == 2


async def test_retries_end(sdk: InvestigationSDK) -> None:
    @sdk.investigator("case", retries=2)
    async def handle(run: AsyncInvestigationRun) -> None:
        raise ConnectionError(f"try {run.attempt}")

    async with sdk.worker():
        done = await ended(sdk, await sdk.submit("case", "x"))
        assert (done.status, done.error_message, done.retry_count) == ("failed", "ConnectionError: try 3", 2)
        await sdk.service.retry(done.id, actor="ann")
        events = [event async for event in sdk.tail(done.id, after=done.version)]
    assert [event.event_data["message"] for event in events if event.event_type == "investigation.failed"] == [
        "ConnectionError: try 4"
    ], "tried by hand, it is tried once"


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_handler_that_cancels_itself_is_tried_again(sdk: InvestigationSDK, kind: str) -> None:
    """As where a library's own cancellation gets out of it: it is no worker that stops."""

    @sdk.investigator("async", retries=1)
    async def on_the_loop(run: AsyncInvestigationRun) -> int:
        if run.attempt == 1:
            raise asyncio.CancelledError
        return run.attempt

    @sdk.investigator("sync", retries=1)
    def on_a_thread(run: InvestigationRun) -> int:
        if run.attempt == 1:
            raise asyncio.CancelledError
        return run.attempt

    async with sdk.worker() as worker:
        done = await ended(sdk, await sdk.submit(kind, "x"))
        assert (done.status, done.result, done.retry_count) == (InvestigationState.COMPLETED, 2, 1)
        assert worker.ready


async def test_a_handler_has_its_time(sdk: InvestigationSDK) -> None:
    @sdk.investigator("async", timeout=timedelta(milliseconds=50))
    async def on_the_loop(run: AsyncInvestigationRun) -> None:
        await asyncio.sleep(LONG)

    @sdk.investigator("own", timeout=LONG)
    async def of_its_own(run: AsyncInvestigationRun) -> None:
        raise TimeoutError("the bank was slow")

    async with sdk.worker():
        done = await ended(sdk, await sdk.submit("async", "x"))
        assert (done.status, done.failure_kind) == (InvestigationState.FAILED, "timeout")
        assert f"{done.id} ran longer than the 0.05 s" in (done.error_message or "")
        own = await ended(sdk, await sdk.submit("own", "x"))
        assert (own.failure_kind, own.error_message) == ("error", "TimeoutError: the bank was slow")


async def test_a_thread_that_cannot_be_stopped_is_reported(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("investigation_sdk.work.attempt.OVERDUE_SECONDS", 0.05)
    release, refused = threading.Event(), threading.Event()

    @tool
    def long_look() -> None:
        release.wait(LONG)

    @sdk.investigator("sync", timeout=0.05)
    def on_a_thread(run: InvestigationRun) -> None:
        long_look()
        try:
            double(1)
        finally:
            refused.set()

    async with sdk.worker() as worker:
        done = await ended(sdk, await sdk.submit("sync", "x"))
        assert (done.status, done.failure_kind) == (InvestigationState.FAILED, "timeout")
        await until(lambda: worker.readiness().not_stopped == [done.id])
        release.set()
        await until(lambda: worker.readiness().running == 0)
    assert refused.is_set()
    (warning,) = [
        event.event_data
        async for event in sdk.iter_events(done.id, event_type="recorder.warning")
        if event.event_data["kind"] == "not_stopped"
    ]
    assert "a thread cannot be stopped" in warning["message"]
    assert f"Investigation {done.id}: The handler of 'sync' runs on behind its timeout" in caplog.text
    assert [call.tool_name for call in await sdk.tools(done.id)] == ["long_look"], "what it calls next is refused"


async def test_a_thread_that_enters_its_block_after_its_timeout_is_not_called(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    attach: Any = entering.attach
    take_away = Attempt._take_away  # pyright: ignore[reportPrivateUsage]

    def slow(*given: Any) -> Any:
        assert over.wait(LONG), "the timeout was not noticed"
        return (yield from attach(*given))

    async def noticed(attempt: Attempt) -> None:
        await take_away(attempt)
        over.set()

    monkeypatch.setattr(entering, "attach", slow)
    monkeypatch.setattr(Attempt, "_take_away", noticed)
    called: list[str] = []

    @sdk.investigator("sync", timeout=0.05)
    def on_a_thread(run: InvestigationRun) -> None:
        called.append(run.id)

    async with sdk.worker():
        done = await ended(sdk, await sdk.submit("sync", "x"))
    assert (done.status, done.failure_kind) == (InvestigationState.FAILED, "timeout")
    assert called == []


async def test_a_plan_that_no_attempt_declared_is_declared_by_the_next(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Attempt._begin  # pyright: ignore[reportPrivateUsage]

    def fails_at_first(attempt: Attempt, running: Any) -> None:
        if running.attempt > 1:
            return begin(attempt, running)
        running._driver.judge = attempt._judge  # pyright: ignore[reportPrivateUsage]
        raise ConnectionError("before the plan")

    monkeypatch.setattr(Attempt, "_begin", fails_at_first)

    @sdk.investigator("async", phases=["look", "judge"], retries=1)
    async def on_the_loop(run: AsyncInvestigationRun) -> int:
        return run.attempt

    async with sdk.worker():
        done = await ended(sdk, await sdk.submit("async", "x"))
    assert (done.status, done.result) == (InvestigationState.COMPLETED, 2)
    assert [phase.phase_name for phase in await sdk.phases(done.id)] == ["look", "judge"]
