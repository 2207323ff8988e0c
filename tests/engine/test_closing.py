"""What is broken off: a recorder that is closed, a wait that ends before what it waits for."""

import asyncio
import signal
import threading
from datetime import timedelta

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_sdk import InvestigationSDK
from investigation_sdk.clock import now_us
from investigation_sdk.domain.commands import Append, Ask
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import InvestigationState, Verb
from investigation_sdk.engine import recorder as recorders
from investigation_sdk.engine import repair as repairing
from investigation_sdk.engine.io_thread import undo_with
from investigation_sdk.engine.ownership import provably_dead
from investigation_sdk.errors import BackendUnavailable, VersionConflict
from investigation_sdk.ids import uuid7
from investigation_sdk.testing.faults import Fault, FaultyBackend
from tests.engine.rig import Rig, durable, until


@pytest.fixture
def rig(monkeypatch):
    monkeypatch.setattr(recorders, "EXIT_SECONDS", 0.1)
    rig = Rig()
    yield rig
    rig.plan.outage = None
    rig.plan.unreadable = False
    rig.backend.release_hanging()
    rig.recorder.close()


async def test_closed_in_the_middle_of_a_repair_it_goes_on_when_opened_again(rig):
    session = await rig.drive()
    await rig.others_ask(session, Verb.PAUSE)
    rig.plan.unreadable = True
    reads = rig.backend.reads
    entry = rig.note(session)
    await until(lambda: rig.backend.reads > reads + 1)
    await rig.recorder.aclose()
    rig.plan.unreadable = False
    await rig.recorder.acall(rig.recorder.opened())
    await until(lambda: entry.acknowledged)
    await rig.log(session)


async def test_opened_again_while_it_is_closed(rig):
    session = await rig.drive()
    recorder = rig.recorder

    async def both():
        await asyncio.gather(recorder._close(), recorder.opened())

    await recorder.io.acall(both())
    entry = rig.note(session)
    await until(lambda: entry.acknowledged)


async def test_close_tells_who_waits_for_a_store_that_hangs(rig):
    session = await rig.drive()
    rig.plan.outage = Fault("hang")
    fact = rig.note(session)
    waiter = session.waiter(fact, blocking=True)
    told = []

    def wait():
        with pytest.raises(BackendUnavailable, match="closed"):
            waiter.wait(20)
        told.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    await rig.recorder.aclose()
    await until(lambda: told)
    thread.join()
    rig.plan.outage = None
    rig.note(session)
    await until(lambda: fact.acknowledged)


async def released(rig, session_id):
    async def owner_gone():
        holder = await rig.plain.holder(session_id)
        return holder is None or provably_dead(holder.owner)

    async with asyncio.timeout(20):
        while not await owner_gone():  # noqa: ASYNC110 - it comes true on another thread
            await asyncio.sleep(0.01)


async def test_a_cancelled_creation_leaves_nobody_driving(rig):
    rig.plan.commits = {1: Fault("hang")}
    task = asyncio.create_task(rig.drive())
    await until(lambda: rig.backend.batches)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    rig.backend.release_hanging()
    (commit,) = rig.backend.batches[0]
    id = commit.investigation_id
    await until(lambda: len(rig.backend.batches) > 1)
    await released(rig, id)
    assert not rig.recorder._heartbeat.driven
    session = await rig.recorder.acall(rig.recorder.session(id))
    assert session.decided.token is None


async def test_a_result_that_comes_though_nobody_waits_is_undone(rig):
    await rig.recorder.acall(rig.recorder.opened())
    began, undone = [], []

    async def work():
        began.append(True)
        undo_with(lambda: undone.append(True))
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            return 1  # came nonetheless

    task = asyncio.create_task(rig.recorder.io.acall(work()))
    await until(lambda: began)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: undone)


def test_ctrl_c_while_entering_leaves_nobody_driving():
    memory = MemoryBackend(writer=True)
    backend = FaultyBackend(memory)
    sdk = InvestigationSDK(backend, lease_ttl=timedelta(seconds=30))
    backend.plan.commits = {1: Fault("delay", 0.3)}

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt), sdk.investigation("s", key="k"):
            pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    id = backend.batches[0][0].investigation_id

    async def driven():
        await until(lambda: memory.store.files.get(id) and not sdk._recorder._heartbeat.driven)

    asyncio.run(driven())
    with sdk.attach(id, wait=timedelta(seconds=20)) as again:
        assert again.attempt == 2
    sdk._recorder.close()


async def test_a_lease_that_was_lost_and_not_used_is_claimed_again():
    rig = Rig()
    rig.recorder.ttl_us = rig.recorder._heartbeat._ttl_us = 300_000
    session = await rig.drive()
    lease = await rig.plain.holder(session.id)
    assert lease is not None
    await rig.plain.release(lease)
    other = await rig.plain.claim(session.id, "somebody", ttl=30_000_000)
    assert other is not None
    await rig.plain.release(other)
    await until(lambda: session.id in rig.store.leases)
    assert rig.store.leases[session.id].owner == lease.owner
    rig.recorder.close()


async def test_what_changes_nothing_shares_the_fate_of_what_is_before(rig):
    session = await rig.drive()
    rig.plan.outage = Fault("failure")
    with session.lock:
        first = session.submit(Ask(time=now_us(), verb=Verb.PAUSE))
        second = session.submit(Ask(time=now_us(), verb=Verb.PAUSE))
    assert not second.acknowledged
    assert not second.events
    waits = [asyncio.create_task(durable(session, entry)) for entry in (first, second)]
    await asyncio.sleep(0)
    rig.recorder.commit(session)
    for wait in waits:
        with pytest.raises(BackendUnavailable):
            await wait
    assert session.decided.status is InvestigationState.RUNNING
    rig.plan.outage = None
    with session.lock:
        first = session.submit(Ask(time=now_us(), verb=Verb.PAUSE))
        second = session.submit(Ask(time=now_us(), verb=Verb.PAUSE))
    rig.recorder.commit(session)
    await durable(session, second)
    assert first.acknowledged
    assert session.submit(Ask(time=now_us(), verb=Verb.PAUSE)).acknowledged
    await rig.log(session)


async def test_a_command_that_nobody_waits_for_stays_queued(rig):
    session = await rig.drive()
    rig.plan.commits = {len(rig.backend.batches) + 1: Fault("failure")}
    event = Event(uuid7(), "phase.skipped", {"id": uuid7(), "name": "b"}, now_us())
    entry = rig.recorder.submit(session, Append(time=event.time, token=session.token, event=event), lazy=True)
    await until(lambda: entry.acknowledged or entry.error)
    assert entry.error is None
    assert "phase.skipped" in [event.type for event in await rig.log(session)]


async def test_loading_what_changes_all_the_time_ends(rig, monkeypatch):
    session = await rig.drive()
    real = repairing._all
    verbs = [Verb.PAUSE, Verb.RESUME]

    async def moving(backend, kind, *args):
        if kind == "phase":
            verbs.reverse()
            monkeypatch.setattr(repairing, "_all", real)
            await rig.others_ask(session, verbs[1])
            monkeypatch.setattr(repairing, "_all", moving)
        return await real(backend, kind, *args)

    monkeypatch.setattr(repairing, "_all", moving)
    with pytest.raises(VersionConflict, match="50 times"):
        await repairing.load(rig.plain, session.id, "")
