"""An application that mounts the router, on a real server, and what is asked of its sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException
from starlette.requests import HTTPConnection
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from investigation_sdk import InvestigationSDK, InvestigationWebSocketManager, Principal, Role
from investigation_sdk.api import create_router
from tests.realtime.serving import served

LONG = 60.0
HOUR = timedelta(hours=1)


class Service:
    """An application that mounts the router under a prefix, and knows its users."""

    def __init__(self, sdk: InvestigationSDK, **options: Any) -> None:
        self.sdk = sdk
        self.users = {
            name: Principal(id=name, roles=frozenset({Role(role)}), tenant_id=tenant)
            for name, role, tenant in (
                ("vera", "viewer", None),
                ("gil", "investigator", None),
                ("ann", "investigator", None),
                ("eve", "admin", "acme"),
            )
        }
        self.rooms = InvestigationWebSocketManager(sdk, recheck=self._now, **options)
        self.port = 0

    def _now(self, principal: Principal) -> Principal | None:
        return self.users.get(principal.id)

    async def _user(self, connection: HTTPConnection) -> Principal:
        user = self.users.get(connection.query_params.get("user", ""))
        if user is None:
            raise HTTPException(401, "Say who you are.")
        return user

    @contextlib.contextmanager
    def up(self) -> Iterator["Service"]:
        app = FastAPI(lifespan=self._lifespan)
        app.include_router(create_router(self.sdk, authenticate=self._user, rooms=self.rooms), prefix="/fraud")
        with served(app) as self.port:
            yield self

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        self.loop = asyncio.get_running_loop()
        async with self.sdk:
            yield

    def roles_changed(self, who: str | None = None) -> None:
        asyncio.run_coroutine_threadsafe(self.rooms.roles_changed(who), self.loop).result(LONG)

    @contextlib.asynccontextmanager
    async def joined(self, path: str) -> AsyncIterator[ClientConnection]:
        url = f"ws://127.0.0.1:{self.port}/fraud/{path}"
        connection = await connect(url, compression=None, ping_interval=None, open_timeout=LONG)
        try:
            yield connection
        finally:
            connection.transport.abort()

    async def new(self, user_id: str = "gil", investigation_type: str = "fraud") -> str:
        record = await self.sdk.service.create_investigation(user_id, "account 42", investigation_type, queue=False)
        return record.id

    async def post(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}/fraud", timeout=LONG) as client:
            return await client.post(path)


async def received(connection: ClientConnection, enough: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """All messages up to one that is enough."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(LONG):
        while not found or not enough(found[-1]):
            found.append(json.loads(await connection.recv()))
    return found


async def the_end(connection: ClientConnection) -> tuple[list[dict[str, Any]], int | None, str | None]:
    """What still comes, and why nothing more does."""
    found: list[dict[str, Any]] = []
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(LONG):
            while True:
                found.append(json.loads(await connection.recv()))
    return found, connection.close_code, connection.close_reason


def is_caught_up(message: dict[str, Any]) -> bool:
    return bool(message["type"] == "stream.caught_up")


def ids(messages: list[dict[str, Any]]) -> set[str]:
    return {message["investigation_id"] for message in messages if "sequence" in message}
