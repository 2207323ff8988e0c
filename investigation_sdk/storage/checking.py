"""Checking a log: whatever was done to it, what does not add up is named."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from investigation_sdk.domain.events import FORMAT_VERSION
from investigation_sdk.storage.chain import canonical_object, link
from investigation_sdk.storage.commit import GENESIS, StoredEvent

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
        except (AttributeError, TypeError, UnicodeError):  # no text any more
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
        elif head != self.head and head not in self._before:
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
