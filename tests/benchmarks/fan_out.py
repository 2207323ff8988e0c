"""Fan-out: one event after another to many WebSocket clients, by our rooms and by a bare Starlette application.

Each serves from a process of its own, under uvicorn. The clients are raw connections of the measuring process that look
for the end of the last message and do nothing else. Both send messages of the same size. Ours are events that are
recorded, numbered, chained and read back from the store (in memory); the bare ones are a text in a queue per client.

``python fan_out.py KIND PORT`` serves.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

Runner = Callable[[int], Awaitable[None]]

MARK: Final = b"the-last-one"
SECONDS: Final = 120.0
LIKE_OURS: Final = json.dumps(
    {
        "type": "bench.event",
        "investigation_id": "019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b7e",
        "update_type": "bench_event",
        "timestamp": "2026-11-25T15:55:00.123456+00:00",
        "sequence": 1234,
        "id": "019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b7e",
        "actor": None,
        "previous_state": None,
        "new_state": None,
        "metadata": {},
        "data": {"data": {"tool": "lookup_ip", "result": {"ip": "203.0.113.7", "ok": True, "n": 7}, "said": ""}},
    }
)


# ---------------------------------------------------------------------------- the two that serve


def ours() -> Any:
    """An application whose only route is a room; what a client says is how many events to record."""
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket

    from investigation_sdk import InvestigationSDK, InvestigationWebSocketManager

    class Anybody:
        id, roles, tenant_id = "anybody", frozenset({"viewer"}), None

    sdk = InvestigationSDK("memory://")
    rooms = InvestigationWebSocketManager(sdk)
    opened: list[Any] = []

    async def watch(websocket: WebSocket) -> None:
        if not opened:
            opened.append(sdk.investigation("fan-out"))
            opened.append(await opened[0].__aenter__())
        await rooms.serve(websocket, opened[1].id, principal=Anybody(), after=1)

    async def command(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            count = int(await websocket.receive_text())
            for number in range(count):
                said = MARK.decode() if number == count - 1 else ""
                result = {"ip": "203.0.113.7", "ok": True, "n": number}
                opened[1].record("bench.event", {"tool": "lookup_ip", "result": result, "said": said})
                await asyncio.sleep(0)

    return Starlette(routes=[WebSocketRoute("/watch", watch), WebSocketRoute("/command", command)])


def bare() -> Any:
    """A queue and a task for each client: what one would write by hand."""
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket

    queues: list[asyncio.Queue[str]] = []

    async def watch(websocket: WebSocket) -> None:
        await websocket.accept()
        queue: asyncio.Queue[str] = asyncio.Queue()
        queues.append(queue)
        gone = asyncio.create_task(websocket.receive())
        try:
            while not gone.done():
                await websocket.send_text(await queue.get())
        except Exception:  # noqa: S110 - it is gone
            pass
        finally:
            queues.remove(queue)
            gone.cancel()

    async def command(websocket: WebSocket) -> None:
        await websocket.accept()
        last = LIKE_OURS.replace('"said": ""', f'"said": "{MARK.decode()}"')
        while True:
            count = int(await websocket.receive_text())
            for number in range(count):
                for queue in queues:
                    queue.put_nowait(last if number == count - 1 else LIKE_OURS)
                await asyncio.sleep(0)

    return Starlette(routes=[WebSocketRoute("/watch", watch), WebSocketRoute("/command", command)])


# ---------------------------------------------------------------------------- those who watch


class _Client(asyncio.Protocol):
    """Upgrades, then looks for the mark."""

    def __init__(self, path: str, ready: asyncio.Event, on_mark: Callable[[], None]) -> None:
        self._path = path
        self._ready = ready
        self._on_mark = on_mark
        self._end = b""
        self._upgraded = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        data = self._end + data
        if not self._upgraded:
            _, upgraded, data = data.partition(b"\r\n\r\n")
            self._upgraded = bool(upgraded)
            self._ready.set()
        if MARK in data:
            self._on_mark()
            data = data.rpartition(MARK)[2]
        self._end = data[-len(MARK) :]

    def say(self, text: str) -> None:
        assert self.transport is not None
        mask = os.urandom(4)
        body = bytes(byte ^ mask[i % 4] for i, byte in enumerate(text.encode()))
        self.transport.write(bytes([0x81, 0x80 | len(body)]) + mask + body)


def _serving(kind: str, port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, kind, str(port)])


@asynccontextmanager
async def runner(kind: str, clients: int) -> AsyncIterator[Runner]:
    """Delivers messages: awaited with a number, it has that many delivered, the same to each client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    from investigation_sdk.testing.servers.process import free_port

    port = free_port()
    server = _serving(kind, port)
    left = 0
    all_marked = asyncio.Event()

    def marked() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            all_marked.set()

    async def connected(path: str) -> _Client:
        ready = asyncio.Event()
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, client = await loop.create_connection(lambda: _Client(path, ready, marked), "127.0.0.1", port)
            except OSError:  # it is not up yet
                await asyncio.sleep(0.05)
            else:
                await ready.wait()
                return client

    made: list[_Client] = []
    try:
        async with asyncio.timeout(SECONDS):
            made += [await connected("/watch") for _ in range(clients)]
            commander = await connected("/command")
        await asyncio.sleep(1)  # … until each is in its room

        async def run(deliveries: int) -> None:
            nonlocal left
            left = clients
            all_marked.clear()
            commander.say(str(max(1, deliveries // clients)))
            async with asyncio.timeout(SECONDS):
                await all_marked.wait()

        yield run
    finally:
        for client in made:
            if client.transport is not None:
                client.transport.abort()
        server.kill()
        server.wait(60)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


if __name__ == "__main__":
    import uvicorn

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, most), most))
    uvicorn.run(
        {"ours": ours, "bare": bare}[sys.argv[1]](),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        log_level="critical",
        loop="asyncio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
    )
