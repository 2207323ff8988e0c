"""What PostgreSQL answers from an index."""

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_backends.sql.postgres_names import Names
from investigation_backends.sql.postgres_selects import Selects
from investigation_backends.sql.postgres_statements import Statements
from investigation_sdk.ids import lower_bound
from investigation_sdk.storage.commit import Query, Where
from investigation_sdk.testing.contract import Case
from investigation_sdk.testing.servers import Postgres
from tests.backends.postgres.rig import until


@pytest.fixture(scope="module")
def filled(postgres: Postgres) -> Iterator[str]:
    """A database in which an index is worth using."""
    name = postgres.create_database()
    url = postgres.url_of(name)
    asyncio.run(PostgresBackend(url).upgrade())
    postgres.sql(
        """
        INSERT INTO investigations SELECT uuidv7(), '', 'u' || n % 50, 's', 't' || n % 50, 'k' || n, 1, NULL, '{}',
            '{}', now(), CASE WHEN n % 100 = 0 THEN 'running' ELSE 'completed' END, 1, '', NULL, NULL, 1, NULL, 0, NULL,
            NULL, NULL, now(), 0, NULL, NULL, NULL, NULL, 0, 0, 0, 0 FROM generate_series(1, 5000) AS n;
        UPDATE investigations SET parent_investigation_id = (SELECT min(id::text)::uuid FROM investigations)
            WHERE key LIKE 'k99%';
        INSERT INTO investigation_phases SELECT uuidv7(), id, 'p', 1, 'completed', 100, 1, '[]', 1,
            NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1 FROM investigations;
        """,
        database=name,
    )
    postgres.sql(
        """
        INSERT INTO tool_executions SELECT uuidv7(), p.investigation_id, '', p.id, 'a', 't', NULL, now(), NULL,
            'executed', 1, NULL, '{}', 1, now(), 1, CASE WHEN m % 97 = 0 THEN 'failed' ELSE 'completed' END, '{}', 2,
            NULL, NULL, NULL, NULL, NULL, 2
            FROM (SELECT *, row_number() OVER () AS m FROM investigation_phases, generate_series(1, 5)) AS p;
        INSERT INTO investigation_events SELECT id, n, uuidv7(), 'note', now(), NULL, NULL, NULL, NULL, '{}', '{}', ''
            FROM investigations, generate_series(1, 10) AS n;
        INSERT INTO investigation_snapshots SELECT uuidv7(), id, 1, 1, now(), 'x', '{}', '{}', '{}' FROM investigations;
        ANALYZE;
        """,
        database=name,
    )
    yield url
    postgres.drop_database(name)


SOME = lower_bound(1_764_000_000_000_000)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query("investigation"), "pk_investigations"),
        (Query("investigation", descending=True, after=(SOME, SOME)), "pk_investigations"),
        (Query("investigation", (Where("status", "=", "running"),)), "ix_investigations_status_id"),
        (Query("investigation", (Where("investigation_type", "=", "t7"),)), "ix_investigations_investigation_type_id"),
        (Query("investigation", (Where("user_id", "=", "u7"),)), "ix_investigations_user_id_id"),
        (
            Query("investigation", (Where("parent_investigation_id", "=", SOME),)),
            "ix_investigations_parent_investigation_id_id",
        ),
        (
            Query(
                "investigation",
                (
                    Where("tenant_id", "=", ""),
                    Where("investigation_type", "=", "t7"),
                    Where("key", "=", "k7"),
                ),
                sort="generation",
                descending=True,
                limit=1,
            ),
            "uq_investigations_key",
        ),
        (Query("tool", (Where("investigation_id", "=", SOME),)), "ix_tool_executions_investigation_id_id"),
        (Query("tool", (Where("phase_id", "=", SOME),)), "ix_tool_executions_investigation_id_id"),
        (Query("tool", (Where("status", "=", "failed"),)), "ix_tool_executions_status_id"),
        (Query("tool", (Where("status", "in", ["failed", "running"]),)), "ix_tool_executions_status_id"),
        (Query("tool", (Where("id", ">=", SOME),), descending=True), "pk_tool_executions"),
        (Query("phase", (Where("investigation_id", "=", SOME),), sort="phase_order"), "uq_investigation_phases"),
        (Query("snapshot", (Where("investigation_id", "=", SOME),), sort="sequence"), "ix_investigation_snapshots"),
    ],
)
async def test_queries_use_indexes(filled: str, query: Query, index: str) -> None:
    selects = Selects(None, "")
    text, values = selects.text(selects.page(query))
    connection = await asyncpg.connect(filled)
    try:
        rows = await connection.fetch(f"EXPLAIN {text}", *values)
    finally:
        await connection.close()
    found = "\n".join(row[0] for row in rows)
    assert index in found, found
    assert "Seq Scan" not in found, found


async def test_the_queue_is_read_in_its_order(filled: str) -> None:
    """Beside thousands that are finished and hundreds that wait, the look reads as many rows as it takes."""
    statements = Statements(Names())
    connection = await asyncpg.connect(filled)
    try:
        async with RolledBack(connection):
            await connection.execute(
                "UPDATE investigations SET claimable_at = to_timestamp(0), token = NULL WHERE id IN "
                "(SELECT id FROM investigations ORDER BY id LIMIT 300)"
            )
            await connection.execute("ANALYZE investigations")
            given = [[f"t{n}" for n in range(100)], None, ["one", "two"], 1_000_000]
            rows = await connection.fetch(f"EXPLAIN {statements.claim_queued}", *given)
            found = "\n".join(row[0] for row in rows)
            assert "Index Scan using ix_investigations_queue" in found, found
            assert "Seq Scan on investigations" not in found, found
            rows = await connection.fetch(f"EXPLAIN {statements.claim_left}", *given, ["initializing", "completing"])
            found = "\n".join(row[0] for row in rows)
            assert "ix_investigations_status_id" in found, found
    finally:
        await connection.close()


class RolledBack:
    """A transaction that leaves nothing."""

    def __init__(self, connection: Any) -> None:
        self._transaction = connection.transaction()

    async def __aenter__(self) -> None:
        await self._transaction.start()

    async def __aexit__(self, *_: object) -> None:
        await self._transaction.rollback()


async def test_the_log_and_the_latest_snapshot_use_indexes(filled: str) -> None:
    reads = PostgresBackend(filled)._reads
    statements = [
        reads._page(reverse=False, bounded=True, types=False).replace("$3", "5").replace("$2", "100"),
        reads._page(reverse=True, bounded=False, types=False).replace("$2", "1"),
        reads._snapshot,
    ]
    connection = await asyncpg.connect(filled)
    try:
        id = await connection.fetchval("SELECT id FROM investigations LIMIT 1")
        for statement in statements:
            rows = await connection.fetch(f"EXPLAIN {statement.replace('$1', repr(str(id)))}")
            found = "\n".join(row[0] for row in rows)
            assert "Index" in found, found
            assert "Seq Scan" not in found, found
    finally:
        await connection.close()


async def test_an_update_of_a_head_touches_no_index(backend: PostgresBackend, raw: Any) -> None:
    case = Case()
    await case.apply(backend)
    for n in range(50):
        await case.apply(backend, case.commit(progress_percentage=n))
    await backend.close()  # a session tells its figures when it ends
    figures = "FROM pg_stat_user_tables WHERE relname = 'investigations'"
    assert await until(raw, f"SELECT n_tup_hot_upd {figures} AND n_tup_upd >= 50") >= 45
