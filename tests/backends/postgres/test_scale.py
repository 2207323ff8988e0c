"""What one investigation costs does not grow with what else is stored: the same statements, by indexes, few blocks."""

import asyncio
from typing import Any

import asyncpg
import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_sdk import InvestigationSDK
from tests.benchmarks import polling, stored

pytestmark = pytest.mark.server

FEW, MANY = 4_000, 40_000


async def test_reads_and_appends_do_not_grow_with_the_store(postgres_store: str) -> None:
    backend = PostgresBackend(postgres_store)
    await backend.open()
    try:
        case = await stored.fill(backend, FEW)
        await stored.tidy(postgres_store)
        few = await stored.plans(postgres_store, case)
        said = await stored.statements_of(backend, case)
        case = await stored.fill(backend, MANY - FEW)
        await stored.tidy(postgres_store)
        many = await stored.plans(postgres_store, case)
        assert await stored.statements_of(backend, case) == said
    finally:
        await backend.close()
    assert {name: len(statements) for name, statements in said.items()} == dict.fromkeys(said, 1), "round trips"
    for name, plan in many.items():
        assert not [node for node in plan.nodes if node.startswith("Seq Scan")], f"{name}: {plan}"
        # ten times the rows are at most one more level of each index, and an append touches up to ten
        grown = plan.blocks - few[name].blocks
        assert grown <= (12 if name == "append" else 3), f"{name}: {few[name]}, then {plan}"


async def test_a_missing_index_would_be_noticed(postgres_store: str) -> None:
    backend = PostgresBackend(postgres_store)
    await backend.open()
    try:
        case = await stored.fill(backend, FEW)
    finally:
        await backend.close()
    connection = await asyncpg.connect(postgres_store)
    try:
        await connection.execute("DROP INDEX ix_tool_executions_investigation_id_id")
    finally:
        await connection.close()
    await stored.tidy(postgres_store)
    plan = (await stored.plans(postgres_store, case))["calls"]
    assert "Seq Scan tool_executions" in plan.nodes or plan.blocks > 30, plan


SHORT, LONG = 10, 10_000


async def plans_of(url: str, asked: list[stored.Asked]) -> list[stored.Plan]:
    """How each statement is run in a store that is large enough for its indexes to be used."""
    connection = await asyncpg.connect(url, server_settings={"enable_seqscan": "off"})
    explaining: Any = stored.Explaining(connection)
    try:
        for statement, values in asked:
            await explaining.fetch(statement, *values)
    finally:
        await connection.close()
    return list(explaining.plans)


async def test_the_summary_of_progress_costs_the_same_however_many_calls_there_were(postgres_store: str) -> None:
    async with InvestigationSDK(postgres_store) as sdk:
        ids = [await polling.with_calls(sdk, count) for count in (SHORT, LONG)]
        totals = [sum(total.calls for total in await sdk.tool_totals(id)) for id in ids]
        await stored.tidy(postgres_store)
        asked: list[list[stored.Asked]] = []
        for id in ids:
            await sdk.progress(id, include_tools=False)
            with stored.watched() as seen:
                progress = await asyncio.wait_for(sdk.progress(id, include_tools=False), 60)
            assert progress.overall_progress == 100
            asked.append(seen)
            with stored.watched() as seen:
                assert await sdk.changed_progress(id, [progress.tag]) is None
            assert len(seen) == 1
    assert totals == [SHORT, LONG]
    short, long = ([one.statement for one in statements] for statements in asked)
    assert len(short) == 1
    assert long == short
    few, many = [await plans_of(postgres_store, statements) for statements in asked]
    assert many == few, "the same scans, of the same number of blocks"
    for plan in many:
        assert [node.split()[0] for node in plan.nodes] == ["Index", "Index"], plan
        assert plan.blocks <= 12, plan
