"""A loop for those frameworks' blocking calls that ask for the thread's, and would leave open one that they make."""

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture
def thread_loop() -> Iterator[None]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
