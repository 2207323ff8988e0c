"""A store, a server and its users, and what real clients of it get."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from investigation_sdk import InvestigationSDK, InvestigationWebSocketManager, tool

from .serving import User, application, served
from .waiting import LONG


@tool(effect="read")
def lookup(number: int) -> int:
    return number * 2


class World:
    """A store, a server and its users."""

    def __init__(self, sdk: InvestigationSDK, **options: Any) -> None:
        self.sdk = sdk
        self.users = {"gil": User("gil"), "eve": User("eve", frozenset()), "tom": User("tom", tenant_id="acme")}
        self.rooms = InvestigationWebSocketManager(sdk, **options)
        self.port = 0

    @contextlib.contextmanager
    def up(self) -> Iterator["World"]:
        with served(application(self.sdk, self.rooms, self.users)) as self.port:
            yield self

    @contextlib.asynccontextmanager
    async def joined(self, path: str) -> AsyncIterator[ClientConnection]:
        async with asyncio.timeout(LONG):
            connection = await connect(
                f"ws://127.0.0.1:{self.port}/{path}",
                compression=None,
                ping_interval=None,
                max_queue=None,
                open_timeout=LONG,
            )
        try:
            yield connection
        finally:
            connection.transport.abort()

    async def new(self, **given: Any) -> str:
        asked = {"user_id": "gil", "subject": "account 42", "investigation_type": "general", **given}
        record = await self.sdk.service.create_investigation(**asked, configuration={}, queue=False)
        return record.id


def drive(sdk: InvestigationSDK, id: str, calls: int = 20) -> None:
    with sdk.attach(id) as investigation, investigation.phase("devices"):
        for number in range(calls):
            lookup(number)


async def everything(connection: ClientConnection, seconds: float = LONG) -> list[dict[str, Any]]:
    """All messages, to the end of the stream."""
    found = []
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(seconds):
            while True:
                found.append(json.loads(await connection.recv()))
    return found


def logged(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if "sequence" in message]


async def stored(sdk: InvestigationSDK, id: str) -> list[int]:
    return [event.sequence async for event in sdk.iter_events(id)]
