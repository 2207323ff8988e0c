"""The data of the memory store, and everything that changes it. Whoever calls holds the store's lock."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, Row, SnapshotRow, ToolRow
from investigation_sdk.native import not_native
from investigation_sdk.storage.commit import APPLIED, CONFLICT, Commit, CommitResult, CommitStatus, Lease

from .checks import refuse_id

_Key = tuple[str, str, str, int]

_Plain = tuple[Any, ...]
"""A StoredEvent or a ToolRow, of which there are many, as a tuple that is of no subclass: the garbage collector
looks at those once, and at a named tuple again and again for as long as it is kept."""


class _File:
    """Everything of one investigation."""

    __slots__ = ("blobs", "events", "phases", "row", "snapshots", "tools")

    def __init__(self, row: InvestigationRow) -> None:
        self.row: InvestigationRow = row
        self.events: list[_Plain] = []
        self.phases: dict[str, PhaseRow] = {}
        self.tools: dict[str, _Plain] = {}
        self.snapshots: dict[str, SnapshotRow] = {}
        self.blobs: dict[str, bytes] = {}


@not_native  # there are weak references to it
class MemoryStore:
    """The data, which any number of handles in one process may share."""

    def __init__(self) -> None:
        # reentrant: a finalizer may record something on a thread that is just committing something else
        self.lock: threading.RLock = threading.RLock()
        self.files: dict[str, _File] = {}
        self.phases: dict[str, PhaseRow] = {}
        self.tools: dict[str, _Plain] = {}
        self.snapshots: dict[str, SnapshotRow] = {}
        self.keys: dict[_Key, str] = {}
        self.children: dict[str, set[str]] = {}
        self.tombstones: dict[str, tuple[int, int]] = {}
        self.leases: dict[str, Lease] = {}
        _stores.add(self)

    def rows(self, kind: str) -> Iterable[Row | SnapshotRow]:
        """A copy of all rows of a kind."""
        with self.lock:
            if kind == "investigation":
                return [file.row for file in self.files.values()]
            return _named(kind, getattr(self, f"{kind}s").values())

    def rows_of(self, kind: str, investigation_id: str) -> Iterable[Row | SnapshotRow]:
        """A copy of the rows of a kind that belong to one investigation."""
        with self.lock:
            file = self.files.get(investigation_id)
            if file is None or kind == "investigation":
                return []
            return _named(kind, getattr(file, f"{kind}s").values())

    def one(self, kind: str, id: str) -> Row | SnapshotRow | None:
        """A row by id, or None."""
        with self.lock:
            if kind == "investigation":
                file = self.files.get(id)
                return None if file is None else file.row
            found = getattr(self, f"{kind}s").get(id)
            return None if found is None else _named(kind, (found,))[0]


def _named(kind: str, rows: Iterable[Any]) -> list[Row | SnapshotRow]:
    return list(map(ToolRow._make, rows)) if kind == "tool" else list(rows)


_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in _stores:
        store.lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


def now() -> int:
    """What the store holds the time to be, µs."""
    return time.time_ns() // 1000


def write(store: MemoryStore, commit: Commit) -> CommitResult:
    """Write one commit, or say why not."""
    file = store.files.get(commit.investigation_id)
    if file is None:
        return _create(store, commit)
    row = file.row
    if row.version != commit.expected_version or row.head != commit.expected_head:
        return CONFLICT
    try:
        _apply(store, file, commit)
    except BaseException:  # a signal's exception may arrive anywhere: finish, so that nothing is half done
        _apply(store, file, commit)
        raise
    return APPLIED


def _create(store: MemoryStore, commit: Commit) -> CommitResult:
    id = commit.investigation_id
    if commit.expected_version or id in store.tombstones:
        return CONFLICT
    if (refusal := refuse_id(id, now())) is not None:
        return refusal
    row = commit.rows[0]
    assert isinstance(row, InvestigationRow)
    parent = row.parent_investigation_id
    if parent is not None and parent not in store.files:
        return CommitResult(CommitStatus.CONSTRAINT, None, f"parent investigation {parent} is not there")
    key = _key(row)
    if key is not None and (existing := store.keys.get(key)) is not None:
        return CommitResult(CommitStatus.CONSTRAINT, existing, f"the key {row.key!r} is taken")
    try:
        _put_new(store, row, commit)
    except BaseException:
        _put_new(store, row, commit)
        raise
    return APPLIED


def _put_new(store: MemoryStore, row: InvestigationRow, commit: Commit) -> None:
    file = _File(row)
    _apply(store, file, commit)
    key = _key(row)
    if key is not None:
        store.keys[key] = row.id
    if row.parent_investigation_id is not None:
        store.children.setdefault(row.parent_investigation_id, set()).add(row.id)
    store.files[row.id] = file
    if commit.lease is not None:
        take(store, commit.lease.resource, commit.lease.owner, now() + commit.lease.expires_at)


def _apply(store: MemoryStore, file: _File, commit: Commit) -> None:
    events = file.events
    if len(events) > commit.expected_version:  # only after an exception in the middle
        del events[commit.expected_version :]
    events += map(tuple, commit.events)
    for row in commit.rows:
        kind = row.__class__
        if kind is ToolRow:
            id = row[0]
            store.tools[id] = file.tools[id] = tuple(row)
        elif kind is PhaseRow:
            store.phases[row.id] = file.phases[row.id] = row  # type: ignore[assignment]
        else:
            _put_head(store, file, row)  # type: ignore[arg-type]
    for blob in commit.blobs:
        file.blobs.setdefault(blob.digest, blob.data)
    snapshot = commit.snapshot
    if snapshot is not None:
        for old in [one.id for one in file.snapshots.values() if one.sequence < commit.snapshots_from]:
            del store.snapshots[old], file.snapshots[old]
        store.snapshots[snapshot.id] = file.snapshots[snapshot.id] = snapshot


def _put_head(store: MemoryStore, file: _File, row: InvestigationRow) -> None:
    parent = row.parent_investigation_id
    if parent is not None and parent not in store.files:
        row = row._replace(parent_investigation_id=None)
    file.row = row


def put(store: MemoryStore, file: _File, row: Row) -> None:
    """Write one row that was made again, unless the stored one is newer."""
    if isinstance(row, InvestigationRow):
        if file.row.version <= row.version:
            _put_head(store, file, row)
    elif isinstance(row, PhaseRow):
        phase = file.phases.get(row.id)
        if phase is None or phase.sequence <= row.sequence:
            store.phases[row.id] = file.phases[row.id] = row
    else:
        tool = file.tools.get(row.id)
        if tool is None or ToolRow._make(tool).sequence <= row.sequence:
            store.tools[row.id] = file.tools[row.id] = tuple(row)


def _key(row: InvestigationRow) -> _Key | None:
    return None if row.key is None else (row.tenant_id, row.investigation_type, row.key, row.generation)


def version(store: MemoryStore, resource: str) -> int | None:
    """How long the log is whose lease is `resource`; None where there is none."""
    file = store.files.get(resource)
    return None if file is None else file.row.version


def take(store: MemoryStore, resource: str, owner: str, until: int) -> Lease:
    """Give `owner` the lease, until then (µs)."""
    lease = Lease(resource, owner, until)
    store.leases[resource] = lease
    return lease._replace(version=version(store, resource))


def holds(store: MemoryStore, lease: Lease) -> bool:
    """Whether the lease is still its owner's."""
    held = store.leases.get(lease.resource)
    return held is not None and held.owner == lease.owner


def delete(store: MemoryStore, id: str, version: int) -> bool:
    """Delete an investigation whose log is so long; whether there was one."""
    file = store.files.get(id)
    if file is None or file.row.version != version:
        return False
    store.tombstones[id] = (version, now())
    for mine, everybodys in (
        (file.phases, store.phases),
        (file.tools, store.tools),
        (file.snapshots, store.snapshots),
    ):
        forget: Callable[[str], object] = everybodys.pop
        for row_id in mine:
            forget(row_id)
    if (key := _key(file.row)) is not None:
        store.keys.pop(key, None)
    del store.files[id]
    store.leases.pop(id, None)
    for child in store.children.pop(id, ()):
        if (orphan := store.files.get(child)) is not None:
            _put_head(store, orphan, orphan.row)
    return True
