"""What each error of PostgreSQL means, and what is cut off in the middle."""

import asyncio
from typing import Any

import asyncpg
import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_backends.sql import postgres_errors
from investigation_backends.sql.postgres_errors import Means
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.backend import CommitNotApplied, CommitUnknown, StoreFailure
from investigation_sdk.storage.commit import APPLIED
from investigation_sdk.testing.contract import Case
from investigation_sdk.testing.servers import Postgres
from tests.backends.postgres.rig import until


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
    backend = PostgresBackend(postgres_store, command_timeout=2)  # the server gives up 0.4 s earlier, and says why
    await backend.open()
    await raw.execute("BEGIN; LOCK TABLE investigation_leases IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(BackendUnavailable, match="holds a lock for longer than we wait"):
        await backend.holder("x")
    await raw.execute("ROLLBACK")
    assert await backend.holder("x") is None
    await backend.close()
