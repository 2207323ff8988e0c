"""Stores that hold many events already: how they are filled, and what one investigation's work costs in them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import asyncpg

from investigation_backends.postgres import PostgresBackend
from investigation_backends.sql import postgres_write
from investigation_backends.sql.postgres_selects import Selects
from investigation_backends.sql.postgres_statements import Statements
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import APPLIED, Query, Where
from investigation_sdk.testing.contract import Case

EVENTS_OF_ONE: Final = 50
_BATCH: Final = 40
_DATA: Final = '{"arguments":{"ip":"203.0.113.7","n":17},"result":{"ip":"203.0.113.7","ok":true,"n":17}}'


def case_with_calls() -> tuple[Case, Any]:
    """An investigation of 50 events and 25 calls, and the commit that makes it."""
    case = Case(user_id="u", subject="account 42 taken over")
    tools = [case.tool(status="completed", output_result='{"ok":true}', completed_at=case.row.created_at)]
    tools += [case.tool(status="completed", output_result='{"ok":true}') for _ in range(EVENTS_OF_ONE // 2 - 1)]
    kinds = ("tool.started", "tool.completed") * (EVENTS_OF_ONE // 2)
    return case, case.commit(*kinds, data=_DATA, rows=tools)


async def fill(backend: Backend, events: int) -> Case:
    """Commit investigations until so many events are stored; answer one from the middle."""
    middle: Case | None = None
    for done in range(0, events, _BATCH * EVENTS_OF_ONE):
        count = min(_BATCH, (events - done) // EVENTS_OF_ONE)
        made = [case_with_calls() for _ in range(count)]
        results = await backend.commit([commit for _, commit in made])
        if set(results) != {APPLIED}:
            raise RuntimeError(f"filling the store: {set(results)}")
        if middle is None or done <= events // 2:
            middle, commit = made[0]
            middle.moved(commit)
    assert middle is not None, "at least the events of one investigation"
    return middle


def reads_of(backend: Backend, case: Case) -> dict[str, Callable[[], Awaitable[Any]]]:
    """What is read of one investigation, by name."""
    calls = Query("tool", (Where("investigation_id", "=", case.id),), sort="id", limit=100)
    return {
        "get": lambda: backend.get("investigation", case.id),
        "events": lambda: backend.read_events(case.id, limit=1000),
        "last event": lambda: backend.read_events(case.id, limit=1, reverse=True),
        "calls": lambda: backend.find(calls),
    }


def next_call(case: Case) -> Any:
    """The commit of one more call."""
    return case.commit("tool.started", "tool.completed", data=_DATA, rows=[case.tool(status="completed")])


# ---------------------------------------------------------------- PostgreSQL's own figures


class Plan(NamedTuple):
    """How one statement was run: what was scanned how, and the blocks of tables and indexes that it touched."""

    nodes: tuple[str, ...]
    blocks: int


class Explaining:
    """A connection that runs each statement under EXPLAIN (ANALYZE, BUFFERS), and takes back what it did."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.plans: list[Plan] = []

    async def fetch(self, statement: str, *values: Any) -> Sequence[Any]:
        """Explain; no rows come back."""
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            text = await self._connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *values)
        finally:
            await transaction.rollback()
        plan = json.loads(text)[0]["Plan"]
        self.plans.append(Plan(tuple(sorted(set(_scans(plan)))), _blocks(plan)))
        return []

    async def fetchrow(self, statement: str, *values: Any) -> None:
        """Explain; there is no row."""
        await self.fetch(statement, *values)


def _scans(plan: dict[str, Any]) -> Iterator[str]:
    kind, relation = plan["Node Type"], plan.get("Index Name") or plan.get("Relation Name")
    if relation is not None and kind != "ModifyTable":
        yield f"{kind} {relation}"
    for child in plan.get("Plans", ()):
        yield from _scans(child)


def _blocks(plan: dict[str, Any]) -> int:
    """Of a node and what is below it; an INSERT in a WITH is below the statement, and not in the statement's figure."""
    own: int = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return max(own, sum(map(_blocks, plan.get("Plans", ()))))


async def plans(url: str, case: Case) -> dict[str, Plan]:
    """The plan of each read of one investigation, and of appending one call to it, by name. Nothing is changed."""
    backend = PostgresBackend(url)
    names = backend._names
    selects, statements = Selects(names.schema, names.prefix), Statements(names)
    query = Query("tool", (Where("investigation_id", "=", case.id),), sort="id", limit=100)
    connection = await backend._target.connect()
    explaining: Any = Explaining(connection)
    try:
        await backend._reads.one(explaining, "investigation", case.id)
        await backend._reads.events(explaining, case.id, 0, 1000, None, reverse=False)
        await backend._reads.events(explaining, case.id, 0, 1, None, reverse=True)
        await selects.find(explaining, query)
        await postgres_write.append(explaining, statements, [next_call(case)])
    finally:
        await connection.close()
    return dict(zip(("get", "events", "last event", "calls", "append"), explaining.plans, strict=True))


class Asked(NamedTuple):
    """A statement, and its values."""

    statement: str
    values: tuple[Any, ...]


@contextmanager
def watched() -> Iterator[list[Asked]]:
    """The statements that go to PostgreSQL meanwhile, in order: each is one round trip once it is prepared."""
    seen: list[Asked] = []
    originals = {name: getattr(asyncpg.Connection, name) for name in ("fetch", "fetchrow", "execute")}

    def watch(name: str) -> Callable[..., Any]:
        async def call(self: Any, statement: str, *values: Any, **options: Any) -> Any:
            seen.append(Asked(statement, values))
            return await originals[name](self, statement, *values, **options)

        return call

    for name in originals:
        setattr(asyncpg.Connection, name, watch(name))
    try:
        yield seen
    finally:
        for name, original in originals.items():
            setattr(asyncpg.Connection, name, original)


async def statements_of(backend: Backend, case: Case) -> dict[str, list[str]]:
    """The statements of each read of one investigation, and of appending a call, by name."""
    found: dict[str, list[str]] = {}
    works = reads_of(backend, case)
    works["append"] = lambda: case.apply(backend, next_call(case))
    for work in works.values():
        await work()  # connections are made, and statements prepared
    for name, work in works.items():
        with watched() as seen:
            await work()
        found[name] = [asked.statement for asked in seen]
    return found


async def tidy(url: str) -> None:
    """What autovacuum and the checkpointer would do by and by, at once."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
