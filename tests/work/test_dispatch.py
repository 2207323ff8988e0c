"""Dispatchers: an engine is told of what can be taken up, and its tasks run it, however often they are delivered."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from investigation_sdk import (
    AsyncInvestigationRun,
    ConfigurationError,
    Dispatcher,
    Executed,
    ExecutingDispatcher,
    InvestigationNotFound,
    InvestigationRun,
    InvestigationSDK,
    InvestigationState,
    tool,
)
from investigation_sdk.work import apart, recovery

LONG = 60.0


class Engine:
    """An engine of threads: delivers each task at once, whatever `not_before` says, and twice."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, datetime | None]] = []
        self.done: list[Future[Executed]] = []
        self.down = False
        self.deliveries = 2
        self._pool = ThreadPoolExecutor(4)
        self._execute: Callable[[str], Executed] | None = None

    def bind(self, execute: Callable[[str], Executed]) -> None:
        self._execute = execute

    async def dispatch(self, investigation_id: str, investigation_type: str, *, not_before: datetime | None) -> None:
        if self.down:
            raise ConnectionError("no broker")
        self.told.append((investigation_id, investigation_type, not_before))
        assert self._execute is not None
        self.done += [self._pool.submit(self._execute, investigation_id) for _ in range(self.deliveries)]

    def outcomes(self) -> list[str]:
        """Of all tasks, when they are done; those that are dispatched meanwhile too."""
        known = 0
        while known < len(self.done):
            known = len(self.done)
            for future in list(self.done):
                future.result(LONG)
        return [future.result().outcome for future in self.done]


class Told:
    """Tells nobody who runs anything."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def dispatch(self, investigation_id: str, investigation_type: str, *, not_before: datetime | None) -> None:
        self.ids.append(investigation_id)


@tool(effect="read")
def double(number: int) -> int:
    return 2 * number


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def sdk(url: str, make_sdk: Callable[..., InvestigationSDK], engine: Engine) -> InvestigationSDK:
    return make_sdk(url, dispatcher=engine)


def test_which_are_which() -> None:
    assert isinstance(Told(), Dispatcher)
    assert not isinstance(Told(), ExecutingDispatcher)
    assert isinstance(Engine(), ExecutingDispatcher)


async def test_a_task_runs_what_was_submitted_and_a_second_one_nothing(sdk: InvestigationSDK, engine: Engine) -> None:
    ran: list[str] = []

    @sdk.investigator("sync")
    def on_a_thread(run: InvestigationRun) -> int:
        ran.append(run.id)
        return double(21)

    @sdk.investigator("async")
    async def on_a_loop(run: AsyncInvestigationRun) -> int:
        ran.append(run.id)
        await asyncio.sleep(0)
        return double(4)

    made = [await sdk.submit(kind, "x") for kind in ("sync", "async")]
    done = [await sdk.wait(one.id, timeout=LONG) for one in made]
    assert [one.result for one in done] == [42, 8]
    outcomes = engine.outcomes()  # of four deliveries: whoever is second finds it driven, or over
    assert len(outcomes) == 4
    assert set(outcomes) <= {"busy", "completed"}
    assert outcomes.count("completed") >= 2
    assert sorted(ran) == sorted(one.id for one in made)
    assert engine.told == [(one.id, one.investigation_type, None) for one in made]


async def test_a_retry_is_dispatched_for_its_time(
    sdk: InvestigationSDK, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "FIRST_PAUSE", 0.001)
    engine.deliveries = 1  # a second one may take the retry up before anybody is told of it

    @sdk.investigator("case", retries=1)
    def handle(run: InvestigationRun) -> int:
        if run.attempt == 1:
            raise ConnectionError
        return run.attempt

    made = await sdk.submit("case", "x")
    assert (await sdk.wait(made.id, timeout=LONG)).result == 2
    assert engine.outcomes() == ["queued", "completed"]
    (_, _, first), (_, _, second) = engine.told
    assert first is None
    assert second is not None
    assert abs(second - datetime.now(UTC)) < timedelta(minutes=5)


async def test_what_makes_it_claimable_is_dispatched(
    url: str, make_sdk: Callable[..., InvestigationSDK], caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    sdk = make_sdk(url, dispatcher=told, on_pause="raise")
    made = await sdk.service.create_investigation("gil", "x", "case")
    unqueued = await sdk.service.create_investigation("gil", "x", "case", queue=False)
    submitted = await sdk.submit("case", "x", key="k")
    again = await sdk.submit("case", "x", key="k")
    assert told.ids == [made.id, submitted.id, again.id]
    async with sdk.attach(made.id):
        pass
    with pytest.raises(LookupError):
        async with sdk.attach(unqueued.id):
            raise LookupError
    await sdk.service.retry(unqueued.id)
    assert told.ids[3:] == [unqueued.id]
    await sdk.service.cancel(submitted.id)
    assert (await sdk.submit("case", "x", key="k")).status == InvestigationState.CANCELLED
    assert len(told.ids) == 4, "what is over is not dispatched"


async def test_a_broker_that_is_down_loses_nothing(
    sdk: InvestigationSDK, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    @sdk.investigator("case")
    def handle(run: InvestigationRun) -> int:
        return double(1)

    engine.down = True
    made = await sdk.submit("case", "x", key="k")
    assert made.status == InvestigationState.QUEUED
    assert f"Investigation {made.id} is queued, and the dispatcher could not tell the engine" in caplog.text
    engine.down = False
    assert (await sdk.submit("case", "x", key="k")).id == made.id
    assert (await sdk.wait(made.id, timeout=LONG)).result == 2


async def test_what_a_task_refuses(sdk: InvestigationSDK) -> None:
    engine = sdk._desk
    with pytest.raises(InvestigationNotFound):
        await asyncio.to_thread(engine.execute, "019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b7e")
    made = await sdk.service.create_investigation("gil", "x", "unknown", queue=False)
    with pytest.raises(ConfigurationError, match="no handler for investigations of type 'unknown'"):
        await asyncio.to_thread(engine.execute, made.id)


async def test_a_task_for_one_that_somebody_drives_is_busy(sdk: InvestigationSDK) -> None:
    ran = threading.Event()
    sdk.investigator("case")(lambda run: ran.set())
    async with sdk.investigation("x", investigation_type="case") as running:
        assert await asyncio.to_thread(sdk._desk.execute, running.id) == Executed(running.id, "busy")
    assert not ran.is_set()


class TimeLimit(Exception):
    """What an engine raises in the main thread, by a signal."""


@contextmanager
def limited(when: threading.Event) -> Iterator[None]:
    """Raise a TimeLimit here once that is set, as Celery's soft time limit is raised."""

    def raising(*_: object) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGUSR1, raising)
    over = threading.Event()

    def wait() -> None:
        if when.wait(LONG) and not over.is_set():
            os.kill(os.getpid(), signal.SIGUSR1)

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        yield
    finally:
        over.set()
        when.set()
        waiting.join(LONG)
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("kind", ["sync", "async", "async that waits"])
def test_a_time_limit_of_the_engine_interrupts_and_the_next_delivery_goes_on(
    sdk: InvestigationSDK, engine: Engine, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "async that waits":
        monkeypatch.setattr(apart, "GRACE_SECONDS", 0.2)
    doubled: list[int] = []
    second = threading.Event()

    @tool(effect="read")
    def counted(number: int) -> int:
        doubled.append(number)
        return 2 * number

    @sdk.investigator("sync")
    def on_a_thread(run: InvestigationRun) -> int:
        with run.phase("count"):
            first = counted(1)
            while run.attempt == 1:
                second.set()
                time.sleep(0.01)
                double(2)
        return first

    @sdk.investigator("async")
    async def on_a_loop(run: AsyncInvestigationRun) -> int:
        async with run.phase("count"):
            first = counted(1)
            while run.attempt == 1:
                second.set()
                await asyncio.sleep(0.01 if kind == "async" else LONG)
                double(2)
        return first

    engine.deliveries = 0
    made = sdk.sync.submit(kind.split(maxsplit=1)[0], "x")
    with limited(second), pytest.raises(TimeLimit):
        sdk._desk.execute(made.id)
    assert sdk.sync.get(made.id).status is InvestigationState.RUNNING
    assert [event.event_type for event in sdk.sync.iter_events(made.id)][-2:] == [
        "phase.interrupted", "investigation.released"
    ]  # fmt: skip
    assert sdk._desk.execute(made.id) == Executed(made.id, "completed")
    assert (sdk.sync.get(made.id).result, doubled) == (2, [1])
    assert sdk.sync.verify(made.id).ok


async def test_the_engine_hears_of_a_retry_while_the_thread_runs_on(
    sdk: InvestigationSDK, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "FIRST_PAUSE", 0.001)
    engine.deliveries = 1
    go_on = threading.Event()

    @sdk.investigator("case", retries=1, timeout=0.2)
    def stuck(run: InvestigationRun) -> int:
        if run.attempt == 1:
            assert go_on.wait(LONG)
        return run.attempt

    made = await sdk.submit("case", "x")
    until = asyncio.get_running_loop().time() + LONG
    try:
        while len(engine.told) < 2:
            assert asyncio.get_running_loop().time() < until, "nobody told the engine"
            await asyncio.sleep(0.01)
        assert not engine.done[0].done(), "the first task is not done, for its thread is not"
        [(_, _, first), (id, kind, again_at)] = engine.told
        assert (first, id, kind) == (None, made.id, "case")
        assert again_at is not None
        while (await sdk.get(made.id)).status is not InvestigationState.COMPLETED:
            assert asyncio.get_running_loop().time() < until, engine.outcomes
            await asyncio.to_thread(sdk._desk.execute, made.id)
    finally:
        go_on.set()
    assert (await sdk.get(made.id)).result == 2
    assert "queued" in await asyncio.to_thread(engine.outcomes)
    assert len(engine.told) == 2, "once"
