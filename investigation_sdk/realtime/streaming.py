"""Sending to one client: over a WebSocket, or as server-sent events. Who takes nothing any more is not waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, Final, TypeAlias

from investigation_sdk.realtime.clients import Client
from investigation_sdk.realtime.ending import ended

LAST_SECONDS: Final = 10.0
"""What a client that is told to go away has to take within; then the connection is dropped."""

Receive: TypeAlias = "Callable[[], Awaitable[MutableMapping[str, Any]]]"
Send: TypeAlias = "Callable[[MutableMapping[str, Any]], Awaitable[None]]"


async def sent(client: Client, sending: Coroutine[Any, Any, None], gone: Coroutine[Any, Any, None]) -> None:
    """Send what there is to a client, until that is over, it is gone, or it takes nothing of what it is told last.

    A server lets whoever sends wait while its buffer is full, for ever perhaps: so that is not waited for.
    """
    tasks = [asyncio.create_task(one) for one in (sending, gone, _stuck(client))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(tasks)


async def _stuck(client: Client) -> None:
    await client.closed()
    await asyncio.sleep(LAST_SECONDS)


class EventStream:
    """Server-sent events: an ASGI application that answers one request, or iterated over, their text.

    A framework of ASGI takes it as a response. Where it is iterated over, dropping a client that takes nothing any
    more is up to whoever sends.
    """

    def __init__(self, client: Client, texts: AsyncGenerator[str]) -> None:
        self._client = client
        self._texts = texts

    def __aiter__(self) -> AsyncIterator[str]:
        """The text of the stream, to its end."""
        return self._texts

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        await sent(self._client, self._send(send), _until_gone(receive))

    async def _send(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        with contextlib.suppress(OSError):  # it is gone
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async with contextlib.aclosing(self._texts) as texts:
                async for text in texts:
                    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
