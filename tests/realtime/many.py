"""Clients that follow many investigations, of a store in which things are found quickly."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from investigation_sdk import InvestigationSDK, InvestigationWebSocketManager, Principal, Role
from investigation_sdk.realtime import directory
from investigation_sdk.realtime.clients import Client

from .waiting import LONG, until

GIL = Principal(id="gil", roles=frozenset({Role.VIEWER}))


class Socket:
    """A WebSocket whose client keeps its cursors as the reference says, and what it got."""

    def __init__(self, cursors: dict[str, Any] | None = None) -> None:
        self.got: list[tuple[str, int]] = []
        self.cursors: dict[str, Any] = cursors or {}
        self.messages: list[dict[str, Any]] = []
        self.closed: tuple[int, str | None] | None = None
        self._says: asyncio.Queue[str] = asyncio.Queue()

    async def accept(self) -> None: ...

    def say(self, text: str) -> None:
        self._says.put_nowait(text)

    async def receive(self) -> Any:
        return {"type": "websocket.receive", "text": await self._says.get()}

    async def send_text(self, data: str) -> None:
        message = json.loads(data)
        self.messages.append(message)
        if "sequence" in message:
            self.got.append((message["investigation_id"], message["sequence"]))
            self.cursors[message["investigation_id"]] = message["sequence"]
        elif "cursors" in message:
            self.cursors = message["cursors"]

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        self.closed = code, reason

    def of(self, id: str) -> list[int]:
        return [sequence for one, sequence in self.got if one == id]


def looked_at_often(make_sdk: Callable[..., InvestigationSDK], monkeypatch: pytest.MonkeyPatch) -> InvestigationSDK:
    """A store whose clocks agree."""
    monkeypatch.setattr(directory, "_OVERLAP_MS", 0)
    monkeypatch.setattr(directory, "_LOOK_SECONDS", 0.05)
    sdk = make_sdk("memory://")
    sdk._hub.poll_seconds = 0.05
    return sdk


@contextlib.asynccontextmanager
async def following(
    sdk: InvestigationSDK, socket: Socket, rooms: InvestigationWebSocketManager | None = None, **options: Any
) -> AsyncIterator[Client]:
    rooms = rooms or InvestigationWebSocketManager(sdk, heartbeat=timedelta(hours=1))
    before = set(rooms._watching)
    options = {"principal": GIL, "after": dict(socket.cursors), **options}
    serving = asyncio.create_task(rooms.serve_many(socket, **options))
    await until(lambda: len(set(rooms._watching) - before) == 1, "it is watching")
    (watch,) = set(rooms._watching) - before
    try:
        yield watch.client
    finally:
        serving.cancel()
        await asyncio.wait([serving], timeout=LONG)
        assert serving.done(), f"for {LONG:g} s, it was still served"


async def one(sdk: InvestigationSDK, *, fails: bool = False, **of: Any) -> str:
    with contextlib.suppress(ValueError):
        async with sdk.investigation("account 42", user_id="gil", **of) as run:
            run.record("fraud.sign", {})
            if fails:
                raise ValueError("no")
    return run.id
