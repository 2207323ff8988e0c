"""Opening a PostgreSQL store: what is refused, and what each refusal says to do. And its schema."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_backends.sql import names, postgres_names
from investigation_backends.sql.tables import build
from investigation_sdk import InvestigationSDK
from investigation_sdk.domain.rows import ROW_TYPES
from investigation_sdk.errors import BackendUnavailable, ConfigurationError, InvestigationError, SchemaMismatch
from investigation_sdk.storage.backend import MigratingBackend, StoreFailure
from investigation_sdk.storage.commit import Query, StoredEvent
from investigation_sdk.storage.registry import create_backend
from investigation_sdk.testing.contract import Case
from investigation_sdk.testing.servers import Postgres
from investigation_sdk.testing.servers.process import free_port

HEAD = names.REVISIONS[-1]


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The name of an empty database."""
    name = postgres.create_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
def empty(postgres: Postgres, database: str) -> str:
    return postgres.url_of(database)


async def refused(error: type[InvestigationError], url: str, **options: Any) -> str:
    backend = PostgresBackend(url, **options)
    with pytest.raises(error) as caught:
        await backend.open()
    await backend.close()
    said = str(caught.value)
    assert "hunter2" not in said + repr(caught.value) + repr(caught.value.__cause__) + repr(backend)
    return said


def as_user(url: str, user: str, password: str = "") -> str:
    return url.replace("//postgres@", f"//{user}:{password}@" if password else f"//{user}@")


# ---------------------------------------------------------------- what is there


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


# ---------------------------------------------------------------- who is let in


async def test_an_unknown_host() -> None:
    said = await refused(BackendUnavailable, "postgresql://me:hunter2@no-such-host.invalid/cases")
    assert "PostgreSQL at no-such-host.invalid, database cases, user me" in said
    assert "no host of that name" in said


async def test_nobody_listens() -> None:
    said = await refused(BackendUnavailable, f"postgresql://me:hunter2@127.0.0.1:{free_port()}/cases")
    assert "nobody listens there; is the server running, and is the port right?" in said


async def test_a_server_that_does_not_answer() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"postgresql://me:hunter2@127.0.0.1:{deaf.getsockname()[1]}/cases"
        started = time.monotonic()
        said = await refused(BackendUnavailable, url, connect_timeout=0.3)
        assert time.monotonic() - started < 20, "the stated timeout is what it takes"
    assert "does not answer within connect_timeout" in said


async def test_a_database_that_is_not_there(postgres: Postgres) -> None:
    said = await refused(BackendUnavailable, as_user(postgres.url_of("nothing_here"), "postgres", "hunter2"))
    assert "there is no such database; create it, or correct the URL" in said


async def test_a_user_that_is_not_let_in(postgres: Postgres, empty: str) -> None:
    said = await refused(BackendUnavailable, as_user(empty, "nobody_known", "hunter2"))
    assert "does not let this user in; check user, password and pg_hba.conf" in said
    assert "nobody_known" in said


async def test_a_wrong_password() -> None:
    from investigation_sdk.testing.servers import PostgresServer, ServerMissing

    try:
        server = PostgresServer()
    except ServerMissing as missing:
        pytest.skip(str(missing))
    with server:
        server.sql("CREATE ROLE fraud LOGIN PASSWORD 'right'; GRANT CREATE ON SCHEMA public TO fraud")
        hba = server.folder / "data" / "pg_hba.conf"
        hba.write_text("host all fraud 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
        server.sql("SELECT pg_reload_conf()")
        said = await refused(BackendUnavailable, as_user(server.url, "fraud", "hunter2"))
        assert "check user, password and pg_hba.conf" in said
        assert 'password authentication failed for user "fraud"' in said
        backend = PostgresBackend(as_user(server.url, "fraud", "right"), auto_migrate=True)
        await backend.open()
        await backend.close()


async def test_missing_privileges_are_named_with_the_grant(postgres: Postgres, database: str, empty: str) -> None:
    await PostgresBackend(empty).upgrade()
    role = f"reader_{database[-8:]}"
    postgres.sql(f"CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}", database=database)
    try:
        said = await refused(BackendUnavailable, as_user(empty, role))
        assert f"user {role} lacks privileges" in said
        assert f'GRANT INSERT, UPDATE, DELETE ON "investigation_events" TO "{role}"' in said
        grants = said.partition("Their owner runs: ")[2]
        postgres.sql(grants, database=database)
        backend = PostgresBackend(as_user(empty, role))
        await backend.open()
        await Case().apply(backend)
        await backend.close()
    finally:
        postgres.sql(f"DROP OWNED BY {role}; DROP ROLE {role}", database=database)


async def test_a_user_that_may_not_make_tables(postgres: Postgres, database: str, empty: str) -> None:
    role = f"poor_{database[-8:]}"
    postgres.sql(f"CREATE ROLE {role} LOGIN", database=database)
    try:
        said = await refused(BackendUnavailable, as_user(empty, role), auto_migrate=True)
        assert "lacks a privilege" in said
        assert "permission denied for schema public" in said
    finally:
        postgres.sql(f"DROP ROLE {role}", database=database)


async def test_a_database_of_another_encoding(postgres: Postgres) -> None:
    name = "investigation_test_latin1"
    postgres.drop_database(name)
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        said = await refused(BackendUnavailable, postgres.url_of(name), auto_migrate=True)
        assert "encoded in LATIN1" in said
        assert "create one in UTF8" in said
    finally:
        postgres.drop_database(name)


async def test_read_only_writes_nothing(postgres_store: str) -> None:
    writing, reading = PostgresBackend(postgres_store), PostgresBackend(postgres_store, read_only=True)
    await writing.open()
    await reading.open()
    case = Case()
    await case.apply(writing)
    assert await reading.get("investigation", case.id) == case.row
    with pytest.raises(StoreFailure, match="takes no writes"):
        await reading.commit([case.commit()])
    with pytest.raises(BackendUnavailable, match="takes no writes"):
        await reading.claim("x", "me", ttl=1)
    for backend in (writing, reading):
        await backend.close()


async def test_before_open_and_after_close(postgres_store: str) -> None:
    backend = PostgresBackend(postgres_store)
    case = Case()
    for _ in range(2):
        with pytest.raises(BackendUnavailable, match=r"is not open; call open\(\) first"):
            await backend.get("investigation", case.id)
        with pytest.raises(StoreFailure, match="is not open"):
            await backend.commit([case.commit()])
        await backend.open()
        await backend.close()


# ---------------------------------------------------------------- URLs and options


def test_the_driver_that_is_missing_is_named_with_its_extra() -> None:
    program = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "from investigation_sdk import InvestigationSDK, ConfigurationError\n"
        "try: InvestigationSDK('postgresql://me:hunter2@h/d')\n"
        "except ConfigurationError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "postgresql needs 'asyncpg', which is not installed" in done.stdout
    assert "pip install 'investigation-sdk[postgres]'" in done.stdout
    assert "hunter2" not in done.stdout


@pytest.mark.parametrize(
    "url",
    ["postgresql://me:hun/ter2@h/d", "postgresql://me:hunter2@h:port/d", "postgresql://me:hunter2@[::1/d"],
)
def test_a_url_that_cannot_be_read(url: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded") as caught:
        create_backend(url)
    assert "hun" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_an_option_that_the_driver_refuses(empty: str) -> None:
    backend = PostgresBackend(as_user(empty, "postgres", "hunter2") + "?sslmode=maybe")
    with pytest.raises(ConfigurationError, match="cannot use this URL or its options") as caught:
        await backend.open()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"pool_size": 0}, {"max_overflow": -1}, {"command_timeout": 0}, {"connect_timeout": -1.0}]
)
def test_numbers_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        PostgresBackend("postgresql://h/d", **options)


def test_opening_and_recording_load_no_sqlalchemy(postgres_store: str) -> None:
    program = (
        "import sys\n"
        "from investigation_sdk import InvestigationSDK\n"
        "sdk = InvestigationSDK(sys.argv[1])\n"
        "with sdk.investigation('x') as run: pass\n"
        "assert sdk.sync.verify(run.id).ok\n"
        "assert 'asyncpg' in sys.modules and 'sqlalchemy' not in sys.modules\n"
        "assert len(sdk.sync.list()) == 1\n"
        "assert 'sqlalchemy' in sys.modules\n"
        "sdk.sync.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", program, postgres_store], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_options_in_the_url(postgres: Postgres, postgres_store: str) -> None:
    url = f"{postgres_store}?application_name=fraud%20desk&pool_size=1&max_overflow=0&sslmode=disable"
    backend: Any = create_backend(url.replace("postgresql://", "postgres://"))
    await backend.open()
    sql = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE application_name LIKE 'fraud%'"
    assert postgres.sql(sql) == "fraud desk"
    await backend.close()


async def test_no_connection_is_left(postgres: Postgres, postgres_store: str) -> None:
    async with InvestigationSDK(postgres_store, backend_options={"application_name": "left behind"}) as sdk:
        async with sdk.investigation("x"):
            pass
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'left behind'"
        assert int(postgres.sql(sql)) >= 2
    assert postgres.sql(sql) == "0"
