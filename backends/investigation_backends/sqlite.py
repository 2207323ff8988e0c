"""The store in a SQLite file: durable, without a server, for several processes on one machine."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import urllib.parse
from collections.abc import AsyncIterator, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from investigation_sdk.domain.rows import Row, SnapshotRow
from investigation_sdk.errors import BackendUnavailable, ConfigurationError
from investigation_sdk.storage.backend import StoreFailure, types_of
from investigation_sdk.storage.commit import (
    Advance,
    Aggregate,
    Commit,
    CommitResult,
    EventTexts,
    Kind,
    Lease,
    Query,
    StoredEvent,
    Wanted,
)

from .checks import check_batch, check_names, check_query
from .sql import sqlite_reads as reads
from .sql import sqlite_write as write
from .sql.names import REVISIONS
from .sql.reader import ReaderThread
from .sql.sqlite_errors import DATA_ERRORS, batch_failed, unavailable
from .sql.sqlite_link import Link
from .sql.sqlite_open import differences, prepare, refuse_unknown, revision_of, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable

    from .sql.sqlite_selects import Selects

T = TypeVar("T")

Synchronous = Literal["NORMAL", "FULL", "EXTRA"]

_OLDEST = (3, 24, 0)
_SHORT_PAGE = 256


class SQLiteBackend:
    """Investigations in one SQLite file, in WAL mode.

    Any number of processes on one machine may have the file open. Commits, single rows, leases and short pages
    of events are done at once on the loop; everything else is read on a thread of its own.

    Args:
        path: The file; made, with its tables, if it is not there. Its folder must be there.
        synchronous: ``FULL``: what is committed survives a power cut. ``NORMAL`` may then lose the last commits
            (not if only the process is killed), and is faster. ``EXTRA`` is ``FULL`` for file systems that lose
            directory entries.
        busy_timeout: How long to wait for a lock that another process holds, in seconds.
        auto_migrate: Upgrade an older schema on open, and add the tables to a file that has only others.
        page_size: Bytes, for a new file only. Larger pages waste less of the file and write more at each commit.
        read_only: Write nothing, and refuse a file that is not there. It may then lie in a folder that cannot be
            written, and must not be written by others meanwhile if it does.

    Raises:
        ConfigurationError: there is no path, or it stands for a database in memory, or SQLite is too old.
    """

    near: Final = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "FULL",
        busy_timeout: float = 10.0,
        auto_migrate: bool = False,
        page_size: int = 4096,
        read_only: bool = False,
    ) -> None:
        name = os.fspath(path)
        if name in ("", ":memory:") or name.startswith("file:"):
            raise ConfigurationError(
                f"SQLite needs the path of a file, not {name!r}; for a store without a file write memory://"
            )
        if sqlite3.sqlite_version_info < _OLDEST:
            raise ConfigurationError(f"SQLite {sqlite3.sqlite_version} is too old; this needs 3.24 or newer")
        if synchronous not in ("NORMAL", "FULL", "EXTRA"):
            raise ConfigurationError(f"synchronous is {synchronous!r}; it can be NORMAL, FULL or EXTRA")
        if page_size not in (2**n for n in range(9, 17)):
            raise ConfigurationError(f"page_size is {page_size}; it must be a power of two from 512 to 65536")
        if read_only and auto_migrate:
            raise ConfigurationError("read_only and auto_migrate exclude each other; drop one")
        self.path: str = str(Path(name).absolute())
        self._auto_migrate = auto_migrate
        self._page_size = page_size
        self._link = Link(self.path, synchronous, busy_timeout, read_only=read_only)
        self._reader = ReaderThread("investigation-sqlite-reader")
        self._selects: Selects | None = None
        self._opened = False

    def __repr__(self) -> str:
        return f"SQLiteBackend({self.path!r})"

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        synchronous: Synchronous = "FULL",
        busy_timeout: float = 10.0,
        auto_migrate: bool = False,
        page_size: int = 4096,
        read_only: bool = False,
    ) -> SQLiteBackend:
        """For ``sqlite:///relative.db`` and ``sqlite:////absolute.db``.

        Raises:
            ConfigurationError: as the constructor; also two slashes where three belong.
        """
        place = url.partition("://")[2]
        if place and not place.startswith("/"):
            path = place.rpartition("@")[2]  # what stands before it may be a password
            raise ConfigurationError(f"SQLite takes no host: write sqlite:///{path} (three slashes, then the path)")
        return cls(
            urllib.parse.unquote(place[1:]),
            synchronous=synchronous,
            busy_timeout=busy_timeout,
            auto_migrate=auto_migrate,
            page_size=page_size,
            read_only=read_only,
        )

    @property
    def url(self) -> str:
        """The URL that opens the same file."""
        return f"sqlite:///{urllib.parse.quote(self.path)}"

    # ------------------------------------------------------------------ opening

    async def open(self) -> None:
        """See :meth:`investigation_sdk.storage.backend.Backend.open`."""
        if self._opened:
            return
        self._link.wanted = True
        try:
            await prepare(self._link, self._reader, auto_migrate=self._auto_migrate, page_size=self._page_size)
        except BaseException:
            self._link.close()
            raise
        self._opened = True

    async def close(self) -> None:
        """See :meth:`investigation_sdk.storage.backend.Backend.close`."""
        self._opened = False
        self._link.wanted = False  # a read that comes now is refused
        if self._selects is not None:
            await self._reader.run(self._selects.close)
        await self._reader.stop()
        self._link.close()

    # ------------------------------------------------------------------ the schema

    @staticmethod
    def head_revision() -> str:
        """See :meth:`investigation_sdk.storage.backend.MigratingBackend.head_revision`."""
        return REVISIONS[-1]

    async def current_revision(self) -> str | None:
        """See :meth:`investigation_sdk.storage.backend.MigratingBackend.current_revision`."""
        with self._looked_at():
            return await revision_of(self._link)

    async def upgrade(self) -> None:
        """See :meth:`investigation_sdk.storage.backend.MigratingBackend.upgrade`. Makes a file that is not there."""
        await upgrade(self._link, self._reader, self._page_size)

    async def check_schema(self) -> Sequence[str]:
        """See :meth:`investigation_sdk.storage.backend.MigratingBackend.check_schema`."""
        with self._looked_at():
            found = await revision_of(self._link)
            if found == REVISIONS[-1]:
                return await differences(self._link, self._reader)
        refuse_unknown(found, self.path)
        return [f"the schema is {found or 'not there'}, this version works with {REVISIONS[-1]}"]

    @contextlib.contextmanager
    def _looked_at(self) -> Generator[None]:
        """The file, open or not."""
        self._link.wanted = True
        try:
            yield
        finally:
            if not self._opened:
                self._link.close()

    # ------------------------------------------------------------------ writing

    async def commit(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        """See :meth:`investigation_sdk.storage.backend.Backend.commit`."""
        check_batch(commits)
        if not commits:
            return []
        try:
            try:
                return await self._link.transaction(lambda connection: write.apply(connection, commits))
            except DATA_ERRORS:
                return await self._link.transaction(lambda connection: write.apply_each(connection, commits))
        except sqlite3.Error as error:
            raise batch_failed(error, self.path) from error
        except BackendUnavailable as error:
            raise StoreFailure(str(error)) from error

    async def put_rows(self, rows: Sequence[Row]) -> None:
        """See :meth:`investigation_sdk.storage.backend.Backend.put_rows`.

        Raises:
            ValueError: a value cannot be stored, or a call names a phase that is not there.
        """
        await self._aside(lambda connection: write.put_rows(connection, rows))

    async def advance(self, advances: Sequence[Advance]) -> None:
        """See :meth:`investigation_sdk.storage.backend.AdvancingBackend.advance`."""
        if advances:
            await self._in_passing(lambda c: write.advance(c, advances))

    async def delete(self, heads: Sequence[tuple[str, int]]) -> int:
        """See :meth:`investigation_sdk.storage.backend.Backend.delete`."""
        return await self._aside(lambda connection: write.delete_each(connection, heads))

    async def claim(self, resource: str, owner: str, *, ttl: int) -> Lease | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.claim`."""
        check_names(resource, owner)
        return await self._in_passing(lambda c: write.claim(c, resource, owner, ttl))

    async def claim_next(self, wanted: Wanted, owners: Sequence[str], *, ttl: int) -> Sequence[Lease]:
        """See :meth:`investigation_sdk.storage.backend.Backend.claim_next`."""
        check_names(*owners)
        if not owners or not wanted.types:
            return []
        return await self._in_passing(lambda c: write.claim_next(c, wanted, owners, ttl))

    async def renew(self, leases: Sequence[Lease], *, ttl: int) -> Sequence[Lease | None]:
        """See :meth:`investigation_sdk.storage.backend.Backend.renew`."""
        check_names(*(name for lease in leases for name in lease[:2]))
        if not leases:
            return []
        return await self._in_passing(lambda c: write.renew(c, leases, ttl))

    async def release(self, lease: Lease) -> bool:
        """See :meth:`investigation_sdk.storage.backend.Backend.release`."""
        check_names(*lease[:2])
        return await self._in_passing(lambda c: write.release(c, lease))

    # ------------------------------------------------------------------ reading

    async def holder(self, resource: str) -> Lease | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.holder`."""
        check_names(resource)
        return await self._at_once(lambda c: write.holder(c, resource))

    async def read_events(
        self,
        investigation_id: str,
        *,
        after: int = 0,
        limit: int = 1000,
        event_type: Sequence[str] | None = None,
        reverse: bool = False,
    ) -> Sequence[StoredEvent]:
        """See :meth:`investigation_sdk.storage.backend.Backend.read_events`."""
        types = types_of(event_type)

        def work(connection: sqlite3.Connection) -> list[StoredEvent]:
            return reads.events(connection, investigation_id, after, limit, types, reverse=reverse)

        # repairs read short pages, also at exit, when no thread can be started any more
        return await (self._at_once(work) if limit <= _SHORT_PAGE else self._aside(work))

    async def read_texts(
        self, investigation_id: str, *, after: int, limit: int, event_type: Sequence[str]
    ) -> Sequence[EventTexts]:
        """See :meth:`investigation_sdk.storage.backend.TextsBackend.read_texts`."""

        def work(connection: sqlite3.Connection) -> list[EventTexts]:
            return reads.texts(connection, investigation_id, after, limit, types_of(event_type) or [])

        return await (self._at_once(work) if limit <= _SHORT_PAGE else self._aside(work))

    async def read_snapshot(self, investigation_id: str) -> SnapshotRow | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.read_snapshot`."""
        return await self._at_once(lambda c: reads.snapshot(c, investigation_id))

    async def read_blob(self, investigation_id: str, digest: str) -> AsyncIterator[bytes]:
        """See :meth:`investigation_sdk.storage.backend.Backend.read_blob`."""
        position = 0
        while (data := await self._chunk(investigation_id, digest, position)) is not None:
            yield data
            position += 1

    async def _chunk(self, investigation_id: str, digest: str, position: int) -> bytes | None:
        return await self._at_once(lambda c: reads.chunk(c, investigation_id, digest, position))

    async def get(self, kind: Kind, id: str) -> Row | SnapshotRow | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.get`."""
        return await self._at_once(lambda c: reads.one(c, kind, id))

    async def find(self, query: Query) -> Sequence[Row | SnapshotRow]:
        """See :meth:`investigation_sdk.storage.backend.Backend.find`."""
        check_query(query)
        if reads.is_narrow(query):
            return await self._at_once(lambda c: reads.page(c, query))
        return await self._read(lambda: self._made_selects().find(query))

    async def aggregate(self, aggregate: Aggregate) -> Sequence[tuple[Any, ...]]:
        """See :meth:`investigation_sdk.storage.backend.Backend.aggregate`."""
        return await self._read(lambda: self._made_selects().aggregate(aggregate))

    # ------------------------------------------------------------------ ways to the file

    def _made_selects(self) -> Selects:
        if self._selects is None:
            from .sql.sqlite_selects import Selects  # SQLAlchemy: most of a process's start, if imported there

            self._selects = Selects(self._link)
        return self._selects

    async def _at_once(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run something short on the loop."""
        try:
            return await self._link.patiently(work)
        except sqlite3.Error as error:
            raise unavailable(error, self.path) from error

    async def _in_passing(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a short transaction that a loss of power may undo: leases and progress mean nothing after it."""
        return await self._at_once(lambda connection: self._link.unforced(connection, work))

    async def _aside(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run something longer on the thread, with a connection of its own."""
        return await self._read(lambda: self._link.apart(work))

    async def _read(self, work: Callable[[], T]) -> T:
        try:
            return await self._reader.run(work)
        except sqlite3.Error as error:
            raise unavailable(error, self.path) from error
