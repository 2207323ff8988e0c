"""Clients that poll progress over HTTP, while investigations run: how long an answer takes.

Four processes: PostgreSQL; one that runs the investigations and makes their calls; one that serves the API, under
uvicorn; and this one, whose clients are raw connections. Each client watches one investigation and asks at fixed times.
What is measured is from when it was to ask: a late answer counts as late, also where the one before is the reason.

``python polling.py serve URL PORT`` and ``python polling.py drive URL INVESTIGATIONS`` are the two others.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import asyncpg

from investigation_backends.postgres import PostgresBackend
from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.engine import parts, reading
from investigation_sdk.engine.sight import Sight
from tests.benchmarks import stored
from tests.benchmarks.measuring import Works, compared, judged, measured

SECONDS: Final = 120.0
"""That anything may take before it is given up."""

DATA: Final = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "airline_agent_runs.jsonl"
MADE_UP: Final = 862
PERIOD: Final = 20.0
"""Seconds in which all calls are made once, by turns in all investigations; then they are made again."""


class Load(NamedTuple):
    """How many investigations run, each watched by one client that asks every `interval` seconds; goal of p99 in ms."""

    investigations: int
    interval: float
    goal_ms: float


LOADS: Final = (Load(100, 1.0, 20.0), Load(1000, 4.0, 100.0))


# ---------------------------------------------------------------------------- the one that serves


def serve(url: str, port: int) -> None:
    """The API alone."""
    import uvicorn
    from fastapi import FastAPI

    from investigation_sdk import Principal, Role
    from investigation_sdk.api import create_app

    async def operator() -> Principal:
        return Principal(id="bench", roles=frozenset({Role.OPERATOR}))

    app: FastAPI = create_app(InvestigationSDK(url, telemetry=False), authenticate=operator)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical", access_log=False, timeout_keep_alive=60)


# ---------------------------------------------------------------------------- the one that works


def calls_of_runs() -> list[tuple[str, dict[str, Any], Any]]:
    """The calls of real runs of an agent where the file is there: tool, arguments, output."""
    path = Path(os.environ["INVESTIGATION_TEST_DATA"]) / DATA.name if "INVESTIGATION_TEST_DATA" in os.environ else DATA
    if not path.exists():
        return [("noop", {"ip": "203.0.113.7", "n": n}, {"ip": "203.0.113.7", "ok": True}) for n in range(MADE_UP)]
    runs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(call["tool"], call["arguments"], call["output"]) for run in runs for call in run["calls"]]


async def drive(url: str, investigations: int) -> None:
    """Run investigations until the input ends; prints their ids, then says ``running``."""
    answer: ContextVar[Any] = ContextVar("answer")

    @cache
    def stand_in(name: str) -> Any:
        @tool(name=name)
        async def call(**arguments: Any) -> Any:
            return answer.get()

        return call

    calls = calls_of_runs()
    done = asyncio.Event()

    async def one(number: int, entered: asyncio.Event) -> None:
        async with sdk.investigation(f"run {number}", investigation_type="airline", user_id="bench") as run:
            print(run.id, flush=True)
            async with run.phase("conversation") as phase:
                queue = turns[number]
                entered.set()
                for made in itertools.count(1):
                    turn = await queue.get()
                    if turn is None:
                        return
                    name, arguments, output = turn
                    answer.set(output)
                    await stand_in(name)(**arguments)
                    phase.progress(1 - 0.98**made)

    async def give() -> None:
        started = time.monotonic()
        for number, call in enumerate(itertools.cycle(calls)):
            await asyncio.sleep(started + number * PERIOD / len(calls) - time.monotonic())
            if done.is_set():
                return
            turns[number % investigations].put_nowait(call)

    turns: list[asyncio.Queue[Any]] = [asyncio.Queue() for _ in range(investigations)]
    async with InvestigationSDK(url, telemetry=False) as sdk:
        entered = [asyncio.Event() for _ in turns]
        running = [asyncio.create_task(one(number, ready)) for number, ready in enumerate(entered)]
        for ready in entered:
            await ready.wait()
        print("running", flush=True)
        giving = asyncio.create_task(give())
        await asyncio.to_thread(sys.stdin.read)
        done.set()
        await giving
        for queue in turns:
            queue.put_nowait(None)
        await asyncio.gather(*running)


# ---------------------------------------------------------------------------- those who watch


class _Client(asyncio.Protocol):
    """One connection that is kept; one question at a time."""

    def __init__(self) -> None:
        self._got = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end or self._answer is None:
            return
        length = _header(head, b"content-length")
        if len(body) >= int(length or 0):
            self._got = b""
            self._answer.set_result((int(head[9:12]), _header(head, b"etag")))

    async def ask(self, path: str, known: bytes) -> tuple[int, bytes]:
        """Status and ETag of the answer."""
        assert self.transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        condition = b"If-None-Match: " + known + b"\r\n" if known else b""
        self.transport.write(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n" + condition + b"\r\n")
        return await self._answer


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return b""


class Polled(NamedTuple):
    """What clients saw: milliseconds of each answer, how many had nothing new, and how many were errors."""

    times: list[float]
    unchanged: int
    failed: int


async def poll(port: int, ids: Sequence[str], interval: float, seconds: float, query: str, *, known: bool) -> Polled:
    """Have each investigation watched by one client, their questions spread evenly."""
    loop = asyncio.get_running_loop()
    times: list[float] = []
    unchanged = failed = 0
    clients = [(await loop.create_connection(_Client, "127.0.0.1", port))[1] for _ in ids]
    begin = loop.time() + 0.5

    async def watch(number: int, client: _Client, id: str) -> None:
        nonlocal unchanged, failed
        path, etag = f"/investigation/{id}/progress{query}", b""
        due = begin + interval * number / len(ids)
        while due < begin + seconds:
            await asyncio.sleep(due - loop.time())
            status, etag = await client.ask(path, etag if known else b"")
            times.append((loop.time() - due) * 1000)
            unchanged += status == 304
            failed += status not in (200, 304)
            due += interval

    async with asyncio.timeout(seconds + SECONDS):
        await asyncio.gather(*(watch(n, client, id) for n, (client, id) in enumerate(zip(clients, ids, strict=True))))
    for client in clients:
        assert client.transport is not None
        client.transport.abort()
    return Polled(times, unchanged, failed)


# ---------------------------------------------------------------------------- all of it


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.benchmarks.polling", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)


@asynccontextmanager
async def running(url: str, investigations: int) -> AsyncIterator[list[str]]:
    """Investigations that run; their ids."""
    with _process("drive", url, str(investigations)) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None
        async with asyncio.timeout(SECONDS):
            ids: list[str] = []
            while (line := (await asyncio.to_thread(driver.stdout.readline)).strip()) != "running":
                if not line:
                    raise RuntimeError("what runs the investigations ended")
                ids.append(line)
        yield ids
        driver.stdin.close()
        await asyncio.to_thread(driver.wait, SECONDS)


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[tuple[int, int]]:
    """The API; its port, and its process."""
    from investigation_sdk.testing.servers.process import free_port

    port = free_port()
    with _process("serve", url, str(port)) as server:
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:  # it is not up yet
                    await asyncio.sleep(0.1)
                else:
                    writer.close()
                    break
        yield port, server.pid


FORMS: Final = {
    "the summary, asked with If-None-Match": ("?include_tools=false", True),
    "the summary": ("?include_tools=false", False),
    "with all calls (at most 100)": ("", False),
}


def cpu_of(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(url: str, load: Load, seconds: float) -> None:
    """Print what clients see under one load."""
    async with running(url, load.investigations) as ids, serving(url) as (port, pid):
        for query in ("?include_tools=false", ""):  # connections, plans, caches
            await poll(port, ids, load.interval, max(2.0, load.interval), query, known=False)
        rate = load.investigations / load.interval
        print(f"\n{load.investigations} investigations running, {rate:.0f} questions a second for {seconds:.0f} s each")
        for form, (query, known) in FORMS.items():
            used = cpu_of(pid)
            polled = await poll(port, ids, load.interval, seconds, query, known=known)
            used = (cpu_of(pid) - used) / len(polled.times)
            cuts = statistics.quantiles(polled.times, n=100)
            verdict = judged(f"polling, {rate:.0f} a second, {form}: p99", cuts[98], load.goal_ms, " ms")
            print(
                f"  {form:38} p50 {cuts[49]:6.1f} ms   p95 {cuts[94]:6.1f} ms   p99 {cuts[98]:6.1f} ms, goal "
                f"{load.goal_ms:.0f} ms: {verdict}   ({len(polled.times)} "
                f"answers, {polled.unchanged} of them 304, {polled.failed} errors, "
                f"{used * 1e6:.0f} µs of the server's CPU each)",
                flush=True,
            )


# ---------------------------------------------------------------------------- the read itself


FEW, MANY, OF_RAW, OF_FEW = 10, 10_000, 2.0, 1.5
READS: Final = {"the summary": False, "with calls": True}


async def with_calls(sdk: InvestigationSDK, count: int) -> str:
    """An investigation that ran, in two phases, with that many calls."""

    @tool
    async def noop(number: int) -> int:
        return number

    async with sdk.investigation(f"{count} calls") as run:
        async with run.phase("first"):
            await noop(0)
        async with run.phase("second"):
            for start in range(1, count, 100):
                await asyncio.gather(*(noop(number) for number in range(start, min(count, start + 100))))
    return run.id


async def _raw(connection: Any, asked: Sequence[stored.Asked]) -> None:
    for statement, values in asked:
        await connection.fetch(statement, *values)


async def _plain(url: str, id: str, *, tools: bool) -> list[stored.Asked]:
    """What one would ask without the SDK: the investigation by its id, its phases, and with calls the newest of these,
    how many there are, and the changes of state; a query each."""
    backend = PostgresBackend(url)
    await backend.open()
    try:
        await parts.read_parts(backend, id, with_tools=tools)  # connections are made
        with stored.watched() as asked:
            await reading.get_row(backend, id, Sight())
            await parts.read_parts(backend, id, with_tools=tools)
            return list(asked)
    finally:
        await backend.close()


async def of_the_read(url: str, rounds: int) -> None:
    """Print what ``sdk.progress`` takes of plain queries for the same and of its own statements, and of the same with a
    thousandth of the calls."""
    async with InvestigationSDK(url, telemetry=False) as sdk:
        few, many = [await with_calls(sdk, count) for count in (FEW, MANY)]
        await stored.tidy(url)
        connection = await asyncpg.connect(url)
        print(f"\nThe read, {rounds} rounds of 40 in turns")
        try:
            for form, tools in READS.items():
                read = functools.partial(sdk.progress, include_tools=tools)
                for _ in range(3):
                    await read(few)
                with stored.watched() as own:
                    await read(few)
                for what, asked, goal in (
                    ("plain queries", await _plain(url, few, tools=tools), OF_RAW),
                    ("own statements", list(own), math.inf),
                ):
                    raw = functools.partial(_raw, connection, asked)
                    works: Works = {f"{len(asked)} {what}": raw, "sdk.progress": functools.partial(read, few)}
                    compared(form, await measured(works, rounds), goal)
                of_few, of_many = functools.partial(read, few), functools.partial(read, many)
                works = {f"{FEW} calls": of_few, f"{MANY:,} calls": of_many}
                compared(form, await measured(works, rounds), math.inf if tools else OF_FEW)
        finally:
            await connection.close()


def report(urls: Sequence[str], rounds: int, seconds: float = 20.0) -> None:
    """Measure and print all of it, in empty databases that have our tables."""
    print(f"\nProgress over HTTP, on PostgreSQL; {len(calls_of_runs())} calls every {PERIOD:.0f} s", end="")
    print("" if DATA.exists() else f" (made up: {DATA} is not there)")
    for load, url in zip(LOADS, urls, strict=False):
        asyncio.run(measure(url, load, seconds))
    asyncio.run(of_the_read(urls[-1], rounds))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        asyncio.run(drive(sys.argv[2], int(sys.argv[3])))
