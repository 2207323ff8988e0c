"""Sealing: entries that were decided and numbered become one commit, chained, with the rows that they change.

One is in flight at a time; what is queued meanwhile is merged into the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.project import investigation_row, touched_rows
from investigation_sdk.domain.rows import Row
from investigation_sdk.engine.entries import FEW, Entry, InFlight, apply_all, fitting
from investigation_sdk.engine.outcomes import poisoned
from investigation_sdk.engine.session import Session
from investigation_sdk.engine.snapshots import snapshot_of
from investigation_sdk.engine.texts import event_text, json_text
from investigation_sdk.engine.waiting import wake
from investigation_sdk.errors import InvestigationError
from investigation_sdk.storage.chain import seal
from investigation_sdk.storage.commit import Blob, Commit, Lease, StoredEvent


def next_commit(session: Session, *, on_users_stack: bool = False) -> Commit | None:
    """The next commit: the one that is to be sent again, or all that is queued; None if there is nothing.

    The shell makes it :func:`~investigation_sdk.engine.exclusive.exclusive`.

    Args:
        session: Its commit in flight, if there is one, is the one to be sent again.
        on_users_stack: Whoever calls it may be deep in recursion of their own.

    Raises:
        RecursionError: the user's stack has no room; all stays queued. So it does with a MemoryError.
    """
    if session.abandoned or session.repairing:
        return None
    if session.in_flight is not None:
        return session.in_flight.commit
    while queue := session.queue:
        suspects = session.suspects
        wanted = session.take if suspects else len(queue)
        count = wanted if wanted <= FEW else fitting(queue, wanted)
        if count < wanted:
            session.suspects = suspects or wanted
        entries = queue[:count]
        first = session.acked.version
        session.torn = True
        try:
            fold = _fold_of(session, entries) if session.suspects else session.decided
            commit = make_commit(entries, fold, first, session.head, None if first else session.lease)
            every = session.snapshot_every
            if every and not session.suspects and not session.uncounted_to:
                why = snapshot_due(commit, session.snapshot_at, every)
                if why is not None:
                    commit.snapshot = snapshot_of(commit, fold, why, session.replaces)
                commit.snapshots_from = session.snapshot_at  # the one before stays, too
        except Exception as error:  # e.g. text that is not Unicode
            if on_users_stack and isinstance(error, RecursionError | MemoryError):
                session.suspects = suspects
                raise
            refusal = InvestigationError(f"cannot be stored: {error}", investigation_id=session.id)
            refusal.__cause__ = error
            wake(poisoned(session, count, refusal))
            continue
        session.in_flight = InFlight(commit, entries)
        del queue[:count]
        session.torn = False
        return commit
    return None


def _fold_of(session: Session, entries: Sequence[Entry]) -> Fold:
    """The fold of all that is acknowledged, and of `entries`."""
    fold = session.acked.copy()
    fold.touched = {}
    apply_all(fold, entries)
    return fold


def make_commit(entries: Iterable[Entry], fold: Fold, expected: int, head: bytes, lease: Lease | None) -> Commit:
    """The commit of `entries` onto version `expected` with that `head`.

    `fold` is with all of the entries and nothing behind them; what it says was touched becomes rows. `lease` is to
    be taken with it.

    Raises:
        UnicodeEncodeError: a text in it is not Unicode.
        AssertionError: they are not numbered one after another; such a commit is never to be sent.
    """
    events: list[StoredEvent] = []
    blobs: dict[str, Blob] = {}
    id, tenant, last, sequence = fold.id, fold.tenant, head, expected
    for entry in entries:
        for event in entry.events:
            sequence += 1
            if event.sequence != sequence:
                raise AssertionError(f"event {event.sequence} is not the one behind {sequence - 1}")
            text = event.text
            if text is None:
                text = event.text = event_text(event)
            sealed = seal(id, tenant, event, text, last)
            last = sealed.hash
            events.append(sealed)
            if event.blobs:
                blobs.update((blob.digest, blob) for blob in event.blobs)
    rows: list[Row] = [investigation_row(fold, sequence, last, json_text)]
    rows += touched_rows(fold, json_text)
    return Commit(events[0].id, id, expected, head, events, rows, tuple(blobs.values()), None, lease)


def snapshot_due(commit: Commit, since: int, every: int) -> str | None:
    """Why a snapshot goes with a commit, or None: it has a checkpoint, or so many events lie behind `since`, the
    event of the last one."""
    for event in commit.events:
        if event.event_type == "checkpoint.saved":
            return "checkpoint"
    return "periodic" if commit.events[-1].sequence - since >= every else None
