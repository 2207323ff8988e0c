"""The writer on its thread, over a store that fails as planned."""

import asyncio

import pytest

from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk.domain.states import InvestigationState, Verb
from investigation_sdk.engine import recorder as recorders
from investigation_sdk.engine import writer
from investigation_sdk.errors import (
    BackendUnavailable,
    InvestigationError,
    InvestigationNotFound,
    InvestigationPaused,
    VersionConflict,
)
from investigation_sdk.storage.codec import Json
from investigation_sdk.testing.faults import Fault
from tests.engine.rig import durable, hold_next_commit, notes, until


@pytest.fixture(params=[1, 2], ids=["one batch", "two batches at once"])
def rig(make_rig, request):
    return make_rig(at_once=request.param)


# ---- lost answers


@pytest.mark.parametrize("kind", ["lost_before", "lost_after"])
async def test_after_an_unknown_outcome_the_same_bytes_are_sent_again(rig, kind):
    session = await rig.drive()
    number = len(rig.backend.batches) + 1
    rig.plan.commits = {number: Fault(kind), number + 1: Fault(kind)}
    entry = rig.note(session)
    await durable(session, entry)
    attempts = [batch[0] for batch in rig.backend.batches[number - 1 :]]
    assert len(attempts) >= 3
    assert all(attempt.events == attempts[0].events for attempt in attempts)
    assert len(notes(await rig.log(session))) == 1


async def test_an_unknown_outcome_stays_one_though_a_later_try_fails_for_certain(rig):
    session = await rig.drive()
    number = len(rig.backend.batches) + 1
    rig.plan.commits = {number: Fault("lost_after"), number + 1: Fault("failure"), number + 2: Fault("failure")}
    entry = rig.note(session)
    with pytest.raises(BackendUnavailable):
        await durable(session, entry)
    await until(lambda: entry.acknowledged)
    await durable(session, rig.note(session))
    assert len(notes(await rig.log(session))) == 2
    assert session.down is None


async def test_a_commit_that_is_delivered_twice_is_applied_once(rig):
    session = await rig.drive()
    rig.plan.outage = Fault("twice")
    for _ in range(5):
        await durable(session, rig.note(session))
    assert len(notes(await rig.log(session))) == 5


@pytest.mark.parametrize("kind", ["lost_before", "lost_after", "twice", "not_applied"])
async def test_creating_with_a_key_survives_a_lost_answer(make_rig, tmp_path, kind):
    rig = make_rig(SQLiteBackend(tmp_path / "x.db"))
    rig.plan.commits = {1: Fault(kind)}
    session = await rig.drive(key="k")
    assert session.decided.status is InvestigationState.RUNNING
    assert len(await rig.log(session)) == 6


# ---- poison


async def test_one_poison_value_in_a_commit_of_fifty_harms_no_other(rig):
    session = await rig.drive()
    before = await hold_next_commit(rig)
    rig.note(session, '"first"')
    await until(lambda: len(rig.backend.batches) > before)
    entries = [rig.note(session, '"poison"' if n == 17 else str(n)) for n in range(50)]
    rig.backend.release_hanging()
    await asyncio.gather(*(durable(session, entry) for entry in entries))
    events = await rig.log(session)
    found = notes(events)[1:]
    assert [e.id for e in found] == [entry.submission.event.id for entry in entries]
    assert [e.data["data"] for n, e in enumerate(found) if n != 17] == [str(n) for n in range(50) if n != 17]
    assert "unstorable" in found[17].data["data"]
    warnings = [e for e in events if e.type == "recorder.warning"]
    assert [(w.data["kind"], w.data["event"]) for w in warnings] == [("not_stored", found[17].id)]


async def test_a_poison_command_is_refused_and_nothing_else(rig):
    session = await rig.drive()
    await rig.ask(session, Verb.PAUSE)
    bad = rig.note(session, '"poison"')
    await durable(session, bad)
    await rig.ask(session, Verb.RESUME)
    kinds = [event.type for event in await rig.log(session)]
    assert kinds[-4:] == ["state.transition", "my.note", "recorder.warning", "state.transition"]


async def test_text_that_is_not_unicode_is_refused_and_the_writer_lives(rig):
    session = await rig.drive()
    entry = rig.note(session)
    entry.submission.event.actor = "\ud800"
    with pytest.raises(InvestigationError, match="cannot be stored"):
        await durable(session, rig.recorder.submit(session, entry.submission))
    await durable(session, rig.note(session))


async def test_a_creation_that_the_store_refuses_says_why(rig):
    with pytest.raises(InvestigationError, match="cannot store"):
        await rig.drive(metadata=Json('"poison"'))
    with pytest.raises(InvestigationNotFound, match="parent"):
        await rig.drive(parent="01900000-0000-7000-8000-000000000000")


# ---- conflicts


async def test_a_pause_from_another_process_is_found_by_the_next_commit(rig):
    session = await rig.drive()
    await rig.others_ask(session, Verb.PAUSE)
    entry = rig.note(session)
    await durable(session, entry)
    assert isinstance(session.stop, InvestigationPaused)
    assert [e.type for e in await rig.log(session)][-2:] == ["state.transition", "my.note"]


async def test_the_conflict_of_one_does_not_hold_up_the_others(rig):
    slow, quick = await rig.drive(), await rig.drive()
    await rig.others_ask(slow, Verb.PAUSE)
    rig.plan.reads = {rig.backend.reads + 1: Fault("hang")}
    waiting = rig.note(slow)
    await until(lambda: slow.repairing)
    for _ in range(5):
        await durable(quick, rig.note(quick))
    assert not waiting.acknowledged
    rig.backend.release_hanging()
    await durable(slow, waiting)


async def test_reading_after_a_conflict_is_tried_again_and_who_waits_is_told(make_rig):
    rig = make_rig(patience=0.05)
    session = await rig.drive()
    await rig.others_ask(session, Verb.PAUSE)
    rig.plan.unreadable = True
    entry = rig.note(session)
    with pytest.raises(BackendUnavailable):
        await durable(session, entry)
    rig.plan.unreadable = False
    await until(lambda: entry.acknowledged)
    assert session.down is None


async def test_a_refresh_that_cannot_read_says_so(rig):
    session = await rig.drive()
    rig.plan.unreadable = True
    with pytest.raises(BackendUnavailable):
        await rig.ask(session, Verb.PAUSE)
    rig.plan.unreadable = False
    await rig.ask(session, Verb.PAUSE)


async def test_an_investigation_that_is_deleted_refuses_everything(rig):
    session = await rig.drive()
    await rig.plain.delete([(session.id, session.acked.version)])
    with pytest.raises(VersionConflict, match="deleted"):
        await durable(session, rig.note(session))
    with pytest.raises(VersionConflict):
        rig.note(session)
    with pytest.raises(InvestigationNotFound):
        await rig.ask(session, Verb.PAUSE)


# ---- a store that is down


async def test_while_the_store_is_down_facts_stay_and_commands_are_withdrawn(make_rig):
    rig = make_rig(patience=0.2)
    session = await rig.drive()
    rig.plan.outage = Fault("not_applied")
    fact, checkpoint = rig.note(session), rig.checkpoint(session)
    with pytest.raises(BackendUnavailable):
        await durable(session, fact)
    with pytest.raises(BackendUnavailable):
        await durable(session, checkpoint)
    with pytest.raises(BackendUnavailable):
        await rig.ask(session, Verb.CANCEL)
    late = rig.note(session)
    rig.plan.outage = None
    await until(lambda: late.acknowledged)
    events = await rig.log(session)
    assert [e.id for e in notes(events)] == [fact.events[0].id, late.events[0].id]
    assert not [e for e in events if e.type in ("checkpoint.saved", "investigation.cancelled")]
    assert session.down is None
    await rig.ask(session, Verb.PAUSE)


async def test_a_failure_that_time_does_not_mend_is_told_at_once(rig):
    session = await rig.drive()
    rig.plan.outage = Fault("failure")
    entry = rig.note(session)
    with pytest.raises(BackendUnavailable, match="fails, as planned"):
        await durable(session, entry)
    assert await rig.recorder.aflush(0.5) == 1
    rig.plan.outage = None
    await until(lambda: entry.acknowledged)
    assert await rig.recorder.aflush(5) == 0


async def test_a_store_that_does_not_return_is_one_that_does_not_answer(make_rig):
    rig = make_rig(patience=0.05)
    session, behind = await rig.drive(), await rig.drive()
    rig.plan.outage = Fault("hang")
    fact = rig.note(session)
    number = len(rig.backend.batches)
    await until(lambda: len(rig.backend.batches) > number)
    checkpoint = rig.checkpoint(session)
    other, command = rig.note(behind), rig.checkpoint(behind)
    for of, entry in ((session, fact), (session, checkpoint), (behind, other), (behind, command)):
        with pytest.raises(BackendUnavailable, match="has not answered"):
            await durable(of, entry)
    rig.backend.release_hanging()
    await until(lambda: fact.acknowledged and other.acknowledged)
    for of in (session, behind):
        assert not [e for e in await rig.log(of) if e.type == "checkpoint.saved"]
        assert of.down is None


async def test_flush_counts_what_is_not_durable(make_rig):
    rig = make_rig(patience=0.05)
    session = await rig.drive()
    rig.plan.outage = Fault("hang")
    for _ in range(7):
        rig.note(session, lazy=True)
    assert await rig.recorder.aflush(0.02) == 7
    assert await asyncio.to_thread(rig.recorder.flush, 0.02) == 7
    rig.backend.release_hanging()
    await until(lambda: not session.queued_events)
    assert await rig.recorder.aflush(5) == 0


async def test_a_store_can_be_closed_and_used_again(rig):
    session = await rig.drive()
    lazy = rig.note(session, lazy=True)
    await rig.recorder.aclose()
    assert lazy.acknowledged
    await rig.recorder.acall(rig.recorder.refresh(session))
    entries = [rig.note(session, lazy=True)]
    await until(lambda: entries[-1].acknowledged)
    entries.append(rig.note(session, lazy=True))
    await until(lambda: entries[-1].acknowledged)


async def test_closing_in_the_middle_of_a_commit_loses_nothing_that_is_opened_again(rig, monkeypatch):
    monkeypatch.setattr(recorders, "EXIT_SECONDS", 0.05)
    session = await rig.drive()
    before = await hold_next_commit(rig)
    entry = rig.note(session)
    await until(lambda: len(rig.backend.batches) > before)
    await rig.recorder.aclose()
    assert not entry.acknowledged
    rig.plan.outage = None
    assert await rig.recorder.aflush(5) == 0
    assert len(notes(await rig.log(session))) == 1


async def test_what_runs_on_after_closing_opens_the_store_again(rig):
    session = await rig.drive()
    await rig.recorder.aclose()
    await durable(session, rig.note(session))
    await rig.recorder.aclose()
    entry = rig.note(session, lazy=True)
    await until(lambda: entry.acknowledged)


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


async def test_who_waits_is_told_in_time_however_often_the_store_is_tried(make_rig, monkeypatch):
    """The time runs from the first commit that the store does not take, not anew from each."""
    rig, clock = make_rig(patience=10.0), Clock()
    session = await rig.drive()
    monkeypatch.setattr(writer, "time", clock)
    rig.plan.outage = Fault("not_applied")
    number = len(rig.backend.batches)
    entry = rig.note(session)
    await until(lambda: len(rig.backend.batches) > number)
    clock.now = 8.0
    number = await hold_next_commit(rig)
    await until(lambda: len(rig.backend.batches) > number)
    assert session.down is None
    clock.now = 10.1
    async with asyncio.timeout(20):
        with pytest.raises(BackendUnavailable, match="is not applied, as planned"):
            await durable(session, entry)
    rig.plan.outage = None
    rig.backend.release_hanging()
    await until(lambda: entry.acknowledged)
    assert session.down is None


async def test_who_waits_is_told_in_time_where_reading_after_a_conflict_hangs(make_rig):
    rig = make_rig(patience=0.05)
    session = await rig.drive()
    await rig.others_ask(session, Verb.PAUSE)
    rig.plan.reads = {rig.backend.reads + 1: Fault("hang")}
    entry = rig.note(session)
    async with asyncio.timeout(20):
        with pytest.raises(BackendUnavailable, match="after a conflict it could not be read"):
            await durable(session, entry)
        with pytest.raises(BackendUnavailable, match="after a conflict it could not be read"):
            await rig.ask(session, Verb.CANCEL)
    rig.backend.release_hanging()
    await until(lambda: entry.acknowledged)
    assert session.down is None
