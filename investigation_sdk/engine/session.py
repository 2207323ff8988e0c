"""Session: one investigation in one process, without any I/O.

It keeps two folds: what is acknowledged, and what is decided on top of it. Submissions are decided and
numbered at once, wait in a queue, and are sealed into one commit at a time; what queues meanwhile is merged into
the next. Whoever moves the commits (a *shell*: the writer on the I/O thread, or the caller's own thread) tells the
session what became of each. All methods are safe to call from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from investigation_sdk.domain.commands import Fact, Fail, Finish, Release, Submission
from investigation_sdk.domain.decide import decide
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.project import investigation_row, touched_rows
from investigation_sdk.domain.rows import Row
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.engine.waiting import Waiter, wake
from investigation_sdk.errors import (
    BackendUnavailable,
    InvestigationCancelled,
    InvestigationError,
    InvestigationPaused,
    LeaseLost,
    VersionConflict,
)
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.chain import seal
from investigation_sdk.storage.codec import Json, encode, object_text
from investigation_sdk.storage.commit import GENESIS, Commit, Lease, StoredEvent

if TYPE_CHECKING:
    from collections.abc import Callable

_KEPT: Final = (Finish, Fail, Release)
"""Commands that stay queued though the store does not answer: what they say has happened already."""


def json_text(payload: Any) -> str:
    """A payload's JSON text: as it is where it is text already, else encoded."""
    return payload if type(payload) is Json else encode(payload).text


class Entry:
    """One submission on its way into the log.

    Attributes:
        events: What it was decided to; numbered.
        acknowledged: They are durable.
        error: Why it was refused, or None.
    """

    __slots__ = ("acknowledged", "error", "events", "submission", "waiters")

    def __init__(self, submission: Submission, events: list[Event]) -> None:
        self.submission = submission
        self.events = events
        self.waiters: list[Waiter] | None = None
        self.acknowledged = not events
        self.error: InvestigationError | None = None


class InFlight:
    """A commit that was handed to the store, and the entries that it consists of."""

    __slots__ = ("commit", "entries")

    def __init__(self, commit: Commit, entries: list[Entry]) -> None:
        self.commit = commit
        self.entries = entries


Woken = list[tuple[Waiter, BaseException | None]]


class Session:
    """See the module. Attributes that shells and recorders read:

    Attributes:
        id: The investigation's.
        decided: The fold with everything that was submitted; read it under no lock only for single attributes.
        acked: The fold with everything that is durable.
        token: The claim under which this process drives it, None where it does not.
        stop: Why no new body may start (paused, cancelled, lease lost), or None.
        down: Why the store takes nothing at present, or None.
        broken: Set when the store lost what it had acknowledged; every submission is refused then.
    """

    def __init__(self, acked: Fold, head: bytes = GENESIS) -> None:
        self.id = acked.id
        self.lock = threading.RLock()
        self.acked = acked
        self.head = head
        self.decided = acked.copy()
        self.decided.touched = {}
        self.queue: list[Entry] = []
        self.in_flight: InFlight | None = None
        self.lease: Lease | None = None
        self.token: str | None = None
        self.stop: InvestigationError | None = None
        self.down: BackendUnavailable | None = None
        self.broken: InvestigationError | None = None
        self.abandoned = False
        self.scheduled = False
        self.lingering = False
        self.repairing = False
        self.take = 0
        self.suspects = 0
        self.changed: list[Waiter] = []
        self.queued_events = 0
        self.on_commit: Callable[[Sequence[StoredEvent]], None] | None = None

    # ---- submitting

    def submit(self, submission: Submission) -> Entry:
        """Decide a submission on top of all before it, number it, and queue it.

        Raises:
            InvestigationError: a command is refused. Facts never are, unless the session is broken.
        """
        with self.lock:
            if self.broken is not None:
                raise self.broken
            entry = Entry(submission, decide(self.decided, submission))
            if self.abandoned:
                entry.acknowledged = True
            elif entry.events:
                self._number(entry.events)
                self.queue.append(entry)
                self.queued_events += len(entry.events)
                if type(submission) is not Fact:
                    self._look()
            return entry

    def _number(self, events: Iterable[Event]) -> None:
        decided = self.decided
        for event in events:
            event.sequence = decided.version + 1
            event.at = event.time if event.time > decided.at else decided.at
            decided.apply(event)
            if not event.attempt:
                event.attempt = decided.attempt

    def _look(self) -> None:
        """Find out whether the owner in this process has to stop, and wake those who wait for a change."""
        before = self.stop
        fold = self.decided
        self.stop = None
        if self.token is not None:
            if fold.status is InvestigationState.CANCELLED:
                self.stop = InvestigationCancelled(f"Investigation {self.id} was cancelled.", investigation_id=self.id)
            elif fold.token != self.token:
                self.stop = LeaseLost(
                    f"Investigation {self.id} is driven by {fold.owner or 'nobody'} now, no longer by this block.",
                    investigation_id=self.id,
                )
            elif fold.status is InvestigationState.PAUSED:
                self.stop = InvestigationPaused(f"Investigation {self.id} is paused.", investigation_id=self.id)
        if before is not self.stop and self.changed:
            waiting, self.changed = self.changed, []
            wake((waiter, None) for waiter in waiting)

    def waiter(self, entry: Entry, *, blocking: bool) -> Waiter | None:
        """A waiter for the moment when `entry` is durable or refused; None if it is durable already.

        Raises:
            InvestigationError: it was refused, or the store does not take it.
        """
        with self.lock:
            if entry.error is not None:
                raise entry.error
            if entry.acknowledged:
                return None
            if self.down is not None:
                raise self.down
            waiter = Waiter(blocking=blocking)
            if entry.waiters is None:
                entry.waiters = [waiter]
            else:
                entry.waiters.append(waiter)
            return waiter

    # ---- sealing

    def seal(self) -> Commit | None:
        """The next commit: the one that is to be sent again, or all that is queued; None if there is nothing."""
        with self.lock:
            if self.in_flight is not None:
                return self.in_flight.commit
            if not self.queue or self.repairing or self.abandoned:
                return None
            if self.suspects:
                entries = self.queue[: self.take]
                del self.queue[: self.take]
                fold = self.acked.copy()
                fold.touched = {}
                for entry in entries:
                    for event in entry.events:
                        fold.apply(event)
            else:
                entries, self.queue = self.queue, []
                fold = self.decided
            events = self._chain(entries)
            last = events[-1]
            rows: list[Row] = [investigation_row(fold, last.sequence, last.hash, json_text)]
            rows += touched_rows(fold, json_text)
            first = self.acked.version
            lease = self.lease if first == 0 else None
            commit = Commit(events[0].id, self.id, first, self.head, events, rows, None, lease)
            self.in_flight = InFlight(commit, entries)
            return commit

    def _chain(self, entries: Iterable[Entry]) -> list[StoredEvent]:
        sealed: list[StoredEvent] = []
        head = self.head
        tenant = self.acked.tenant
        for entry in entries:
            for event in entry.events:
                text = event.text
                if text is None:
                    text = event.text = event_text(event)
                stored = seal(self.id, tenant, event, text, head)
                head = stored.hash
                sealed.append(stored)
        return sealed

    # ---- what became of it

    def on_applied(self) -> Woken:
        """The commit in flight is durable."""
        with self.lock:
            flight = self.in_flight
            assert flight is not None
            self.in_flight = None
            self.down = None
            woken: Woken = []
            acked = self.acked
            for entry in flight.entries:
                for event in entry.events:
                    acked.apply(event)
                self.queued_events -= len(entry.events)
                entry.acknowledged = True
                if entry.waiters:
                    woken += [(waiter, None) for waiter in entry.waiters]
                    entry.waiters = None
            self.head = flight.commit.events[-1].hash
            if self.suspects:
                self.suspects -= len(flight.entries)
                self.take = self.suspects
        if self.on_commit is not None:
            self.on_commit(flight.commit.events)
        return woken

    def on_poison(self, error: InvestigationError) -> Woken:
        """The store cannot take something in the commit in flight, and took none of it.

        Of many entries, the first half is tried next; one alone is the culprit. A culprit's payload gives way
        to a note of what it was; where there is none, or the store refuses that too, it is refused.
        """
        with self.lock:
            flight = self.in_flight
            assert flight is not None
            self.in_flight = None
            count = len(flight.entries)
            self.queue = flight.entries + self.queue
            if count > 1:
                self.suspects = max(self.suspects, count)
                self.take = count // 2
                return []
            self.suspects = self.take = 0
            culprit = flight.entries[0]
            if type(culprit.submission) is Fact and without_payload(culprit.submission.event, str(error)):
                self.queue.insert(1, Entry(_not_stored(culprit.submission, error), []))
                return self._redecide()
            del self.queue[0]
            self.queued_events -= len(culprit.events)
            return self._refuse(culprit, error) + self._redecide()

    def on_found(self, found: Sequence[StoredEvent], to_event: Callable[[StoredEvent], Event]) -> Woken:
        """After a conflict, or when others may have written: the events behind the acknowledged version.

        The first of them tells by its id whether it is the commit in flight, which was then applied though
        its answer was lost. The rest is folded, and all that is queued is decided, numbered and chained again.
        """
        with self.lock:
            woken: Woken = []
            self.down = None
            flight = self.in_flight
            if flight is not None and found and found[0].id == flight.commit.id:
                found = found[len(flight.commit.events) :]
                woken += self.on_applied()
            elif flight is not None:
                self.in_flight = None
                self.queue = flight.entries + self.queue
            if not found and flight is None:
                return woken
            for stored in found:
                self.acked.apply(to_event(stored))
                self.head = stored.hash
            return woken + self._redecide()

    def _redecide(self) -> Woken:
        """Decide all that is queued again, on what is acknowledged."""
        self.suspects = self.take = 0
        self.decided = self.acked.copy()
        self.decided.touched = {}
        woken: Woken = []
        queue, self.queue = self.queue, []
        for entry in queue:
            self.queued_events -= len(entry.events)
            try:
                entry.events = decide(self.decided, entry.submission)
            except InvestigationError as refused:
                woken += self._refuse(entry, refused)
                continue
            self._number(entry.events)
            self.queued_events += len(entry.events)
            if entry.events:
                self.queue.append(entry)
            else:
                entry.acknowledged = True
                woken += [(waiter, None) for waiter in entry.waiters or ()]
        self._look()
        return woken

    def _refuse(self, entry: Entry, error: InvestigationError) -> Woken:
        entry.error = error
        woken: Woken = [(waiter, error) for waiter in entry.waiters or ()]
        entry.waiters = None
        return woken

    def on_down(self, error: BackendUnavailable, *, unknown: bool) -> Woken:
        """The store takes nothing. Everybody who waits is told; facts stay queued, commands whose effect is
        still to come are withdrawn, unless nobody knows whether they were written."""
        with self.lock:
            self.down = error
            woken: Woken = []
            if self.in_flight is not None and not unknown:
                self.queue = self.in_flight.entries + self.queue
                self.in_flight = None
            entries = [*(self.in_flight.entries if self.in_flight else ()), *self.queue]
            for entry in entries:
                woken += [(waiter, error) for waiter in entry.waiters or ()]
                entry.waiters = None
            if self.in_flight is None:
                self._withdraw(error)
                woken += self._redecide()
                if not self.queue:
                    self.down = None
            return woken

    def _withdraw(self, error: InvestigationError) -> None:
        stay: list[Entry] = []
        for entry in self.queue:
            if type(entry.submission) is Fact or isinstance(entry.submission, _KEPT):
                stay.append(entry)
            else:
                entry.error = error
                self.queued_events -= len(entry.events)
        self.queue = stay

    def on_gone(self, message: str) -> Woken:
        """The store no longer has what it had acknowledged (deleted, or set back to a backup)."""
        with self.lock:
            self.broken = VersionConflict(message, investigation_id=self.id)
            entries = [*(self.in_flight.entries if self.in_flight else ()), *self.queue]
            self.in_flight, self.queue, self.queued_events = None, [], 0
            woken: Woken = []
            for entry in entries:
                woken += self._refuse(entry, self.broken)
            return woken

    def on_rejected(self, error: InvestigationError) -> Woken:
        """The commit that was to create the investigation breaks a constraint; nothing of it is kept."""
        with self.lock:
            assert self.in_flight is not None
            entries = self.in_flight.entries + self.queue
            self.in_flight, self.queue, self.queued_events = None, [], 0
            self.broken = error
            woken: Woken = []
            for entry in entries:
                woken += self._refuse(entry, error)
            return woken

    # ---- whether there is something to do

    @property
    def pending(self) -> int:
        """Events that are not durable yet."""
        return self.queued_events

    def own(self, token: str) -> None:
        """From now on this process drives it, under `token`."""
        with self.lock:
            self.token = token
            self._look()

    def disown(self) -> None:
        """This process no longer drives it."""
        with self.lock:
            self.token = None
            self.stop = None


def event_text(event: Event) -> str:
    """The JSON text of an event's data; lone surrogates, which are not text, become escapes."""
    text = object_text(event.data)
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return text


def _not_stored(fact: Fact, error: InvestigationError) -> Fact:
    event = fact.event
    data = {"kind": "not_stored", "event": event.id, "event_type": event.type, "message": str(error)[:1000]}
    return Fact(Event(uuid7(), "recorder.warning", data, event.time, parent_call=event.parent_call), fact.token)


_PAYLOADS: Final = ("input", "output", "data", "result", "summary", "error")


def without_payload(event: Event, reason: str) -> bool:
    """Put a note in the place of an event's payloads; whether there were any."""
    found = False
    for name in _PAYLOADS:
        value = event.data.get(name)
        if value is not None and not (isinstance(value, dict) and value.get("$type") == "unstorable"):
            text = json_text(value)
            note = {"$type": "unstorable", "characters": len(text), "reason": reason[:200]}
            event.data[name] = {"type": "Unstorable", "message": reason[:200]} if name == "error" else note
            event.text = None
            found = True
    return found
