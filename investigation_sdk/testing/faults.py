"""A store that fails on purpose, as planned: for tests of what an application, or the engine, does then.

::

    backend = FaultyBackend(SQLiteBackend("cases.db"), Plan(commits={3: Fault("lost_after")}))
    sdk = InvestigationSDK(backend)  # the third batch is written, and its answer lost

The store behind it is a real one; only the way there and back is bad.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from investigation_sdk.domain.rows import Row, SnapshotRow
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.backend import (
    AdvancingBackend,
    Backend,
    CommitNotApplied,
    CommitUnknown,
    OverlappingBackend,
    StoreFailure,
)
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
)

FaultKind: TypeAlias = Literal["not_applied", "failure", "lost_before", "lost_after", "twice", "delay", "hang"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one call.

    Attributes:
        kind: Of a commit: ``not_applied`` raises CommitNotApplied and ``failure`` StoreFailure, with nothing
            written; ``lost_before`` and ``lost_after`` raise CommitUnknown, without and with all of it written;
            ``twice`` delivers it twice and gives the first answer; ``delay`` and ``hang`` only wait before it is
            delivered. Of a read: ``delay`` and ``hang`` wait, all others raise BackendUnavailable.
        seconds: How long a ``delay`` is.
    """

    kind: FaultKind
    seconds: float = 0.05


@dataclass(slots=True)
class Plan:
    """Which calls go wrong, and how.

    Attributes:
        commits: By the number of the call of ``commit``, from 1. The same batch sent again is another call.
        reads: By the number of the call of any method that reads, from 1.
        outage: While this is set, it is what happens to every commit that `commits` does not name.
        unreadable: While this is set, every read fails.
    """

    commits: Mapping[int, Fault] = field(default_factory=dict[int, Fault])
    reads: Mapping[int, Fault] = field(default_factory=dict[int, Fault])
    outage: Fault | None = None
    unreadable: bool = False


class FaultyBackend:
    """Any backend, with faults on the way to it. It never commits on the caller's thread.

    Args:
        backend: The store. If it offers ``commit_now``, this one does not.
        plan: May be changed at any time, from any thread.

    Attributes:
        batches: Every batch that ``commit`` was called with, in order.
        reads: How often a method that reads was called.
        advances: Each list that ``advance`` was called with, in order.
        batches_at_once: As the store's; see :class:`investigation_sdk.storage.backend.OverlappingBackend`.
    """

    def __init__(self, backend: Backend, plan: Plan | None = None) -> None:
        self.plan: Plan = Plan() if plan is None else plan
        self.batches: list[tuple[Commit, ...]] = []
        self.reads: int = 0
        self.advances: list[tuple[Advance, ...]] = []
        self.batches_at_once: int = backend.batches_at_once if isinstance(backend, OverlappingBackend) else 1
        self._backend = backend
        self._hanging = threading.Event()

    def release_hanging(self) -> None:
        """End the wait of every call that hangs, now and from now on. From any thread."""
        self._hanging.set()

    async def _wait(self, fault: Fault | None) -> None:
        if fault is not None and fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        elif fault is not None and fault.kind == "hang":
            while not self._hanging.is_set():  # noqa: ASYNC110 - set from any thread
                await asyncio.sleep(0.002)

    async def _reading(self) -> None:
        self.reads += 1
        fault = self.plan.reads.get(self.reads)
        await self._wait(fault)
        if self.plan.unreadable or (fault is not None and fault.kind not in ("delay", "hang")):
            raise BackendUnavailable(f"read number {self.reads} fails as planned")

    async def open(self) -> None:
        """See :meth:`investigation_sdk.storage.backend.Backend.open`."""
        await self._backend.open()

    async def close(self) -> None:
        """See :meth:`investigation_sdk.storage.backend.Backend.close`."""
        await self._backend.close()

    async def commit(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        """As the plan says."""
        self.batches.append(tuple(commits))
        number = len(self.batches)
        fault = self.plan.commits.get(number, self.plan.outage)
        await self._wait(fault)
        kind = None if fault is None else fault.kind
        if kind == "not_applied":
            raise CommitNotApplied(f"commit number {number} is not applied, as planned")
        if kind == "failure":
            raise StoreFailure(f"commit number {number} fails, as planned")
        if kind == "lost_before":
            raise CommitUnknown(f"commit number {number} did not arrive, as planned")
        results = await self._backend.commit(commits)
        if kind == "lost_after":
            raise CommitUnknown(f"the answer to commit number {number} is lost, as planned")
        if kind == "twice":
            await self._backend.commit(commits)
        return results

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
        await self._reading()
        return await self._backend.read_events(
            investigation_id, after=after, limit=limit, event_type=event_type, reverse=reverse
        )

    async def read_snapshot(self, investigation_id: str) -> SnapshotRow | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.read_snapshot`."""
        await self._reading()
        return await self._backend.read_snapshot(investigation_id)

    async def read_blob(self, investigation_id: str, digest: str) -> AsyncIterator[bytes]:
        """See :meth:`investigation_sdk.storage.backend.Backend.read_blob`."""
        await self._reading()
        async for chunk in self._backend.read_blob(investigation_id, digest):
            yield chunk

    async def get(self, kind: Kind, id: str) -> Row | SnapshotRow | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.get`."""
        await self._reading()
        return await self._backend.get(kind, id)

    async def find(self, query: Query) -> Sequence[Row | SnapshotRow]:
        """See :meth:`investigation_sdk.storage.backend.Backend.find`."""
        await self._reading()
        return await self._backend.find(query)

    async def aggregate(self, aggregate: Aggregate) -> Sequence[tuple[Any, ...]]:
        """See :meth:`investigation_sdk.storage.backend.Backend.aggregate`."""
        await self._reading()
        return await self._backend.aggregate(aggregate)

    async def advance(self, advances: Sequence[Advance]) -> None:
        """See :meth:`investigation_sdk.storage.backend.AdvancingBackend.advance`; nothing where the store has none."""
        self.advances.append(tuple(advances))
        if isinstance(self._backend, AdvancingBackend):
            await self._backend.advance(advances)

    async def put_rows(self, rows: Sequence[Row]) -> None:
        """See :meth:`investigation_sdk.storage.backend.Backend.put_rows`."""
        await self._backend.put_rows(rows)

    async def claim(self, resource: str, owner: str, *, ttl: int) -> Lease | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.claim`."""
        return await self._backend.claim(resource, owner, ttl=ttl)

    async def claim_next(self, wanted: Wanted, owners: Sequence[str], *, ttl: int) -> Sequence[Lease]:
        """See :meth:`investigation_sdk.storage.backend.Backend.claim_next`."""
        return await self._backend.claim_next(wanted, owners, ttl=ttl)

    async def holder(self, resource: str) -> Lease | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.holder`."""
        await self._reading()
        return await self._backend.holder(resource)

    async def renew(self, leases: Sequence[Lease], *, ttl: int) -> Sequence[Lease | None]:
        """See :meth:`investigation_sdk.storage.backend.Backend.renew`."""
        return await self._backend.renew(leases, ttl=ttl)

    async def release(self, lease: Lease) -> bool:
        """See :meth:`investigation_sdk.storage.backend.Backend.release`."""
        return await self._backend.release(lease)

    async def delete(self, heads: Sequence[tuple[str, int]]) -> int:
        """See :meth:`investigation_sdk.storage.backend.Backend.delete`."""
        return await self._backend.delete(heads)
