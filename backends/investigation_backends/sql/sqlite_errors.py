"""What an error of SQLite means for a batch: one table."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.backend import CommitNotApplied, StoreFailure
from investigation_sdk.storage.commit import CommitResult, CommitStatus


class Fault(NamedTuple):
    """One line of the table. `passes`: trying again helps without anybody doing anything."""

    passes: bool
    says: str


_LOCKED: Final = "another connection holds its write lock"

FAULTS: Final = {
    sqlite3.SQLITE_BUSY: Fault(True, _LOCKED),
    sqlite3.SQLITE_LOCKED: Fault(True, _LOCKED),
    sqlite3.SQLITE_PROTOCOL: Fault(True, "its lock file is contended"),
    sqlite3.SQLITE_SCHEMA: Fault(True, "its schema was changed meanwhile"),
    sqlite3.SQLITE_INTERRUPT: Fault(True, "the statement was interrupted"),
    sqlite3.SQLITE_NOMEM: Fault(True, "out of memory"),
    sqlite3.SQLITE_FULL: Fault(False, "the disk (or the database's page limit) is full; free some space there"),
    sqlite3.SQLITE_READONLY: Fault(
        False,
        "it cannot be written; make the file, its -wal and -shm and their folder writable, "
        "and do not open it with read_only",
    ),
    sqlite3.SQLITE_PERM: Fault(False, "access was denied; make the file and its folder readable and writable"),
    sqlite3.SQLITE_AUTH: Fault(False, "access was denied"),
    sqlite3.SQLITE_CANTOPEN: Fault(
        False, "it cannot be opened; check that the file and its folder are there and can be read and written"
    ),
    sqlite3.SQLITE_IOERR: Fault(False, "the disk answered with an I/O error; check the disk and the system's log"),
    sqlite3.SQLITE_CORRUPT: Fault(
        False, "the file is damaged; stop writing to it, keep a copy, and restore a backup (or try 'sqlite3 .recover')"
    ),
    sqlite3.SQLITE_NOTADB: Fault(False, "it is not a SQLite database"),
    sqlite3.SQLITE_NOLFS: Fault(False, "its file system does not take files of this size"),
}
"""By primary result code. What is missing here is :data:`OTHER`."""

OTHER: Final = Fault(False, "SQLite refused the statement; the tables may have been changed by hand")

DATA_ERRORS: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeEncodeError,
)
"""What a value can cause: the batch is then applied again, commit by commit."""


def primary_code(error: BaseException) -> int:
    """SQLite's primary result code of an error; 0 where Python raised it."""
    code: int = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF


def passes(error: BaseException) -> bool:
    """Whether trying again may help by itself."""
    return FAULTS.get(primary_code(error), OTHER).passes


def explain(error: BaseException, place: str) -> str:
    """A message for whoever has to act."""
    return f"{place}: {FAULTS.get(primary_code(error), OTHER).says} (SQLite: {error})"


def batch_failed(error: BaseException, place: str) -> CommitNotApplied | StoreFailure:
    """The error of a whole batch that was rolled back."""
    return (CommitNotApplied if passes(error) else StoreFailure)(explain(error, place))


def unavailable(error: BaseException, place: str) -> BackendUnavailable:
    """The error of a call that is not a commit."""
    return BackendUnavailable(explain(error, place))


def answer(error: BaseException) -> CommitResult:
    """The answer to the one commit whose values caused this error."""
    message = f"{type(error).__name__}: {error}"
    code = primary_code(error)
    if code == sqlite3.SQLITE_TOOBIG:
        return CommitResult(CommitStatus.SIZE, None, message)
    if code == sqlite3.SQLITE_CONSTRAINT:
        return CommitResult(CommitStatus.CONSTRAINT, None, message)
    return CommitResult(CommitStatus.DATA, None, message)
