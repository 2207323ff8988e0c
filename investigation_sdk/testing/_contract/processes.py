"""Other processes that open the store of a test, and do what they are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncGenerator, Iterable
from typing import Any
from unittest import SkipTest

from .opening import OpenStore

_TIME = 120
"""Seconds that one may take: only what hangs takes so long."""


@contextlib.asynccontextmanager
async def another_process(store: OpenStore, *arguments: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A process that has opened the store, and does what the arguments say when it is asked."""
    if store.url is None:
        raise SkipTest("this store has no URL that another process could open")
    command = [sys.executable, "-m", "investigation_sdk.testing._contract.other_process", store.url, *arguments]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_TIME):
            await process.stdout.readline()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def answer(process: asyncio.subprocess.Process) -> Any:
    """Ask it, and wait for what it tells."""
    async with asyncio.timeout(_TIME):
        out, err = await process.communicate(b"go\n")
    assert process.returncode == 0, err.decode()
    return json.loads(out)


async def answers(processes: Iterable[asyncio.subprocess.Process]) -> list[Any]:
    """Ask all at once."""
    return await asyncio.gather(*map(answer, processes))


async def in_another_process(store: OpenStore, *arguments: str) -> Any:
    """Start one, ask it, and wait for what it tells."""
    async with another_process(store, *arguments) as process:
        return await answer(process)
