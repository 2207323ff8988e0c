"""A store without what a test left there, by what the protocol of backends has."""

from __future__ import annotations

from typing import Final

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import Query

RESOURCES: Final = ("case", "another", "free", "new", "expired", "r", *(f"case-{n}" for n in range(8)))
"""Names of leases that tests take, beside ids of investigations."""


async def empty(backend: Backend) -> None:
    """Delete all investigations, and give up the leases that a test left."""
    while found := await backend.find(Query("investigation")):
        heads = [(row.id, row.version) for row in found if isinstance(row, InvestigationRow)]
        if not await backend.delete(heads) and not await backend.delete(await _by_log(backend, heads)):
            raise AssertionError(f"of {len(heads)} investigations that were found, delete() deletes none")
    for resource in RESOURCES:
        lease = await backend.holder(resource)
        if lease is not None:
            await backend.release(lease)


async def _by_log(backend: Backend, heads: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The versions by the logs: a test may have left a row that is ahead of its log."""
    last = [await backend.read_events(id, reverse=True, limit=1) for id, _ in heads]
    return [(id, events[0].sequence if events else 0) for (id, _), events in zip(heads, last, strict=True)]
