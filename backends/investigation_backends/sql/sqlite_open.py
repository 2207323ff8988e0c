"""Opening a SQLite file: is it there, is it ours, is it of this version; and making it so."""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
import time
from collections.abc import Callable, Generator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from investigation_sdk.errors import BackendUnavailable, SchemaMismatch

from .names import ALL_TABLES, REVISIONS, VERSION_TABLE
from .reader import ReaderThread
from .refusals import dropped, foreign_version, unknown_revision
from .sqlite_errors import passes, unavailable
from .sqlite_link import Link, immediately

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")

_APART: Final = "Name another file"
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "fuse.sshfs"})


class Found(Enum):
    """What a file without a revision of ours holds."""

    NOTHING = "nothing"
    OTHERS = "others"


async def prepare(link: Link, reader: ReaderThread, *, auto_migrate: bool, page_size: int) -> None:
    """See that the file has this version's schema; make it if there is no file, or an empty one.

    Raises:
        SchemaMismatch, BackendUnavailable: see :meth:`investigation_sdk.storage.backend.Backend.open`.
    """
    _check_place(link)
    found = Found.NOTHING if _is_empty(link.path) else await _find(link)
    refuse_unknown(found, link.path)
    path = link.path
    if found == REVISIONS[-1]:
        if missing := sorted(set(ALL_TABLES) - await _probe(link, _tables)):
            raise dropped(path, missing)
        return
    to_upgrade = f"run: investigate db upgrade --db {shlex.quote(path)} (or pass auto_migrate=True)"
    if found is Found.NOTHING and link.read_only:
        raise SchemaMismatch(f"{path} is empty. To make the SDK's tables in it, {to_upgrade}")
    if found is Found.OTHERS and not auto_migrate:
        raise SchemaMismatch(
            f"{path} holds tables, but not the SDK's: it may be an application's database. Name another file; or, "
            f"to add the SDK's tables to it, {to_upgrade}"
        )
    if isinstance(found, str) and not auto_migrate:
        raise SchemaMismatch(
            f"{path} has schema {found}, and this version works with {REVISIONS[-1]}. To upgrade it, {to_upgrade}"
        )
    await upgrade(link, reader, page_size)


def refuse_unknown(found: str | Found | None, path: str) -> None:
    """Refuse a revision that this version does not know.

    Raises:
        SchemaMismatch: as said.
    """
    if isinstance(found, str) and found not in REVISIONS:
        raise unknown_revision(path, VERSION_TABLE, found, _APART)


async def upgrade(link: Link, reader: ReaderThread, page_size: int) -> None:
    """Bring the file to this version's schema; safe in any number of processes at the same time.

    Raises:
        SchemaMismatch: a table of ours is there, and is not ours; or the schema is newer.
        BackendUnavailable: the file cannot be reached or written.
    """
    _check_place(link)
    try:
        await reader.run(lambda: _upgrade(link, page_size))
    except sqlite3.Error as error:
        raise _cannot_open(error, link.path) from error


async def revision_of(link: Link) -> str | None:
    """The revision of the file; None where it has none of ours.

    Raises:
        BackendUnavailable, SchemaMismatch: it cannot be read.
    """
    _check_place(link)
    if _is_empty(link.path):
        return None
    found = await _find(link)
    return found if isinstance(found, str) else None


async def differences(link: Link, reader: ReaderThread) -> list[str]:
    """What is different between the file's tables and this version's, a line each; reads only.

    Raises:
        BackendUnavailable, SchemaMismatch: it cannot be read.
    """
    _check_place(link)
    try:
        return await reader.run(lambda: link.apart(_differences))
    except sqlite3.Error as error:
        raise _cannot_open(error, link.path) from error


def _differences(raw: sqlite3.Connection) -> list[str]:
    from . import migrate

    raw.execute("PRAGMA query_only=ON")
    with _alchemy(raw) as connection:
        return migrate.differences(connection)


@contextlib.contextmanager
def _alchemy(raw: sqlite3.Connection) -> Generator[Connection]:
    """SQLAlchemy's face of a connection, in which SQLite's own errors are raised."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    try:
        with create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool).connect() as connection:
            yield connection
    except DBAPIError as error:
        raise error.orig or error from error


def _check_place(link: Link) -> None:
    path, file, folder = link.path, Path(link.path), Path(link.path).parent
    if link.read_only and not file.exists():
        raise BackendUnavailable(f"There is no database at {path}; name a file that is there")
    if not folder.is_dir():
        raise BackendUnavailable(f"{path}: the folder {folder} is not there; make it, or name another")
    if file.is_dir():
        raise BackendUnavailable(f"{path} is a folder; name a file in it, such as {file / 'cases.db'}")
    if (kind := network_file_system(path)) is not None:
        raise BackendUnavailable(
            f"{path} is on a network file system ({kind}), where SQLite cannot share a file safely; "
            "name a file on a local disk"
        )
    if link.read_only:
        if not _may(file, os.R_OK):
            raise BackendUnavailable(f"{path} cannot be read; change its permissions")
        return
    if not _may(folder, os.W_OK):
        raise BackendUnavailable(f"{path}: the folder {folder} cannot be written; SQLite keeps its log beside the file")
    if file.exists() and not _may(file, os.R_OK | os.W_OK):
        raise BackendUnavailable(f"{path} cannot be written (or read); change its permissions")


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def network_file_system(path: str, mounts: str = "/proc/self/mounts") -> str | None:
    """The type of the network file system that a path is on, None if it is a local one or nobody knows."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    real = os.path.realpath(path)
    best, found = -1, ""
    for entry in map(str.split, lines):
        point = entry[1].encode().decode("unicode_escape").rstrip("/")
        if (real == point or real.startswith(point + "/")) and len(point) >= best:
            best, found = len(point), entry[2]
    return found if found in _NETWORK else None


def _is_empty(path: str) -> bool:
    # an empty file with a log beside it was made a moment ago by somebody else
    try:
        return Path(path).stat().st_size == 0 and not Path(f"{path}-wal").exists()
    except FileNotFoundError:
        return True


async def _probe(link: Link, look: Callable[[sqlite3.Connection], T]) -> T:
    try:
        return await link.patiently(look)
    except sqlite3.Error as error:
        raise _cannot_open(error, link.path) from error


async def _find(link: Link) -> str | Found:
    """What the file holds. Also checks that it can be written, if it is to be."""
    look = _read_revision if link.read_only else _look
    return await _probe(link, lambda connection: look(connection, link.path))


def _look(connection: sqlite3.Connection, path: str) -> str | Found:
    found = _read_revision(connection, path)
    if found in REVISIONS:
        _set_wal(connection)
        # BEGIN IMMEDIATE alone is content with a file that cannot be written
        immediately(connection, lambda c: c.execute(f"DELETE FROM {VERSION_TABLE} WHERE 0"))
    return found


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}


def _read_revision(connection: sqlite3.Connection, path: str) -> str | Found:
    names = _tables(connection)
    if VERSION_TABLE in names:
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({VERSION_TABLE})")}
        if "version_num" not in columns:
            raise foreign_version(path, VERSION_TABLE, "it has no column version_num", _APART)
        row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
        if row is not None:
            return str(row[0])
        names.discard(VERSION_TABLE)
    return Found.OTHERS if names else Found.NOTHING


def _set_wal(connection: sqlite3.Connection) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise BackendUnavailable(f"SQLite keeps this file in mode {mode!r}, but WAL is needed; is it on a local disk?")


def _upgrade(link: Link, page_size: int) -> None:
    """On the reader thread, where waiting is allowed."""
    deadline = time.monotonic() + link.patience
    while True:
        try:
            return _upgrade_once(link, page_size)
        except sqlite3.OperationalError as error:
            # changing the mode does not wait for locks as other statements do
            if not passes(error) or time.monotonic() >= deadline:
                raise
        time.sleep(0.01)


def _upgrade_once(link: Link, page_size: int) -> None:
    from . import migrate

    with link.reading:
        raw = link.connect(timeout=link.patience)
        try:
            raw.execute(f"PRAGMA page_size={page_size}")
            _set_wal(raw)
            with _alchemy(raw) as connection:
                # the lock before the look: of many that open a new file at once, one makes the tables
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                found = _read_revision(raw, link.path)
                if found is Found.OTHERS:
                    _refuse_mixture(raw, link.path)
                refuse_unknown(found, link.path)
                if found != REVISIONS[-1]:
                    migrate.upgrade(connection)
                connection.commit()
        finally:
            raw.close()


def _refuse_mixture(connection: sqlite3.Connection, path: str) -> None:
    if ours := sorted(_tables(connection).intersection(ALL_TABLES)):
        raise SchemaMismatch(
            f"{path} has tables named {', '.join(ours)}, but no revision of the SDK's schema; name another file"
        )


def _cannot_open(error: sqlite3.Error, path: str) -> BackendUnavailable | SchemaMismatch:
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
        return SchemaMismatch(f"{path} is not a SQLite database (or is encrypted); name another file")
    return unavailable(error, path)
