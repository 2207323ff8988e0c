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
from .postgres_errors import TAKEN, connect_fault, explain, fault, sqlstate, unavailable
from .postgres_names import Names, quoted
from .refusals import dropped, foreign_version, unknown_revision

if TYPE_CHECKING:
    from sqlalchemy import Connection as SyncConnection
    from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")

_OLDEST: Final = 140000
_PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_UPGRADE_LOCK: Final = 0x6D69_6772_6174
_APART: Final = "Pass schema= or table_prefix= to keep ours apart from it"


class Found(NamedTuple):
    """What a database holds of ours."""

    revision: str | None
    tables: tuple[str, ...]
    """Tables of our names."""
    missing: tuple[str, ...] = ()
    """Those of this version's that are not there."""


async def inspect(connection: Connection, names: Names, place: str, *, read_only: bool = False) -> Found:
    """Look at the server, and for our tables; `read_only`: also of a standby.

    Raises:
        BackendUnavailable: a server that cannot be used.
        SchemaMismatch: the table of versions is not ours.
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
    if standby and not read_only:
        raise BackendUnavailable(
            f"{place} is a standby, which takes no writes; connect to the primary, or pass read_only=True to look at it"
        )
    asked = {names.of(table): table for table in (*ALL_TABLES, VERSION_TABLE)}
    rows = await connection.fetch(
        "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL", list(asked)
    )
    there = {asked[row[0]] for row in rows}
    revision = await _revision(connection, names, place) if VERSION_TABLE in there else None
    missing = set(ALL_TABLES) - there
    there.discard(VERSION_TABLE)
    return Found(revision, *(tuple(sorted(names.prefix + table for table in tables)) for tables in (there, missing)))


async def _revision(connection: Connection, names: Names, place: str) -> str | None:
    table = names.prefix + VERSION_TABLE
    try:
        found = await connection.fetchrow(f"SELECT version_num FROM {names.version}")
    except DRIVER_ERRORS as error:
        if sqlstate(error) in ("42703", "42809"):  # no such column; not something with rows
            raise foreign_version(place, table, "it has no column version_num", _APART) from error
        raise
    return None if found is None else str(found[0])


def refuse(found: Found, names: Names, place: str, url: str) -> None:
    """Refuse what is not of this version.

    Raises:
        SchemaMismatch: as said, with what to do.
    """
    head = REVISIONS[-1]
    command = f"investigate db upgrade --db '{url}'"
    refuse_unusable(found, names, place)
    if found.revision == head:
        return
    if found.revision is not None:
        raise SchemaMismatch(
            f"{place} has schema {found.revision}, and this version works with {head}; run: {command} (or pass "
            "auto_migrate=True)"
        )
    raise SchemaMismatch(
        f"{place} has no tables of the SDK yet; run: {command} (or pass auto_migrate=True, which makes them on opening)"
    )


def refuse_unusable(found: Found, names: Names, place: str) -> None:
    """Refuse what no upgrade makes ours: tables of our names that are somebody else's, a revision that is not known,
    and a schema of this version's with tables missing.

    Raises:
        SchemaMismatch: as said.
    """
    if found.revision is None and found.tables:
        raise SchemaMismatch(
            f"{place} has tables named {', '.join(found.tables)}, but no revision of the SDK's schema: they are "
            "somebody else's. Pass schema= or table_prefix= to keep ours apart from them"
        )
    if found.revision not in (None, *REVISIONS):
        raise unknown_revision(place, names.prefix + VERSION_TABLE, found.revision, _APART)
    if found.revision == REVISIONS[-1] and found.missing:
        raise dropped(place, found.missing)


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
        refuse_unusable(found, names, target.place)
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
        return (await inspect(connection, names, target.place, read_only=True)).revision
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
        there = await inspect(connection, names, target.place, read_only=True)
        revision = there.revision
        if revision not in (None, *REVISIONS):
            refuse_unusable(there, names, target.place)
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
        raise _failed(error, target.place) from error
    except DBAPIError as error:
        cause = error.orig.__cause__ if error.orig is not None and error.orig.__cause__ is not None else error
        raise _failed(cause, target.place) from error
    finally:
        await engine.dispose()


def _failed(error: BaseException, place: str) -> BackendUnavailable | SchemaMismatch:
    if sqlstate(error) in TAKEN:
        return SchemaMismatch(explain(fault(error), error, place))
    return unavailable(fault(error), error, place)


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
