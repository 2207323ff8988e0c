"""What waits in a session, and what it has handed over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from investigation_sdk.domain.commands import Fact, Fail, Finish, Release, Submission
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.fold import Fold
from investigation_sdk.engine.waiting import Waiter
from investigation_sdk.errors import InvestigationError
from investigation_sdk.storage.commit import Commit

_OVERHEAD: Final = 500
"""Characters of header, columns and row that come with each event."""

HAPPENED: Final = (Fact, Finish, Fail, Release)
"""What stays queued though the store does not answer: what it says has happened already."""

Woken = list[tuple[Waiter, BaseException | None]]
"""Whom to wake, and with what error."""


class Entry:
    """One submission on its way into the log.

    Attributes:
        events: What it was decided to; numbered. None, where it changes nothing: it is as durable as what is before.
        acknowledged: They are durable.
        error: Why it was refused, or None.
        lazy: Nobody waits for it, so nobody is told that the store does not take it: it stays queued then.
        lightened: The store did not take its payload, and gets a note instead.
        blob_bytes: Of all blobs of its events.
    """

    __slots__ = ("acknowledged", "blob_bytes", "error", "events", "lazy", "lightened", "submission", "waiters")

    @property
    def size(self) -> int:
        """About how many characters it takes in the store."""
        return sum(_OVERHEAD + len(event.text or "") for event in self.events)

    def __init__(self, submission: Submission, *, lazy: bool = False) -> None:
        self.submission: Submission = submission
        self.lazy: bool = lazy
        self.events: list[Event] = []
        self.blob_bytes: int = 0
        self.waiters: list[Waiter] | None = None
        self.acknowledged: bool = False
        self.error: InvestigationError | None = None
        self.lightened: bool = False

    def decided(self, events: list[Event]) -> list[Event]:
        """It leads to these events, which are returned."""
        self.events = events
        self.blob_bytes = 0
        for event in events:
            if event.blobs:
                self.blob_bytes += sum(len(blob.data) for blob in event.blobs)
        return events

    def refuse(self, error: InvestigationError) -> Woken:
        """It is not to be written; whom to tell."""
        self.error = error
        woken: Woken = [(waiter, error) for waiter in self.waiters or ()]
        self.waiters = None
        return woken


SPOOL_LIMIT: Final = 2000
"""Events of one investigation that may wait to be durable, unless it is set; then callers wait for the store."""

SPOOL_BYTES: Final = 64_000_000
"""Bytes of their blobs, likewise."""

FEW: Final = 32
"""Entries that go into one commit whatever their size, their blobs left aside."""

MAX_SIZE: Final = 4_000_000
"""About the size of one commit of more entries than that, in characters."""

MAX_BLOB_BYTES: Final = 16_000_000
"""Bytes of blobs in one commit of more than one entry."""


def fitting(queue: Sequence[Entry], count: int) -> int:
    """How many of the first `count` entries of a queue go into one commit."""
    size = blob_bytes = 0
    for taken, entry in enumerate(queue[:count]):
        size += entry.size
        blob_bytes += entry.blob_bytes
        if (taken >= FEW and size > MAX_SIZE) or (taken > 0 and blob_bytes > MAX_BLOB_BYTES):
            return taken
    return count


class InFlight:
    """A commit that was handed to the store, and the entries that it consists of.

    Attributes:
        unknown: One of the times that it was handed over, no answer came: it may be written, whatever later
            answers say, so it is sent again as it is until it is acknowledged or in conflict.
    """

    __slots__ = ("commit", "entries", "unknown")

    def __init__(self, commit: Commit, entries: list[Entry]) -> None:
        self.commit: Commit = commit
        self.entries: list[Entry] = entries
        self.unknown: bool = False


def apply_all(fold: Fold, entries: Iterable[Entry]) -> None:
    """Fold the events of entries."""
    for entry in entries:
        for event in entry.events:
            fold.apply(event)
