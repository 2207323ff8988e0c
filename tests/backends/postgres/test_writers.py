"""Many writers of one database at once: locks, deadlocks, triggers of others."""

import asyncio
import random
from typing import Any

import asyncpg
import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_backends.sql import postgres_write
from investigation_sdk.storage.backend import CommitNotApplied
from investigation_sdk.storage.commit import APPLIED, Commit, CommitStatus
from investigation_sdk.testing.contract import Case
from investigation_sdk.testing.servers import Postgres
from tests.backends.postgres.rig import until


def batch(cases: list[Case]) -> list[Commit]:
    return [case.commit("a", "b", rows=[case.tool()]) for case in cases]


async def test_batches_in_opposite_orders_never_wait_for_each_other(postgres_store: str, raw: Any) -> None:
    handles = [PostgresBackend(postgres_store) for _ in range(4)]
    for handle in handles:
        await handle.open()
    cases = [Case() for _ in range(30)]
    await handles[0].commit(batch(cases))
    for case in cases:
        row: Any = await handles[0].get("investigation", case.id)
        case.row = row
    before = await raw.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")

    async def many(handle: PostgresBackend, order: int) -> int:
        applied = 0
        for _ in range(15):
            rows: Any = [await handle.get("investigation", case.id) for case in cases[::order]]
            results = await handle.commit(batch([Case.of(row) for row in rows]))
            applied += sum(result is APPLIED for result in results)
        return applied

    applied = sum(await asyncio.gather(*(many(handle, 1 if n % 2 else -1) for n, handle in enumerate(handles))))
    versions = [row["version"] for row in await raw.fetch("SELECT version FROM investigations")]
    assert sum(versions) == 2 * (len(cases) + applied)
    assert await raw.fetchval("SELECT count(*) FROM investigation_events") == sum(versions)
    assert await raw.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == before
    for handle in handles:
        await handle.close()


async def test_heads_are_locked_in_the_order_of_their_ids(
    backend: PostgresBackend, postgres_store: str, raw: Any
) -> None:
    small, large = sorted([Case(), Case()], key=lambda case: case.id)
    for case in (large, small):
        await case.apply(backend)
    transaction = raw.transaction()
    await transaction.start()
    await raw.execute("UPDATE investigations SET owner = 'x' WHERE id = $1", small.id)
    task = asyncio.create_task(backend.commit([large.commit(), small.commit()]))
    await until(raw, "SELECT pid FROM pg_locks WHERE NOT granted")
    other = await asyncpg.connect(postgres_store)
    try:
        # it waits for the smaller id, and holds nothing that somebody else could wait for
        await other.execute("SELECT 1 FROM investigations WHERE id = $1 FOR UPDATE NOWAIT", large.id)
    finally:
        await other.close()
        await transaction.rollback()
    assert list(await task) == [APPLIED, APPLIED]


async def test_a_deadlock_with_somebody_else_is_tried_again(backend: PostgresBackend, raw: Any) -> None:
    one, two = sorted([Case(), Case()], key=lambda case: case.id)
    await one.apply(backend)
    await two.apply(backend)
    await raw.execute("SET deadlock_timeout = '60s'")  # so that it is ours that is the victim
    transaction = raw.transaction()
    await transaction.start()
    await raw.execute("UPDATE investigations SET owner = 'x' WHERE id = $1", two.id)
    commits = asyncio.create_task(backend.commit([one.commit(), two.commit()]))
    await until(raw, "SELECT pid FROM pg_locks WHERE NOT granted")
    blocked = asyncio.create_task(raw.execute("UPDATE investigations SET owner = 'x' WHERE id = $1", one.id))
    await blocked
    await transaction.commit()
    assert list(await commits) == [APPLIED, APPLIED]


async def test_a_row_that_stays_locked_is_not_applied(postgres_store: str, raw: Any) -> None:
    backend = PostgresBackend(postgres_store, command_timeout=0.5)
    await backend.open()
    case = Case()
    await case.apply(backend)
    transaction = raw.transaction()
    await transaction.start()
    await raw.execute("UPDATE investigations SET owner = 'x'")
    with pytest.raises(CommitNotApplied, match="holds a lock for longer than we wait; look into pg_stat_activity"):
        await backend.commit([case.commit()])
    await transaction.rollback()
    await case.apply(backend)
    await backend.close()


async def test_serialization_failures_are_tried_again(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case()
    await case.apply(backend)
    append, failed = postgres_write.append, 0

    async def failing(*arguments: Any) -> Any:
        nonlocal failed
        failed += 1
        if failed <= 3:
            raise asyncpg.SerializationError("could not serialize access due to concurrent update")
        return await append(*arguments)

    monkeypatch.setattr(postgres_write, "append", failing)
    await case.apply(backend)
    assert failed == 4
    failed = -100
    with pytest.raises(CommitNotApplied, match="another session was in the way"):
        await backend.commit([case.commit()])


async def test_a_trigger_of_somebody_else_refuses_one_commit_alone(postgres: Postgres, database: str) -> None:
    backend = PostgresBackend(postgres.url_of(database), auto_migrate=True)
    await backend.open()
    postgres.sql(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.tool_name = 'bad' THEN RAISE EXCEPTION 'not this tool'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER no BEFORE INSERT ON tool_executions FOR EACH ROW EXECUTE FUNCTION no()",
        database=database,
    )
    cases = [Case() for _ in range(9)]
    for case in cases:
        await case.apply(backend)
    commits = batch(cases)
    commits[4].rows = [commits[4].rows[0], cases[4].tool(tool_name="bad")]
    results = await backend.commit(commits)
    assert [result.status for n, result in enumerate(results) if n != 4] == [CommitStatus.APPLIED] * 8
    assert results[4].status is CommitStatus.DATA
    assert "not this tool" in results[4].message
    await backend.close()


async def test_a_key_that_no_index_holds_is_too_large(backend: PostgresBackend) -> None:
    text = "".join(chr(random.randint(0x4E00, 0x9FFF)) for _ in range(5000))
    large, other = Case(key=text), Case()
    results = await backend.commit([large.commit(), other.commit()])
    assert [result.status for result in results] == [CommitStatus.SIZE, CommitStatus.APPLIED]
    assert text not in results[0].message


async def test_what_was_to_be_stored_is_not_said(backend: PostgresBackend) -> None:
    case = Case()
    await case.apply(backend)
    (result,) = await backend.commit([case.commit(rows=[case.tool(error_message="hunter2 \ud800")])])
    assert result.status is CommitStatus.DATA
    assert "hunter2" not in result.message
    (result,) = await backend.commit([case.commit(rows=[case.tool(error_message="hunter2 \0")])])
    assert result.status is CommitStatus.DATA
    assert "hunter2" not in result.message
