"""Session: one investigation in one process, without any I/O.

It keeps two folds: what is acknowledged, and what is decided on top of it. Submissions are decided and
numbered at once, wait in a queue, and are sealed into one commit at a time; what queues meanwhile is merged into
the next: :mod:`~investigation_sdk.engine.sealing`. Whoever moves the commits (a *shell*: the writer on the I/O
thread, or the caller's own thread) says what became of each: :mod:`~investigation_sdk.engine.outcomes`. All methods
are safe to call from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from investigation_sdk.clock import now_us
from investigation_sdk.domain.commands import Append, Fact, Submission
from investigation_sdk.domain.decide import decide
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.fold import Fold
from investigation_sdk.engine.entries import (
    HAPPENED,
    SPOOL_BYTES,
    SPOOL_LIMIT,
    Entry,
    InFlight,
    Woken,
    apply_all,
)
from investigation_sdk.engine.exclusive import busy, may_block, take_in_deferred
from investigation_sdk.engine.snapshots import EVERY
from investigation_sdk.engine.stops import why_stop
from investigation_sdk.engine.waiting import Waiter, wake
from investigation_sdk.errors import (
    BackendUnavailable,
    InvestigationError,
)
from investigation_sdk.native import mypyc_attr
from investigation_sdk.storage.commit import GENESIS, Lease, StoredEvent

if TYPE_CHECKING:
    from collections.abc import Callable


@mypyc_attr(allow_interpreted_subclasses=True)
class Session:
    """See the module.

    Attributes:
        id: The investigation's.
        decided: The fold with everything that was submitted; read it under no lock only for single attributes.
        acked: The fold with everything that is durable.
        token: The claim under which this process drives it, None where it does not.
        stop: Why no new body may start (paused, cancelled, lease lost), or None.
        down: Why the store takes nothing at present, or None.
        awaited: Who waits for what, and has not been told, or was told since the last commit.
        queued_events, queued_bytes: How many events wait to be durable, and how large their blobs are.
        spools: Whether commands that nobody waits for are taken also while it is down.
        spool_limit: So many events may wait to be durable before it is `full`.
        news: Percent that phases and calls reported and nobody was told of, by their ids.
        unrecorded: Percent that they reported and no event says, by their ids.
        snapshot_every: So many events lie between two snapshots; 0 for none.
        snapshot_at: The event of the last snapshot.
        replaces: Id of the last snapshot, if it could not be read: the next one takes its place.
        uncounted_to: Nobody knows how often each tool was called up to this event; until then, no snapshot is made.
        broken: Set when the store lost what it had acknowledged; every submission is refused then.
        torn: Something is being done to what is queued. Where that is so when somebody enters, an exception, such as
            that of a signal's handler, cut it short, and :meth:`mend` comes first.
        acked_torn: Likewise, `acked` and `head` are being changed. The store knows what is acknowledged.
    """

    def __init__(self, acked: Fold, head: bytes = GENESIS) -> None:
        self.id: str = acked.id
        self.lock: threading.RLock = threading.RLock()
        self.acked = acked
        self.head: bytes = head
        self.decided: Fold = acked.copy()
        self.decided.touched = {}
        self.queue: list[Entry] = []
        self.in_flight: InFlight | None = None
        self.lease: Lease | None = None
        self.token: str | None = None
        self.stop: InvestigationError | None = None
        self.down: BackendUnavailable | None = None
        self.broken: InvestigationError | None = None
        self.torn: bool = False
        self.acked_torn: bool = False
        self.abandoned = False
        self.spools = False
        self.spool_limit: int = SPOOL_LIMIT
        self.scheduled = False
        self.lingering = False
        self.repairing = False
        self.take: int = 0
        self.suspects: int = 0
        self.changed: list[Waiter] = []
        self.awaited: list[tuple[Entry, Waiter]] = []
        self.deferred: list[Entry] = []
        self.progressing = False
        self.news: dict[str, int] = {}
        self.unrecorded: dict[str, int] = {}
        self.queued_events: int = 0
        self.queued_bytes: int = 0
        self.snapshot_every: int = EVERY
        self.snapshot_at: int = 0
        self.replaces: str | None = None
        self.uncounted_to: int = 0
        self.on_commit: Callable[[Sequence[StoredEvent]], None] | None = None

    # ---- submitting

    @property
    def full(self) -> bool:
        """Whether as much waits to be durable as may."""
        return self.queued_events > self.spool_limit or self.queued_bytes > SPOOL_BYTES

    @property
    def behind(self) -> bool:
        """Whether something is not durable yet, or may be not."""
        return bool(self.queued_events or self.torn or self.acked_torn or self.deferred)

    def submit(self, submission: Submission, *, lazy: bool = False) -> Entry:
        """Decide a submission on top of all before it, number it, and queue it. Nobody waits for it where it is `lazy`.

        Raises:
            InvestigationError: a command is refused. Facts never are, unless the session is broken.
        """
        with self.lock:
            if self.broken is not None:
                raise self.broken.with_traceback(None)
            if self.down is not None and not isinstance(submission, HAPPENED) and not (lazy and self.spools):
                raise self.down.with_traceback(None)
            entry = Entry(submission, lazy=lazy)
            if self in busy:
                self.deferred.append(entry)
                return entry
            try:
                if self.deferred:  # only after an exception in the middle of taking them in
                    take_in_deferred(self)
                try:
                    busy.add(self)
                    if self.torn:
                        self.mend()
                    self.take_in(entry)
                finally:
                    busy.discard(self)
                    if self.deferred:
                        take_in_deferred(self)
            except BaseException:  # a signal's exception may have arrived in that very `finally`
                busy.discard(self)
                self.tell_answered()
                raise
            return entry

    def take_in(self, entry: Entry) -> None:
        """Decide, number and queue it; this session is `busy` meanwhile."""
        submission = entry.submission
        if self.unrecorded and type(submission) is Fact and submission.token is not None:
            submission.progress, self.unrecorded = self.unrecorded, {}
        events = entry.decided(decide(self.decided, submission))
        if self.abandoned or (not events and self.in_flight is None and not self.queue):
            entry.acknowledged = True  # what it follows from is durable, or nothing ever will be
            return
        self.torn = True
        self._number(events)
        self.queue.append(entry)
        self.queued_events += len(events)
        if entry.blob_bytes:
            self.queued_bytes += entry.blob_bytes
        self.torn = False
        if type(submission) is not Fact:
            self._look()

    def report(self, id: str, percent: int) -> bool:
        """A phase that runs, or a call that is open, is so far: advisory until the next event says it. Whether that is
        news."""
        with self.lock:
            if self in busy or not self.decided.report(id, percent, now_us()):
                return False
            self.unrecorded[id] = self.news[id] = percent
            return True

    def holds(self, entry: Entry) -> bool:
        """Whether that was taken in, whatever became of it."""
        return entry.acknowledged or entry.error is not None or entry in self.unacknowledged()

    def mend(self) -> None:
        """After an exception in the middle of what is done to the queue: decide again all that is in it."""
        if self.acked_torn:  # on nothing that is certain: the shell reads that first
            return
        if self.broken is not None:
            wake(self.refuse_all(self.broken))
            return
        wake(self.redecide())

    def redecide(self) -> Woken:
        """Decide all that is queued again, on what is acknowledged and in flight."""
        self.torn = True
        self.suspects = self.take = 0
        self.decided = self._base()
        woken: Woken = []
        flight = frozenset(() if self.in_flight is None else self.in_flight.entries)
        kept: list[Entry] = []
        for entry in self.queue:
            if entry.acknowledged or entry.error is not None or entry in flight:
                continue  # it is out of the queue, but for an exception in the middle of that
            try:
                entry.decided(decide(self.decided, entry.submission))
            except InvestigationError as refused:
                woken += entry.refuse(refused)
                continue
            self._number(entry.events)
            if entry.events or kept or flight:
                kept.append(entry)
            else:
                entry.acknowledged = True
                woken += [(waiter, None) for waiter in entry.waiters or ()]
        self.queue = kept
        self.queued_events = sum(len(entry.events) for entry in self.unacknowledged())
        self.queued_bytes = sum(entry.blob_bytes for entry in self.unacknowledged())
        self._report_again()
        self.torn = False
        self._look()
        return woken

    def _report_again(self) -> None:
        for id, percent in self.unrecorded.items():
            self.decided.report(id, percent, now_us())

    def refuse_all(self, error: InvestigationError) -> Woken:
        """Nothing of what is not durable will ever be; whom to tell."""
        woken: Woken = []
        for entry in self.unacknowledged():
            woken += entry.refuse(error)
        self.in_flight, self.queue, self.queued_events, self.queued_bytes = None, [], 0, 0
        self.torn = self.acked_torn = False
        return woken

    def _number(self, events: Iterable[Event]) -> None:
        decided = self.decided
        for event in events:
            event.sequence = decided.version + 1
            time, last = event.time, decided.at
            event.at = time if time > last else last  # noqa: FURB136 - max() takes twice as long
            if not event.attempt:
                event.attempt = decided.attempt
            decided.apply(event)

    def unacknowledged(self) -> list[Entry]:
        """What is in flight and what is queued, in order."""
        entries = [*(self.in_flight.entries if self.in_flight else ()), *self.queue]
        return list(dict.fromkeys(entries)) if self.torn or self.acked_torn else entries  # one may be in both then

    def _base(self) -> Fold:
        """A fold of all that is acknowledged and in flight."""
        fold = self.acked.copy()
        if self.in_flight is not None:
            apply_all(fold, self.in_flight.entries)
        fold.touched = {}
        return fold

    def _look(self) -> None:
        """Find out whether the owner in this process has to stop, and wake those who wait for a change."""
        before = self.stop
        self.stop = why_stop(self.decided, self.token)
        if before is not self.stop and self.changed:
            waiting, self.changed = self.changed, []
            wake((waiter, None) for waiter in waiting)

    def waiter(self, entry: Entry, *, blocking: bool) -> Waiter | None:
        """A waiter for the moment when `entry` is durable or refused; None if it is durable already, and where this
        thread may not block: then it stays queued.

        Raises:
            InvestigationError: it was refused, or the store does not take it.
        """
        with self.lock:
            if entry.error is not None:
                raise entry.error
            if entry.acknowledged:
                return None
            if self.down is not None:
                raise self.down.with_traceback(None)
            if blocking and not may_block():
                return None
            waiter = Waiter(blocking=blocking)
            self.awaited.append((entry, waiter))
            if entry.waiters is None:
                entry.waiters = [waiter]
            else:
                entry.waiters.append(waiter)
            return waiter

    def tell_answered(self) -> None:
        """After an exception between what became of entries and the waking of those who wait for them: wake these."""
        woken: Woken = []
        for entry, waiter in self.awaited:
            if waiter.told:
                continue
            if entry.acknowledged or entry.error is not None:
                woken.append((waiter, entry.error))
            elif entry.waiters is None and self.down is not None:
                woken.append((waiter, self.down))
        wake(woken)

    def begin(self, entry: Entry) -> None:
        """What a command asks for takes place from now on, durable or not: it becomes a fact, or what follows from it
        would be in the log without it, should others drive the investigation by the time that it is written.

        Raises:
            InvestigationError: it was refused.
        """
        with self.lock:
            if entry.error is not None:
                raise entry.error
            command = entry.submission
            if type(command) is Append and not entry.acknowledged:
                entry.submission = Fact(command.event, command.token)

    def counted(self, counts: Mapping[str, int]) -> None:
        """So often each tool was called up to the event `uncounted_to`."""
        with self.lock:
            if self.uncounted_to:
                self.uncounted_to = 0
                for fold in (self.acked, self.decided):
                    for tool, times in counts.items():
                        fold.count(tool, times)

    # ---- driving

    def own(self, token: str) -> None:
        """From now on this process drives it, under `token`."""
        with self.lock:
            self.token = token
            self.unrecorded = {}
            self._look()

    def disown(self) -> None:
        """This process no longer drives it."""
        with self.lock:
            self.token = None
            self.stop = None
