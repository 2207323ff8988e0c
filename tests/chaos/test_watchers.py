"""Whatever is killed, whoever watches ends with the exact list of events that the store has.

Two processes serve, a third works. Clients go and come as they like, to either server, and keep nothing but the
sequence of the last event that they have. Meanwhile Redis, PostgreSQL and the servers are killed and started again, and
the process that works is killed: another one takes over, and runs no finished call again.
"""

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from investigation_sdk import InvestigationSDK
from investigation_sdk.testing.servers import PostgresServer, RedisServer
from investigation_sdk.testing.servers.process import Server, free_port

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(280)]

SERVING = Path(__file__).parents[1] / "realtime" / "serving.py"
DRIVER = Path(__file__).with_name("driver.py")
SECONDS = 200.0
PATIENTLY = 120.0


class Process:
    """A process that can be killed and started again, with what it said last."""

    def __init__(self, log: Path, *command: object) -> None:
        self._command = [sys.executable, *map(str, command)]
        self._log = log
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, stdout=log, stderr=log)

    def again(self) -> None:
        self.end()
        self.process = self._start()

    def end(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def said(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


class Client:
    """Watches one investigation to its end, through anything."""

    def __init__(
        self, id: str, ports: list[int], seed: int, *, stays: tuple[float, ...] = (0.1, 0.5, 2.0, 5.0)
    ) -> None:
        self.id = id
        self.found: list[tuple[int, str]] = []
        self.begun = asyncio.Event()
        self.connections = 0
        self._ports = ports
        self._stays = stays
        self._random = random.Random(seed)

    async def watch(self) -> None:
        while True:
            if await self._once():
                return
            await asyncio.sleep(self._random.uniform(0, 0.3))

    async def _once(self) -> bool:
        """One connection; whether the investigation has ended."""
        after = self.found[-1][0] if self.found else 0
        url = f"ws://127.0.0.1:{self._random.choice(self._ports)}/{self.id}?after={after}"
        stay = self._random.choice(self._stays)  # then it goes, without a word
        try:
            connection = await connect(url, compression=None, ping_interval=2, open_timeout=5)
        except (OSError, WebSocketException, TimeoutError):
            return False
        self.connections += 1
        try:
            async with asyncio.timeout(stay):
                async for text in connection:
                    message = json.loads(text)
                    if "sequence" in message:
                        self.found.append((message["sequence"], message["id"]))
                        self.begun.set()
            return connection.close_code == 1000
        except (OSError, WebSocketException, TimeoutError):
            return False
        finally:
            connection.transport.abort()


@pytest.fixture
def postgres_of_its_own() -> Iterator[PostgresServer]:
    with PostgresServer(durable=True) as server:
        yield server


@pytest.fixture
def redis_of_its_own() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def killed(server: Server, seconds: float) -> None:
    server.kill()
    time.sleep(seconds)
    server.start()


@pytest.mark.parametrize("hints", ["redis", "postgresql"])
async def test_each_client_ends_with_what_the_store_has(
    hints: str,
    postgres_of_its_own: PostgresServer,
    redis_of_its_own: RedisServer,
    make_sdk: Callable[..., InvestigationSDK],
    tmp_path: Path,
) -> None:
    store = postgres_of_its_own.url_of(postgres_of_its_own.create_database())
    redis = redis_of_its_own.url if hints == "redis" else ""
    sdk = make_sdk(store, auto_migrate=True)
    ids = [
        (await sdk.service.create_investigation("gil", f"account {n}", "general", {}, queue=False)).id for n in range(4)
    ]
    ports = [free_port(), free_port()]
    serving = [Process(tmp_path / f"api{port}.log", SERVING, port, store, *filter(None, [redis])) for port in ports]
    clients = [Client(ids[n % len(ids)], ports, n) for n in range(24)]
    watching = [asyncio.create_task(client.watch()) for client in clients]
    worker = Process(tmp_path / "worker.log", DRIVER, store, redis, *ids)
    harm: list[Callable[[], object]] = [
        serving[0].again,
        worker.again,
        lambda: killed(redis_of_its_own, 0.3),
        lambda: killed(postgres_of_its_own, 0.3),
        serving[1].again,
        lambda: killed(redis_of_its_own, 1.0),
        lambda: killed(postgres_of_its_own, 1.0),
    ]
    try:
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(client.begun.wait() for client in clients))
            for do in harm:
                do()  # on this thread, which servers are started on
                await asyncio.sleep(1.0)
            code = await asyncio.to_thread(worker.process.wait, PATIENTLY)
            assert code == 0, worker.said()
            await asyncio.gather(*watching)
    finally:
        for task in watching:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*watching, return_exceptions=True)
        for process in (*serving, worker):
            process.end()
    claims = 0
    for id in ids:
        every = [(event.sequence, event.id) async for event in sdk.iter_events(id)]
        assert len(every) > 300
        assert (await sdk.get(id)).status == "completed"
        claims += len(await sdk.events(id, event_type="investigation.claimed"))
        for client in clients:
            if client.id == id:
                same = client.found == every
                assert same, f"{len(client.found)} of {len(every)} events after {client.connections} connections"
    assert claims > len(ids), "another process took over from the one that was killed"
    assert sum(client.connections for client in clients) > 2 * len(clients)


async def test_two_that_serve_and_one_that_works(
    postgres_of_its_own: PostgresServer,
    redis_of_its_own: RedisServer,
    make_sdk: Callable[..., InvestigationSDK],
    tmp_path: Path,
) -> None:
    """Without any harm, a client of either sees everything over one connection."""
    store = postgres_of_its_own.url_of(postgres_of_its_own.create_database())
    sdk = make_sdk(store, auto_migrate=True)
    id = (await sdk.service.create_investigation("gil", "account 42", "general", {}, queue=False)).id
    ports = [free_port(), free_port()]
    serving = [Process(tmp_path / f"{port}.log", SERVING, port, store, redis_of_its_own.url) for port in ports]
    clients = [Client(id, [port], n, stays=(SECONDS,)) for n, port in enumerate(ports)]
    worker = None
    try:
        async with asyncio.timeout(SECONDS):
            watching = [asyncio.create_task(client.watch()) for client in clients]
            await asyncio.gather(*(client.begun.wait() for client in clients))
            worker = Process(tmp_path / "worker.log", DRIVER, store, redis_of_its_own.url, id)
            await asyncio.gather(*watching)
    finally:
        for process in (*serving, *filter(None, [worker])):
            process.end()
    every = [(event.sequence, event.id) async for event in sdk.iter_events(id)]
    assert [len(client.found) for client in clients] == [len(every)] * 2
    assert all(client.found == every for client in clients)
    assert [client.connections for client in clients] == [1, 1]
