"""Opening a PostgreSQL store: is it there, is it ours, is it of this version; and making it so."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, cast

from investigation_sdk.clock import to_datetime
from investigation_sdk.errors import BackendUnavailable, InvestigationError, SchemaMismatch

from . import postgres_partitions as partitions
from .names import ALL_TABLES, REVISIONS, VERSION_TABLE
from .postgres_driver import DRIVER_ERRORS, Connection, Target
from .postgres_errors import connect_fault, fault, unavailable
from .postgres_names import Names, quoted

if TYPE_CHECKING:
    from sqlalchemy import Connection as SyncConnection
    from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")

_OLDEST: Final = 140000
_PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_UPGRADE_LOCK: Final = 0x6D69_6772_6174


class Found(NamedTuple):
    """What a database holds of ours."""

    revision: str | None
    tables: tuple[str, ...]
    """Tables of our names."""


async def inspect(connection: Connection, names: Names, place: str) -> Found:
    """Look at the server, and for our tables.

    Raises:
        BackendUnavailable: a server that cannot be used.
    """
    version, encoding, standby = await connection.fetchrow(
        "SELECT current_setting('server_version_num')::int, getdatabaseencoding(), pg_is_in_recovery()"
    )
    if version < _OLDEST:
        raise BackendUnavailable(f"{place} is PostgreSQL {version // 10000}; this needs {_OLDEST // 10000} or newer")
    if encoding != "UTF8":
        raise BackendUnavailable(
            f"{place}: the database is encoded in {encoding}, which lacks most characters; create one in UTF8"
        )
    if standby:
        raise BackendUnavailable(f"{place} is a standby, which takes no writes; connect to the primary")
    asked = {names.of(table): table for table in (*ALL_TABLES, VERSION_TABLE)}
    rows = await connection.fetch(
        "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL", list(asked)
    )
    there = {asked[row[0]] for row in rows}
    revision = None
    if VERSION_TABLE in there:
        found = await connection.fetchrow(f"SELECT version_num FROM {names.version}")
        revision = None if found is None else str(found[0])
    return Found(revision, tuple(sorted(names.prefix + table for table in there - {VERSION_TABLE})))


def refuse(found: Found, place: str, url: str) -> None:
    """Refuse what is not of this version.

    Raises:
        SchemaMismatch: as said, with what to do.
    """
    head = REVISIONS[-1]
    command = f"investigate db upgrade --db '{url}'"
    if found.revision == head:
        return
    if found.revision is not None and found.revision not in REVISIONS:
        raise newer_schema(place, found.revision)
    if found.revision is not None:
        raise SchemaMismatch(
            f"{place} has schema {found.revision}, and this version works with {head}; run: {command} (or pass "
            "auto_migrate=True)"
        )
    refuse_mixture(found, place)
    raise SchemaMismatch(
        f"{place} has no tables of the SDK yet; run: {command} (or pass auto_migrate=True, which makes them on opening)"
    )


def refuse_mixture(found: Found, place: str) -> None:
    """Refuse tables of our names that are not ours.

    Raises:
        SchemaMismatch: as said.
    """
    if found.revision is None and found.tables:
        raise SchemaMismatch(
            f"{place} has tables named {', '.join(found.tables)}, but no revision of the SDK's schema: they are "
            "somebody else's. Pass schema= or table_prefix= to keep ours apart from them"
        )


async def check_privileges(connection: Connection, names: Names, place: str) -> None:
    """See that this user may do what is to be done.

    Raises:
        BackendUnavailable: it may not; with what to grant.
    """
    tables = [names.of(table) for table in ALL_TABLES]
    rows = await connection.fetch(
        "SELECT name, current_user::text, array_agg(privilege ORDER BY n) FROM unnest($1::text[]) AS name, "
        "unnest($2::text[]) WITH ORDINALITY AS p(privilege, n) "
        "WHERE NOT has_table_privilege(name, privilege) GROUP BY name, current_user ORDER BY name",
        tables,
        list(_PRIVILEGES),
    )
    if rows:
        lacking = [f"GRANT {', '.join(row[2])} ON {row[0]} TO {quoted(row[1])}" for row in rows]
        raise BackendUnavailable(
            f"{place}: user {rows[0][1]} lacks privileges on the SDK's tables. Their owner runs: {'; '.join(lacking)}"
        )


async def upgrade(target: Target, names: Names) -> None:
    """Bring a database to this version's schema; safe in any number of processes at the same time.

    Raises:
        SchemaMismatch: a table of ours is there, and is not ours.
        BackendUnavailable: it cannot be reached, or this user may not.
    """

    async def work(sync: AsyncConnection, connection: Connection) -> None:
        await _use_schema(connection, names)
        found = await inspect(connection, names, target.place)
        if found.revision is not None and found.revision not in REVISIONS:
            refuse(found, target.place, "")
        refuse_mixture(found, target.place)
        if found.revision != REVISIONS[-1]:
            from . import migrate

            await sync.run_sync(_placed(names, lambda c: migrate.upgrade(c, prefix=names.prefix)))
        await partitions.make(connection, names, partitions.coming(await _now(connection)))

    await _transaction(target, work)


async def revision_of(target: Target, names: Names) -> str | None:
    """The revision of the database; None where it has none of ours.

    Raises:
        BackendUnavailable: it cannot be reached.
    """
    try:
        connection = await target.connect(patient=True)
    except DRIVER_ERRORS as error:
        raise unavailable(connect_fault(error), error, target.place) from error
    try:
        return (await inspect(connection, names, target.place)).revision
    except InvestigationError:
        raise
    except DRIVER_ERRORS as error:
        raise unavailable(fault(error), error, target.place) from error
    finally:
        await connection.close(timeout=2)


async def check_schema(target: Target, names: Names) -> list[str]:
    """What is different between the database's tables and this version's, a line each; reads only.

    Raises:
        SchemaMismatch: its schema is newer.
        BackendUnavailable: it cannot be reached.
    """
    found: list[str] = []

    async def work(sync: AsyncConnection, connection: Connection) -> None:
        revision = (await inspect(connection, names, target.place)).revision
        if revision is not None and revision not in REVISIONS:
            raise newer_schema(target.place, revision)
        if revision != REVISIONS[-1]:
            found.append(f"the schema is {revision or 'not there'}, this version works with {REVISIONS[-1]}")
            return
        from . import migrate

        await connection.execute("SET TRANSACTION READ ONLY")
        if names.schema is not None:
            await connection.execute(f"SET LOCAL search_path TO {quoted(names.schema)}")
        found.extend(await sync.run_sync(_placed(names, lambda c: migrate.differences(c, prefix=names.prefix))))

    await _transaction(target, work)
    return found


def newer_schema(place: str, found: str) -> SchemaMismatch:
    """The error for a database that a newer version of the SDK has upgraded."""
    return SchemaMismatch(
        f"{place} has schema {found}, which is newer than this version's {REVISIONS[-1]}; upgrade investigation-sdk"
    )


async def _transaction(target: Target, work: Callable[[AsyncConnection, Connection], Awaitable[None]]) -> None:
    """Run something on a connection of its own, which SQLAlchemy knows too, in one transaction."""
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    async def connect() -> Connection:
        try:
            return await target.connect(patient=True)
        except DRIVER_ERRORS as error:
            raise unavailable(connect_fault(error), error, target.place) from error

    unshared = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: f"__{uuid.uuid4()}__"}
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        poolclass=NullPool,
        connect_args=unshared if target.pgbouncer else {},
    )
    try:
        async with engine.begin() as sync:
            await sync.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")
            raw = await sync.get_raw_connection()
            await work(sync, cast("Connection", raw.driver_connection))
    except InvestigationError:
        raise
    except DRIVER_ERRORS as error:
        raise unavailable(fault(error), error, target.place) from error
    except DBAPIError as error:
        cause = error.orig.__cause__ if error.orig is not None and error.orig.__cause__ is not None else error
        raise unavailable(fault(cause), cause, target.place) from error
    finally:
        await engine.dispose()


def _placed(names: Names, work: Callable[[SyncConnection], T]) -> Callable[[SyncConnection], T]:
    def placed(connection: SyncConnection) -> T:
        if names.schema is not None:
            connection.dialect.default_schema_name = names.schema
        return work(connection)

    return placed


async def _use_schema(connection: Connection, names: Names) -> None:
    """Until the end of the transaction, everything is made in our schema."""
    if names.schema is None:
        return
    schema = quoted(names.schema)
    if await connection.fetchrow("SELECT 1 FROM pg_namespace WHERE nspname = $1", names.schema) is None:
        await connection.execute(f"CREATE SCHEMA {schema}")
    await connection.execute(f"SET LOCAL search_path TO {schema}")


async def _now(connection: Connection) -> datetime:
    (now,) = await connection.fetchrow("SELECT clock_timestamp()")
    return to_datetime(now)
