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
        if not await backend.delete(heads):
            raise AssertionError(f"of {len(heads)} investigations that were found, delete() deletes none")
    for resource in RESOURCES:
        lease = await backend.holder(resource)
        if lease is not None:
            await backend.release(lease)
