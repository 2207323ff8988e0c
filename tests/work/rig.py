"""Workers in the test's own process: what they run, and waiting for it."""

import asyncio
from collections.abc import Callable
from typing import Any

from investigation_sdk import Investigation, InvestigationSDK, tool
from tests.work.processes import LONG


@tool
def double(number: int) -> int:
    return 2 * number


async def ended(sdk: InvestigationSDK, investigation: Investigation) -> Investigation:
    return await sdk.wait(investigation.id, timeout=LONG)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110 - of another thread's, or the worker's
            await asyncio.sleep(0.01)
