"""What is measured: the same no-op tool, recorded by us, by a floor, and by public tools.

A contestant makes a runner; a runner is awaited with a number of calls and does them, and nothing else is timed.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from sqlite3 import connect
from time import time_ns
from typing import Any

from investigation_sdk import Durability, InvestigationSDK, tool
from investigation_sdk.telemetry import Telemetry

Runner = Callable[[int], Awaitable[None]]
INVESTIGATIONS, CALLS = 100, 20


async def noop(d: dict[str, Any]) -> dict[str, Any]:
    """The tool: small dict in, small dict out."""
    return {"ip": d["ip"], "ok": True, "n": d["n"]}


recorded = tool(noop)


def argument(n: int) -> dict[str, Any]:
    """What the tool is called with."""
    return {"ip": "203.0.113.7", "n": n}


async def repeat(fn: Callable[[Any], Awaitable[Any]], n: int) -> None:
    """Call it n times, one after another."""
    for i in range(n):
        await fn(argument(i))


def here(fn: Callable[[Any], Awaitable[Any]]) -> Runner:
    """Calls it in the context of now: other contestants' blocks, opened later, are not around it."""
    context = contextvars.copy_context()

    async def run(n: int) -> None:
        await asyncio.create_task(repeat(fn, n), context=context)

    return run


@asynccontextmanager
async def bare() -> AsyncIterator[Runner]:
    """The function itself."""
    yield functools.partial(repeat, noop)


@asynccontextmanager
async def outside() -> AsyncIterator[Runner]:
    """Decorated, no investigation open."""
    yield functools.partial(repeat, recorded)


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Runner]:
    """Recorded in one open investigation, one call after another."""
    async with InvestigationSDK(url, telemetry=False) as sdk, sdk.investigation("benchmark"):
        yield here(recorded)


@asynccontextmanager
async def ours_with_api(url: str) -> AsyncIterator[Runner]:
    """As `ours`, where the process has loaded OpenTelemetry's API, and no SDK of it."""
    async with InvestigationSDK(url, telemetry=Telemetry()) as sdk, sdk.investigation("benchmark"):
        yield here(recorded)


@asynccontextmanager
async def ours_with_otel(url: str) -> AsyncIterator[Runner]:
    """As `ours`, with spans to OpenTelemetry's SDK: batch processor, exporter that drops; no meter provider."""
    provider = dropping_provider()
    telemetry = Telemetry(tracer_provider=provider)
    async with InvestigationSDK(url, telemetry=telemetry) as sdk, sdk.investigation("benchmark"):
        yield here(recorded)
    provider.shutdown()


@asynccontextmanager
async def ours_batched(url: str) -> AsyncIterator[Runner]:
    """As `ours` with durability BATCHED; what is queued is flushed at the end of each run, within its time."""
    async with (
        InvestigationSDK(url, durability=Durability.BATCHED, telemetry=False) as sdk,
        sdk.investigation("benchmark"),
    ):

        async def run(n: int) -> None:
            await repeat(recorded, n)
            await sdk.flush()

        yield run


@asynccontextmanager
async def ours_many(url: str, investigations: int = INVESTIGATIONS, *, listed: bool = False) -> AsyncIterator[Runner]:
    """Many open investigations, their calls at the same time; n is rounded to a multiple of how many there are.

    With `listed`, a run ends with reading a list: where rows are written behind, they are written then.
    """
    async with InvestigationSDK(url, telemetry=False) as sdk:
        start, done = asyncio.Event(), asyncio.Event()
        order: dict[str, Any] = {"n": 0, "left": 0}

        async def drive() -> None:
            nonlocal start, done
            async with sdk.investigation("benchmark"):
                while True:
                    ready.release()
                    await start.wait()
                    if not order["n"]:
                        return
                    await repeat(recorded, order["n"])
                    order["left"] -= 1
                    if not order["left"]:
                        done.set()
                    await rest.wait()

        ready, rest = asyncio.Semaphore(0), asyncio.Event()
        tasks = [asyncio.create_task(drive()) for _ in range(investigations)]

        async def run(n: int) -> None:
            nonlocal start, done, rest
            order.update(n=n // investigations, left=investigations)
            start.set()
            await done.wait()
            if listed:
                await sdk.list(limit=1)
            start, done = asyncio.Event(), asyncio.Event()
            over, rest = rest, asyncio.Event()
            over.set()

        for _ in tasks:
            await ready.acquire()
        yield run
        order["n"] = 0
        start.set()
        await asyncio.gather(*tasks)


def dropping_provider() -> Any:
    """Of OpenTelemetry's SDK: batch processor, exporter that drops."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Drop(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

        def shutdown(self) -> None:
            return None

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Drop()))
    return provider


@asynccontextmanager
async def otel_batch() -> AsyncIterator[Runner]:
    """An OpenTelemetry SDK span with five attributes, batch processor, exporter that drops."""
    provider = dropping_provider()
    tracer = provider.get_tracer("benchmark")

    async def spanned(d: dict[str, Any]) -> dict[str, Any]:
        with tracer.start_as_current_span("execute_tool noop") as span:
            span.set_attribute("gen_ai.operation.name", "execute_tool")
            span.set_attribute("gen_ai.tool.name", "noop")
            span.set_attribute("gen_ai.tool.call.id", "c1")
            span.set_attribute("gen_ai.tool.call.arguments", json.dumps(d))
            result = await noop(d)
            span.set_attribute("gen_ai.tool.call.result", json.dumps(result))
            return result

    yield functools.partial(repeat, spanned)
    provider.shutdown()


@functools.cache
def _aggregate() -> Any:
    from eventsourcing.domain import Aggregate, event

    class Calls(Aggregate):
        @event("Opened")
        def __init__(self) -> None:
            self.calls: dict[str, Any] = {}

        @event("ToolStarted")
        def started(self, call_id: str, tool: str, args: dict[str, Any]) -> None:
            self.calls[call_id] = "started"

        @event("ToolCompleted")
        def completed(self, call_id: str, result: dict[str, Any]) -> None:
            self.calls[call_id] = result

    return Calls


@asynccontextmanager
async def eventsourcing_memory() -> AsyncIterator[Runner]:
    """The library `eventsourcing`, in memory: an aggregate with two events a call, each saved."""
    from eventsourcing.application import Application

    app: Application[Any] = Application(env={"PERSISTENCE_MODULE": "eventsourcing.popo"})

    async def run(n: int) -> None:
        aggregate = _aggregate()()
        app.save(aggregate)
        for i in range(n):
            d = argument(i)
            aggregate.started(str(i), "noop", d)
            app.save(aggregate)
            aggregate.completed(str(i), await noop(d))
            app.save(aggregate)

    yield run
    app.close()


class Floor:
    """The least that has our semantics on SQLite: per call two chained events and a row, durable before the call
    returns, one group-committing thread, msgspec for JSON, ids by a compiled UUIDv7. No decisions, no fence."""

    def __init__(self, path: str) -> None:
        import msgspec

        self.encode = msgspec.json.Encoder().encode
        self.loop = asyncio.get_running_loop()
        self.queue: deque[Any] = deque()
        self.wake = threading.Event()
        self.stopped = False
        self.connection = connect(path, isolation_level=None, check_same_thread=False)
        self.connection.executescript(
            """pragma journal_mode=wal; pragma synchronous=full;
            create table events(inv blob, seq int, type text, payload text, hash blob, primary key(inv, seq))
                without rowid;
            create table calls(id blob primary key, inv blob, tool text, status text, input text, output text)
                without rowid"""
        )
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        execute = self.connection.executemany
        while not self.stopped:
            self.wake.wait()
            self.wake.clear()
            batch = []
            while self.queue:
                batch.append(self.queue.popleft())
            if not batch:
                continue
            self.connection.execute("begin immediate")
            execute("insert into events values(?,?,?,?,?)", [event for item in batch for event in item[0]])
            execute("insert into calls values(?,?,?,?,?,?)", [item[1] for item in batch])
            self.connection.execute("commit")
            self.loop.call_soon_threadsafe(self._done, batch)

    @staticmethod
    def _done(batch: list[Any]) -> None:
        for item in batch:
            item[2].set_result(None)

    def investigation(self) -> Callable[[dict[str, Any]], Awaitable[Any]]:
        """A recorded no-op in an investigation of its own."""
        import uuid_utils

        uuid7 = uuid_utils.uuid7
        inv, sequence, head = uuid7().bytes, 0, b""

        def event(call: str, kind: str, payload: Any) -> tuple[Any, ...]:
            nonlocal sequence, head
            sequence += 1
            head_of = {"id": call, "inv": inv.hex(), "seq": sequence, "type": kind, "tool": "noop", "at": time_ns()}
            raw = self.encode({**head_of, "payload": payload})
            head = sha256(head + raw).digest()
            return inv, sequence, kind, raw.decode(), head

        async def call(d: dict[str, Any]) -> Any:
            id = uuid7().bytes
            text = id.hex()
            started = event(text, "tool.started", d)
            result = await noop(d)
            completed = event(text, "tool.completed", result)
            row = (id, inv, "noop", "completed", started[3], self.encode(result).decode())
            future = self.loop.create_future()
            self.queue.append(((started, completed), row, future))
            self.wake.set()
            await future
            return result

        return call

    def close(self) -> None:
        """End the thread."""
        self.stopped = True
        self.wake.set()
        self.thread.join()
        self.connection.close()


@asynccontextmanager
async def floor(folder: Path) -> AsyncIterator[Runner]:
    """The floor, one call after another."""
    it = Floor(tempfile.mktemp(dir=folder))  # noqa: S306
    yield functools.partial(repeat, it.investigation())
    it.close()


@asynccontextmanager
async def floor_many(folder: Path) -> AsyncIterator[Runner]:
    """The floor, 100 investigations at the same time."""
    it = Floor(tempfile.mktemp(dir=folder))  # noqa: S306
    calls = [it.investigation() for _ in range(INVESTIGATIONS)]

    async def run(n: int) -> None:
        await asyncio.gather(*(repeat(call, n // INVESTIGATIONS) for call in calls))

    yield run
    it.close()
