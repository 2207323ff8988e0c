"""Run as ``python -m``: opens a store by its URL and does what the arguments say; answers in JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import Wanted
from investigation_sdk.storage.registry import create_backend

from .races import TTL, append_batches, contend
from .sharing import append_with_retries


async def _append(backend: Backend, id: str, times: str) -> dict[str, Any]:
    row = await backend.get("investigation", id)
    assert isinstance(row, InvestigationRow)
    events = await backend.read_events(id)
    conflicts = await append_with_retries(backend, id, int(times), "elsewhere")
    return {"version": row.version, "events": len(events), "conflicts": conflicts}


async def _claim(backend: Backend, resource: str, owner: str) -> dict[str, Any]:
    return {"claimed": await backend.claim(resource, owner, ttl=TTL) is not None}


async def _batches(backend: Backend, times: str, note: str, *ids: str) -> dict[str, int]:
    return await append_batches(backend, ids, int(times), note)


async def _claim_next(backend: Backend, investigation_type: str, name: str) -> dict[str, Any]:
    """Takes one after another, until for a while there is none."""
    taken: list[str] = []
    empty = 0
    while empty < 20:
        owners = [f"{name}-{len(taken)}"]
        found = await backend.claim_next(Wanted([investigation_type]), owners, ttl=TTL)
        taken += (lease.resource for lease in found)
        empty = 0 if found else empty + 1
        await asyncio.sleep(0.005)
    return {"claimed": taken}


async def _main(url: str, what: str, *arguments: str) -> None:
    backend = create_backend(url)
    await backend.open()
    try:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()  # the loop has nothing else to do
        told: Any = await _WORK[what](backend, *arguments)
    finally:
        await backend.close()
    sys.stdout.write(json.dumps(told))


_WORK: dict[str, Callable[..., Awaitable[Any]]] = {
    "append": _append,
    "batches": _batches,
    "claim": _claim,
    "claim_next": _claim_next,
    "contend": contend,
}

if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
