"""The schema that a PostgreSQL store needs: made, upgraded, refused where it is another."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_backends.sql import names, postgres_names
from investigation_backends.sql.postgres_partitions import Month
from investigation_backends.sql.tables import build
from investigation_sdk.domain.rows import ROW_TYPES
from investigation_sdk.errors import BackendUnavailable, ConfigurationError, SchemaMismatch
from investigation_sdk.storage.backend import MigratingBackend
from investigation_sdk.storage.commit import Aggregate, Measure, Query, StoredEvent
from investigation_sdk.testing.contract import Case
from investigation_sdk.testing.servers import Postgres
from tests.backends.postgres.rig import as_user, refused

HEAD = names.REVISIONS[-1]


async def test_an_empty_database_is_refused_with_the_command(empty: str) -> None:
    said = await refused(SchemaMismatch, as_user(empty, "postgres", "hunter2"))
    assert "no tables of the SDK yet" in said
    assert f"investigate db upgrade --db '{as_user(empty, 'postgres', '***')}'" in said
    assert "auto_migrate=True" in said
    said = await refused(SchemaMismatch, empty, schema="audit", table_prefix="fraud_")
    assert f"--db '{empty}?schema=audit&table_prefix=fraud_'" in said
    backend = PostgresBackend(empty)
    assert await backend.current_revision() is None
    await backend.upgrade()
    assert await backend.current_revision() == HEAD == backend.head_revision()
    assert isinstance(backend, MigratingBackend)
    await backend.open()
    await Case().apply(backend)
    await backend.close()


async def test_auto_migrate_makes_the_tables_in_many_processes_at_once(empty: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from investigation_backends.postgres import PostgresBackend\n"
        "from investigation_sdk.testing.contract import Case\n"
        "async def main():\n"
        "    backend = PostgresBackend(sys.argv[1], auto_migrate=True)\n"
        "    await backend.open()\n"
        "    await Case().apply(backend)\n"
        "    await backend.close()\n"
        "asyncio.run(main())\n"
    )
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, empty, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    backends = [PostgresBackend(empty, auto_migrate=True) for _ in range(3)]
    await asyncio.gather(*(backend.open() for backend in backends))
    for process in processes:
        _, err = await process.communicate()
        assert process.returncode == 0, err.decode()
    assert len(await backends[0].find(Query("investigation"))) == 3
    for backend in backends:
        await backend.close()


async def test_another_schema_is_refused_by_name(postgres: Postgres, database: str, empty: str) -> None:
    await PostgresBackend(empty).upgrade()
    postgres.sql(f"UPDATE {names.VERSION_TABLE} SET version_num = '0001'", database=database)
    said = await refused(SchemaMismatch, empty)
    assert f"has schema 0001, and this version works with {HEAD}" in said
    assert "investigate db upgrade --db" in said
    postgres.sql(f"UPDATE {names.VERSION_TABLE} SET version_num = '9999'", database=database)
    for said in (await refused(SchemaMismatch, empty), await refused(SchemaMismatch, empty, auto_migrate=True)):
        assert "schema 9999, which is newer" in said
        assert "upgrade investigation-sdk" in said
    with pytest.raises(SchemaMismatch, match="newer"):
        await PostgresBackend(empty).upgrade()


async def test_an_older_schema_is_upgraded_where_one_may(postgres: Postgres, database: str, empty: str) -> None:
    await PostgresBackend(empty).upgrade()
    postgres.sql(
        f"DROP TABLE {names.BLOBS}; ALTER TABLE investigation_phases DROP COLUMN activity; "
        "ALTER TABLE investigations DROP COLUMN activity, DROP COLUMN priority, DROP COLUMN claimable_at; "
        f"UPDATE {names.VERSION_TABLE} SET version_num = '0001'",
        database=database,
    )
    backend = PostgresBackend(empty, auto_migrate=True)
    await backend.open()
    assert await backend.current_revision() == HEAD
    await backend.close()


async def test_tables_of_our_names_that_are_not_ours(postgres: Postgres, database: str, empty: str) -> None:
    postgres.sql("CREATE TABLE investigations(id serial, title text)", database=database)
    for options in ({}, {"auto_migrate": True}):
        said = await refused(SchemaMismatch, empty, **options)
        assert "tables named investigations" in said
        assert "somebody else's" in said
        assert "schema= or table_prefix=" in said
    with pytest.raises(SchemaMismatch, match="somebody else's"):
        await PostgresBackend(empty).upgrade()
    assert (
        postgres.sql("SELECT count(*) FROM information_schema.tables WHERE table_schema='public'", database=database)
        == "1"
    )
    backend = PostgresBackend(empty, auto_migrate=True, schema="audit")
    await backend.open()
    await backend.close()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (
            "CREATE TABLE {}(version_num text); INSERT INTO {} VALUES ('ae10f2c4b7')",
            "no version of the SDK wrote",
        ),
        ("CREATE TABLE {}(release text)", "it has no column version_num"),
        ("CREATE SEQUENCE {}", "it has no column version_num"),
    ],
)
async def test_a_table_of_versions_that_is_not_ours(
    postgres: Postgres, database: str, empty: str, make: str, why: str
) -> None:
    postgres.sql(make.replace("{}", names.VERSION_TABLE), database=database)
    for options in ({}, {"auto_migrate": True}):
        said = await refused(SchemaMismatch, empty, **options)
        assert f"a table named {names.VERSION_TABLE} that is somebody else's: {why}" in said
        assert "Pass schema= or table_prefix= to keep ours apart from it" in said
    with pytest.raises(SchemaMismatch, match="somebody else's"):
        await PostgresBackend(empty).upgrade()
    backend = PostgresBackend(empty, auto_migrate=True, table_prefix="ours_")
    await backend.open()
    await backend.close()


@pytest.mark.parametrize(
    ("make", "drop"),
    [
        ("CREATE TYPE tool_executions AS ENUM ('a')", 'type "tool_executions" already exists'),
        ("CREATE TABLE x(y int); CREATE INDEX ix_investigations_queue ON x(y)", "ix_investigations_queue"),
    ],
)
async def test_what_is_in_the_way_of_a_table_is_named(
    postgres: Postgres, database: str, empty: str, make: str, drop: str
) -> None:
    postgres.sql(make, database=database)
    said = await refused(SchemaMismatch, empty, auto_migrate=True)
    assert "something is in the way of one of its tables: see whose it is, and rename it, or pass schema=" in said
    assert drop in said
    assert await PostgresBackend(empty).current_revision() is None, "nothing was made"


async def test_what_is_in_the_way_of_a_partition_is_named(postgres: Postgres, database: str, empty: str) -> None:
    (month,) = [Month.of(datetime.now(UTC))]
    await PostgresBackend(empty).upgrade()
    for said in (
        f"ALTER TABLE investigation_events DETACH PARTITION investigation_events_{month}",
        f"CREATE TABLE IF NOT EXISTS investigation_events_{month}(x int)",
    ):
        postgres.sql(said, database=database)
    said = await refused(BackendUnavailable, empty)
    shown = str(month).replace("_", "-")
    assert (
        f"the log has no partition for {shown}, and a table of its name is in the way: rename it, or attach it" in said
    )
    with pytest.raises(
        SchemaMismatch, match=f'is in the way .* relation "investigation_events_{month}" already exists'
    ):
        await PostgresBackend(empty).upgrade()
    postgres.sql(f"ALTER TABLE investigation_events_{month} RENAME TO other", database=database)
    backend = PostgresBackend(empty)
    await backend.open()
    await Case().apply(backend)
    await backend.close()


async def test_a_table_that_was_dropped(postgres: Postgres, database: str, empty: str) -> None:
    backend = PostgresBackend(empty)
    await backend.upgrade()
    await backend.open()
    postgres.sql(f"DROP TABLE {names.LEASES}", database=database)
    with pytest.raises(BackendUnavailable, match=r'one of its tables is missing: .* "investigation_leases" does not'):
        await backend.claim("x", "me", ttl=1)
    for options in ({}, {"auto_migrate": True}, {"read_only": True}):
        said = await refused(SchemaMismatch, empty, **options)
        assert f"has schema {HEAD}, but not its tables {names.LEASES}: they were dropped" in said
        assert "Bring them back" in said
    with pytest.raises(SchemaMismatch, match="Bring them back"):
        await backend.upgrade()
    assert f"table {names.LEASES} is missing" in "\n".join(await backend.check_schema())
    await backend.close()


@pytest.mark.parametrize(("schema", "prefix"), [(None, "fraud_"), ('Our "audit"', ""), ("audit", "eleven_char")])
async def test_beside_an_application(
    postgres: Postgres, database: str, empty: str, schema: str | None, prefix: str
) -> None:
    postgres.sql("CREATE TABLE accounts(id int); CREATE SCHEMA other; CREATE TABLE other.x(y int)", database=database)
    plain = PostgresBackend(empty, auto_migrate=True)
    await plain.open()
    mine = PostgresBackend(empty, auto_migrate=True, schema=schema, table_prefix=prefix)
    await mine.open()
    case = Case(key="k")
    tool = case.tool()
    await case.apply(mine, case.commit("a", "b", rows=[case.phase(), tool], snapshot=case.snapshot(1)))
    assert list(await mine.read_events(case.id)) == case.events
    assert [row.id for row in await mine.find(Query("tool"))] == [tool.id]
    assert not await plain.find(Query("investigation"))
    assert await mine.delete([(case.id, 2)]) == 1
    assert not await mine.check_schema()
    assert not await plain.check_schema()
    where = f"table_schema = '{schema}'" if schema else "table_schema = 'public'"
    tables = postgres.sql(f"SELECT table_name FROM information_schema.tables WHERE {where}", database=database).split()
    assert {prefix + table for table in (*names.ALL_TABLES, names.VERSION_TABLE)} <= set(tables)
    for backend in (mine, plain):
        await backend.close()


async def test_no_extension_is_needed(postgres: Postgres, database: str, empty: str) -> None:
    """Not even the one that each database comes with."""
    postgres.sql("DROP EXTENSION plpgsql", database=database)
    backend = PostgresBackend(empty, auto_migrate=True)
    await backend.open()
    case = Case(key="k")
    tool = case.tool(cost_estimate="0.1")
    await case.apply(backend, case.commit("a", "b", rows=[case.phase(), tool], snapshot=case.snapshot(1)))
    assert [row.id for row in await backend.find(Query("tool"))] == [tool.id]
    assert await backend.aggregate(Aggregate("tool", measures=(Measure("sum", "cost_estimate"),)))
    lease = await backend.claim(case.id, "me", ttl=60_000_000)
    assert lease is not None
    assert await backend.release(lease)
    assert await backend.delete([(case.id, 2)]) == 1
    assert not await backend.check_schema()
    await backend.close()
    assert postgres.sql("SELECT count(*) FROM pg_extension", database=database) == "0"


@pytest.mark.parametrize("prefix", ["Fraud_", "1st", "a-b", "twelve_chars", "a;b", "é"])
def test_a_prefix_that_cannot_be(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="at most 11 of a-z, 0-9 and _"):
        PostgresBackend("postgresql://h/d", table_prefix=prefix)


@pytest.mark.parametrize("schema", ["", "a\0b", "x" * 64])
def test_a_schema_that_cannot_be(schema: str) -> None:
    with pytest.raises(ConfigurationError, match="not the name of a schema"):
        PostgresBackend("postgresql://h/d", schema=schema)


async def test_what_was_changed_by_hand_is_named(postgres: Postgres, database: str, empty: str) -> None:
    backend = PostgresBackend(empty)
    await backend.upgrade()
    assert list(await backend.check_schema()) == []
    postgres.sql("ALTER TABLE tool_executions DROP COLUMN effect; DROP INDEX uq_investigations_key", database=database)
    found = "\n".join(await backend.check_schema())
    assert "column tool_executions.effect is missing" in found or "effect is missing" in found
    assert "uq_investigations_key" in found


def test_the_types_of_columns_are_those_of_the_tables() -> None:
    from sqlalchemy.dialects import postgresql

    tables = build("postgresql")
    spoken = {"uuid": "UUID", "json": "JSON", "int4": "INTEGER", "int8": "BIGINT", "bytea": "BYTEA", "text": "TEXT"}
    spoken |= {"timestamptz": "TIMESTAMP WITH TIME ZONE", "numeric": "NUMERIC", "float8": "FLOAT"}
    for kind in ROW_TYPES:
        told = {name: spoken[type] for name, type in postgres_names.COLUMNS[kind].items()}
        assert told == {
            column.name: str(column.type.compile(postgresql.dialect())).replace(' COLLATE "C"', "")
            for column in tables.by_kind[kind].columns
        }
    assert tuple(postgres_names.EVENT_COLUMNS) == StoredEvent._fields == tuple(tables.events.columns.keys())
