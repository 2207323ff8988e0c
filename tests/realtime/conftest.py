"""What is asked of brokers."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

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


@pytest.fixture(params=["redis", pytest.param("postgres", marks=pytest.mark.server)])
def place(request: pytest.FixtureRequest, sqlite_url: str) -> tuple[str, dict[str, str]]:
    """A store with a broker, as the URL of the store and options: for two handles."""
    if request.param == "redis":
        return sqlite_url, {"redis": str(request.getfixturevalue("redis_url"))}
    return str(request.getfixturevalue("postgres_store")), {}
