"""Measures what recording costs, beside a floor and public tools, interleaved in one run.

Usage: python -m tests.benchmarks.run [--rounds N] [--strict] [--only NAME …]

Prints medians of at least 7 interleaved rounds with their spread, and the median of the ratios within each round:
only those are worth comparing between machines. At the end stands what became of each goal.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from investigation_backends.mongo import MongoBackend
from investigation_backends.postgres import PostgresBackend
from investigation_sdk.domain import fold
from investigation_sdk.testing.servers import MongoServer, PostgresServer, ServerMissing
from tests.benchmarks import contestants as c
from tests.benchmarks import fan_out, importing, mongo_floor, peers, polling, postgres_floor, resuming, storage_cost
from tests.benchmarks.measuring import conclude, judged

Make = Callable[[], AbstractAsyncContextManager[c.Runner]]
_GRAPH, _FLOW = "LangGraph, StateGraph", "DBOS, steps"


class Work(NamedTuple):
    """One comparison: ours first; the others' names say what the ratio is to."""

    name: str
    calls: int
    make: dict[str, Make]
    goals: dict[str, float]
    rest: float = 0.0
    """Seconds between two turns, in which what one has left to do is done."""


def works(folder: Path, server: PostgresServer | None, mongo: MongoServer | None) -> list[Work]:
    """All comparisons; those with a database server where there is one."""
    sqlite = f"sqlite:///{folder}/ours.db"
    many = f"sqlite:///{folder}/many.db"
    return [
        Work("outside an investigation", 20_000, {"ours": c.outside, "bare function": c.bare}, {}),
        Work(
            "in memory",
            500,
            {
                "ours": lambda: c.ours("memory://"),
                "OpenTelemetry span, batch, 5 attributes": c.otel_batch,
                "eventsourcing, in memory": c.eventsourcing_memory,
            },
            {"OpenTelemetry span, batch, 5 attributes": 1.25, "eventsourcing, in memory": 0.35},
        ),
        Work(
            "in memory, BATCHED and flushed",  # as a batch processor hands over
            500,
            {
                "ours": lambda: c.ours_batched("memory://"),
                "OpenTelemetry span, batch, 5 attributes": c.otel_batch,
                "eventsourcing, in memory": c.eventsourcing_memory,
            },
            {"OpenTelemetry span, batch, 5 attributes": 1.25, "eventsourcing, in memory": 0.35},
        ),
        Work(
            "in memory, spans to OpenTelemetry's SDK",
            500,
            {
                "ours": lambda: c.ours_with_otel("memory://"),
                "OpenTelemetry span, batch, 5 attributes": c.otel_batch,
                "ours, OpenTelemetry's API without its SDK": lambda: c.ours_with_api("memory://"),
                "ours, without OpenTelemetry": lambda: c.ours("memory://"),
            },
            {"OpenTelemetry span, batch, 5 attributes": 2},
        ),
        Work(
            "SQLite (FULL), sequential",
            300,
            {"ours": lambda: c.ours(sqlite), "floor": lambda: c.floor(folder)},
            {"floor": 2.25},
        ),
        Work(
            "SQLite (FULL), 100 x 20",
            2000,
            {"ours": lambda: c.ours_many(many), "floor": lambda: c.floor_many(folder)},
            {"floor": 2.5},
        ),
        *(
            Work(
                f"one event to {clients} WebSocket clients",
                clients * messages,
                {
                    "ours": functools.partial(fan_out.runner, "ours", clients),
                    "bare Starlette, a queue for each": functools.partial(fan_out.runner, "bare", clients),
                },
                {"bare Starlette, a queue for each": 2},
            )
            for clients, messages in ((100, 200), (1000, 20))
        ),
        *([] if server is None else postgres_works(server)),
        *([] if mongo is None else mongo_works(mongo)),
    ]


def empty_databases(server: PostgresServer, count: int) -> list[str]:
    """URLs of databases that have our tables, and nothing in them."""
    urls = [server.url_of(server.create_database()) for _ in range(count)]
    for url in urls:
        asyncio.run(PostgresBackend(url).upgrade())
    return urls


def postgres_works(server: PostgresServer) -> list[Work]:
    """The comparisons with PostgreSQL, each contestant in a database of its own."""

    one, many = empty_databases(server, 2)
    floors = [server.url_of(server.create_database()) for _ in range(2)]
    graph, flow = (server.url_of(server.create_database()) for _ in range(2))
    return [
        Work(
            "PostgreSQL, sequential",
            300,
            {"ours": lambda: c.ours(one), "floor": lambda: postgres_floor.floor(floors[0])},
            {"floor": 2.25},
        ),
        Work(
            "PostgreSQL, 100 x 20",
            2000,
            {"ours": lambda: c.ours_many(many), "floor": lambda: postgres_floor.floor_many(floors[1])},
            {"floor": 3},
        ),
        # apart from the floor: a contestant that takes twenty times as long would let the machine cool down or heat up
        Work(
            "PostgreSQL, sequential, beside public tools",
            200,
            {"ours": lambda: c.ours(one), _GRAPH: lambda: peers.langgraph(graph), _FLOW: lambda: peers.dbos(flow)},
            {},
        ),
        Work(
            "PostgreSQL, 100 x 20, beside public tools",
            2000,
            {
                "ours": lambda: c.ours_many(many),
                _GRAPH: lambda: peers.langgraph(graph, many=True),
                _FLOW: lambda: peers.dbos(flow, many=True),
            },
            {_GRAPH: 1 / 10, _FLOW: 1 / 30},
        ),
    ]


def mongo_works(server: MongoServer) -> list[Work]:
    """The comparison with a server that speaks MongoDB's protocol."""
    many = server.url_of("ours")
    asyncio.run(MongoBackend(many).upgrade())
    return [
        Work(
            "MongoDB's protocol (SecantusDB), 100 x 20",
            2000,
            {
                "ours": lambda: c.ours_many(many),
                "ours, and a list": lambda: c.ours_many(many, listed=True),
                "insert_many": lambda: mongo_floor.floor_many(server.url_of("floor")),
                "insert_many, with our indexes": lambda: mongo_floor.floor_many(server.url_of("indexed"), indexed=True),
            },
            {"insert_many": 2},
            rest=2.0,
        ),
    ]


async def measure(work: Work, rounds: int) -> dict[str, list[float]]:
    """µs per call of each contestant, one figure a round, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in work.make}
    async with AsyncExitStack() as stack:
        runners = {}
        for name, make in work.make.items():
            try:
                runners[name] = await stack.enter_async_context(make())
            except ImportError as missing:
                print(f"\n{work.name}: {name} is left out, {missing.name} is not installed")
                del times[name]
        for runner in runners.values():
            await runner(max(100, work.calls // 5))
        names = list(runners)
        for turn in range(rounds):
            for name in names if turn % 2 == 0 else reversed(names):
                gc.collect()
                started = time.perf_counter()
                await runners[name](work.calls)
                times[name].append((time.perf_counter() - started) / work.calls * 1e6)
                await asyncio.sleep(work.rest)
    return times


def _times(ratio: float) -> str:
    return f"{ratio:.2f}x" if ratio > 0.2 else f"1/{1 / ratio:.1f} of it"


def report(work: Work, times: dict[str, list[float]]) -> None:
    """Print one comparison."""
    print(f"\n{work.name}: µs per call, median (spread) of {len(times['ours'])} interleaved rounds")
    for name, values in times.items():
        line = f"  {name:42} {statistics.median(values):9.2f}  ({min(values):.2f} to {max(values):.2f})"
        if name != "ours":
            ratios = [mine / theirs for mine, theirs in zip(times["ours"], values, strict=True)]
            ratio = statistics.median(ratios)
            line += f"   ours is {_times(ratio)} ({min(ratios):.3g} to {max(ratios):.3g})"
            goal = work.goals.get(name)
            if goal is not None:
                line += f", goal {_times(goal)}: {judged(f'{work.name}: {name}', ratio, goal)}"
        elif work.name.startswith("outside"):
            line += f"   goal 1 µs: {judged(work.name, statistics.median(values), 1, ' µs')}"
        print(line, flush=True)


def machine() -> str:
    """What this was measured on."""
    names = (
        "pydantic",
        "sqlalchemy",
        "asyncpg",
        "motor",
        "pymongo",
        "SecantusDB",
        "opentelemetry-sdk",
        "eventsourcing",
        "msgspec",
        "langgraph",
        "langgraph-checkpoint-postgres",
        "psycopg",
        "dbos",
    )
    found: list[str] = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    core = "interpreted" if fold.__file__.endswith(".py") else "compiled"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return (
        f"core {core}; {python}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores; {', '.join(found)}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds, at least 7 (default 9)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where a goal is missed")
    parser.add_argument("--only", nargs="*", help="parts of the names of what to measure")
    options = parser.parse_args(arguments)
    print(machine())
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        try:
            server = stack.enter_context(PostgresServer(durable=True))
        except ServerMissing as missing:
            print(f"PostgreSQL is left out: {missing}")
            server = None
        try:
            mongo = stack.enter_context(MongoServer())
        except ServerMissing as missing:
            print(f"MongoDB's protocol is left out: {missing}")
            mongo = None
        for work in works(Path(folder), server, mongo):
            if options.only and not any(part in work.name for part in options.only):
                continue
            report(work, asyncio.run(measure(work, max(7, options.rounds))))
        if server is not None and (not options.only or "polling" in options.only):
            polling.report(empty_databases(server, 3), max(7, options.rounds))
        if not options.only or "resume" in options.only:
            resuming.report(Path(folder), max(7, options.rounds))
        if not options.only or "storage" in options.only:
            storage_cost.report(Path(folder))
    if not options.only or "import" in options.only:
        importing.report(max(7, options.rounds))
    return conclude(strict=options.strict)


if __name__ == "__main__":
    sys.exit(main())
