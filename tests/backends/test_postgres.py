"""What is PostgreSQL's own: partitions, plans, locks, errors, connections."""

import asyncio
import itertools
import random
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_backends.sql import postgres_errors, postgres_partitions, postgres_write
from investigation_backends.sql.postgres_errors import Means
from investigation_backends.sql.postgres_names import Names
from investigation_backends.sql.postgres_partitions import Month, coming
from investigation_backends.sql.postgres_selects import Selects
from investigation_backends.sql.postgres_statements import Statements
from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.ids import lower_bound
from investigation_sdk.storage.backend import CommitNotApplied, CommitUnknown, StoreFailure
from investigation_sdk.storage.commit import APPLIED, Commit, CommitStatus, Query, Where
from investigation_sdk.testing.contract import Case
from investigation_sdk.testing.servers import Postgres


@pytest.fixture
async def backend(postgres_store: str) -> AsyncIterator[PostgresBackend]:
    backend = PostgresBackend(postgres_store)
    await backend.open()
    yield backend
    await backend.close()


@pytest.fixture
async def raw(postgres_store: str) -> AsyncIterator[Any]:
    """A connection of somebody else."""
    connection = await asyncpg.connect(postgres_store)
    yield connection
    await connection.close()


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    name = postgres.create_database()
    yield name
    postgres.drop_database(name)


# ---------------------------------------------------------------- partitions


def test_months() -> None:
    assert Month(2026, 12).next() == Month(2027, 1)
    assert str(Month(2026, 3)) == "2026_03"
    december = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert Month.of(december) == Month(2026, 12)
    assert sorted(coming(december)) == [Month(2026, 12), Month(2027, 1), Month(2027, 2), Month(2027, 3)]
    for moment in (december, december + timedelta(microseconds=1)):
        month = Month.of(moment)
        id = lower_bound(int(moment.timestamp() * 1_000_000))
        assert month.first_id() <= id < month.next().first_id()


async def test_an_investigation_is_in_the_partition_of_its_month(backend: PostgresBackend, raw: Any) -> None:
    case = Case()
    await case.apply(backend, case.commit("a", "b", "c"))
    found = await raw.fetch("SELECT DISTINCT tableoid::regclass::text FROM investigation_events")
    now = datetime.now(UTC)
    assert [row[0] for row in found] == [f"investigation_events_{now:%Y_%m}"]
    plan = await raw.fetch("EXPLAIN SELECT * FROM investigation_events WHERE investigation_id = $1", case.id)
    assert "Append" not in plan[0][0], "one partition is looked at"


async def test_an_upgrade_makes_the_coming_months_and_no_default(backend: PostgresBackend, raw: Any) -> None:
    rows = await raw.fetch(
        "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid "
        "WHERE i.inhparent = 'investigation_events'::regclass ORDER BY 1"
    )
    assert [row[0] for row in rows] == [f"investigation_events_{month}" for month in sorted(coming(datetime.now(UTC)))]
    bounds = [row[1] for row in rows]
    assert not any("DEFAULT" in bound for bound in bounds)
    for earlier, later in itertools.pairwise(bounds):
        assert earlier.split("TO ")[1] == later.split("FROM ")[1].split(" TO")[0], "no gap between two months"


async def test_who_creates_makes_the_partition_that_is_missing(postgres: Postgres, database: str) -> None:
    first = PostgresBackend(postgres.url_of(database), auto_migrate=True)
    await first.open()
    for month in coming(datetime.now(UTC)):
        postgres.sql(f"DROP TABLE investigation_events_{month}", database=database)
    # one that has looked today, and one that has not
    second = PostgresBackend(postgres.url_of(database))
    await second.open()
    postgres.sql(f"DROP TABLE investigation_events_{Month.of(datetime.now(UTC))}", database=database)
    cases = [Case() for _ in range(4)]
    answers = await asyncio.gather(*((first, second)[n % 2].commit([case.commit()]) for n, case in enumerate(cases)))
    assert [list(answer) for answer in answers] == [[APPLIED]] * 4
    for backend in (first, second):
        await backend.close()


async def test_a_user_that_may_not_make_a_partition_is_told(
    postgres: Postgres, database: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, role = postgres.url_of(database), f"writer_{database[-8:]}"
    await PostgresBackend(url).upgrade()
    postgres.sql(
        f"CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        database=database,
    )
    backend = PostgresBackend(url.replace("postgres@", f"{role}@"))
    try:
        monkeypatch.setattr(postgres_partitions, "SOON", timedelta(days=300))
        await backend.open()
        assert "Soon the log has no partition for" in caplog.text
        assert "run 'investigate db upgrade' as the owner of the tables" in caplog.text
        await Case().apply(backend)
        postgres.sql(f"DROP TABLE investigation_events_{Month.of(datetime.now(UTC))}", database=database)
        with pytest.raises(StoreFailure, match=r"no partition for \d{4}-\d\d.*, and this user cannot make it"):
            await backend.commit([Case().commit()])
        await backend.close()
        with pytest.raises(BackendUnavailable, match="no partition for"):
            await backend.open()
    finally:
        await backend.close()
        postgres.sql(f"DROP OWNED BY {role}; DROP ROLE {role}", database=database)


async def test_making_a_partition_waits_for_nobody_who_writes(postgres: Postgres, database: str) -> None:
    url = postgres.url_of(database)
    backend = PostgresBackend(url, auto_migrate=True)
    await backend.open()
    case = Case()
    await case.apply(backend)
    writing = await asyncpg.connect(url)
    transaction = writing.transaction()
    await transaction.start()
    await writing.execute("UPDATE investigations SET owner = 'x'")
    await writing.execute("UPDATE investigation_events SET actor = 'x'")
    async with asyncio.timeout(20):
        maker = await asyncpg.connect(url)
        async with maker.transaction():
            await postgres_partitions.make(maker, backend._names, [Month(2031, 1)])
        await maker.close()
    await transaction.rollback()
    await writing.close()
    await backend.close()


# ---------------------------------------------------------------- plans


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


# ---------------------------------------------------------------- many writers


async def until(connection: Any, question: str) -> Any:
    """Ask until there is an answer."""
    async with asyncio.timeout(30):
        while (answer := await connection.fetchval(question)) is None:  # noqa: ASYNC110 - it is another process's doing
            await asyncio.sleep(0.01)
        return answer


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


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (asyncpg.DeadlockDetectedError("x"), Means.AGAIN),
        (asyncpg.SerializationError("x"), Means.AGAIN),
        (asyncpg.LockNotAvailableError("x"), Means.AGAIN),
        (asyncpg.QueryCanceledError("x"), Means.AGAIN),
        (asyncpg.TooManyConnectionsError("x"), Means.AGAIN),
        (asyncpg.CannotConnectNowError("x"), Means.AGAIN),
        (asyncpg.OutOfMemoryError("x"), Means.AGAIN),
        (asyncpg.DiskFullError("x"), Means.FATAL),
        (asyncpg.ReadOnlySQLTransactionError("x"), Means.FATAL),
        (asyncpg.InsufficientPrivilegeError("x"), Means.FATAL),
        (asyncpg.UndefinedTableError("x"), Means.FATAL),
        (asyncpg.InvalidPasswordError("x"), Means.FATAL),
        (asyncpg.DuplicatePreparedStatementError("x"), Means.FATAL),
        (asyncpg.InternalServerError("x"), Means.FATAL),
        (asyncpg.UniqueViolationError("x"), Means.DATA),
        (asyncpg.NumericValueOutOfRangeError("x"), Means.DATA),
        (asyncpg.ProgramLimitExceededError("x"), Means.DATA),
        (asyncpg.RaiseError("x"), Means.DATA),
        (asyncpg.AdminShutdownError("x"), Means.UNKNOWN),
        (asyncpg.CrashShutdownError("x"), Means.UNKNOWN),
        (asyncpg.StatementCompletionUnknownError("x"), Means.UNKNOWN),
        (asyncpg.ConnectionDoesNotExistError("x"), Means.UNKNOWN),
        (ConnectionResetError("x"), Means.UNKNOWN),
        (TimeoutError(), Means.UNKNOWN),
        (asyncpg.InterfaceError("cannot call Connection.fetch(): connection is closed"), Means.AGAIN),
        (asyncpg.InternalClientError("x"), Means.UNKNOWN),
    ],
)
def test_what_each_error_means(error: Exception, means: Means) -> None:
    found = postgres_errors.fault(error)
    assert found.means is means
    raised = postgres_errors.batch_failed(found, error, "PostgreSQL at h")
    wanted: dict[Means, type[Exception]] = {Means.AGAIN: CommitNotApplied, Means.UNKNOWN: CommitUnknown}
    assert type(raised) is wanted.get(means, StoreFailure)
    assert str(raised).startswith("PostgreSQL at h: ")
    assert postgres_errors.connect_fault(error).means is not Means.UNKNOWN, "of connecting, nothing is unknown"


async def test_a_session_that_is_ended_while_it_commits_is_unknown(
    backend: PostgresBackend, postgres: Postgres, raw: Any
) -> None:
    case = Case()
    await case.apply(backend)
    transaction = raw.transaction()
    await transaction.start()
    await raw.execute("UPDATE investigations SET owner = 'x'")
    commit = case.commit()
    task = asyncio.create_task(backend.commit([commit]))
    find = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    await raw.execute("SELECT pg_terminate_backend($1)", await until(raw, find))
    with pytest.raises(CommitUnknown, match="the connection was cut"):
        await task
    await transaction.rollback()
    assert list(await backend.commit([commit])) == [APPLIED], "the next goes over a new connection"


async def test_a_statement_that_takes_too_long_ends_in_its_time(postgres_store: str, raw: Any) -> None:
    backend = PostgresBackend(postgres_store, command_timeout=0.5)
    await backend.open()
    await raw.execute("BEGIN; LOCK TABLE investigation_leases IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(BackendUnavailable, match="holds a lock for longer than we wait"):
        await backend.holder("x")
    await raw.execute("ROLLBACK")
    assert await backend.holder("x") is None
    await backend.close()


# ---------------------------------------------------------------- connections


async def test_connections_that_were_cut_meanwhile_are_made_again(
    backend: PostgresBackend, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case()
    await case.apply(backend)
    await asyncio.gather(*(backend.get("investigation", case.id) for _ in range(5)))
    monkeypatch.setattr("investigation_backends.sql.postgres_pool._RESTED", 0.0)
    kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'investigation_sdk'"
    for _ in range(3):
        assert await raw.fetchval(kill) >= 2
        await case.apply(backend)
        assert await backend.get("investigation", case.id) == case.row


async def test_of_too_few_connections_each_gets_its_turn(postgres_store: str) -> None:
    backend = PostgresBackend(postgres_store, pool_size=1, max_overflow=1, pool_timeout=20)
    await backend.open()
    assert await asyncio.gather(*(backend.holder(f"r{n}") for n in range(40))) == [None] * 40
    assert len(backend._link._pool._idle) == 1, "what overflowed is closed"
    await backend.close()


async def test_a_pool_that_is_exhausted_says_so(postgres_store: str, raw: Any) -> None:
    backend = PostgresBackend(postgres_store, pool_size=1, max_overflow=1, pool_timeout=0.2)
    await backend.open()
    await raw.execute("BEGIN; LOCK TABLE investigation_leases IN ACCESS EXCLUSIVE MODE")
    waiting = [asyncio.create_task(backend.holder("x")) for _ in range(2)]
    await asyncio.sleep(0.05)
    started = time.monotonic()
    with pytest.raises(BackendUnavailable, match=r"all 2 connections are in use for 0.2 seconds; make pool_size"):
        await backend.holder("x")
    assert time.monotonic() - started < 15
    await raw.execute("ROLLBACK")
    assert await asyncio.gather(*waiting) == [None, None]
    await backend.close()


async def test_a_call_that_is_broken_off_leaves_no_answer_to_the_next(backend: PostgresBackend, raw: Any) -> None:
    cases = [Case(), Case()]
    for case in cases:
        await case.apply(backend)
    await raw.execute("BEGIN; LOCK TABLE investigations IN ACCESS EXCLUSIVE MODE")
    tasks = [asyncio.create_task(backend.get("investigation", cases[0].id)) for _ in range(5)]
    tasks.append(asyncio.create_task(backend.commit([cases[0].commit()])))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await raw.execute("ROLLBACK")
    for case in cases * 5:
        row: Any = await backend.get("investigation", case.id)
        assert row.id == case.id


@tool
def lookup(name: str) -> str:
    return name.upper()


def test_a_forked_child_has_connections_of_its_own(postgres_store: str) -> None:
    program = textwrap.dedent(
        """
        import os, sys
        from investigation_sdk import InvestigationSDK, tool
        @tool
        def lookup(name): return name.upper()
        sdk = InvestigationSDK(sys.argv[1])
        with sdk.investigation("parent") as parent:
            lookup("a")
            if not (pid := os.fork()):
                with sdk.investigation("child") as child:
                    lookup("b")
                ok = len(sdk.sync.tools(child.id)) == 1 and sdk.sync.verify(child.id).ok
                os._exit(0 if ok else 3)
            lookup("c")
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            lookup("d")
        assert code == 0, code
        assert len(sdk.sync.tools(parent.id)) == 3 and sdk.sync.verify(parent.id).ok
        sdk.sync.close()
        """
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, postgres_store], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_it_can_be_used_from_one_loop_after_another(postgres_store: str) -> None:
    backend = PostgresBackend(postgres_store)

    async def once() -> None:
        await backend.open()
        await Case().apply(backend)
        await backend.close()

    asyncio.run(once())
    asyncio.run(once())


def test_thousands_of_calls_leave_a_log_that_verifies(postgres_store: str) -> None:
    with InvestigationSDK(postgres_store) as sdk:
        with sdk.investigation("many") as run:
            for n in range(300):
                lookup(f"n{n}")
        report = sdk.sync.verify(run.id)
        assert report.ok
        assert report.checked > 600
        assert len(sdk.sync.tools(run.id, limit=1000)) == 300
