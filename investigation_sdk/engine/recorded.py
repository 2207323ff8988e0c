"""Recorded results: what earlier attempts did, laid out so that a resumed investigation finds each call again.

The code of the user is not replayed. It runs again, and each of its calls takes, from the calls that the log has
under the same place, tool, version and arguments, the first that is left.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from pydantic_core import from_json

from investigation_sdk.domain.events import SCHEMA_VERSIONS
from investigation_sdk.domain.states import Effect
from investigation_sdk.domain.upcast import upcast
from investigation_sdk.engine.sound import readable
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.codec import digest_of, digest_of_text
from investigation_sdk.storage.commit import StoredEvent
from investigation_sdk.storage.spelling import to_json

State = Literal["finished", "raised", "undone", "open"]
"""What is known of a call: it ended well; it raised; it had no effect, for certain; it began, and then nothing."""

_TYPES: Final = ("tool.started", "tool.completed", "tool.failed", "tool.interrupted", "tool.resolved")
_AS_TODAY: Final = {type: f'"schema":{SCHEMA_VERSIONS[type]},' for type in _TYPES if type != "tool.started"}
"""What a header without metadata says where the event's data are of today's schema. In a string, quotes are escaped."""
_PAGE: Final = 1000
FEW: Final = 200
"""A page of them is short: where there is hardly anything to be read."""
_SHOWN: Final = "{"
_NONE: Final[Mapping[bytes, str]] = MappingProxyType({})


class Key(NamedTuple):
    """What two calls must have in common to be the same."""

    parent: str | None
    """The first record of the call around."""
    phase: str | None
    tool: str
    version: str | None
    digest: str
    """Of its arguments; or the arguments as they are shown, where they cannot be compared."""

    @property
    def sure(self) -> bool:
        """Whether two calls that have it in common are the same."""
        return not self.digest.startswith(_SHOWN)


class Record:
    """One call, in all attempts that made it.

    Attributes:
        root: Id of its first record, which is also its idempotency key.
        id: Of its last record.
        parent: The root of the call that it was made in.
        output: With state `finished`, the parsed JSON of what it returned.
        plain: That is what it returned: no part of it is tagged.
        error: With state `raised`, what it raised, as recorded.
        resolved: Somebody, or a ``reconcile`` function, has said what became of it.
        before: The same call, made and raised before this one began: this one tried again.
        made_good: A later try of it was given back.
    """

    __slots__ = (
        "attempt",
        "before",
        "effect",
        "error",
        "id",
        "key",
        "made_good",
        "output",
        "parent",
        "plain",
        "resolved",
        "root",
        "state",
        "tool",
    )

    def __init__(
        self, root: str, id: str, parent: str | None, tool: str, effect: str | None, attempt: int, key: Key
    ) -> None:
        self.root: str = root
        self.id: str = id
        self.parent: str | None = parent
        self.tool: str = tool
        self.effect: str | None = effect
        self.attempt: int = attempt
        self.key: Key = key
        self.state: State = "open"
        self.output: Any = None
        self.plain: bool = False
        self.error: dict[str, Any] | None = None
        self.resolved: bool = False
        self.before: Record | None = None
        self.made_good: bool = False


class Recorded:
    """The records of one investigation that no call has taken yet. Safe to use from any thread."""

    def __init__(self, records: Iterable[Record], digests: Mapping[bytes, str] = _NONE) -> None:
        self._lock = threading.Lock()
        self._digests = digests
        self._queues: dict[Key, deque[Record]] = {}
        self._left = {record.root: record for record in records}
        self._inside: dict[str, list[Record]] = {}
        for record in sorted(self._left.values(), key=_rank):  # stable: each in the log's order
            self._queues.setdefault(record.key, deque()).append(record)
            if record.parent is not None:
                self._inside.setdefault(record.parent, []).append(record)

    def __len__(self) -> int:
        return len(self._left)

    def of(self, root: str) -> Record | None:
        """The record of that root, where no call has taken it."""
        return self._left.get(root)

    def comparable(self, given: str, digest: str | None) -> str:
        """As :func:`comparable`, which need not be worked out where a recorded call was given the very same text."""
        return digest or self._digests.get(_hash(given.encode())) or comparable(given, None)

    def take(self, key: Key) -> Record | None:
        """The first record that is left of the same call: finished ones, then those in doubt, then the others.

        Where nobody can tell whether it is the same, the first that somebody has looked into.
        """
        with self._lock:
            queue = self._queues.get(key)
            if not queue:
                return None
            record = queue[0] if key.sure else next((record for record in queue if record.resolved), None)
            if record is None:
                return None
            queue.remove(record)
            del self._left[record.root]
            return record

    def put_back(self, record: Record) -> None:
        """The call that took it was broken off before it got a result or ran: it is the first to be taken again."""
        with self._lock:
            self._queues.setdefault(record.key, deque()).appendleft(record)
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
                settled += self._inside.pop(one.root, ())
            del settled[0]
            for within in settled:
                self._left.pop(within.root, None)
                self._queues.pop(within.key, None)
            return settled

    def unsettle(self, settled: Iterable[Record]) -> None:
        """What :meth:`settle` gave will be made again after all."""
        with self._lock:
            for record in settled:
                self._left[record.root] = record
                self._queues.setdefault(record.key, deque()).append(record)
                if record.parent is not None:
                    self._inside.setdefault(record.parent, []).append(record)

    def left(self) -> list[Record]:
        """Those that no call has taken, nor one around them."""
        with self._lock:
            return list(self._left.values())

    def outermost(self) -> list[Record]:
        """Those that a resume would ask for: not those inside a finished one, nor a try that a later one made good."""
        good: set[str] = set()
        for record in self.left():
            earlier = record.before if record.state == "finished" else None
            while earlier is not None:
                good.add(earlier.root)
                earlier = earlier.before
        return [r for r in self.left() if r.root not in good and not self._inside_finished(r)]

    def _inside_finished(self, record: Record) -> bool:
        around = self._left.get(record.parent) if record.parent else None
        while around is not None:
            if around.state == "finished":
                return True
            around = self._left.get(around.parent) if around.parent else None
        return False

    def unsafe_left(self, tool: str) -> Record | None:
        """A record of an unsafe call of this tool that may have happened, that no call has taken, that was not tried
        again with success, and that nobody has looked into."""
        with self._lock:
            unsafe = (r for r in self._left.values() if r.tool == tool and r.effect == Effect.UNSAFE)
            return next((r for r in unsafe if r.state != "undone" and not (r.resolved or r.made_good)), None)


def _hash(text: bytes) -> bytes:
    return sha256(text).digest()


def _rank(record: Record) -> int:
    """What is in doubt comes before what was not done, of which it may be a later try."""
    return {"finished": 0, "undone": 2}.get(record.state, 1)


def comparable(given: str, digest: str | None) -> str:
    """What two calls that are the same have in common of their arguments, from what is recorded of them."""
    if digest is not None:
        return digest
    try:
        return digest_of(given)
    except ValueError:  # a part of them is masked, or was too large
        return f"{_SHOWN}{to_json(from_json(given)).decode()}"


async def refresh(backend: Backend, investigation_id: str, record: Record) -> None:
    """Read again what became of a call: since the log was read, it may have been resolved, or have ended late.

    Raises:
        BackendUnavailable: the store does not answer.
    """
    now = (await load(backend, investigation_id)).of(record.root)
    if now is not None and now.id == record.id:
        record.state, record.output, record.plain = now.state, now.output, now.plain
        record.error, record.resolved = now.error, now.resolved


async def load(backend: Backend, investigation_id: str) -> Recorded:
    """Read what earlier attempts recorded.

    Raises:
        BackendUnavailable: the store does not answer.
        RecordUnreadable: an event is not what the SDK writes.
    """
    reader = RecordReader(backend, investigation_id)
    await reader.read_on()
    return reader.recorded()


_GIVEN: Final = ("executed", "cached")
"""Sources of what a call gave to the block; the rest was reported from elsewhere."""


class RecordReader:
    """Reads the events of calls, and puts them together. A log only grows: what was read need not be read again.

    Args:
        backend: Where they are.
        investigation_id: Whose.
        count_to: Count the calls of each tool up to this event.

    Attributes:
        counts: How often each tool was called, until then.
    """

    def __init__(self, backend: Backend, investigation_id: str, *, count_to: int = 0) -> None:
        self.counts: Counter[str] = Counter()
        self._backend = backend
        self._id = investigation_id
        self._count_to = count_to
        self._after = 0
        self._records: dict[str, Record] = {}
        self._roots: dict[str, str] = {}
        self._raised: dict[Key, Record] = {}
        self._digests: dict[bytes, str] = {}

    async def read_on(self, page_size: int = _PAGE) -> None:
        """Read what is behind what was read.

        Raises:
            BackendUnavailable: the store does not answer.
            RecordUnreadable: an event is not what the SDK writes.
        """
        while True:
            page = await self._backend.read_events(self._id, after=self._after, limit=page_size, event_type=_TYPES)
            with readable(self._id) as at:
                for stored in page:
                    at.sequence = stored.sequence
                    self._add(stored)
            if page:
                self._after = page[-1].sequence
            if len(page) < page_size:
                return

    def recorded(self) -> Recorded:
        """What was read so far."""
        return Recorded(self._records.values(), self._digests)

    def _add(self, stored: StoredEvent) -> None:
        tagged = '"$type"' in stored.event_data
        data: dict[str, Any] = from_json(stored.event_data)
        today = _AS_TODAY.get(stored.event_type)
        if today is not None and stored.metadata is None and today in stored.header:  # of the header, no more is needed
            self._closed(stored.event_type, data, plain=not tagged)
            return
        header: dict[str, Any] = from_json(stored.header)
        data = upcast(stored.event_type, header["schema"], data)
        if stored.event_type == "tool.started":
            if stored.sequence <= self._count_to:
                self.counts[data["tool"]] += 1
            if data.get("source", "executed") in _GIVEN:
                self._started(header, data, tagged=tagged)
        else:
            self._closed(stored.event_type, data, plain=not tagged)

    def _comparable(self, given: Any, *, tagged: bool) -> str:
        text = to_json(given)
        if tagged:
            return comparable(text.decode(), None)
        hashed, digest = digest_of_text(text, given)
        self._digests[hashed] = digest
        return digest

    def _started(self, header: dict[str, Any], data: dict[str, Any], *, tagged: bool) -> None:
        id: str = header["id"]
        root: str = data.get("again", id)
        self._roots[id] = root
        parent: str | None = header.get("parent_call")
        digest = data.get("digest") or self._comparable(data.get("input"), tagged=tagged)
        around = None if parent is None else self._roots.get(parent, parent)
        key = Key(around, data.get("phase"), data["tool"], data.get("version"), digest)
        # A later record of the same call takes the place of the one before, which it made good.
        record = Record(root, id, around, data["tool"], data.get("effect"), header["attempt"], key)
        known = self._records.get(root)
        record.before = self._raised.pop(key, None) if known is None else known.before
        self._records[root] = record

    def _closed(self, event_type: str, data: dict[str, Any], *, plain: bool) -> None:
        record = self._records.get(self._roots.get(data["call"], ""))
        if record is None or record.id != data["call"]:
            return
        record.plain = plain
        if event_type == "tool.completed":
            record.state, record.output = "finished", data.get("output")
        elif event_type == "tool.failed":
            record.state, record.error = "undone" if data.get("no_effect") else "raised", data.get("error")
            if record.state == "raised" and record.key.sure:
                self._raised[record.key] = record
        elif event_type == "tool.interrupted":
            record.state = "undone" if data.get("kind") == "not_started" else "open"
        else:
            record.resolved = True
            record.state = "undone"
            if data.get("outcome") == "succeeded":
                record.state, record.output = "finished", data.get("output")
