"""Waiting for what is to come, and not for ever."""

import asyncio
import time
from collections.abc import Awaitable, Callable

LONG = 60.0
"""Seconds that anything here may take on a machine that does other things."""


async def until(holds: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = LONG) -> None:
    """Wait until something holds, and say what, where it never does."""
    end = time.monotonic() + seconds
    while True:
        answer = holds()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert time.monotonic() < end, f"for {seconds:g} s, never: {what}"
        await asyncio.sleep(0.01)
