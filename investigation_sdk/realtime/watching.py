"""One who watches: its socket, as whom, and what of it has been allowed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final, Protocol

from investigation_sdk.domain.records import Investigation
from investigation_sdk.realtime.clients import Client
from investigation_sdk.realtime.selecting import Selection

FIRST_SECONDS: Final = 10.0
"""Within which a client that wants to send its cursors does."""


class Socket(Protocol):
    """What is used of a WebSocket, Starlette's for example."""

    async def accept(self) -> None:
        """Shake hands."""
        ...

    async def receive(self) -> Any:
        """A message of the client, or that it is gone: ``{"type": "websocket.disconnect"}``."""
        ...

    async def send_text(self, data: str) -> None:
        """Send a message."""
        ...

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Say good-bye."""
        ...


class Watch:
    """One client that watches, as whom, and what of it has been allowed."""

    def __init__(self, principal: Any, max_queue: int) -> None:
        self.principal = principal
        self.client: Client = Client(max_queue)
        self.records: dict[str, Investigation] = {}
        self.one: str | None = None
        self.selection: Selection | None = None


async def first_text(websocket: Socket) -> str | None:
    """The first message of a client; None where none comes, or it is no text."""
    with contextlib.suppress(TimeoutError, Exception):
        async with asyncio.timeout(FIRST_SECONDS):
            text = (await websocket.receive()).get("text")
            return text if isinstance(text, str) else None
    return None


async def until_gone(websocket: Socket) -> None:
    """Without somebody who receives, a client that is gone is never noticed. What it says is not listened to."""
    with contextlib.suppress(Exception):
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass
