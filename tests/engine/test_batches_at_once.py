"""The writer over a backend that works on several batches at the same time."""

import asyncio
import contextlib

import pytest

from investigation_sdk.clock import now_us
from investigation_sdk.domain.commands import Fact
from investigation_sdk.domain.events import Event
from investigation_sdk.engine import writer
from investigation_sdk.engine.writer import FEW
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.codec import Json
from investigation_sdk.testing.faults import Fault
from tests.engine.rig import durable, hold_next_commit, notes, until


@pytest.fixture
def rig(make_rig):
    return make_rig(at_once=2)


def ids_of(batch):
    return {commit.investigation_id for commit in batch}


async def test_a_second_batch_leaves_while_the_first_is_on_its_way_and_a_third_does_not(rig):
    one, two, three = [await rig.drive() for _ in range(3)]
    before = await hold_next_commit(rig)
    entries = []
    for session in (one, two, three):
        entries.append((session, rig.note(session)))
        await until(lambda: len(rig.backend.batches) >= min(before + len(entries), before + 2))
    assert [ids_of(batch) for batch in rig.backend.batches[before:]] == [{one.id}, {two.id}]
    rig.backend.release_hanging()
    await asyncio.gather(*(durable(*pair) for pair in entries))
    assert [ids_of(batch) for batch in rig.backend.batches[before:]] == [{one.id}, {two.id}, {three.id}]


async def test_an_investigation_is_in_one_of_them_at_a_time(rig):
    one, two = await rig.drive(), await rig.drive()
    before = await hold_next_commit(rig)
    entries = [(one, rig.note(one))]
    await until(lambda: len(rig.backend.batches) == before + 1)
    entries += [(one, rig.note(one, str(n))) for n in range(20)]
    entries.append((two, rig.note(two)))
    await until(lambda: len(rig.backend.batches) == before + 2)
    rig.backend.release_hanging()
    await asyncio.gather(*(durable(*pair) for pair in entries))
    sizes = [(ids_of(batch), len(batch[0].events)) for batch in rig.backend.batches[before:]]
    assert sizes == [({one.id}, 1), ({two.id}, 1), ({one.id}, 20)]
    assert len(notes(await rig.log(one))) == 21


@pytest.mark.parametrize(("ready", "sizes"), [(FEW, [FEW]), (2 * FEW, [FEW, FEW]), (3 * FEW, [1.5 * FEW, 1.5 * FEW])])
async def test_many_that_are_ready_are_shared_equally_and_few_are_not(rig, ready, sizes):
    sessions = [await rig.drive() for _ in range(ready)]
    before = len(rig.backend.batches)

    async def all_at_once():  # on the writer's own loop: it looks when this is done
        return [(session, rig.note(session)) for session in sessions]

    entries = await rig.recorder.acall(all_at_once())
    await asyncio.gather(*(durable(*pair) for pair in entries))
    assert [len(batch) for batch in rig.backend.batches[before:]] == sizes


async def test_while_one_batch_fails_the_other_goes_on(rig):
    bad, good = await rig.drive(), await rig.drive()
    number = len(rig.backend.batches) + 1
    rig.plan.commits = {number: Fault("not_applied")}
    entry = rig.note(bad)
    for n in range(5):
        await durable(good, rig.note(good, str(n)))
    await durable(bad, entry)
    assert len(notes(await rig.log(good))) == 5
    assert len(notes(await rig.log(bad))) == 1


async def test_a_store_that_does_not_answer_is_told_to_all_who_wait(make_rig):
    rig = make_rig(patience=0.05, at_once=2)
    sessions = [await rig.drive() for _ in range(4)]
    before = await hold_next_commit(rig)
    entries = []
    for session in sessions:
        entries.append((session, rig.note(session)))
        await until(lambda: len(rig.backend.batches) >= min(before + len(entries), before + 2))
    answers = await asyncio.gather(*(durable(*pair) for pair in entries), return_exceptions=True)
    assert [type(answer) for answer in answers] == [BackendUnavailable] * 4
    rig.plan.outage = None
    rig.backend.release_hanging()
    for session, entry in entries:
        await until(lambda: entry.acknowledged)  # noqa: B023 - waited for at once
        assert len(notes(await rig.log(session))) == 1


async def test_who_waits_for_one_that_is_not_answered_is_told_although_others_are(make_rig):
    rig = make_rig(patience=0.2, at_once=2)
    bad, good = await rig.drive(), await rig.drive()
    number = len(rig.backend.batches) + 1
    rig.plan.commits = {number: Fault("hang")}
    entry = rig.note(bad)
    await until(lambda: len(rig.backend.batches) == number)
    waiting = asyncio.ensure_future(durable(bad, entry))
    async with asyncio.timeout(20):
        while not waiting.done():
            await durable(good, rig.note(good))
    with pytest.raises(BackendUnavailable, match=r"has not answered a commit for 0\.2 seconds"):
        await waiting
    assert good.down is None
    rig.backend.release_hanging()
    await until(lambda: entry.acknowledged and bad.down is None)


async def test_lost_answers_and_conflicts_of_many_at_once_lose_nothing(rig):
    sessions = [await rig.drive() for _ in range(3 * FEW)]
    first = len(rig.backend.batches)
    kinds = ("lost_after", "not_applied", "twice", "lost_before")
    rig.plan.commits = {first + n: Fault(kinds[n % 4]) for n in range(1, 40, 2)}  # type: ignore[arg-type]

    async def work(session):
        for n in range(10):
            await durable(session, rig.note(session, str(n)))

    await asyncio.gather(*map(work, sessions))
    for session in sessions:
        assert [event.data["data"] for event in notes(await rig.log(session))] == [str(n) for n in range(10)]


async def test_nothing_is_owed_to_whom_has_withdrawn_what_it_asked_for(make_rig, monkeypatch):
    monkeypatch.setattr(writer, "MAX_EVENTS", 1)  # a batch is full with one: the others wait for their turn
    rig = make_rig(at_once=1, patience=0.2)
    sessions = [await rig.drive() for _ in range(2)]
    owed = rig.recorder._writer._owed
    rig.plan.outage = Fault("not_applied")
    entries = [(session, rig.checkpoint(session)) for session in sessions]
    await until(lambda: len(owed) == 2)
    rig.plan.outage = Fault("hang")
    answers = await asyncio.gather(*(durable(*pair) for pair in entries), return_exceptions=True)
    assert [type(answer) for answer in answers] == [BackendUnavailable] * 2
    rig.plan.outage = None
    rig.backend.release_hanging()
    await until(lambda: not owed)
    rig.plan.outage = Fault("delay", 0.1)
    for session in sessions:
        await durable(session, rig.checkpoint(session))  # a new one has all of its time


async def test_a_backend_that_answers_some_of_a_batch_has_answered_none(rig, caplog):
    one, two = await rig.drive(), await rig.drive()
    commit = rig.plain.commit

    async def some(commits):
        rig.plain.commit = commit
        return (await commit(commits))[:1]

    rig.plain.commit = some

    async def both():
        return [(session, rig.note(session)) for session in (one, two)]

    entries = await rig.recorder.acall(both())
    await asyncio.gather(*(durable(*pair) for pair in entries))
    assert "what its contract does not allow" in caplog.text
    for session in (one, two):
        assert len(notes(await rig.log(session))) == 1


async def test_what_is_recorded_in_the_moment_of_a_close_is_written_or_told(rig):
    sessions = [await rig.drive() for _ in range(8)]
    ended = False

    async def work(session):
        while not ended:
            async with asyncio.timeout(30):
                with contextlib.suppress(BackendUnavailable):
                    await durable(session, rig.note(session))

    async with asyncio.TaskGroup() as tasks:
        for session in sessions:
            tasks.create_task(work(session))
        for _ in range(30):
            await until(lambda: rig.recorder.is_open)
            await rig.recorder.aclose()
        ended = True


async def test_a_batch_that_is_broken_off_before_its_first_step_goes_out_later(rig, monkeypatch):
    session, other = await rig.drive(), await rig.drive()
    handing_over = rig.recorder._writer
    stop = handing_over.stop
    entries = []
    submission = Fact(Event(uuid7(), "my.note", {"data": Json("1")}, now_us()), session.token)

    async def stop_as_a_batch_begins():
        entries.append(session.submit(submission))  # it saw that the store is open, and is late
        handing_over.kick(session)
        while not handing_over._batches:  # noqa: ASYNC110 - on the same loop
            await asyncio.sleep(0)
        await stop()

    monkeypatch.setattr(handing_over, "stop", stop_as_a_batch_begins)
    await rig.recorder.aclose()
    monkeypatch.undo()
    await durable(other, rig.note(other))
    await until(lambda: entries[0].acknowledged)
    assert len(notes(await rig.log(session))) == 1
