"""Handlers, the queue and workers: what is submitted is run once, in order, to its end."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from investigation_sdk import (
    AsyncInvestigationRun,
    ConfigurationError,
    InvalidArgument,
    InvestigationNotFound,
    InvestigationRun,
    InvestigationSDK,
    InvestigationState,
    PhasePlan,
    tool,
)
from tests.work.processes import LONG
from tests.work.rig import double, ended, until

pytestmark = pytest.mark.usefixtures("impatient")


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
