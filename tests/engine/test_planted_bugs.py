"""Bugs, planted one at a time: the interleavings find each of them. A suite that finds none shows nothing."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from investigation_backends import memory_store
from investigation_sdk.domain import decide as deciding
from investigation_sdk.domain import fold as folding
from investigation_sdk.domain.commands import Claim, Fact, Release
from investigation_sdk.domain.states import TERMINAL
from investigation_sdk.engine import outcomes, sealing
from investigation_sdk.engine import repair as repairing
from investigation_sdk.engine import session as sessions
from investigation_sdk.engine.entries import Entry
from investigation_sdk.engine.reading import to_event
from investigation_sdk.engine.session import Session
from investigation_sdk.errors import InvestigationError
from investigation_sdk.storage.commit import APPLIED, CommitStatus
from tests.engine import world as worlds
from tests.engine.world import World

_SCRIPTS = 400

pytestmark = pytest.mark.interpreted


def scripts():
    for seed in range(_SCRIPTS):
        source = random.Random(seed)
        yield source.randbytes(source.randrange(300, 900))


def caught(world: type[World] = World) -> None:
    with pytest.raises(AssertionError):
        play(world, scripts())


def play(world, among):
    for script in among:
        world(script).run()


def test_nothing_is_caught_where_nothing_is_planted():
    play(World, itertools.islice(scripts(), 30))


def wrap(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, planted: Any) -> None:
    """Put `planted(original, …)` in the place of a function or method."""
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, **kwargs: planted(original, *args, **kwargs))


def plant_poisoned(monkeypatch: pytest.MonkeyPatch, planted: Any) -> None:
    """What is done with a commit that the store does not take."""
    for owner in (outcomes, sealing):
        wrap(monkeypatch, owner, "poisoned", planted)


def test_a_counter_as_token(monkeypatch):
    tokens: dict[str, str] = {}

    def claimed(fold, event):
        original(fold, event)
        fold.token = tokens[event.id]

    class Counting(World):
        def new_claim(self, hand):
            id, _ = super().new_claim(hand)
            tokens[id] = f"{hand.session.id} {hand.session.decided.attempt + 1}"
            return id, tokens[id]

    original = folding._HANDLERS["investigation.claimed"]
    monkeypatch.setitem(folding._HANDLERS, "investigation.claimed", claimed)
    caught(Counting)


def test_no_look_at_the_id_after_a_conflict(monkeypatch):
    def on_found(original, session, found, to_event):
        if session.in_flight is not None:
            session.in_flight.commit.id = "never ours"
        return original(session, found, to_event)

    wrap(monkeypatch, repairing, "on_found", on_found)
    caught()


def test_a_queue_put_back_behind_what_came_later(monkeypatch):
    def on_found(original, session, found, to_event):
        flight = session.in_flight
        if flight is not None and found and found[0].id != flight.commit.id:
            session.queue, flight.entries = session.queue + flight.entries, []
        return original(session, found, to_event)

    wrap(monkeypatch, repairing, "on_found", on_found)
    caught()


def test_two_commits_in_flight(monkeypatch):
    def seal(original, session):
        if session.queue:
            session.in_flight = None
        return original(session)

    wrap(monkeypatch, worlds, "next_commit", seal)
    caught()


def test_no_second_decision_after_a_conflict(monkeypatch):
    def redecide(_original, session):
        session.decided = session._base()
        for entry in session.queue:
            session._number(entry.events or [])
        session.torn = False
        return []

    wrap(monkeypatch, Session, "redecide", redecide)
    caught()


def test_facts_refused_after_the_end(monkeypatch):
    def decide(original, fold, submission):
        if type(submission) is Fact and fold.status in TERMINAL:
            raise InvestigationError("it is over")
        return original(fold, submission)

    wrap(monkeypatch, sessions, "decide", decide)
    caught()


def test_released_not_written(monkeypatch):
    monkeypatch.setitem(deciding._DECIDERS, Release, lambda _fold, _command: [])
    caught()


def test_a_claim_that_does_not_end_the_former_token(monkeypatch):
    def decide(original, fold, submission):
        events = original(fold, submission)
        if type(submission) is Claim and fold.token is not None:
            return [event for event in events if event.type != "investigation.claimed"]
        return events

    wrap(monkeypatch, sessions, "decide", decide)
    caught()


def test_a_stale_head(monkeypatch):
    def on_found(original, session, found, to_event):
        head = session.head
        woken = original(session, found, to_event)
        session.head = head
        return woken

    wrap(monkeypatch, repairing, "on_found", on_found)
    caught()


def test_a_store_that_does_not_compare(monkeypatch):
    def commit(original, store, commit):
        file = store.files.get(commit.investigation_id)
        result = original(store, commit)
        if result.status is CommitStatus.CONFLICT and file is not None and commit.expected_version:
            file.events.extend(commit.events)
            file.row = commit.rows[0]
            return APPLIED
        return result

    wrap(monkeypatch, memory_store, "write", commit)
    caught()


def test_what_is_acknowledged_is_not_folded(monkeypatch):
    def on_applied(original, session):
        before = session.acked.copy()
        woken = original(session)
        session.acked = before
        return woken

    for owner in (worlds, outcomes):  # from the store, and after a conflict
        wrap(monkeypatch, owner, "on_applied", on_applied)
    caught()


def test_a_poison_value_drops_its_neighbours(monkeypatch):
    def poisoned(_original, session, count, error):
        woken = []
        for entry in session.queue[:count]:
            woken += entry.refuse(error)
        return woken + session.redecide()

    plant_poisoned(monkeypatch, poisoned)
    caught()


def test_poison_that_leaves_the_rest_out_of_order(monkeypatch):
    def poisoned(original, session, count, error):
        if count > 1:
            first = session.queue[:count]
            session.queue[:count] = first[count // 2 :] + first[: count // 2]
        return original(session, count, error)

    plant_poisoned(monkeypatch, poisoned)
    caught()


def test_sequences_not_counted_again(monkeypatch):
    def number(original, session, events):
        before = [event.sequence for event in events]
        original(session, events)
        for event, sequence in zip(events, before, strict=True):
            event.sequence = sequence or event.sequence

    wrap(monkeypatch, Session, "_number", number)
    caught()


def test_the_clock_as_it_is(monkeypatch):
    def number(original, session, events):
        original(session, events)
        for event in events:
            event.at = event.time

    wrap(monkeypatch, Session, "_number", number)
    caught()


def test_an_attempt_set_too_late(monkeypatch):
    def number(original, session, events):
        claimed = {event: event.attempt for event in events}
        for event in events:
            event.attempt = -1
        original(session, events)
        for event in events:
            event.attempt = claimed[event] or session.decided.attempt

    wrap(monkeypatch, Session, "_number", number)
    caught()


def test_commands_not_withdrawn(monkeypatch):
    for owner in (sessions, outcomes):
        monkeypatch.setattr(owner, "HAPPENED", (object,))
    caught()


def test_an_unknown_outcome_forgotten(monkeypatch):
    monkeypatch.setattr(worlds, "on_unknown", lambda _session: None)
    caught()


def test_the_refused_not_told(monkeypatch):
    def refuse(original, entry, error):
        original(entry, error)
        return []

    wrap(monkeypatch, Entry, "refuse", refuse)
    caught()


def test_late_facts_not_marked(monkeypatch):
    monkeypatch.setattr(deciding, "_mark_late", lambda *_: None)
    caught()


def test_a_way_that_is_not_in_the_table(monkeypatch):
    def walk(original, fold, command, way, **kwargs):
        return original(fold, command, way[-1:], **kwargs)

    wrap(monkeypatch, deciding, "_walk", walk)
    caught()


def test_rows_from_before_the_conflict(monkeypatch):
    def redecide(original, session):
        touched = session.decided.touched
        woken = original(session)
        session.decided.touched = touched
        return woken

    wrap(monkeypatch, Session, "redecide", redecide)
    caught()


def test_a_newer_row_taken_for_a_loss(monkeypatch):
    async def repair(session, backend):
        found = await repairing.read_after(backend, session.id, session.acked.version)
        row = await backend.get("investigation", session.id)
        if found or row.version == session.acked.version:
            return outcomes.on_found(session, found, to_event)
        return outcomes.on_gone(session, "it is another")

    monkeypatch.setattr(worlds, "repair", repair)
    caught()
