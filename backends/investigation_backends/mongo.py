"""The store in MongoDB, or what speaks its protocol: durable, for any number of processes and machines."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.parse
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from investigation_sdk.domain.rows import Row, SnapshotRow
from investigation_sdk.errors import BackendUnavailable, ConfigurationError
from investigation_sdk.storage.backend import CommitUnknown, StoreFailure, types_of
from investigation_sdk.storage.commit import (
    Advance,
    Aggregate,
    Commit,
    CommitResult,
    Kind,
    Lease,
    Query,
    StoredEvent,
    Wanted,
)
from investigation_sdk.storage.registry import redact

from .checks import check_aggregate, check_batch, check_names, check_query, milliseconds, read_only_refusal
from .mongodb import deleting, leases, opening, reads, restore, selects
from .mongodb.behind import Behind
from .mongodb.documents import storable
from .mongodb.driver import Client, Driver, Target, client_class, describe
from .mongodb.errors import DRIVER_ERRORS, refuses_writes, unavailable
from .mongodb.janitor import Janitor, Swept, sweep
from .mongodb.link import Link
from .mongodb.marks import Marks
from .mongodb.migrations import REVISIONS
from .mongodb.write import Batch

T = TypeVar("T")


class MongoBackend:
    """Investigations in a database of a MongoDB replica set.

    One commit is one document; it is acknowledged when a majority has it in its journals, whatever the URL says of
    write concerns. Rows for lists are written a moment later; reads by id, pages of events and lists fold in or bring
    up to date what is not written yet.

    Args:
        url: ``mongodb://user:password@host:27017/database``, with MongoDB's options in its query.
        driver: Whose client: that of motor, or pymongo's own asynchronous one.
        client: Makes the client instead: called with the URL and options, on the SDK's own event loop.
        connect_timeout: Seconds for finding a server that can be written, and for connecting to it.
        command_timeout: Seconds that a call may take in all, and a majority to confirm a write.
        pool_size: Connections at most.
        pool_timeout: Seconds to wait for one of them.
        janitor_interval: Seconds between two looks for what a crashed process left; 0 for none.
        auto_migrate: Make the collections, or upgrade an older schema, on open.
        read_only: Refuse commits, leases and deletions. Rows that another process left behind the log are still
            written before a list is read, if this user may; if not, the list is as far behind.

    Raises:
        ConfigurationError: a URL that cannot be read, an option that cannot be, or a driver that is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        driver: Driver = "motor",
        client: Callable[..., Any] | None = None,
        connect_timeout: float = 10.0,
        command_timeout: float = 30.0,
        pool_size: int = 20,
        pool_timeout: float = 10.0,
        janitor_interval: float = 5.0,
        auto_migrate: bool = False,
        read_only: bool = False,
    ) -> None:
        if read_only and auto_migrate:
            raise ConfigurationError("read_only and auto_migrate exclude each other; drop one")
        if pool_size < 1 or not janitor_interval >= 0:
            raise ConfigurationError(f"pool_size={pool_size}, janitor_interval={janitor_interval}: at least 1 and 0")
        connecting, answering, waiting = milliseconds(
            connect_timeout=connect_timeout, command_timeout=command_timeout, pool_timeout=pool_timeout
        )
        shown, database = describe(url)
        options = {
            "serverSelectionTimeoutMS": connecting,
            "connectTimeoutMS": connecting,
            "socketTimeoutMS": answering,
            "maxPoolSize": pool_size,
            "waitQueueTimeoutMS": waiting,
            "appname": "investigation_sdk",
        }
        make = client_class(driver) if client is None else client
        self._target = Target(url, shown, database, make, options, answering)
        self._redacted = redact(url)
        self._auto_migrate = auto_migrate
        self._read_only = read_only
        self._janitor_interval = janitor_interval
        self._tidies = janitor_interval > 0 and not read_only
        self._limit = command_timeout
        self._closing = min(command_timeout, 5.0)
        self._wanted = False
        self._link: Link | None = None
        self._behind: Behind | None = None
        self._janitor: Janitor | None = None

    def __repr__(self) -> str:
        return f"<MongoBackend: {self._target.place}>"

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        driver: Driver = "motor",
        connect_timeout: float = 10.0,
        command_timeout: float = 30.0,
        pool_size: int = 20,
        pool_timeout: float = 10.0,
        janitor_interval: float = 5.0,
        auto_migrate: bool = False,
        read_only: bool = False,
        **mongodb: str,
    ) -> MongoBackend:
        """For ``mongodb://…`` and ``mongodb+srv://…``. Options that are not the constructor's are MongoDB's own.

        Raises:
            ConfigurationError: as the constructor.
        """
        return cls(
            f"{url}?{urllib.parse.urlencode(mongodb)}" if mongodb else url,
            driver=driver,
            connect_timeout=connect_timeout,
            command_timeout=command_timeout,
            pool_size=pool_size,
            pool_timeout=pool_timeout,
            janitor_interval=janitor_interval,
            auto_migrate=auto_migrate,
            read_only=read_only,
        )

    # ------------------------------------------------------------------ opening

    async def open(self) -> None:
        """See :meth:`investigation_sdk.storage.backend.Backend.open`.

        Raises:
            SchemaMismatch: the database has no collections of ours, or another schema, and there is no `auto_migrate`;
                or they are somebody else's.
            BackendUnavailable: it cannot be reached, takes no writes, or this user may not.
        """
        if self._wanted and self._link is not None and self._link.is_mine():
            return
        async with self._looking() as client:
            place = self._target.place
            found = await self._in_time(opening.look(client, place, read_only=self._read_only))
            if self._auto_migrate and found.revision in (None, *REVISIONS[:-1]):
                await opening.upgrade(client, place)
                found = await self._in_time(opening.look(client, place))
            opening.refuse(found, place, self._redacted)
            if not self._read_only:
                await self._in_time(opening.check_privileges(client, place))
        self._wanted = True
        self._connected()

    async def close(self) -> None:
        """See :meth:`investigation_sdk.storage.backend.Backend.close`."""
        self._wanted = False
        link, behind, janitor = self._link, self._behind, self._janitor
        self._link = self._behind = self._janitor = None
        if link is None or not link.is_mine():
            return
        if janitor is not None:
            janitor.stop()
        try:
            if behind is not None:
                await behind.close(self._closing)
        finally:
            await link.client.close()

    def _connected(self) -> tuple[Link, Behind]:
        """The state of this process and loop; made anew after a fork."""
        if not self._wanted:
            raise BackendUnavailable(f"{self._target.place} is closed; open it first")
        if self._link is None or self._behind is None or not self._link.is_mine():
            link = self._link = Link(Client(self._target), self._target.place)
            marks = Marks(link.marks)
            self._behind = Behind(link, marks)
            self._janitor = Janitor(link, marks, self._janitor_interval) if self._tidies else None
        return self._link, self._behind

    # ------------------------------------------------------------------ the schema

    @staticmethod
    def head_revision() -> str:
        """The schema that this version of the SDK works with."""
        return REVISIONS[-1]

    async def current_revision(self) -> str | None:
        """The database's schema, None where it has none of ours.

        Raises:
            BackendUnavailable: it cannot be reached or read.
        """
        async with self._looking() as client:
            return (await opening.look(client, self._target.place, read_only=True)).revision

    async def upgrade(self) -> None:
        """Bring the database to this version's schema, open or not.

        Raises:
            SchemaMismatch: it is newer, or a collection of our names is there that is not ours.
            BackendUnavailable: it cannot be reached, or this user may not.
        """
        async with self._looking() as client:
            await opening.upgrade(client, self._target.place)

    async def check_schema(self) -> Sequence[str]:
        """What is different between the schema as it is and as :meth:`head_revision` has it, a sentence each.

        Raises:
            SchemaMismatch: the schema is newer.
            BackendUnavailable: it cannot be reached or read.
        """
        async with self._looking() as client:
            return await opening.check(client, self._target.place)

    @contextlib.asynccontextmanager
    async def _looking(self) -> AsyncGenerator[Client]:
        """A client for a look at the schema, the store being open or not."""
        client = Client(self._target)
        try:
            yield client
        finally:
            await client.close()

    async def sweep(self) -> Swept:
        """Do at once what the janitor does from time to time: see :mod:`investigation_backends.mongodb.janitor`.

        Raises:
            BackendUnavailable: the store cannot be reached.
        """
        link, behind = self._writing()
        try:
            return await self._settled(behind, lambda: sweep(link, behind.marks))
        except DRIVER_ERRORS as error:
            raise unavailable(error, self._target.place) from error

    # ------------------------------------------------------------------ writing

    async def commit(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        """See :meth:`investigation_sdk.storage.backend.Backend.commit`."""
        check_batch(commits)
        if not commits:
            return []
        try:
            link, behind = self._writing()
        except BackendUnavailable as error:
            raise StoreFailure(str(error)) from error
        marks = behind.marks
        batch = Batch(link, marks, commits)
        answered = False
        try:
            async with asyncio.timeout(self._limit):
                answers = await batch.run()
            answered = True
            return answers
        except TimeoutError:
            raise CommitUnknown(self._late()) from None
        finally:
            if batch.applied:
                await behind.add(batch.applied)
            marks.end(batch.tried, known=answered)
            behind.wake()

    async def put_rows(self, rows: Sequence[Row]) -> None:
        """See :meth:`investigation_sdk.storage.backend.Backend.put_rows`.

        Raises:
            ValueError: a value cannot be stored.
        """
        link, behind = self._writing()
        if rows:
            await self._answered(self._settled(behind, lambda: restore.put_rows(link, rows)))

    async def advance(self, advances: Sequence[Advance]) -> None:
        """See :meth:`investigation_sdk.storage.backend.AdvancingBackend.advance`."""
        link, behind = self._writing()
        if advances:
            await self._answered(self._settled(behind, lambda: restore.advance(link, advances)))

    async def delete(self, heads: Sequence[tuple[str, int]]) -> int:
        """See :meth:`investigation_sdk.storage.backend.Backend.delete`. Each is deleted by itself."""
        link, behind = self._writing()
        heads = [(id, version) for id, version in heads if storable(id)]
        if heads:
            await self._answered(self._settled(behind, _nothing))
        return sum([await self._answered(deleting.delete(link, id, version)) for id, version in heads])

    async def claim(self, resource: str, owner: str, *, ttl: int) -> Lease | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.claim`."""
        check_names(resource, owner)
        return await self._answered(leases.claim(self._writing()[0], resource, owner, ttl))

    async def claim_next(self, wanted: Wanted, owners: Sequence[str], *, ttl: int) -> Sequence[Lease]:
        """See :meth:`investigation_sdk.storage.backend.Backend.claim_next`."""
        check_names(*owners)
        if not owners or not wanted.types or not storable(*wanted.types, wanted.tenant_id or ""):
            return []
        link, behind = self._writing()
        return await self._answered(self._settled(behind, lambda: leases.claim_next(link, wanted, owners, ttl)))

    async def renew(self, leases_: Sequence[Lease], *, ttl: int) -> Sequence[Lease | None]:
        """See :meth:`investigation_sdk.storage.backend.Backend.renew`."""
        check_names(*(name for lease in leases_ for name in lease[:2]))
        return await self._answered(leases.renew(self._writing()[0], leases_, ttl)) if leases_ else []

    async def release(self, lease: Lease) -> bool:
        """See :meth:`investigation_sdk.storage.backend.Backend.release`."""
        check_names(*lease[:2])
        return await self._answered(leases.give_back(self._writing()[0], lease))

    # ------------------------------------------------------------------ reading

    async def holder(self, resource: str) -> Lease | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.holder`."""
        check_names(resource)
        return await self._answered(leases.holder(self._connected()[0], resource))

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
        link, _ = self._connected()
        types = types_of(event_type)
        return await self._answered(reads.events(link, investigation_id, after, limit, types, reverse=reverse))

    async def read_snapshot(self, investigation_id: str) -> SnapshotRow | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.read_snapshot`."""
        return await self._answered(reads.snapshot(self._connected()[0], investigation_id))

    async def read_blob(self, investigation_id: str, digest: str) -> AsyncIterator[bytes]:
        """See :meth:`investigation_sdk.storage.backend.Backend.read_blob`."""
        link, _ = self._connected()
        if not await self._answered(reads.has_blob(link, investigation_id, digest)):
            return
        position = 0
        while (data := await self._answered(reads.piece(link, investigation_id, digest, position))) is not None:
            yield data
            position += 1

    async def get(self, kind: Kind, id: str) -> Row | SnapshotRow | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.get`."""
        return await self._answered(reads.row(self._connected()[0], kind, id))

    async def find(self, query: Query) -> Sequence[Row | SnapshotRow]:
        """See :meth:`investigation_sdk.storage.backend.Backend.find`.

        Rows of up to 4,000 commits that are not written yet are written first; beyond that the list may be behind.
        """
        check_query(query)
        link, behind = self._connected()
        return await self._answered(self._settled(behind, lambda: selects.find(link, query)))

    async def aggregate(self, aggregate: Aggregate) -> Sequence[tuple[Any, ...]]:
        """See :meth:`investigation_sdk.storage.backend.Backend.aggregate`. Up to date as :meth:`find` is."""
        check_aggregate(aggregate)
        link, behind = self._connected()
        return await self._answered(self._settled(behind, lambda: selects.aggregate(link, aggregate)))

    def _writing(self) -> tuple[Link, Behind]:
        if self._read_only:
            raise read_only_refusal(self._target.place)
        return self._connected()

    async def _settled(self, behind: Behind, work: Callable[[], Awaitable[T]]) -> T:
        try:
            await behind.settle()
        except DRIVER_ERRORS as error:
            if not self._read_only or not refuses_writes(error):
                raise
        return await work()

    async def _answered(self, work: Awaitable[T]) -> T:
        try:
            return await self._in_time(work)
        except DRIVER_ERRORS as error:
            raise unavailable(error, self._target.place) from error

    async def _in_time(self, work: Awaitable[T]) -> T:
        """All of a call, whatever the driver waits for and how often it tries."""
        try:
            async with asyncio.timeout(self._limit):
                return await work
        except TimeoutError:
            raise BackendUnavailable(self._late()) from None

    def _late(self) -> str:
        return (
            f"{self._target.place}: it has not answered in {self._limit:g} seconds (command_timeout); the server may "
            "be down, unreachable or overloaded"
        )


async def _nothing() -> None:
    pass
