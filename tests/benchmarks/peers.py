"""Public tools that keep the result of each step durable in PostgreSQL before the next one begins."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypedDict

from tests.benchmarks.contestants import INVESTIGATIONS, Runner, argument, noop

_Steps = Callable[[int], Awaitable[None]]


class _State(TypedDict):
    n: int
    limit: int
    last: dict[str, Any]


def _one(steps: _Steps) -> Runner:
    return steps


def _many(steps: _Steps) -> Runner:
    async def run(n: int) -> None:
        await asyncio.gather(*(steps(n // INVESTIGATIONS) for _ in range(INVESTIGATIONS)))

    return run


@asynccontextmanager
async def langgraph(url: str, *, many: bool = False) -> AsyncIterator[Runner]:
    """LangGraph: a StateGraph, one call a superstep, ``durability="sync"``, its PostgreSQL saver over ten connections.

    Each run is a thread of its own (`many`: 100 at the same time). A call is one checkpoint.
    """
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from langgraph.graph import END, START, StateGraph
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    async def call(state: Any) -> dict[str, Any]:
        return {"last": await noop(argument(state["n"])), "n": state["n"] + 1}

    builder: Any = StateGraph(_State)
    builder.add_node("tool", call)
    builder.add_edge(START, "tool")
    builder.add_conditional_edges("tool", lambda state: "tool" if state["n"] < state["limit"] else END)
    options: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(url, min_size=10, max_size=10, kwargs=options, open=False) as pool:
        saver: Any = AsyncPostgresSaver(pool)
        await saver.setup()
        graph = builder.compile(checkpointer=saver)

        async def steps(n: int) -> None:
            config = {"configurable": {"thread_id": str(uuid.uuid4())}, "recursion_limit": n + 10}
            await graph.ainvoke({"n": 0, "limit": n, "last": {}}, config, durability="sync")

        yield (_many if many else _one)(steps)


@functools.cache
def _workflow() -> Any:
    from dbos import DBOS

    step: Any = DBOS.step()(noop)

    async def repeated(n: int) -> None:
        for i in range(n):
            await step(argument(i))

    return DBOS.workflow()(repeated)


@asynccontextmanager
async def dbos(url: str, *, many: bool = False) -> AsyncIterator[Runner]:
    """DBOS: steps in a workflow; the result of a step is committed before the call returns.

    Each run is a workflow of its own (`many`: 100 at the same time), whose start and end are in the figure.
    """
    from dbos import DBOS

    config: dict[str, Any] = {
        "name": "benchmark",
        "system_database_url": url,
        "log_level": "ERROR",
        "run_admin_server": False,
        "application_version": "1",
    }
    workflow = _workflow()
    DBOS(config=config)
    DBOS.launch()

    async def steps(n: int) -> None:
        handle = await DBOS.start_workflow_async(workflow, n)
        await handle.get_result()

    try:
        yield (_many if many else _one)(steps)
    finally:
        DBOS.destroy()
