"""Recorded results: what earlier attempts did, laid out so that a resumed investigation finds each call again.

The code of the user is not replayed. It runs again, and each of its calls takes, from the calls that the log has
under the same place, tool, version and arguments, the first that is left.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from investigation_sdk.domain.states import Effect
from investigation_sdk.engine.records import Place, Record, RecordReader, comparable, shown_whole
from investigation_sdk.engine.sound import unreadable
from investigation_sdk.errors import RecordUnreadable
from investigation_sdk.storage.backend import Backend


class _Queue:
    """The records of one place that no call has taken, the first to be taken first.

    As long as each call is the same as the first record by its text, no digests are made. The first one that is not
    makes all of them.
    """

    __slots__ = ("_by_digest", "_digests", "_records")

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self._by_digest: dict[str, deque[Record]] | None = None
        self._digests: dict[str, str] = {}

    @property
    def any(self) -> bool:
        return bool(self._records or self._by_digest)

    def append(self, record: Record) -> None:
        self._all_like(record).append(record)

    def _all_like(self, record: Record) -> deque[Record]:
        """Where it stands, or would stand."""
        if self._by_digest is None:
            return self._records
        return self._by_digest.setdefault(record.digest, deque())

    def first(self, given: str, digest: str | None) -> Record | None:
        """See :meth:`Recorded.take`; it stays where it is."""
        queue = self._queue(given, digest)
        if not queue:
            return None
        first = queue[0]
        if self._by_digest is None or first.sure:
            return first
        return next((record for record in queue if record.resolved), None)

    def _queue(self, given: str, digest: str | None) -> deque[Record] | None:
        by_digest = self._by_digest
        if by_digest is None:
            if not self._records or self._records[0].same(given, digest):
                return self._records
            by_digest = self._compared()
        return by_digest.get(digest or self._digests.get(given) or comparable(given, None))

    def _compared(self) -> dict[str, deque[Record]]:
        by_digest: dict[str, deque[Record]] = {}
        for record in self._records:
            by_digest.setdefault(record.digest, deque()).append(record)
            if record.by_text:
                self._digests[record.given] = record.digest
        self._by_digest = by_digest
        self._records = deque()
        return by_digest

    def remove(self, record: Record) -> None:
        """It is taken; nothing of it is kept."""
        queue = self._all_like(record)
        if queue[0] is record:
            queue.popleft()
        else:
            queue.remove(record)
        if self._by_digest is not None:
            if not queue:
                del self._by_digest[record.digest]
            if record.by_text and not (queue and queue[0].given == record.given):
                self._digests.pop(record.given, None)

    def put_back(self, record: Record) -> None:
        self._all_like(record).appendleft(record)


class Recorded:
    """The records of one investigation that no call has taken yet. Safe to use from any thread."""

    def __init__(self, investigation_id: str, records: Iterable[Record]) -> None:
        self._id = investigation_id
        self._lock = threading.Lock()
        self._queues: dict[Place, _Queue] = {}
        self._left = {record.root: record for record in records}
        self._inside: dict[str, dict[str, Record]] = {}
        self._alike: dict[tuple[Place, str], int] | None = None
        for record in self._ranked():
            self._append(record)

    def _append(self, record: Record) -> None:
        self._queue(record.place).append(record)
        self._note_inside(record)

    def _note_inside(self, record: Record) -> None:
        parent = record.place.parent
        if parent is not None:
            inside = self._inside.get(parent)
            if inside is None:
                inside = self._inside[parent] = {}
            inside[record.root] = record

    def _forget_inside(self, record: Record) -> None:
        parent = record.place.parent
        if parent is not None:
            inside = self._inside.get(parent)
            if inside is not None and inside.pop(record.root, None) is not None and not inside:
                del self._inside[parent]

    def _queue(self, place: Place) -> _Queue:
        queue = self._queues.get(place)
        if queue is None:
            queue = self._queues[place] = _Queue()
        return queue

    def _ranked(self) -> Iterable[Record]:
        """Each in the log's order, but those that are in doubt behind those that finished, and before what was not
        done, of which they may be a later try."""
        records = self._left.values()
        if all(record.state == "finished" for record in records):
            return records
        ranks = {"finished": 0, "undone": 2}
        return sorted(records, key=lambda record: ranks.get(record.state, 1))

    def __len__(self) -> int:
        return len(self._left)

    def of(self, root: str) -> Record | None:
        """The record of that root, where no call has taken it."""
        return self._left.get(root)

    def any_at(self, place: Place) -> bool:
        """Whether calls that were made in that place may be left."""
        queue = self._queues.get(place)
        return queue is not None and queue.any

    def take(self, place: Place, given: str, digest: str | None, *, as_it_stands: bool = False) -> Record | None:
        """The first record that is left of the same call: finished ones, then those in doubt, then the others.

        Where nobody can tell whether it is the same, the first that somebody has looked into.

        Args:
            place: Where the call is made.
            given: Its arguments, as they would be recorded.
            digest: So, too, where one would.
            as_it_stands: Only where what it gave can be given back as it stands.

        Raises:
            RecordUnreadable: what it is compared with is not what the SDK writes.
        """
        with self._lock:
            queue = self._queues.get(place)
            if queue is None:
                return None
            try:
                record = queue.first(given, digest)
            except ValueError as error:
                raise self._unreadable(error) from error
            if record is None or (as_it_stands and not record.as_it_stands):
                return None
            queue.remove(record)
            if not queue.any:
                del self._queues[place]
            self._forget_inside(record)
            del self._left[record.root]
            return record

    def done_alike(self, place: Place, given: str) -> bool:
        """Whether an earlier attempt finished a call of which nobody can tell whether it is this one: in its place,
        with arguments that are shown alike. As often as one attempt did, for the calls that are made now.

        Args:
            place: Where the call is made.
            given: Its arguments, as they would be recorded, without a digest.

        Raises:
            RecordUnreadable: what it is compared with is not what the SDK writes.
        """
        if shown_whole(given):
            return False
        with self._lock:
            try:
                if self._alike is None:
                    self._alike = self._count_alike()
                key = place, comparable(given, None)
            except ValueError as error:
                raise self._unreadable(error) from error
            left = self._alike.get(key, 0)
            if left:
                self._alike[key] = left - 1
            return left > 0

    def _count_alike(self) -> dict[tuple[Place, str], int]:
        unsure = [record for record in self._left.values() if record.state == "finished" and not record.sure]
        alike: dict[tuple[Place, str], int] = {}
        for (place, digest, _), count in Counter((r.place, r.digest, r.attempt) for r in unsure).items():
            alike[place, digest] = max(count, alike.get((place, digest), 0))
        return alike

    def output(self, record: Record) -> Any:
        """The parsed JSON of what a call that finished returned.

        Raises:
            RecordUnreadable: it is not JSON.
        """
        try:
            return record.output
        except ValueError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: ValueError) -> RecordUnreadable:
        return unreadable(self._id, None, str(error)[:200])

    def put_back(self, record: Record) -> None:
        """The call that took it was broken off before it got a result or ran: it is the first to be taken again."""
        with self._lock:
            self._queue(record.place).put_back(record)
            self._note_inside(record)
            self._left[record.root] = record

    def settle(self, record: Record) -> list[Record]:
        """It was given back, and with it the calls that were made inside of it, which these are: nobody will make those
        again."""
        with self._lock:
            earlier = record.before
            while earlier is not None:
                earlier.made_good = True
                earlier = earlier.before
            settled = [record]
            for one in settled:  # which grows
                settled += self._inside.pop(one.root, {}).values()
            del settled[0]
            for within in settled:
                self._left.pop(within.root, None)
                self._queues.pop(within.place, None)
            return settled

    def unsettle(self, settled: Iterable[Record]) -> None:
        """What :meth:`settle` gave will be made again after all."""
        with self._lock:
            for record in settled:
                self._left[record.root] = record
                self._append(record)

    def left(self) -> list[Record]:
        """Those that no call has taken, nor one around them."""
        with self._lock:
            return list(self._left.values())

    def outermost(self) -> list[Record]:
        """Those of :meth:`left` that a resume would ask for: none inside a finished one, nor a try that a later one
        made good."""
        good: set[str] = set()
        for record in self.left():
            earlier = record.before if record.state == "finished" else None
            while earlier is not None:
                good.add(earlier.root)
                earlier = earlier.before
        return [r for r in self.left() if not (r.made_good or r.root in good or self._inside_finished(r))]

    def _inside_finished(self, record: Record) -> bool:
        around = self._left.get(record.place.parent or "")
        while around is not None:
            if around.state == "finished":
                return True
            around = self._left.get(around.place.parent or "")
        return False

    def unsafe_left(self, tool: str) -> Record | None:
        """A record of an unsafe call of this tool that may have happened, that no call has taken, that was not tried
        again with success, and that nobody has looked into."""
        with self._lock:
            unsafe = (r for r in self._left.values() if r.tool == tool and r.effect == Effect.UNSAFE)
            return next((r for r in unsafe if r.state != "undone" and not (r.resolved or r.made_good)), None)


async def refresh(backend: Backend, investigation_id: str, record: Record) -> None:
    """Read again what became of a call: since the log was read, it may have been resolved, or have ended late.

    Raises:
        BackendUnavailable: the store does not answer.
    """
    now = (await load(backend, investigation_id)).of(record.root)
    if now is not None and now.id == record.id:
        record.becomes(now)


async def load(backend: Backend, investigation_id: str) -> Recorded:
    """Read what earlier attempts recorded.

    Raises:
        BackendUnavailable: the store does not answer.
        RecordUnreadable: an event is not what the SDK writes.
    """
    reader = RecordReader(backend, investigation_id)
    await reader.read_on()
    return Recorded(investigation_id, reader.records())
