"""The store in memory: for tests, and for runs whose record may end with the process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Self, cast

from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, Row, SnapshotRow
from investigation_sdk.errors import ConfigurationError
from investigation_sdk.storage.backend import types_of
from investigation_sdk.storage.commit import (
    Advance,
    Aggregate,
    Commit,
    CommitResult,
    Kind,
    Lease,
    Query,
    StoredEvent,
    Wanted,
    chunks,
)

from . import memory_queries, memory_store
from .checks import check_aggregate, check_batch, check_names, check_query
from .memory_store import MemoryStore

_TYPE: Final = StoredEvent._fields.index("event_type")


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
            return [memory_store.write(store, commit) for commit in commits]

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
        types = types_of(event_type)
        with self.store.lock:
            file = self.store.files.get(investigation_id)
            if file is None:
                return []
            # the event of sequence n stands at n - 1
            if reverse:
                last = min(after - 1, len(file.events)) if after else len(file.events)
                first = 0 if types is not None else max(0, last - limit)
                events = file.events[first:last][::-1]
            else:
                events = file.events[after:] if types is not None else file.events[after : after + limit]
        if types is not None:
            wanted = frozenset(types)
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
                    memory_store.put(store, file, row)

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
                    memory_store.put(store, file, row._replace(progress_percentage=percent))

    async def claim(self, resource: str, owner: str, *, ttl: int) -> Lease | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.claim`."""
        check_names(resource, owner)
        store = self.store
        with store.lock:
            now = memory_store.now()
            held = store.leases.get(resource)
            if held is not None and held.owner != owner and held.expires_at > now:
                return None
            return memory_store.take(store, resource, owner, now + ttl)

    async def claim_next(self, wanted: Wanted, owners: Sequence[str], *, ttl: int) -> Sequence[Lease]:
        """See :meth:`investigation_sdk.storage.backend.Backend.claim_next`."""
        check_names(*owners)
        store = self.store
        with store.lock:
            now = memory_store.now()
            queue = memory_queries.queue((file.row for file in store.files.values()), store.leases, wanted, now)
            return [
                memory_store.take(store, row.id, owner, now + ttl) for row, owner in zip(queue, owners, strict=False)
            ]

    async def holder(self, resource: str) -> Lease | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.holder`."""
        check_names(resource)
        with self.store.lock:
            held = self.store.leases.get(resource)
            return None if held is None else held._replace(version=memory_store.version(self.store, resource))

    async def renew(self, leases: Sequence[Lease], *, ttl: int) -> Sequence[Lease | None]:
        """See :meth:`investigation_sdk.storage.backend.Backend.renew`."""
        check_names(*(name for lease in leases for name in lease[:2]))
        store = self.store
        with store.lock:
            until = memory_store.now() + ttl
            return [
                memory_store.take(store, lease.resource, lease.owner, until)
                if memory_store.holds(store, lease)
                else None
                for lease in leases
            ]

    async def release(self, lease: Lease) -> bool:
        """See :meth:`investigation_sdk.storage.backend.Backend.release`."""
        check_names(*lease[:2])
        with self.store.lock:
            held = memory_store.holds(self.store, lease)
            if held:
                del self.store.leases[lease.resource]
            return held

    async def delete(self, heads: Sequence[tuple[str, int]]) -> int:
        """See :meth:`investigation_sdk.storage.backend.Backend.delete`."""
        store = self.store
        with store.lock:
            return sum(memory_store.delete(store, id, version) for id, version in heads)


class InlineMemoryBackend(MemoryBackend):
    """The memory store that commits on the caller's thread, without a hand-over."""

    def commit_now(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        """See :meth:`investigation_sdk.storage.backend.InlineBackend.commit_now`."""
        check_batch(commits)
        store = self.store
        with store.lock:
            return [memory_store.write(store, commit) for commit in commits]
