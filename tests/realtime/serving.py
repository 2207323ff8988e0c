"""A real server for rooms: Starlette under uvicorn, on a thread of this process or as a process of its own.

``python serving.py PORT STORE [REDIS]`` serves until it is ended.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from investigation_sdk import InvestigationSDK, InvestigationWebSocketManager
from investigation_sdk.realtime.streaming import EventStream


@dataclass
class User:
    id: str
    roles: frozenset[str] = field(default_factory=lambda: frozenset({"viewer"}))
    tenant_id: str | None = None


def application(sdk: InvestigationSDK, rooms: InvestigationWebSocketManager, users: dict[str, User]) -> Starlette:
    def user(given: Any) -> User | None:
        return users.get(given.query_params.get("user", "gil"))

    async def one(websocket: WebSocket) -> None:
        after = int(websocket.query_params.get("after", 0))
        await rooms.serve(websocket, websocket.path_params["id"], principal=user(websocket), after=after)

    async def many(websocket: WebSocket) -> None:
        asked = dict(websocket.query_params)
        await rooms.serve_many(
            websocket,
            principal=user(websocket),
            investigation_type=asked.get("type"),
            user_id=asked.get("of"),
            after=json.loads(asked.get("after", "{}")),
        )

    async def events(request: Request) -> EventStream:
        after = int(request.headers.get("last-event-id", 0))
        return await rooms.stream(request.path_params["id"], principal=user(request), after=after)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with sdk:
            yield

    routes = [WebSocketRoute("/many", many), WebSocketRoute("/{id}", one), Route("/{id}/events/stream", events)]
    return Starlette(routes=routes, lifespan=lifespan)


def server_of(app: Starlette, port: int) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_level="warning",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)


@contextlib.contextmanager
def served(app: Starlette) -> Iterator[int]:
    """The application on a free port, on a thread; its port."""
    server = server_of(app, 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive(), "the server ended"
        assert time.monotonic() < end, "the server did not start in 60 s"
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive(), "the server did not end in 60 s"


if __name__ == "__main__":
    sdk = InvestigationSDK(sys.argv[2], redis=sys.argv[3] if len(sys.argv) > 3 else None)
    server_of(application(sdk, InvestigationWebSocketManager(sdk), {"gil": User("gil")}), int(sys.argv[1])).run()
