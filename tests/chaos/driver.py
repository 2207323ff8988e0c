"""A worker: ``python driver.py STORE REDIS ID…`` drives investigations one beside the other, a call every few ms."""

from __future__ import annotations

import asyncio
import sys

from investigation_sdk import BackendUnavailable, InvestigationSDK, tool

CALLS = 150
PATIENTLY = 60.0


@tool(effect="idempotent")
async def look(number: int) -> int:
    await asyncio.sleep(0.02)
    return number


async def drive(sdk: InvestigationSDK, id: str) -> None:
    if (await sdk.get(id)).status == "completed":  # by a process that was killed since
        return
    async with sdk.attach(id) as investigation, investigation.phase("devices"):
        for number in range(CALLS):
            await look(number)


async def opened(sdk: InvestigationSDK) -> None:
    """Wait for the store, as who starts a worker again does: it may be away just now."""
    async with asyncio.timeout(PATIENTLY):
        while True:
            try:
                await sdk.list(limit=1)
            except BackendUnavailable:
                await asyncio.sleep(0.1)
            else:
                return


async def main(store: str, redis: str, ids: list[str]) -> None:
    sdk = InvestigationSDK(store, redis=redis or None)
    await opened(sdk)
    async with sdk:
        await asyncio.gather(*(drive(sdk, id) for id in ids))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
