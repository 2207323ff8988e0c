"""A store that can be taken down, and tools that say that they ran."""

import asyncio
from collections.abc import Callable
from typing import Any

from investigation_backends.memory import MemoryBackend
from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.testing.faults import Fault, FaultyBackend, Plan

Make = Callable[..., InvestigationSDK]

ran: list[int] = []
"""What bodies did, in order."""


class Store:
    """A store that can be taken down, under an SDK with these options. Nothing ran yet."""

    def __init__(self, make_sdk: Make, **options: Any) -> None:
        ran.clear()
        self.plan = Plan()
        self.sdk = make_sdk(FaultyBackend(MemoryBackend(), self.plan), **options)

    def down(self) -> None:
        self.plan.outage = Fault("failure")

    async def up(self) -> None:
        self.plan.outage = None
        await all_is_durable(self.sdk)


async def all_is_durable(sdk: InvestigationSDK) -> None:
    for _ in range(500):
        if await sdk.flush(10) == 0:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the store answers, and not all is durable")


@tool
async def step(n: int) -> int:
    ran.append(n)
    return n * 10


@tool
def sync_step(n: int) -> int:
    ran.append(n)
    return n * 10
