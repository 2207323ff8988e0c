"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_AGAIN: Final = 0.2


async def ended(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks until each is done; what they raise is theirs.

    Once is not enough: on Python 3.11, ``asyncio.wait_for``, which drivers use, loses a cancellation that comes in the
    moment of its result.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=_AGAIN)
        for task in done:
            if not task.cancelled():
                task.exception()  # or it is logged as never looked at
