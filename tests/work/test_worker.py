"""Handlers, the queue and workers: what is submitted is run once, in order, to its end."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from investigation_sdk import (
    AsyncInvestigationRun,
    ConfigurationError,
    InvalidArgument,
    Investigation,
    InvestigationNotFound,
    InvestigationRun,
    InvestigationSDK,
    InvestigationState,
    PhasePlan,
    tool,
)
from investigation_sdk.recording import entering
from investigation_sdk.work import recovery
from investigation_sdk.work.attempt import Attempt

LONG = 60.0
"""Seconds that anything here may take on a machine that does other things."""


@tool
def double(number: int) -> int:
    return 2 * number


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "FIRST_PAUSE", 0.01)


async def ended(sdk: InvestigationSDK, investigation: Investigation) -> Investigation:
    return await sdk.wait(investigation.id, timeout=LONG)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110 - of another thread's, or the worker's
            await asyncio.sleep(0.01)


async def kinds(sdk: InvestigationSDK, id: str) -> list[str]:
    return [event.event_type async for event in sdk.iter_events(id)]


def register(sdk: InvestigationSDK) -> None:
    @sdk.investigator("async", phases=["look", PhasePlan("judge", weight=3)])
    async def on_the_loop(run: AsyncInvestigationRun) -> int:
        async with run.phase("look"):
            return double(run.configuration["number"])

    @sdk.investigator("sync", phases=["look"])
    def on_a_thread(run: InvestigationRun) -> int:
        with run.phase("look"):
            return double(run.configuration["number"])


async def test_what_is_submitted_is_run(sdk: InvestigationSDK) -> None:
    register(sdk)
    async with sdk.worker() as worker:
        wanted = [(kind, {"number": n}) for n in range(3) for kind in ("async", "sync")]
        made = [await sdk.submit(kind, "account", configuration=given) for kind, given in wanted]
        assert {one.status for one in made} == {InvestigationState.QUEUED}
        done = [await ended(sdk, one) for one in made]
        assert [one.result for one in done] == [0, 0, 2, 2, 4, 4]
        assert {one.status for one in done} == {InvestigationState.COMPLETED}
        await until(lambda: worker.readiness().running == 0)
        assert worker.readiness().ready
    assert not worker.ready
    for one in done:
        assert (await sdk.verify(one.id)).ok
        assert [phase.phase_name for phase in await sdk.phases(one.id)][:1] == ["look"]
    assert await kinds(sdk, done[1].id) == [
        *("investigation.created", "state.transition", "investigation.claimed", "state.transition"),
        *("state.transition", "investigation.started", "phase.started", "tool.started", "tool.completed"),
        *("phase.completed", "state.transition", "investigation.completed", "investigation.released"),
    ]


async def test_the_handler_stays_what_it_is(sdk: InvestigationSDK) -> None:
    async def handle(run: AsyncInvestigationRun) -> None: ...

    assert sdk.investigator("a")(handle) is handle
    assert sdk.investigator("b")(handle) is handle
    assert sdk.investigator("a")(handle) is handle
    with pytest.raises(ConfigurationError, match="both investigate 'a'; a type has one handler"):
        sdk.investigator("a")(lambda run: None)


async def test_a_known_key_gives_the_one_that_exists(sdk: InvestigationSDK) -> None:
    register(sdk)
    first = await sdk.submit("sync", "mail 17", key="mail-17", configuration={"number": 1})
    again = await sdk.submit("sync", "mail 18", key="mail-17", configuration={"number": 2})
    assert (again.id, again.subject, again.version) == (first.id, "mail 17", first.version)
    async with sdk.worker():
        assert (await ended(sdk, first)).result == 2
        done = await sdk.submit("sync", "mail 17", key="mail-17")
    assert (done.id, done.status, done.result) == (first.id, InvestigationState.COMPLETED, 2)
    both = await asyncio.gather(*(sdk.submit("sync", "x", key="race") for _ in range(8)))
    assert len({one.id for one in both}) == 1


async def test_the_most_urgent_first_and_nothing_before_its_time(sdk: InvestigationSDK) -> None:
    order: list[str] = []

    @sdk.investigator("case")
    async def handle(run: AsyncInvestigationRun) -> None:
        order.append(run.subject)

    hour = timedelta(hours=1)
    now = datetime.now(UTC)
    await sdk.submit("case", "usual")
    await sdk.submit("case", "later", priority=9, not_before=now + hour)
    least = await sdk.submit("case", "least", priority=-1)
    await sdk.submit("case", "first", priority=5, not_before=now - hour)
    await sdk.submit("case", "usual 2")
    async with sdk.worker(concurrency=1):
        await ended(sdk, least)
    assert order == ["first", "usual", "usual 2", "least"]
    (later,) = await sdk.list(status=InvestigationState.QUEUED)
    assert later.subject == "later"


async def test_limits_of_types(sdk: InvestigationSDK) -> None:
    running = {"few": 0, "many": 0}
    most = dict(running)
    gate = asyncio.Event()

    async def handle(run: AsyncInvestigationRun) -> None:
        kind = run.investigation_type
        running[kind] += 1
        most[kind] = max(most[kind], running[kind])
        await gate.wait()
        running[kind] -= 1

    for kind in running:
        sdk.investigator(kind)(handle)
    made = [await sdk.submit(kind, f"{n}") for n in range(5) for kind in running]
    async with sdk.worker(concurrency=6, limits={"few": 2}) as worker:
        await until(lambda: sum(running.values()) == 6)
        assert running in ({"few": 1, "many": 5}, {"few": 2, "many": 4})
        assert worker.readiness().by_type == running
        gate.set()
        for one in made:
            await ended(sdk, one)
    assert most["few"] <= 2


async def test_only_types_that_it_is_told(sdk: InvestigationSDK) -> None:
    register(sdk)
    other = await sdk.submit("async", "x", configuration={"number": 1})
    async with sdk.worker(types=["sync"]):
        await ended(sdk, await sdk.submit("sync", "x", configuration={"number": 1}))
    assert (await sdk.get(other.id)).status == InvestigationState.QUEUED


def test_what_a_worker_and_a_handler_refuse(sdk: InvestigationSDK) -> None:
    with pytest.raises(ConfigurationError, match="no handlers, so a worker would do nothing"):
        sdk.worker()
    register(sdk)
    with pytest.raises(ConfigurationError, match=r"no handler for investigations of type 'other'.*'async', 'sync'"):
        sdk.worker(types=["sync", "other"])
    with pytest.raises(ConfigurationError, match="concurrency=0 is too small"):
        sdk.worker(concurrency=0)
    with pytest.raises(InvalidArgument, match=r"limits=.* is not whole numbers from 1"):
        sdk.worker(limits={"sync": 0})
    with pytest.raises(InvalidArgument, match="wants the type"):
        sdk.investigator(register)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="timeout=0 is not a number of seconds above 0"):
        sdk.investigator("x", timeout=0)
    with pytest.raises(InvalidArgument, match="max_recoveries=-1"):
        sdk.investigator("x", max_recoveries=-1)
    with pytest.raises(InvalidArgument, match="priority=4294967296"):
        sdk.sync.submit("sync", "x", priority=2**32)
    with pytest.raises(InvalidArgument, match=r"not_before=.* is not a datetime with a time zone"):
        sdk.sync.submit("sync", "x", not_before=datetime(2030, 1, 1))  # noqa: DTZ001


# ---- waiting


async def test_waiting_for_one_that_goes_on(sdk: InvestigationSDK) -> None:
    made = await sdk.submit("nobody", "x")
    with pytest.raises(TimeoutError, match=f"Investigation {made.id} has not ended within 0.05 s; it goes on"):
        await sdk.wait(made.id, timeout=0.05)
    await sdk.service.cancel(made.id)
    assert (await ended(sdk, made)).status == InvestigationState.CANCELLED
    with pytest.raises(InvestigationNotFound):
        await sdk.wait("019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b7e", timeout=LONG)


# ---- errors


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


# ---- pause, resume, drain


async def test_a_paused_one_gives_its_place_up_and_is_taken_up_when_resumed(sdk: InvestigationSDK) -> None:
    calls: list[int] = []

    @tool(effect="read")
    def step(number: int) -> int:
        calls.append(number)
        return number

    @sdk.investigator("case")
    async def handle(run: AsyncInvestigationRun) -> int:
        step(1)
        if run.attempt == 1:
            await run.pause("ask a human")
        return step(2)

    made = await sdk.submit("case", "x")
    async with sdk.worker() as worker:
        await until(lambda: calls and worker.readiness().running == 0)
        assert (await sdk.get(made.id)).status == InvestigationState.PAUSED
        await sdk.service.resume(made.id, actor="ann")
        done = await ended(sdk, made)
    assert (done.status, done.result, calls) == (InvestigationState.COMPLETED, 2, [1, 2])


async def test_draining_waits_for_what_runs(sdk: InvestigationSDK) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @sdk.investigator("case")
    async def handle(run: AsyncInvestigationRun) -> int:
        begun.set()
        await go_on.wait()
        return double(2)

    made = await sdk.submit("case", "x")
    async with sdk.worker(concurrency=1) as worker, asyncio.timeout(LONG):
        await begun.wait()
        waiting = await sdk.submit("case", "y")
        draining = asyncio.create_task(worker.drain(LONG))
        await until(lambda: not worker.ready)
        assert worker.readiness().reason == "it is stopping"
        go_on.set()
        await draining
    assert (await sdk.get(made.id)).result == 4
    assert (await sdk.get(waiting.id)).status == InvestigationState.QUEUED


async def test_what_does_not_end_in_time_is_taken_up_by_the_next_worker(sdk: InvestigationSDK) -> None:
    calls: list[str] = []
    first = asyncio.Event()

    @tool(effect="read")
    def step(name: str) -> str:
        calls.append(name)
        return name

    @sdk.investigator("case")
    async def handle(run: AsyncInvestigationRun) -> str:
        step("one")
        if run.attempt == 1:
            first.set()
            await asyncio.sleep(LONG)
        return step("two")

    made = await sdk.submit("case", "x")
    async with asyncio.timeout(LONG):
        async with sdk.worker(patience=timedelta(0)) as worker:
            await first.wait()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("investigation_sdk.work.worker.STOP_SECONDS", 0.05)
                await worker.drain(0)
        left = await sdk.get(made.id)
        assert left.status == InvestigationState.RUNNING, "nothing failed: the worker was stopped"
        async with sdk.worker():
            done = await ended(sdk, made)
    assert (done.status, done.result, calls) == (InvestigationState.COMPLETED, "two", ["one", "two"])
    assert (await kinds(sdk, made.id)).count("investigation.released") == 2
