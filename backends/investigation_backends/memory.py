"""The store in memory: for tests, and for runs whose record may end with the process."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Final, Self, cast

from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, Row, SnapshotRow, ToolRow
from investigation_sdk.errors import ConfigurationError
from investigation_sdk.storage.commit import (
    APPLIED,
    CONFLICT,
    Advance,
    Aggregate,
    Commit,
    CommitResult,
    CommitStatus,
    Kind,
    Lease,
    Query,
    StoredEvent,
    Wanted,
    chunks,
)

from . import memory_queries
from .checks import check_aggregate, check_batch, check_query, refuse_id

_Key = tuple[str, str, str, int]

_Plain = tuple[Any, ...]
"""A StoredEvent or a ToolRow, of which there are many, as a tuple that is of no subclass: the garbage collector
looks at those once, and at a named tuple again and again for as long as it is kept."""


class _File:
    """Everything of one investigation."""

    __slots__ = ("blobs", "events", "phases", "row", "snapshots", "tools")

    def __init__(self, row: InvestigationRow) -> None:
        self.row = row
        self.events: list[_Plain] = []
        self.phases: dict[str, PhaseRow] = {}
        self.tools: dict[str, _Plain] = {}
        self.snapshots: dict[str, SnapshotRow] = {}
        self.blobs: dict[str, bytes] = {}


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


_TYPE: Final = StoredEvent._fields.index("event_type")

_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in _stores:
        store.lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


class MemoryBackend:
    """Investigations in memory.

    Made without `writer` it is an :class:`InlineMemoryBackend`, which commits on the caller's thread. With it,
    commits take the way through the writer's thread as they do for every database.

    Args:
        writer: Take that way.
        store: Share the data of another handle: ``MemoryBackend(store=other.store)``.
    """

    def __new__(cls, *, writer: bool = False, store: MemoryStore | None = None) -> Self:  # noqa: ARG004
        """An inline one unless `writer` is set."""
        return cast("Self", object.__new__(InlineMemoryBackend if cls is MemoryBackend and not writer else cls))

    def __init__(self, *, writer: bool = False, store: MemoryStore | None = None) -> None:
        self.store: MemoryStore = MemoryStore() if store is None else store

    @classmethod
    def from_url(cls, url: str, *, writer: bool = False) -> MemoryBackend:
        """For ``memory://`` and ``memory://?writer=true``: each URL makes a store of its own.

        Raises:
            ConfigurationError: the URL names a host or a path.
        """
        if url.partition("://")[2].strip("/"):
            raise ConfigurationError("memory:// takes neither host nor path: each SDK has a store of its own")
        return cls(writer=writer)

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do: the data lives as long as :attr:`store`."""

    async def commit(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        """See :meth:`investigation_sdk.storage.backend.Backend.commit`."""
        check_batch(commits)
        store = self.store
        with store.lock:
            return [_commit(store, commit) for commit in commits]

    async def read_events(
        self,
        investigation_id: str,
        *,
        after: int = 0,
        limit: int = 1000,
        event_type: Sequence[str] | None = None,
        reverse: bool = False,
    ) -> Sequence[StoredEvent]:
        """See :meth:`investigation_sdk.storage.backend.Backend.read_events`."""
        with self.store.lock:
            file = self.store.files.get(investigation_id)
            if file is None:
                return []
            # the event of sequence n stands at n - 1
            if reverse:
                last = min(after - 1, len(file.events)) if after else len(file.events)
                first = 0 if event_type is not None else max(0, last - limit)
                events = file.events[first:last][::-1]
            else:
                events = file.events[after:] if event_type is not None else file.events[after : after + limit]
        if event_type is not None:
            wanted = frozenset(event_type)
            events = [event for event in events if event[_TYPE] in wanted]
        return [StoredEvent._make(event) for event in events[: max(0, limit)]]

    async def read_snapshot(self, investigation_id: str) -> SnapshotRow | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.read_snapshot`."""
        with self.store.lock:
            file = self.store.files.get(investigation_id)
            found = [] if file is None else list(file.snapshots.values())
        return max(found, key=lambda snapshot: snapshot.sequence, default=None)

    async def read_blob(self, investigation_id: str, digest: str) -> AsyncIterator[bytes]:
        """See :meth:`investigation_sdk.storage.backend.Backend.read_blob`."""
        with self.store.lock:
            file = self.store.files.get(investigation_id)
            data = None if file is None else file.blobs.get(digest)
        for chunk in () if data is None else chunks(data):
            yield chunk

    async def get(self, kind: Kind, id: str) -> Row | SnapshotRow | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.get`."""
        return self.store.one(kind, id)

    async def find(self, query: Query) -> Sequence[Row | SnapshotRow]:
        """See :meth:`investigation_sdk.storage.backend.Backend.find`."""
        check_query(query)
        return memory_queries.page(query, memory_queries.candidates(self.store, query.kind, query.where))

    async def aggregate(self, aggregate: Aggregate) -> Sequence[tuple[Any, ...]]:
        """See :meth:`investigation_sdk.storage.backend.Backend.aggregate`."""
        check_aggregate(aggregate)
        rows = memory_queries.candidates(self.store, aggregate.kind, aggregate.where)
        return memory_queries.figures(aggregate, rows)

    async def put_rows(self, rows: Sequence[Row]) -> None:
        """See :meth:`investigation_sdk.storage.backend.Backend.put_rows`."""
        store = self.store
        with store.lock:
            for row in rows:
                file = store.files.get(row.id if isinstance(row, InvestigationRow) else row.investigation_id)
                if file is not None:
                    _put(store, file, row)

    async def advance(self, advances: Sequence[Advance]) -> None:
        """See :meth:`investigation_sdk.storage.backend.AdvancingBackend.advance`."""
        store = self.store
        with store.lock:
            for kind, id, attempt, percent in advances:
                row = store.one(kind, id)
                if isinstance(row, InvestigationRow | PhaseRow) and (
                    row.attempt == attempt and row.progress_percentage < percent
                ):
                    file = store.files[id if isinstance(row, InvestigationRow) else row.investigation_id]
                    _put(store, file, row._replace(progress_percentage=percent))

    async def claim(self, resource: str, owner: str, *, ttl: int) -> Lease | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.claim`."""
        store = self.store
        with store.lock:
            now = _now()
            held = store.leases.get(resource)
            if held is not None and held.owner != owner and held.expires_at > now:
                return None
            return _take(store, resource, owner, now + ttl)

    async def claim_next(self, wanted: Wanted, owners: Sequence[str], *, ttl: int) -> Sequence[Lease]:
        """See :meth:`investigation_sdk.storage.backend.Backend.claim_next`."""
        store = self.store
        with store.lock:
            now = _now()
            queue = memory_queries.queue((file.row for file in store.files.values()), store.leases, wanted, now)
            return [_take(store, row.id, owner, now + ttl) for row, owner in zip(queue, owners, strict=False)]

    async def holder(self, resource: str) -> Lease | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.holder`."""
        with self.store.lock:
            held = self.store.leases.get(resource)
            return None if held is None else held._replace(version=_version(self.store, resource))

    async def renew(self, leases: Sequence[Lease], *, ttl: int) -> Sequence[Lease | None]:
        """See :meth:`investigation_sdk.storage.backend.Backend.renew`."""
        store = self.store
        with store.lock:
            until = _now() + ttl
            return [
                _take(store, lease.resource, lease.owner, until) if _holds(store, lease) else None for lease in leases
            ]

    async def release(self, lease: Lease) -> bool:
        """See :meth:`investigation_sdk.storage.backend.Backend.release`."""
        with self.store.lock:
            held = _holds(self.store, lease)
            if held:
                del self.store.leases[lease.resource]
            return held

    async def delete(self, heads: Sequence[tuple[str, int]]) -> int:
        """See :meth:`investigation_sdk.storage.backend.Backend.delete`."""
        store = self.store
        with store.lock:
            return sum(_delete(store, id, version) for id, version in heads)


class InlineMemoryBackend(MemoryBackend):
    """The memory store that commits on the caller's thread, without a hand-over."""

    def commit_now(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        """See :meth:`investigation_sdk.storage.backend.InlineBackend.commit_now`."""
        check_batch(commits)
        store = self.store
        with store.lock:
            return [_commit(store, commit) for commit in commits]


def _now() -> int:
    return time.time_ns() // 1000


def _commit(store: MemoryStore, commit: Commit) -> CommitResult:
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
    if (refusal := refuse_id(id, _now())) is not None:
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
        _take(store, commit.lease.resource, commit.lease.owner, _now() + commit.lease.expires_at)


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
        store.snapshots[snapshot.id] = file.snapshots[snapshot.id] = snapshot


def _put_head(store: MemoryStore, file: _File, row: InvestigationRow) -> None:
    parent = row.parent_investigation_id
    if parent is not None and parent not in store.files:
        row = row._replace(parent_investigation_id=None)
    file.row = row


def _put(store: MemoryStore, file: _File, row: Row) -> None:
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


def _version(store: MemoryStore, resource: str) -> int | None:
    file = store.files.get(resource)
    return None if file is None else file.row.version


def _take(store: MemoryStore, resource: str, owner: str, until: int) -> Lease:
    lease = Lease(resource, owner, until)
    store.leases[resource] = lease
    return lease._replace(version=_version(store, resource))


def _holds(store: MemoryStore, lease: Lease) -> bool:
    held = store.leases.get(lease.resource)
    return held is not None and held.owner == lease.owner


def _delete(store: MemoryStore, id: str, version: int) -> bool:
    file = store.files.get(id)
    if file is None or file.row.version != version:
        return False
    store.tombstones[id] = (version, _now())
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
