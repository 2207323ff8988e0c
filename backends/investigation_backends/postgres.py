"""The store in PostgreSQL: durable, for any number of processes and machines."""

from __future__ import annotations

import functools
import urllib.parse
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, Row, SnapshotRow
from investigation_sdk.errors import BackendUnavailable, ConfigurationError
from investigation_sdk.storage.backend import StoreFailure, types_of
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
from .sql import postgres_hints as hints
from .sql import postgres_open as opening
from .sql import postgres_write as write
from .sql.names import REVISIONS, uuid_or_none
from .sql.postgres_driver import Connection, Target, describe
from .sql.postgres_link import AT_ONCE, Link
from .sql.postgres_names import Names
from .sql.postgres_reads import Reads, storable
from .sql.reader import ReaderThread

if TYPE_CHECKING:
    from .sql.postgres_selects import Selects

SSLMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class PostgresBackend:
    """Investigations in a PostgreSQL database, 14 or newer, alone or beside an application's tables.

    Commits go over a connection of their own, everything else over a pool. Connections are made when they are needed.

    Args:
        url: ``postgresql://user:password@host:5432/database``, with what libpq takes in its query (``sslmode`` …).
        pool_size: Connections that are kept for reading and for leases.
        max_overflow: So many more are made when all of them are in use.
        pool_timeout: Seconds to wait for one of them.
        connect_timeout: Seconds that connecting may take.
        command_timeout: Seconds that a call may take in all: it waits for a connection, connects, and is tried again
            within them. The server cancels a statement a little earlier.
        schema: Keep the tables in this schema, which an upgrade makes. None: where the user's search path points.
        table_prefix: In front of the name of each table and index, at most 11 characters.
        pgbouncer: The URL names PgBouncer (or another pooler) in transaction mode.
        application_name: What the server calls the sessions, in ``pg_stat_activity`` and its log.
        auto_migrate: Make the tables, or upgrade an older schema, on open.
        read_only: Refuse all writes, and take a standby too; not together with `auto_migrate`.

    Raises:
        ConfigurationError: a URL that cannot be read, or an option that cannot be.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 5,
        max_overflow: int = 5,
        pool_timeout: float = 10.0,
        connect_timeout: float = 10.0,
        command_timeout: float = 30.0,
        schema: str | None = None,
        table_prefix: str = "",
        pgbouncer: bool = False,
        application_name: str = "investigation_sdk",
        auto_migrate: bool = False,
        read_only: bool = False,
    ) -> None:
        if read_only and auto_migrate:
            raise ConfigurationError("read_only and auto_migrate exclude each other; drop one")
        if pool_size < 1 or max_overflow < 0:
            raise ConfigurationError(f"pool_size={pool_size}, max_overflow={max_overflow}: at least 1 and 0")
        times = milliseconds(
            command_timeout=command_timeout, pool_timeout=pool_timeout, connect_timeout=connect_timeout
        )
        self._place = describe(url)
        self._names = Names(schema, table_prefix)
        where = {"schema": schema, "table_prefix": table_prefix or None}
        query = urllib.parse.urlencode({name: value for name, value in where.items() if value is not None})
        self._redacted = redact(url.partition("?")[0]) + (f"?{query}" if query else "")
        settings = {
            "application_name": application_name,
            "default_transaction_isolation": "read committed",
            "idle_in_transaction_session_timeout": str(times[0]),
            "jit": "off",
            "lock_timeout": str(-(-times[0] * 8 // 10)),
            "statement_timeout": str(-(-times[0] * 9 // 10)),
            "tcp_user_timeout": str(times[0]),
        }
        if read_only:
            settings["default_transaction_read_only"] = "on"
        self._target = Target(url, self._place, command_timeout, connect_timeout, pgbouncer, settings)
        self._auto_migrate = auto_migrate
        self._read_only = read_only
        self._link = Link(
            self._target, self._names, pool_size=pool_size, max_overflow=max_overflow, pool_timeout=pool_timeout
        )
        self._reads = Reads(self._names)
        self._selects: Selects | None = None

    def __repr__(self) -> str:
        return f"<PostgresBackend: {self._place}>"

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        pool_size: int = 5,
        max_overflow: int = 5,
        pool_timeout: float = 10.0,
        connect_timeout: float = 10.0,
        command_timeout: float = 30.0,
        schema: str | None = None,
        table_prefix: str = "",
        pgbouncer: bool = False,
        application_name: str = "investigation_sdk",
        auto_migrate: bool = False,
        read_only: bool = False,
        sslmode: SSLMode | None = None,
        sslrootcert: str | None = None,
        sslcert: str | None = None,
        sslkey: str | None = None,
        target_session_attrs: str | None = None,
    ) -> PostgresBackend:
        """For ``postgresql://…`` and ``postgres://…``. The options beyond the constructor's are libpq's.

        Raises:
            ConfigurationError: as the constructor.
        """
        libpq = {
            "sslmode": sslmode,
            "sslrootcert": sslrootcert,
            "sslcert": sslcert,
            "sslkey": sslkey,
            "target_session_attrs": target_session_attrs,
        }
        query = urllib.parse.urlencode({name: value for name, value in libpq.items() if value is not None})
        return cls(
            f"{url}?{query}" if query else url,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=pool_timeout,
            connect_timeout=connect_timeout,
            command_timeout=command_timeout,
            schema=schema,
            table_prefix=table_prefix,
            pgbouncer=pgbouncer,
            application_name=application_name,
            auto_migrate=auto_migrate,
            read_only=read_only,
        )

    # ------------------------------------------------------------------ opening

    async def open(self) -> None:
        """See :meth:`investigation_sdk.storage.backend.Backend.open`.

        Raises:
            SchemaMismatch: the database has no tables of ours, or another schema, and there is no `auto_migrate`.
            BackendUnavailable: it cannot be reached, or this user may not.
        """
        if self._link.wanted:
            return
        self._link.wanted = True
        until = self._link.deadline()
        try:
            found = await self._inspect(until)
            if self._auto_migrate and found.revision in (None, *REVISIONS[:-1]):
                await self.upgrade()
                until = self._link.deadline()
                found = await self._inspect(until)
            opening.refuse(found, self._names, self._place, self._redacted)
            if not self._read_only:
                await self._link.run(lambda c: opening.check_privileges(c, self._names, self._place), until)
                await self._link.look_ahead(until)
        except BaseException:
            await self.close()
            raise

    async def _inspect(self, until: float) -> opening.Found:
        look = functools.partial(opening.inspect, names=self._names, place=self._place, read_only=self._read_only)
        return await self._link.run(look, until)

    async def close(self) -> None:
        """See :meth:`investigation_sdk.storage.backend.Backend.close`."""
        await self._link.close()

    async def upgrade(self) -> None:
        """Bring the database to this version's schema, and make the coming months' partitions; open or not.

        Raises:
            SchemaMismatch: a table of ours is there, and is not ours.
            BackendUnavailable: it cannot be reached, was opened with `read_only`, or this user may not.
        """
        self._writing()
        await opening.upgrade(self._target, self._names)

    async def current_revision(self) -> str | None:
        """The database's schema, None where it has none of ours.

        Raises:
            BackendUnavailable: it cannot be reached.
        """
        return await opening.revision_of(self._target, self._names)

    async def check_schema(self) -> Sequence[str]:
        """See :meth:`investigation_sdk.storage.backend.MigratingBackend.check_schema`."""
        return await opening.check_schema(self._target, self._names)

    @staticmethod
    def head_revision() -> str:
        """The schema that this version of the SDK works with."""
        return REVISIONS[-1]

    # ------------------------------------------------------------------ writing

    def _writing(self) -> Link:
        """Refused here too: a session's own setting does not come through PgBouncer."""
        if self._read_only:
            raise read_only_refusal(self._place)
        return self._link

    @property
    def batches_at_once(self) -> int:
        """See :class:`investigation_sdk.storage.backend.OverlappingBackend`."""
        return AT_ONCE

    async def commit(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        """See :meth:`investigation_sdk.storage.backend.Backend.commit`."""
        check_batch(commits)
        if not commits:
            return []
        try:
            link = self._writing()
        except BackendUnavailable as error:
            raise StoreFailure(str(error)) from error
        return await link.commit(commits)

    async def put_rows(self, rows: Sequence[Row]) -> None:
        """See :meth:`investigation_sdk.storage.backend.Backend.put_rows`.

        Raises:
            ValueError: a value cannot be stored, or a call names a phase that is not there.
        """
        await self._writing().run(lambda c: write.put_rows(c, self._link.statements, rows))

    async def advance(self, advances: Sequence[Advance]) -> None:
        """See :meth:`investigation_sdk.storage.backend.AdvancingBackend.advance`."""
        if advances:
            await self._writing().run(lambda c: write.advance(c, self._link.statements, advances))

    async def delete(self, heads: Sequence[tuple[str, int]]) -> int:
        """See :meth:`investigation_sdk.storage.backend.Backend.delete`.

        Each is deleted in a transaction of its own, so that others' commits get their turn.
        """
        return sum([await self._delete(id, version) for id, version in heads if uuid_or_none(id) is not None])

    async def _delete(self, id: str, version: int) -> int:
        statements = self._link.statements

        async def settle(connection: Connection, again: int, begun: float) -> int:
            return again or await write.deleted_since(connection, statements, id, version, begun)

        return await self._writing().run(lambda c: write.delete(c, statements, id, version), settle=settle)

    async def claim(self, resource: str, owner: str, *, ttl: int) -> Lease | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.claim`."""
        check_names(resource, owner)
        return await self._writing().run(lambda c: write.claim(c, self._link.statements, resource, owner, ttl))

    async def claim_next(self, wanted: Wanted, owners: Sequence[str], *, ttl: int) -> Sequence[Lease]:
        """See :meth:`investigation_sdk.storage.backend.Backend.claim_next`."""
        check_names(*owners)
        if not owners or not wanted.types:
            return []
        types = [one for one in wanted.types if storable(one)]
        if wanted.tenant_id is not None and not storable(wanted.tenant_id):
            return []
        asked = wanted._replace(types=types)
        return await self._writing().run(lambda c: write.claim_next(c, self._link.statements, asked, owners, ttl))

    async def renew(self, leases: Sequence[Lease], *, ttl: int) -> Sequence[Lease | None]:
        """See :meth:`investigation_sdk.storage.backend.Backend.renew`."""
        check_names(*(name for lease in leases for name in lease[:2]))
        return await self._writing().run(lambda c: write.renew(c, self._link.statements, leases, ttl)) if leases else []

    async def release(self, lease: Lease) -> bool:
        """See :meth:`investigation_sdk.storage.backend.Backend.release`."""
        check_names(*lease[:2])

        async def settle(_: Connection, again: bool, __: float) -> bool | None:  # noqa: FBT001 - an answer, not an option
            return again or None  # a lease that is given up leaves no trace

        return await self._writing().run(lambda c: write.release(c, self._link.statements, lease), settle=settle)

    # ------------------------------------------------------------------ reading

    async def holder(self, resource: str) -> Lease | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.holder`."""
        check_names(resource)
        return await self._link.run(lambda c: write.holder(c, self._link.statements, resource))

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
        if uuid_or_none(investigation_id) is None:
            return []
        asked = types_of(event_type)
        types = None if asked is None else [one for one in asked if storable(one)]
        return await self._link.run(
            lambda c: self._reads.events(c, investigation_id, after, limit, types, reverse=reverse)
        )

    async def read_snapshot(self, investigation_id: str) -> SnapshotRow | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.read_snapshot`."""
        if uuid_or_none(investigation_id) is None:
            return None
        return await self._link.run(lambda c: self._reads.snapshot(c, investigation_id))

    async def read_blob(self, investigation_id: str, digest: str) -> AsyncIterator[bytes]:
        """See :meth:`investigation_sdk.storage.backend.Backend.read_blob`."""
        if uuid_or_none(investigation_id) is None or not storable(digest):
            return
        position = 0
        while (data := await self._chunk(investigation_id, digest, position)) is not None:
            yield data
            position += 1

    async def _chunk(self, investigation_id: str, digest: str, position: int) -> bytes | None:
        return await self._link.run(lambda c: self._reads.chunk(c, investigation_id, digest, position))

    async def get(self, kind: Kind, id: str) -> Row | SnapshotRow | None:
        """See :meth:`investigation_sdk.storage.backend.Backend.get`."""
        if uuid_or_none(id) is None:
            return None
        return await self._link.run(lambda c: self._reads.one(c, kind, id))

    async def overview(self, id: str, *, limit: int) -> tuple[InvestigationRow, Sequence[PhaseRow]] | None:
        """See :meth:`investigation_sdk.storage.backend.OverviewBackend.overview`."""
        if uuid_or_none(id) is None:
            return None
        return await self._link.run(lambda c: self._reads.overview(c, id, limit))

    async def find(self, query: Query) -> Sequence[Row | SnapshotRow]:
        """See :meth:`investigation_sdk.storage.backend.Backend.find`."""
        check_query(query)
        selects = await self._made_selects()
        return await self._link.run(lambda c: selects.find(c, query))

    async def aggregate(self, aggregate: Aggregate) -> Sequence[tuple[Any, ...]]:
        """See :meth:`investigation_sdk.storage.backend.Backend.aggregate`."""
        check_aggregate(aggregate)
        selects = await self._made_selects()
        return await self._link.run(lambda c: selects.aggregate(c, aggregate))

    # ------------------------------------------------------------------ hints

    @property
    def hints_by(self) -> str:
        """See :class:`investigation_sdk.storage.backend.HintingBackend`: nobody listens through PgBouncer."""
        return "" if self._target.pgbouncer else "postgresql"

    async def hint(self, messages: Sequence[str]) -> None:
        """See :meth:`investigation_sdk.storage.backend.HintingBackend.hint`."""
        await hints.hint(self._link, messages)

    async def listen(self, heard: Callable[[str], object], connected: Callable[[], object]) -> None:
        """See :meth:`investigation_sdk.storage.backend.HintingBackend.listen`."""
        await hints.listen(self._target, self._names, heard, connected)

    # ------------------------------------------------------------------ for queries

    async def _made_selects(self) -> Selects:
        """Made on a thread when first needed: SQLAlchemy takes half a second to import, and commits must not wait."""
        if self._selects is None:
            thread = ReaderThread("investigation-postgres-selects")
            try:
                self._selects = await thread.run(lambda: _selects(self._names))
            finally:
                await thread.stop()
        return self._selects


def _selects(names: Names) -> Selects:
    from .sql.postgres_selects import Selects

    return Selects(names.schema, names.prefix)
