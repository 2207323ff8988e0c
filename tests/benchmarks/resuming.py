"""What a resume costs: 200 recorded calls beside LangGraph's StateGraph, and 10,000 by themselves."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypedDict

from investigation_sdk import Durability, InvestigationSDK
from investigation_sdk.engine.projecting import project_log
from investigation_sdk.engine.repair import load
from investigation_sdk.storage.registry import create_backend
from tests.benchmarks.contestants import argument, noop, recorded
from tests.benchmarks.measuring import judged

FEW, MANY = 200, 10_000
GOAL_MS, GOAL_US = 300, 10

Prepare = Callable[[str], Awaitable[None]]
"""Records the calls of a run of that name, and breaks off before the next one."""
Resume = Callable[[str], Awaitable[tuple[float, float]]]
"""Goes on with it; seconds from there to the first call that is new, and those of CPU, of all threads."""


class _Broken(Exception):
    """The run is broken off."""


@asynccontextmanager
async def ours(url: str, calls: int) -> AsyncIterator[tuple[Prepare, Resume]]:
    """An investigation, its calls one after another."""
    async with InvestigationSDK(url, telemetry=False) as sdk:

        async def prepare(key: str) -> None:
            with suppress(_Broken):
                async with sdk.investigation("benchmark", key=key):
                    for n in range(calls):
                        await recorded(argument(n))
                    raise _Broken

        async def resume(key: str) -> tuple[float, float]:
            started = _now()
            async with sdk.investigation("benchmark", key=key):
                for n in range(calls):
                    await recorded(argument(n))
                took = _since(started, _now())
                await recorded(argument(calls))
            return took

        yield prepare, resume


class _State(TypedDict):
    n: int
    last: dict[str, Any]


@asynccontextmanager
async def state_graph(path: str, calls: int) -> AsyncIterator[tuple[Prepare, Resume]]:
    """LangGraph's StateGraph, a superstep for each call, its SQLite checkpointer, durability "sync"."""
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    from langgraph.graph import END, START, StateGraph

    reached = (0.0, 0.0)
    breaks = True

    async def node(state: _State) -> dict[str, Any]:
        nonlocal reached
        if state["n"] == calls:
            if breaks:
                raise _Broken
            reached = _now()
        return {"last": await noop(argument(state["n"])), "n": state["n"] + 1}

    graph: Any = StateGraph(_State)
    graph.add_node("tool", node)
    graph.add_edge(START, "tool")
    graph.add_conditional_edges("tool", lambda state: "tool" if state["n"] <= calls else END)
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        compiled = graph.compile(checkpointer=saver)

        async def run(given: _State | None, key: str) -> None:
            place = {"configurable": {"thread_id": key}, "recursion_limit": 100_000}
            await compiled.ainvoke(given, place, durability="sync")

        async def prepare(key: str) -> None:
            nonlocal breaks
            breaks = True
            with suppress(_Broken):
                await run({"n": 0, "last": {}}, key)

        async def resume(key: str) -> tuple[float, float]:
            nonlocal breaks
            breaks = False
            started = _now()
            await run(None, key)
            return _since(started, reached)

        yield prepare, resume


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(before: tuple[float, float], now: tuple[float, float]) -> tuple[float, float]:
    return now[0] - before[0], now[1] - before[1]


async def few(folder: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """ms from the resume of 200 recorded calls to call 201, and those of CPU, both connected, taking turns."""
    times: dict[str, list[tuple[float, float]]] = {}
    async with ours(f"sqlite:///{folder}/resume.db", FEW) as mine:
        contestants = {"ours": mine}
        graph = state_graph(f"{folder}/graph.db", FEW)
        try:
            contestants["LangGraph StateGraph"] = await graph.__aenter__()
        except ImportError as missing:
            print(f"  LangGraph StateGraph: left out, {missing.name} is not installed")
        times = {name: [] for name in contestants}
        for turn in range(-1, rounds):  # the first one warms up
            order = list(contestants.items())
            for name, (prepare, resume) in order if turn % 2 == 0 else reversed(order):
                await prepare(f"run {turn}")
                gc.collect()
                wall, used = await resume(f"run {turn}")
                if turn >= 0:
                    times[name].append((wall * 1000, used * 1000))
        if len(contestants) > 1:
            await graph.__aexit__(None, None, None)
    return times


async def many(folder: Path, rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Of 10,000 recorded calls: ms from opening the block to the first new call, those of CPU, and µs of CPU for a
    replayed call."""
    url = f"sqlite:///{folder}/many-resumed.db"
    opened: list[float] = []
    cpu: list[float] = []
    replayed: list[float] = []
    async with InvestigationSDK(url, durability=Durability.BATCHED, telemetry=False) as sdk:
        with suppress(_Broken):
            async with sdk.investigation("benchmark", key="k"):
                for n in range(MANY):
                    await recorded(argument(n))
                raise _Broken
    async with InvestigationSDK(url, telemetry=False) as sdk:
        await sdk.find(key="k")
        for _ in range(rounds):
            gc.collect()
            started = _now()
            with suppress(_Broken):
                async with sdk.investigation("benchmark", key="k"):
                    used = time.process_time()
                    for n in range(MANY):
                        await recorded(argument(n))
                    replayed.append((time.process_time() - used) / MANY * 1e6)
                    wall, of_cpu = _since(started, _now())
                    opened.append(wall * 1000)
                    cpu.append(of_cpu * 1000)
                    raise _Broken
    return opened, cpu, replayed


async def opening(folder: Path, rounds: int) -> dict[str, list[float]]:
    """ms to make the session of an investigation of 10,000 calls from what is stored, and to fold its whole log."""
    times: dict[str, list[float]] = {}
    for name, every in (("session, without", 0), ("session, with snapshots", 500)):
        url = f"sqlite:///{folder}/opened-{every}.db"
        sdk = InvestigationSDK(url, durability=Durability.BATCHED, telemetry=False, snapshot_every=every)
        async with sdk, sdk.investigation("benchmark") as investigation:
            for n in range(MANY):
                await recorded(argument(n))
        backend = create_backend(url)
        await backend.open()
        times[name] = [await _ms(load(backend, investigation.id, "")) for _ in range(rounds)]
        if every:
            whole = [await _ms(project_log(backend, investigation.id, _left)) for _ in range(rounds)]
            times["the whole log folded, as a rebuild does"] = whole
        await backend.close()
    return times


async def _left(_calls: object) -> None:
    return


async def _ms(work: Coroutine[Any, Any, object]) -> float:
    gc.collect()
    started = time.perf_counter()
    await work
    return (time.perf_counter() - started) * 1000


def report(folder: Path, rounds: int) -> None:
    """Measure and print."""
    times = asyncio.run(few(folder, rounds))
    print(
        f"\nresume of {FEW} recorded calls on SQLite, connected: ms to the first new call, median (spread) of {rounds}"
    )
    for kind, what in enumerate(("", ", ms of CPU")):  # of a machine that is loaded, these say more
        mine = [both[kind] for both in times["ours"]]
        for name, both in times.items():
            values = [one[kind] for one in both]
            line = f"  {name + what:42} {_spread(values)}"
            if name != "ours":
                ratio = statistics.median(one / other for one, other in zip(mine, values, strict=True))
                line += f"   ours is {ratio:.2f}x, goal 1x: {judged(f'resume{what}, beside {name}', ratio, 1)}"
            print(line)
    opened, cpu, replayed = asyncio.run(many(folder, rounds))
    print(f"\nresume of {MANY:,} recorded calls on SQLite, median (spread) of {rounds}")
    for name, values, goal, unit in (
        ("from opening the block to the first new call", opened, GOAL_MS, "ms"),
        ("the same, CPU", cpu, GOAL_MS, "ms"),
        ("CPU of a replayed call, after loading", replayed, GOAL_US, "µs"),
    ):
        verdict = judged(f"resume of {MANY:,}: {name}", statistics.median(values), goal, f" {unit}")
        print(f"  {name:42} {_spread(values)} {unit}   goal {goal} {unit}: {verdict}")
    print(f"\nopening of {MANY:,} recorded calls on SQLite: ms, median (spread) of {rounds}")
    for name, values in asyncio.run(opening(folder, rounds)).items():
        print(f"  {name:42} {_spread(values)}")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):9.2f}  ({min(values):.2f} to {max(values):.2f})"


__all__ = ["report"]
