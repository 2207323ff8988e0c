"""Who is let in to a PostgreSQL store; what each refusal says to do."""

import socket
import time

import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_sdk.errors import BackendUnavailable, ConfigurationError
from investigation_sdk.storage.backend import StoreFailure
from investigation_sdk.storage.commit import Advance, Wanted
from investigation_sdk.testing.contract import Case
from investigation_sdk.testing.servers import Postgres
from investigation_sdk.testing.servers.process import free_port
from tests.backends.postgres.rig import as_user, refused


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


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_read_only_writes_nothing(postgres_store: str, pgbouncer: bool) -> None:
    """PgBouncer gets no setting of the session, so that the server itself would take the writes."""
    writing = PostgresBackend(postgres_store)
    reading = PostgresBackend(postgres_store, read_only=True, pgbouncer=pgbouncer)
    await writing.open()
    await reading.open()
    case = Case(status="queued", claimable_at=0)
    await case.apply(writing)
    lease = await writing.claim("x", "me", ttl=60_000_000)
    assert lease is not None
    with pytest.raises(StoreFailure, match="opened with read_only, and this writes; drop the option"):
        await reading.commit([case.commit()])
    wanted = Wanted(types=(case.row.investigation_type,), tenant_id=None, left_in=())
    for write in (
        lambda: reading.put_rows([case.row._replace(subject="other")]),
        lambda: reading.advance([Advance("investigation", case.id, 1, 50)]),
        lambda: reading.delete([(case.id, case.row.version)]),
        lambda: reading.claim("y", "me", ttl=1),
        lambda: reading.claim_next(wanted, ["me"], ttl=60_000_000),
        lambda: reading.renew([lease], ttl=1),
        lambda: reading.release(lease),
        reading.upgrade,
    ):
        with pytest.raises(BackendUnavailable, match="opened with read_only"):
            await write()
    assert await reading.get("investigation", case.id) == case.row
    assert await reading.holder("x") == lease
    assert await reading.holder("y") is await reading.holder(case.id) is None
    for backend in (writing, reading):
        await backend.close()


def test_what_is_read_alone_is_not_upgraded() -> None:
    with pytest.raises(ConfigurationError, match="read_only and auto_migrate exclude each other"):
        PostgresBackend("postgresql://h/d", read_only=True, auto_migrate=True)


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
