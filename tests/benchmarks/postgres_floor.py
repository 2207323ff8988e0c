"""The least that has our semantics on PostgreSQL."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from time import time_ns
from typing import Any

from tests.benchmarks.contestants import INVESTIGATIONS, Runner, noop, repeat

_TABLES = """
    CREATE TABLE events(inv uuid, seq bigint, type text, payload text, hash bytea, PRIMARY KEY (inv, seq));
    CREATE TABLE calls(id uuid PRIMARY KEY, inv uuid, tool text, status text, input jsonb, output jsonb);
"""
_WRITE = """
    WITH e AS (INSERT INTO events SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bytea[]))
    INSERT INTO calls SELECT * FROM unnest($6::uuid[], $7::uuid[], $8::text[], $9::text[], $10::jsonb[], $11::jsonb[])
"""


class Floor:
    """Per call two chained events and a row, durable before the call returns; one statement for what waits, on one
    connection of the caller's own loop; msgspec for JSON, ids by a compiled UUIDv7. No decisions, no check of what is
    there, no indexes, no foreign keys."""

    def __init__(self, connection: Any) -> None:
        import msgspec

        self.encode = msgspec.json.Encoder().encode
        self.connection = connection
        self.loop = asyncio.get_running_loop()
        self.waiting: list[Any] = []
        self.task: asyncio.Task[None] | None = None

    async def _drain(self) -> None:
        while self.waiting:
            batch, self.waiting = self.waiting, []
            events = zip(*(event for item in batch for event in item[0]), strict=True)
            rows = zip(*(item[1] for item in batch), strict=True)
            await self.connection.execute(_WRITE, *events, *rows)
            for item in batch:
                item[2].set_result(None)
        self.task = None

    def investigation(self) -> Callable[[dict[str, Any]], Any]:
        """A recorded no-op in an investigation of its own."""
        import uuid_utils

        uuid7 = uuid_utils.uuid7
        inv, sequence, head = uuid.UUID(bytes=uuid7().bytes), 0, b""

        def event(call: str, kind: str, payload: Any) -> tuple[Any, ...]:
            nonlocal sequence, head
            sequence += 1
            head_of = {"id": call, "inv": inv.hex, "seq": sequence, "type": kind, "tool": "noop", "at": time_ns()}
            raw = self.encode({**head_of, "payload": payload})
            head = sha256(head + raw).digest()
            return inv, sequence, kind, raw.decode(), head

        async def call(d: dict[str, Any]) -> Any:
            id = uuid.UUID(bytes=uuid7().bytes)
            text = id.hex
            started = event(text, "tool.started", d)
            result = await noop(d)
            completed = event(text, "tool.completed", result)
            row = (id, inv, "noop", "completed", self.encode(d).decode(), self.encode(result).decode())
            future = self.loop.create_future()
            self.waiting.append(((started, completed), row, future))
            if self.task is None:
                self.task = self.loop.create_task(self._drain())
            await future
            return result

        return call


@asynccontextmanager
async def _floor(url: str) -> AsyncIterator[Floor]:
    import asyncpg

    connection = await asyncpg.connect(url)
    await connection.execute(_TABLES)
    yield Floor(connection)
    await connection.close()


@asynccontextmanager
async def floor(url: str) -> AsyncIterator[Runner]:
    """One call after another."""
    async with _floor(url) as it:
        yield functools.partial(repeat, it.investigation())


@asynccontextmanager
async def floor_many(url: str) -> AsyncIterator[Runner]:
    """100 investigations at the same time."""
    async with _floor(url) as it:
        calls = [it.investigation() for _ in range(INVESTIGATIONS)]

        async def run(n: int) -> None:
            await asyncio.gather(*(repeat(call, n // INVESTIGATIONS) for call in calls))

        yield run
