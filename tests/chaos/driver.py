"""A worker: ``python driver.py STORE REDIS ID…`` drives investigations one beside the other, a call every few ms."""

from __future__ import annotations

import asyncio
import sys

from investigation_sdk import InvestigationSDK, tool

CALLS = 150


@tool(effect="idempotent")
async def look(number: int) -> int:
    await asyncio.sleep(0.02)
    return number


async def drive(sdk: InvestigationSDK, id: str) -> None:
    async with sdk.attach(id) as investigation, investigation.phase("devices"):
        for number in range(CALLS):
            await look(number)


async def main(store: str, redis: str, ids: list[str]) -> None:
    async with InvestigationSDK(store, redis=redis or None) as sdk:
        await asyncio.gather(*(drive(sdk, id) for id in ids))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
