"""Recorded results: what earlier attempts did, laid out so that a resumed investigation finds each call again.

The code of the user is not replayed. It runs again, and each of its calls takes, from the calls that the log has
under the same place, tool, version and arguments, the first that is left.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

from pydantic_core import from_json

from investigation_sdk.domain.states import Effect
from investigation_sdk.domain.upcast import upcast
from investigation_sdk.engine.sound import readable
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.codec import digest_of
from investigation_sdk.storage.commit import StoredEvent
from investigation_sdk.storage.spelling import to_json

State = Literal["finished", "raised", "undone", "open"]
"""What is known of a call: it ended well; it raised; it had no effect, for certain; it began, and then nothing."""

_TYPES: Final = ("tool.started", "tool.completed", "tool.failed", "tool.interrupted", "tool.resolved")
_PAGE: Final = 1000


class Key(NamedTuple):
    """What two calls must have in common to be the same."""

    parent: str | None
    """The first record of the call around."""
    phase: str | None
    tool: str
    version: str | None
    digest: str


class Record:
    """One call, in all attempts that made it.

    Attributes:
        root: Id of its first record, which is also its idempotency key.
        id: Of its last record.
        output: With state `finished`, the parsed JSON of what it returned.
        plain: That is what it returned: no part of it is tagged.
        error: With state `raised`, what it raised, as recorded.
        resolved: Somebody, or a ``reconcile`` function, has said what became of it.
    """

    __slots__ = (
        "attempt",
        "effect",
        "error",
        "id",
        "key",
        "output",
        "plain",
        "resolved",
        "root",
        "state",
        "taken",
        "tool",
    )

    def __init__(self, root: str, id: str, tool: str, effect: str | None, attempt: int, key: Key | None) -> None:
        self.root: str = root
        self.id: str = id
        self.tool: str = tool
        self.effect: str | None = effect
        self.attempt: int = attempt
        self.key: Key | None = key
        self.state: State = "open"
        self.output: Any = None
        self.plain = False
        self.error: dict[str, Any] | None = None
        self.resolved: bool = False
        self.taken: bool = False


class Recorded:
    """The records of one investigation that no call has taken yet. Safe to use from any thread."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._lock = threading.Lock()
        self._queues: dict[Key, deque[Record]] = {}
        self._all = list(records)
        ordered = sorted(self._all, key=lambda record: record.state != "finished")  # stable: each in the log's order
        for record in ordered:
            if record.key is not None:
                self._queues.setdefault(record.key, deque()).append(record)

    def __len__(self) -> int:
        return len(self._all)

    def take(self, key: Key) -> Record | None:
        """The first record that is left of the same call, finished ones before others."""
        with self._lock:
            queue = self._queues.get(key)
            if not queue:
                return None
            record = queue.popleft()
            record.taken = True
            return record

    def left(self) -> Iterator[Record]:
        """Those that no call has taken, in the order of the log."""
        return (record for record in self._all if not record.taken)

    def unsafe_left(self, tool: str) -> Record | None:
        """A record of an unsafe call of this tool that may have happened, that no call has taken, and that nobody
        has looked into."""
        unsafe = (r for r in self.left() if r.tool == tool and r.effect == Effect.UNSAFE)
        return next((r for r in unsafe if r.state != "undone" and not r.resolved), None)


def comparable(given: str, digest: str | None) -> str | None:
    """The digest of a call's arguments, from what is recorded of them; None where they cannot be compared."""
    if digest is not None:
        return digest
    try:
        return digest_of(given)
    except ValueError:  # a part of them is masked, or was too large
        return None


async def load(backend: Backend, investigation_id: str) -> Recorded:
    """Read what earlier attempts recorded.

    Raises:
        BackendUnavailable: the store does not answer.
        RecordUnreadable: an event is not what the SDK writes.
    """
    reader = _Reader()
    after = 0
    while True:
        page = await backend.read_events(investigation_id, after=after, limit=_PAGE, event_type=_TYPES)
        for stored in page:
            with readable(investigation_id, stored.sequence):
                reader.add(stored)
        if len(page) < _PAGE:
            return Recorded(reader.records.values())
        after = page[-1].sequence


class _Reader:
    """Puts the events of calls together."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self._roots: dict[str, str] = {}

    def add(self, stored: StoredEvent) -> None:
        header: dict[str, Any] = from_json(stored.header)
        data: dict[str, Any] = upcast(stored.event_type, header["schema"], from_json(stored.event_data))
        if stored.event_type == "tool.started":
            if data.get("source", "executed") == "executed":
                self._started(header, data)
        else:
            self._closed(stored.event_type, data, plain='"$type"' not in stored.event_data)

    def _started(self, header: dict[str, Any], data: dict[str, Any]) -> None:
        id: str = header["id"]
        root: str = data.get("again", id)
        self._roots[id] = root
        parent: str | None = header.get("parent_call")
        digest = comparable(to_json(data.get("input")).decode(), data.get("digest"))
        key = None
        if digest is not None:
            around = None if parent is None else self._roots.get(parent, parent)
            key = Key(around, data.get("phase"), data["tool"], data.get("version"), digest)
        # A later record of the same call takes the place of the one before, which it made good.
        self.records[root] = Record(root, id, data["tool"], data.get("effect"), header["attempt"], key)

    def _closed(self, event_type: str, data: dict[str, Any], *, plain: bool) -> None:
        record = self.records.get(self._roots.get(data["call"], ""))
        if record is None or record.id != data["call"]:
            return
        record.plain = plain
        if event_type == "tool.completed":
            record.state, record.output = "finished", data.get("output")
        elif event_type == "tool.failed":
            record.state, record.error = "undone" if data.get("no_effect") else "raised", data.get("error")
        elif event_type == "tool.interrupted":
            record.state = "undone" if data.get("kind") == "not_started" else "open"
        else:
            record.resolved = True
            record.state = "undone"
            if data.get("outcome") == "succeeded":
                record.state, record.output = "finished", data.get("output")
