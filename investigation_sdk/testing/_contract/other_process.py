"""Run as ``python -m``: opens a store by its URL and does what the arguments say; answers in JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.registry import create_backend

from .sharing import append_with_retries


async def _append(backend: Backend, id: str, times: str) -> dict[str, Any]:
    row = await backend.get("investigation", id)
    assert isinstance(row, InvestigationRow)
    events = await backend.read_events(id)
    conflicts = await append_with_retries(backend, id, int(times), "elsewhere")
    return {"version": row.version, "events": len(events), "conflicts": conflicts}


async def _claim(backend: Backend, resource: str, owner: str) -> dict[str, Any]:
    return {"claimed": await backend.claim(resource, owner, ttl=600_000_000) is not None}


async def _main(url: str, what: str, *arguments: str) -> None:
    backend = create_backend(url)
    await backend.open()
    try:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()  # the loop has nothing else to do
        told = await {"append": _append, "claim": _claim}[what](backend, *arguments)
    finally:
        await backend.close()
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
