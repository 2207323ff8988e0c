"""Outcomes: what becomes of a commit that was handed to the store, and what that does to its session.

The shell that moved the commit calls one of these, and wakes whom it returns. Each may be cut short by an exception, of
a signal's handler for example, and leaves then what whoever comes next can mend: see `torn` and `acked_torn` of
:class:`~investigation_sdk.engine.session.Session`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from investigation_sdk.domain.commands import Fact
from investigation_sdk.domain.events import Event
from investigation_sdk.engine.entries import HAPPENED, Entry, Woken
from investigation_sdk.engine.exclusive import exclusive
from investigation_sdk.engine.session import Session
from investigation_sdk.engine.texts import not_stored, without_payload
from investigation_sdk.errors import BackendUnavailable, InvestigationError, VersionConflict
from investigation_sdk.storage.commit import StoredEvent


def on_applied(session: Session, *, folded: bool = False) -> Woken:
    """The commit in flight is durable. The shell makes it exclusive, as
    :func:`~investigation_sdk.engine.sealing.next_commit`.

    Args:
        session: One that has a commit in flight.
        folded: `acked` has its events.
    """
    flight = session.in_flight
    assert flight is not None
    session.acked_torn = True
    session.down = None
    woken: Woken = []
    if session.awaited:
        session.awaited = [one for one in session.awaited if not one[1].told]
    apply = session.acked.apply
    while session.queue and not session.queue[0].events:
        flight.entries.append(session.queue[0])
        del session.queue[0]
    for entry in flight.entries:
        if not folded:
            for event in entry.events:
                apply(event)
        entry.acknowledged = True
        if entry.waiters:
            woken += [(waiter, None) for waiter in entry.waiters]
            entry.waiters = None
    commit = flight.commit
    events = commit.events
    session.queued_events -= len(events)
    if commit.blobs:
        _forget_blobs(session, flight.entries)
    session.head = events[-1].hash
    if commit.snapshot is not None:
        session.snapshot_at, session.replaces = commit.snapshot.sequence, None
    if session.suspects:
        session.suspects = max(0, session.suspects - len(flight.entries))
        session.take = session.suspects
    session.in_flight = None
    session.acked_torn = False
    if session.on_commit is not None:
        session.on_commit(events)
    return woken


def _forget_blobs(session: Session, entries: Iterable[Entry]) -> None:
    """They are durable: the folds, which may keep these events, are not to keep megabytes."""
    for entry in entries:
        session.queued_bytes -= entry.blob_bytes
        for event in entry.events:
            event.blobs = ()


@exclusive
def on_reloaded(session: Session, read: Session, *, applied: bool) -> Woken:
    """What is acknowledged was not certain any more, and was read.

    Args:
        session: One whose `acked_torn` is set.
        read: A session that was made from the store just now.
        applied: The commit in flight, if there is one, is in the store; else it never will be.
    """
    woken: Woken = []
    if session.in_flight is not None:
        if applied:
            woken += on_applied(session, folded=True)
        else:
            _put_back(session)
    session.torn = session.acked_torn = True
    session.acked, session.head = read.acked, read.head
    session.snapshot_at, session.replaces, session.uncounted_to = read.snapshot_at, read.replaces, read.uncounted_to
    session.acked_torn = False
    return woken + session.redecide()


def _put_back(session: Session) -> None:
    """The commit in flight is none any more; its entries are queued again."""
    session.torn = True
    session.queue = session.unacknowledged()
    session.in_flight = None


@exclusive
def on_poison(session: Session, error: InvestigationError) -> Woken:
    """The store cannot take something in the commit in flight, and took none of it."""
    flight = session.in_flight
    assert flight is not None
    _put_back(session)
    woken = poisoned(session, len(flight.entries), error)
    _settle(session)
    return woken


def poisoned(session: Session, count: int, error: InvestigationError) -> Woken:
    """One of the first `count` entries: of many, the first half is tried next; one alone is the culprit.

    A culprit's payload gives way to a note of what it was; where there is none, or the store refuses that
    too, the culprit is refused. If it is a fact, a warning in the log says so.
    """
    if count > 1:
        session.suspects = max(session.suspects, count)
        session.take = count // 2
        session.torn = False
        return []
    culprit = session.queue[0]
    submission = culprit.submission
    fact = submission if type(submission) is Fact else None
    warning = None if fact is None or culprit.lightened else not_stored(fact, error)
    if warning is not None:  # first: better twice than never
        session.queue.insert(1, Entry(warning))
    woken: Woken = []
    if not culprit.lightened and without_payload(submission, str(error)):
        culprit.lightened = True
    else:
        woken += culprit.refuse(error)
    return woken + session.redecide()


@exclusive
def on_found(session: Session, found: Sequence[StoredEvent], to_event: Callable[[StoredEvent], Event]) -> Woken:
    """After a conflict, or when others may have written: the events behind the acknowledged version.

    The first of them tells by its id whether it is the commit in flight, which was then applied though
    its answer was lost. The rest is folded, and all that is queued is decided, numbered and chained again.
    """
    woken: Woken = []
    flight = session.in_flight
    if flight is not None and found and found[0].id == flight.commit.id:
        found = found[len(flight.commit.events) :]
        woken += on_applied(session)
    elif flight is not None:
        _put_back(session)
    if not found and flight is None:
        return woken
    session.torn = session.acked_torn = True
    for stored in found:
        session.acked.apply(to_event(stored))
        session.head = stored.hash
    session.acked_torn = False
    woken += session.redecide()
    if flight is not None:
        session.down = None
    _settle(session)
    return woken


def _settle(session: Session) -> None:
    """With nothing left to write, there is nothing that the store does not take."""
    if not session.queue and session.in_flight is None:
        session.down = None


def on_unknown(session: Session) -> None:
    """Nobody can tell whether the commit in flight was written: it stays as it is until that is known."""
    with session.lock:
        if session.in_flight is not None:
            session.in_flight.unknown = True


@exclusive
def on_down(session: Session, error: BackendUnavailable) -> Woken:
    """The store takes nothing. Everybody who waits is told; what has happened stays queued, commands whose
    effect is still to come are withdrawn, but for those of which nobody knows whether they were written, and
    those that nobody is told of (`lazy`)."""
    session.torn = True
    session.down = error
    woken: Woken = []
    for entry in session.unacknowledged():
        woken += [(waiter, error) for waiter in entry.waiters or ()]
        entry.waiters = None
    flight = session.in_flight
    if flight is not None and not flight.unknown:
        _put_back(session)
    for entry in session.queue:
        if not entry.lazy and not isinstance(entry.submission, HAPPENED):
            entry.error = error
    woken += session.redecide()
    _settle(session)
    return woken


def on_gone(session: Session, message: str) -> Woken:
    """The store no longer has what it had acknowledged (deleted, or set back to a backup)."""
    return on_rejected(session, VersionConflict(message, investigation_id=session.id))


@exclusive
def on_rejected(session: Session, error: InvestigationError) -> Woken:
    """There is no such investigation to write to; nothing that waits is kept, and nothing more is taken."""
    session.torn = True
    session.broken = error
    return session.refuse_all(error)
