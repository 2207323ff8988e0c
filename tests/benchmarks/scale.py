"""Measures what more of everything costs: 1,000 investigations at the same time, and 1,000,000 events stored.

Usage: python -m tests.benchmarks.scale [--rounds N] [--events N] [--only concurrent stored]

Each comparison takes turns in one run, and prints the median of the ratios within each round.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from investigation_backends.mongo import MongoBackend
from investigation_backends.postgres import PostgresBackend
from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk.storage.backend import Backend
from investigation_sdk.testing.contract import Case
from investigation_sdk.testing.servers import MongoServer, PostgresServer, ServerMissing
from tests.benchmarks import contestants as c
from tests.benchmarks import stored
from tests.benchmarks.measuring import compared, measured
from tests.benchmarks.run import machine

FEW, MANY, CALLS = 100, 1_000, 20
SMALL: Final = 1_000


def resident() -> float:
    """MB of memory that this process holds."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def concurrent(name: str, url: str, rounds: int) -> None:
    """The same number of calls, in 100 and in 1,000 investigations at the same time; and the memory it takes."""
    times: dict[str, list[float]] = {f"{FEW} at once": [], f"{MANY} at once": []}
    held: list[float] = []
    async with AsyncExitStack() as stack:
        before = resident()
        few = await stack.enter_async_context(c.ours_many(url, FEW))
        many = await stack.enter_async_context(c.ours_many(url, MANY))
        for runner in (few, many):
            await runner(MANY * 2)
        for turn in range(rounds):
            runs = list(zip(times.values(), (few, many), strict=True))
            for values, runner in runs if turn % 2 == 0 else reversed(runs):
                gc.collect()
                started = time.perf_counter()
                await runner(MANY * CALLS)
                values.append((time.perf_counter() - started) / (MANY * CALLS) * 1e6)
            held.append(resident())
    print(f"\n{name}: {MANY * CALLS:,} calls a run, {rounds} interleaved rounds")
    compared("a call", times, 1.5)
    calls = 2 * MANY * CALLS
    print(f"  memory: {before:.0f} MB before, {held[0]:.0f} MB after {calls:,} calls, ", end="")
    print(f"{held[-1]:.0f} MB after {rounds * calls:,}", flush=True)


async def filled(name: str, backends: dict[str, Backend], events: int) -> dict[str, Case]:
    """Both stores, each with what its name says."""
    cases: dict[str, Case] = {}
    print(f"\n{name}:", end=" ")
    for (label, backend), count in zip(backends.items(), (SMALL, events), strict=True):
        await backend.open()
        started = time.perf_counter()
        cases[label] = await stored.fill(backend, count)
        print(f"{count:,} events in {time.perf_counter() - started:.1f} s", end="; ", flush=True)
    print()
    return cases


async def beside(backends: dict[str, Backend], cases: dict[str, Case], urls: Sequence[str], rounds: int) -> None:
    """Reads of one investigation, and recorded calls, in both stores in turns."""
    reads = {label: stored.reads_of(backend, cases[label]) for label, backend in backends.items()}
    for what in next(iter(reads.values())):
        compared(what, await measured({label: reads[label][what] for label in reads}, rounds), 1.5)
    async with AsyncExitStack() as stack:
        runners = [await stack.enter_async_context(c.ours(url)) for url in urls]
        works: dict[str, Callable[[], Awaitable[Any]]] = {
            label: functools.partial(run, 1) for label, run in zip(backends, runners, strict=True)
        }
        compared("a recorded call", await measured(works, rounds), 1.5)


async def on_postgres(server: PostgresServer, events: int, rounds: int) -> None:
    """Time, statements, and blocks that the server touches."""
    urls = [server.url_of(server.create_database()) for _ in range(2)]
    labels = (f"{SMALL:,}", f"{events:,}")
    backends: dict[str, Backend] = {
        label: PostgresBackend(url, auto_migrate=True) for label, url in zip(labels, urls, strict=True)
    }
    cases = await filled("PostgreSQL", backends, events)
    for url in urls:
        await stored.tidy(url)
    await beside(backends, cases, urls, rounds)
    few, many = [await stored.plans(url, case) for url, case in zip(urls, cases.values(), strict=True)]
    said = [await stored.statements_of(backends[label], cases[label]) for label in labels]
    for what, plan in few.items():
        same = "the same" if said[0][what] == said[1][what] else "OTHER"
        print(
            f"  {what}: {same} statements, {len(said[1][what])} round trip(s); blocks {plan.blocks} and "
            f"{many[what].blocks}, by {', '.join(plan.nodes)}; by {', '.join(many[what].nodes)}"
        )
    for backend in backends.values():
        await backend.close()


async def on_sqlite(folder: Path, events: int, rounds: int) -> None:
    """Time alone: SQLite counts no blocks."""
    paths = [folder / "small.db", folder / "large.db"]
    labels = (f"{SMALL:,}", f"{events:,}")
    backends: dict[str, Backend] = {label: SQLiteBackend(path) for label, path in zip(labels, paths, strict=True)}
    cases = await filled("SQLite", backends, events)
    await beside(backends, cases, [f"sqlite:///{path}" for path in paths], rounds)
    for backend in backends.values():
        await backend.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds (default 7)")
    parser.add_argument("--events", type=int, default=1_000_000, help="in the large stores (default 1,000,000)")
    parser.add_argument("--only", nargs="*", default=["concurrent", "stored"], help="concurrent, stored")
    options = parser.parse_args(arguments)
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "concurrent" in options.only:
            asyncio.run(concurrent("SQLite (FULL)", f"sqlite:///{folder}/concurrent.db", options.rounds))
        if "stored" in options.only:
            asyncio.run(on_sqlite(folder, options.events, options.rounds))
        try:
            with PostgresServer(durable=True) as server:
                if "concurrent" in options.only:
                    url = server.url_of(server.create_database())
                    asyncio.run(PostgresBackend(url).upgrade())
                    asyncio.run(concurrent("PostgreSQL", url, options.rounds))
                if "stored" in options.only:
                    asyncio.run(on_postgres(server, options.events, options.rounds))
        except ServerMissing as missing:
            print(f"PostgreSQL is left out: {missing}")
        try:
            with MongoServer() as mongo:
                if "concurrent" in options.only:
                    url = mongo.url_of("concurrent")
                    asyncio.run(MongoBackend(url).upgrade())
                    asyncio.run(concurrent("MongoDB's protocol (SecantusDB)", url, options.rounds))
        except ServerMissing as missing:
            print(f"MongoDB's protocol is left out: {missing}")
        if "concurrent" in options.only:
            asyncio.run(concurrent("In memory, where the memory is the record", "memory://", options.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
