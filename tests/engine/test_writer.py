"""The writer on its thread: what it groups, and who waits for it."""

import asyncio
import threading

import pytest

from investigation_sdk import Durability, InvestigationSDK
from investigation_sdk.domain.commands import Fact
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import Verb
from investigation_sdk.engine.entries import FEW, MAX_SIZE, Entry, fitting
from investigation_sdk.testing.faults import Fault, FaultyBackend
from tests.engine.rig import durable, hold_next_commit, notes, until

# ---- grouping


async def test_what_queues_while_a_commit_is_on_its_way_is_merged_into_the_next(rig):
    session = await rig.drive()
    before = await hold_next_commit(rig)
    entries = [rig.note(session)]
    await until(lambda: len(rig.backend.batches) > before)
    entries += [rig.note(session, str(n)) for n in range(200)]
    rig.backend.release_hanging()
    await asyncio.gather(*(durable(session, entry) for entry in entries))
    sizes = [len(batch[0].events) for batch in rig.backend.batches[before:]]
    assert sizes == [1, 200]
    assert [e.id for e in notes(await rig.log(session))] == [e.events[0].id for e in entries]


async def test_many_investigations_share_a_batch(rig):
    sessions = [await rig.drive() for _ in range(10)]
    before = await hold_next_commit(rig)
    first = rig.note(sessions[0])
    await until(lambda: len(rig.backend.batches) > before)
    entries = [(session, rig.note(session)) for session in sessions]
    rig.backend.release_hanging()
    await durable(sessions[0], first)
    await asyncio.gather(*(durable(*pair) for pair in entries))
    assert [len(batch) for batch in rig.backend.batches[before:]] == [1, 10]


async def test_what_nobody_waits_for_is_written_soon(rig):
    session = await rig.drive()
    entry = rig.note(session, lazy=True)
    await until(lambda: entry.acknowledged)


async def test_back_pressure_holds_callers_until_the_store_takes_some(rig):
    rig.recorder.sessions.spool_limit = 50
    session = await rig.drive()
    before = await hold_next_commit(rig)
    rig.note(session)
    await until(lambda: len(rig.backend.batches) > before)
    written = 0
    while (crowd := rig.recorder.crowded(session)) is None:
        rig.note(session, lazy=True)
        written += 1
    assert written == 50
    rig.backend.release_hanging()
    await durable(session, crowd)
    assert rig.recorder.crowded(session) is None


# ---- waiting


async def test_a_cancelled_wait_does_not_cancel_the_commit(rig):
    session = await rig.drive()
    before = await hold_next_commit(rig)
    entry = rig.note(session)
    task = asyncio.create_task(durable(session, entry))
    await until(lambda: len(rig.backend.batches) > before)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    rig.backend.release_hanging()
    await until(lambda: entry.acknowledged)
    assert len(notes(await rig.log(session))) == 1


async def test_a_waiter_whose_loop_is_closed_does_no_harm(rig):
    session = await rig.drive()
    before = await hold_next_commit(rig)
    entry = rig.note(session)

    def wait_on_a_loop_that_ends():
        async def wait():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(durable(session, entry), 0.01)
            session.waiter(entry, blocking=False)

        asyncio.run(wait())

    thread = threading.Thread(target=wait_on_a_loop_that_ends)
    thread.start()
    thread.join()
    await until(lambda: len(rig.backend.batches) > before)
    later = rig.note(session)
    rig.backend.release_hanging()
    await durable(session, later)
    assert entry.acknowledged


async def test_a_cancelled_refresh_does_not_block_the_investigation(rig):
    session = await rig.drive()
    rig.plan.reads = {rig.backend.reads + 1: Fault("hang")}
    task = asyncio.create_task(rig.ask(session, Verb.PAUSE))
    await until(lambda: session.repairing)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await durable(session, rig.note(session))


def test_it_never_commits_on_the_callers_thread():
    assert not hasattr(FaultyBackend, "commit_now")


async def test_a_commit_is_bounded_in_size_and_what_is_left_follows_in_order() -> None:
    async with InvestigationSDK(
        "memory://?writer=true", max_inline_bytes=2_000_000, durability=Durability.BATCHED
    ) as sdk:
        async with sdk.investigation("large") as run:
            session = run._driver.session
            with session.lock:  # nothing leaves before all of it waits
                for number in range(3 * FEW):
                    run.record("large.note", {"number": number, "text": "x" * 100_000})
        notes = [e async for e in sdk.iter_events(run.id, event_type="large.note")]
        assert [note.event_data["number"] for note in notes] == list(range(3 * FEW))
        assert (await sdk.verify(run.id)).ok
        assert (await sdk.get(run.id)).status == "completed"


def test_how_much_goes_into_one_commit() -> None:
    def entry(size: int) -> Entry:
        event = Event("id", "note", {}, 0, text="x" * size)
        made = Entry(Fact(event, None))
        made.events = [event]
        return made

    assert fitting([entry(10)] * 1000, 1000) == 1000
    assert fitting([entry(MAX_SIZE)] * FEW, FEW) == FEW
    assert fitting([entry(MAX_SIZE // 50)] * 100, 100) == 49
