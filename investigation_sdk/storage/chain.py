"""The hash chain: how an event becomes bytes, and how anyone checks them.

The *header* is canonical JSON (RFC 8785: members sorted, no white space; only text, integers, booleans
and objects of such occur in it, under ASCII names) with these members; one whose value is null is left out:

``actor, at (µs), attempt, id, investigation, metadata, new_state, parent_call, previous_state, schema (version of
the type's data), sequence, tenant, type, v (version of this format)``

The hash of an event is ``SHA-256(hash of the event before ‖ len(header) ‖ header ‖ len(event_data) ‖ event_data)``,
both texts as UTF-8, lengths as 8 bytes big-endian; before the first event stand 32 zero bytes. Test vectors:
``tests/vectors/chain.json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from struct import Struct
from typing import Any, NamedTuple, cast

from investigation_sdk.domain.events import FORMAT_VERSION, Event
from investigation_sdk.storage.commit import GENESIS, StoredEvent

_length = Struct(">Q").pack
_sha256 = hashlib.sha256
_new: Any = cast("Any", tuple).__new__  # a third faster than calling a named tuple
_quote = json.encoder.encode_basestring  # RFC 8785 keeps non-ASCII characters as they are


def canonical_object(value: dict[str, Any]) -> str:
    """Canonical JSON of an object of text, integers, booleans and such objects."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def link(previous: bytes, header: str, event_data: str) -> bytes:
    """The hash of an event, 32 bytes, from that of the one before."""
    head = header.encode()
    data = event_data.encode()
    return _sha256(b"".join((previous, _length(len(head)), head, _length(len(data)), data))).digest()


def seal(investigation_id: str, tenant: str, event: Event, event_data: str, previous: bytes) -> StoredEvent:
    """An event as it is stored: header made, hash chained.

    Raises:
        UnicodeEncodeError: the actor or the data contain lone surrogates.
    """
    actor = event.actor
    metadata = old = new = None
    before = middle = of = ""
    if actor is not None:
        before = f'"actor":{_quote(actor)},'
    if event.metadata is not None:
        metadata = canonical_object(event.metadata)
        middle = f'"metadata":{metadata},'
    if event.new_state is not None:
        new = event.new_state._value_
        middle += f'"new_state":"{new}",'
    if event.parent_call is not None:
        middle += f'"parent_call":"{event.parent_call}",'
    if event.previous_state is not None:
        old = event.previous_state._value_
        middle += f'"previous_state":"{old}",'
    if tenant:
        of = f'"tenant":{_quote(tenant)},'
    id = event.id
    type = event.type
    at = event.at
    sequence = event.sequence
    header = (
        f'{{{before}"at":{at},"attempt":{event.attempt},"id":"{id}","investigation":"{investigation_id}",'
        f'{middle}"schema":{event.schema_version},"sequence":{sequence},{of}"type":"{type}","v":{FORMAT_VERSION}}}'
    )
    values = (
        investigation_id,
        sequence,
        id,
        type,
        at,
        actor,
        old,
        new,
        metadata,
        header,
        event_data,
        link(previous, header, event_data),
    )
    stored: StoredEvent = _new(StoredEvent, values)
    return stored


_COLUMNS = (
    ("investigation_id", "investigation"),
    ("sequence", "sequence"),
    ("id", "id"),
    ("event_type", "type"),
    ("event_timestamp", "at"),
    ("actor", "actor"),
    ("previous_state", "previous_state"),
    ("new_state", "new_state"),
)


class ChainProblem(NamedTuple):
    """One thing that does not add up. `kind`: changed, column, missing, inserted, order, header, truncated, head."""

    sequence: int | None
    kind: str
    message: str


class Checker:
    """Checks one investigation's events as they are read, in the order of their sequence.

    After a problem with the chain it goes on from what is stored, so that each place is named once. Nothing that
    can stand in a store makes it raise.
    """

    def __init__(self, investigation_id: str) -> None:
        self.investigation_id = investigation_id
        self.problems: list[ChainProblem] = []
        self.head: bytes = GENESIS
        self.sequence: int = 0
        self.checked: int = 0
        self._at = 0
        self._before: tuple[bytes, ...] = (GENESIS,)
        """What the next event may follow: one hash, or several where it is not known which is the true one."""

    def _problem(self, sequence: int | None, kind: str, message: str) -> None:
        self.problems.append(ChainProblem(sequence, kind, message))

    def add(self, events: Iterable[StoredEvent]) -> None:
        """Check the next events."""
        for event in events:
            self._one(event)

    def _one(self, event: StoredEvent) -> None:
        self.checked += 1
        expected = self.sequence + 1
        sequence: Any = event.sequence
        if type(sequence) is not int:
            self._problem(expected, "column", f"column sequence of event {expected} is no number: {sequence!r}")
            sequence = expected
        try:
            computed = [link(before, event.header, event.event_data) for before in self._before]
        except (AttributeError, UnicodeError):  # no text any more
            computed = []
        if sequence == expected:
            self._follow(event, computed)
        elif sequence > expected:
            last = sequence - 1
            gone = f"event {expected} is" if last == expected else f"events {expected} to {last} are"
            self._problem(expected, "missing", f"{gone} missing before event {sequence} ({event.event_type})")
            self._before = _hashes(event.hash)
        elif sequence == self.sequence:
            self._problem(sequence, "inserted", f"a second event {sequence} ({event.event_type}) is there")
            self._before = _hashes(*self._before, event.hash)
        else:
            self._problem(sequence, "order", f"event {sequence} ({event.event_type}) is behind event {expected - 1}")
        if sequence >= expected:
            self.head = next(iter(_hashes(event.hash)), self.head)
            self.sequence = sequence
        self._columns(event, sequence)

    def _follow(self, event: StoredEvent, computed: list[bytes]) -> None:
        if event.hash in computed:
            self._before = (event.hash,)
            return
        self._problem(
            event.sequence,
            "changed",
            f"event {event.sequence} ({event.event_type}) or the one before it was changed, inserted or moved: "
            "its hash does not follow from its content and the hash before it",
        )
        self._before = _hashes(event.hash, *computed)

    def _columns(self, event: StoredEvent, sequence: int) -> None:
        header = _object(event.header)
        if header is None:
            self._problem(sequence, "header", f"the header of event {sequence} is not a JSON object")
            return
        version = header.get("v")
        if type(version) is int and version > FORMAT_VERSION:
            self._problem(
                sequence,
                "header",
                f"event {sequence} is of format {version}, and this version of the SDK knows formats up to "
                f"{FORMAT_VERSION}: it cannot check it; upgrade investigation-sdk",
            )
            return
        for column, member in _COLUMNS:
            stored, stated = getattr(event, column), header.get(member)
            if stored != stated:
                self._problem(
                    sequence,
                    "order" if column == "sequence" else "column",
                    f"column {column} of event {sequence} says {stored!r}, its header says {stated!r}",
                )
        if event.metadata != _metadata(header):
            self._problem(sequence, "column", f"column metadata of event {sequence} disagrees with its header")
        if event.investigation_id != self.investigation_id:
            self._problem(sequence, "inserted", f"event {sequence} is of investigation {event.investigation_id!r}")
        at = header.get("at")
        if type(at) is int:
            if at < self._at:
                self._problem(sequence, "order", f"event {sequence} is earlier than the event before it")
            self._at = max(self._at, at)

    def finish(self, version: int, head: bytes) -> list[ChainProblem]:
        """Compare the end with the version and head that the investigation's row states; all problems, in order."""
        if self.sequence < version:
            self._problem(
                self.sequence + 1,
                "truncated",
                f"the log ends with event {self.sequence}, the investigation's row says that there are {version}",
            )
        elif self.sequence > version:
            self._problem(
                version + 1,
                "inserted",
                f"the log has {self.sequence} events, the investigation's row says that there are {version}",
            )
        elif head not in (self.head, *self._before):
            self._problem(None, "head", "the hash of the last event is not the one that the investigation's row states")
        return sorted(self.problems, key=lambda p: (p.sequence is None, p.sequence or 0))


def _hashes(*hashes: Any) -> tuple[bytes, ...]:
    return tuple(h for h in hashes if type(h) is bytes)[:8]


def _object(header: Any) -> dict[str, Any] | None:
    try:
        value: Any = json.loads(header)
    except (ValueError, TypeError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if type(value) is dict else None


def _metadata(header: dict[str, Any]) -> str | None:
    metadata = header.get("metadata")
    try:
        return None if metadata is None else canonical_object(metadata)
    except (ValueError, RecursionError):
        return ""
