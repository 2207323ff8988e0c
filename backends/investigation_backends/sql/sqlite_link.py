"""The connection of a SQLite store: one for all short statements, made again after a fork."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import threading
import time
import urllib.parse
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from investigation_sdk.errors import BackendUnavailable

from .sqlite_errors import passes, primary_code

T = TypeVar("T")

_FIRST_PAUSE = 0.0002
_LONGEST_PAUSE = 0.005
FORK_PATIENCE = 5.0
"""How long a fork waits for a statement that is running, in seconds."""


class Link:
    """One connection for statements that are short.

    Its lock is held for one transaction at most, and no coroutine waits while holding it.

    Args:
        path: The file, absolute.
        synchronous: ``PRAGMA synchronous``.
        patience: How long to wait for a lock that another connection holds, in seconds.
        read_only: Write nothing, and make no file.

    Attributes:
        wanted: The store is open: connections may be made.
        reading: Held while any other connection to the file is in use.
        close_reading: Closes the connection that is kept for reading, called with `reading` held.
    """

    def __init__(self, path: str, synchronous: str, patience: float, *, read_only: bool = False) -> None:
        self.path = path
        self.patience = patience
        self.read_only = read_only
        self.wanted: bool = False
        self.reading: threading.Lock = threading.Lock()
        self.close_reading: Callable[[], None] | None = None
        self._synchronous = synchronous
        self._connection: sqlite3.Connection | None = None
        self._other: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._carried_over: tuple[sqlite3.Connection | None, ...] | None = None
        _links.add(self)

    def connect(self, *, timeout: float = 0.0) -> sqlite3.Connection:
        """A new connection, for the caller to close. `timeout` (seconds) blocks the thread, so 0 on a loop.

        Raises:
            sqlite3.Error: it cannot be opened.
        """
        if self.read_only:
            return self._connect_to_read(timeout)
        connection = sqlite3.connect(self.path, timeout=timeout, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA synchronous={self._synchronous}")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA journal_size_limit=67108864")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_to_read(self, timeout: float) -> sqlite3.Connection:
        """A connection that makes no database and changes no row.

        Not ``mode=ro``: such a connection would leave behind the log's files that it makes to read.
        """
        try:
            return self._probed("mode=rw", timeout)
        except sqlite3.OperationalError as error:
            if not _needs_to_write(error) or _has_log(self.path):
                raise
        # In a folder that cannot be written: nobody has the file open, so it is read as it lies there.
        return self._probed("mode=ro&immutable=1", timeout)

    def _probed(self, mode: str, timeout: float) -> sqlite3.Connection:
        uri = f"file:{urllib.parse.quote(self.path)}?{mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA query_only=ON")
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    async def patiently(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` with the connection; where something is locked, again, until patience ends.

        Raises:
            sqlite3.Error: SQLite's last answer.
            BackendUnavailable: the store is closed, or was in use while the process forked.
        """
        pause = _FIRST_PAUSE
        deadline = 0.0
        while True:
            try:
                with self._lock:
                    return work(self._connection or self._connect())
            except sqlite3.OperationalError as error:
                now = time.monotonic()
                deadline = deadline or now + self.patience
                if not passes(error) or now >= deadline:
                    raise
            # jitter: or two processes that met once meet again and again
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one write transaction, patiently: all of it is durable, or nothing was written.

        Raises:
            sqlite3.Error: SQLite's last answer; nothing was written.
            BackendUnavailable: as :meth:`patiently`.
        """
        return await self.patiently(lambda connection: immediately(connection, work))

    def unforced(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a write transaction that others see at once, and that a loss of power may undo: it does not
        wait for the disk.

        Raises:
            sqlite3.Error: SQLite's answer; nothing was written.
        """
        connection.execute("PRAGMA synchronous=NORMAL")
        try:
            return immediately(connection, work)
        finally:
            connection.execute(f"PRAGMA synchronous={self._synchronous}")

    def apart(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` with the other connection, which waits for locks; blocks, so on a thread only.

        Raises:
            sqlite3.Error: SQLite's answer.
            BackendUnavailable: the store is closed.
        """
        with self.reading:
            self.check_usable()
            if self._other is None:
                self._other = self.connect(timeout=self.patience)
            try:
                return work(self._other)
            except sqlite3.Error:
                self._close_other()
                raise

    def _close_other(self) -> None:
        other, self._other = self._other, None
        if other is not None:
            other.close()

    def close(self) -> None:
        """Write the log back into the main file, if nobody is reading it, and close."""
        with self.reading:
            self._close_other()
        with self._lock:
            self.wanted = False
            connection, self._connection = self._connection, None
            if connection is None:
                return
            try:
                if not self.read_only:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error:
                pass  # the log stays, which is as durable
            connection.close()

    def check_usable(self) -> None:
        """Refuse what SQLite would not survive.

        Raises:
            BackendUnavailable: the store is closed, or was in use while the process forked.
        """
        if self._carried_over is not None:
            raise BackendUnavailable(
                f"{self.path} was being used while this process was forked; SQLite does not allow to go on "
                "here. Open the SDK after the fork, or start processes with the 'spawn' method."
            )
        if not self.wanted:
            raise BackendUnavailable(f"{self.path} is not open; call open() first")

    def _connect(self) -> sqlite3.Connection:
        self.check_usable()
        self._connection = self.connect()
        return self._connection

    def before_fork(self) -> bool:
        """Close the connection, for SQLite's locks do not survive a fork; it is made again when needed."""
        if not self._lock.acquire(timeout=FORK_PATIENCE):
            return False
        if not self.reading.acquire(timeout=FORK_PATIENCE):
            self._lock.release()
            return False
        if self.close_reading is not None:
            self.close_reading()
        self._close_other()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        return True

    def after_fork(self, *, locked: bool, child: bool) -> None:
        """Go on, in the parent and in the child."""
        if locked:
            self.reading.release()
            self._lock.release()
        elif child:
            # never closed here: closing would write to a file that the parent is just using
            self._carried_over = (self._connection, self._other)
            self._connection = self._other = None
            self._lock, self.reading = threading.Lock(), threading.Lock()


def _needs_to_write(error: sqlite3.Error) -> bool:
    return primary_code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)


def _has_log(path: str) -> bool:
    try:
        return Path(f"{path}-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


def immediately(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """Run `work` between ``BEGIN IMMEDIATE`` and ``COMMIT``; any exception rolls back.

    A deferred ``BEGIN`` would read first and lose the update that another connection makes before its write.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


class _Forking(threading.local):
    """The fork that this thread is at; another thread may be at one of its own, and its locks are not ours."""

    def __init__(self) -> None:
        self.links: list[tuple[Link, bool]] = []


_links: weakref.WeakSet[Link] = weakref.WeakSet()
_forking: Final = _Forking()


def _before_fork() -> None:
    for link in sorted(_links, key=id):  # in one order, or two threads could wait for each other
        _forking.links.append((link, link.before_fork()))


def _after_fork(*, child: bool) -> None:
    while _forking.links:
        link, locked = _forking.links.pop()
        link.after_fork(locked=locked, child=child)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(child=False),
        after_in_child=lambda: _after_fork(child=True),
    )
