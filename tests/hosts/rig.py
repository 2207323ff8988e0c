"""Tools for any host."""

from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel

from investigation_sdk import InvestigationSDK, tool

BEGUN = ["created", "queued", "initializing", "running"]
ENDED = ["completing", "completed"]
Make = Callable[..., InvestigationSDK]
Run = Callable[[Callable[[], Any]], Any]


@tool
async def look_up(n: int) -> int:
    await anyio.lowlevel.checkpoint()
    return n * 2


@tool
def look_up_sync(n: int) -> int:
    return n * 3


@tool
def walk(n: int) -> Iterator[int]:
    yield from range(n)


@tool
async def awalk(n: int) -> AsyncGenerator[int]:
    for i in range(n):
        await anyio.lowlevel.checkpoint()
        yield i


@tool(effect="unsafe")
async def pay(n: int) -> str:
    return f"paid {n}"


@tool
async def hang() -> None:
    await anyio.sleep_forever()


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - it comes true on another thread
        await anyio.sleep(0.005)
