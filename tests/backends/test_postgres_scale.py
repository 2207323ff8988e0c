"""What one investigation costs does not grow with what else is stored: the same statements, by indexes, few blocks."""

import asyncpg
import pytest

from investigation_backends.postgres import PostgresBackend
from tests.benchmarks import stored

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
