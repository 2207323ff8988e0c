"""The storage contract: what a backend promises. These docstrings are its specification.

A backend makes one :class:`~investigation_sdk.storage.commit.Commit` atomic and holds no rule of the domain:
it compares two values (version and head), and writes what it is given. Everything else is decided, numbered
and chained above it, the same for all of them. :mod:`investigation_sdk.testing.contract` checks all of this.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, Row, SnapshotRow
from investigation_sdk.errors import InvestigationError
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


def types_of(event_type: Sequence[str] | None) -> list[str] | None:
    """The types of events that :meth:`Backend.read_events` is asked for: a text is one of them, not its letters."""
    if event_type is None:
        return None
    return [str(one) for one in ([event_type] if isinstance(event_type, str) else event_type)]


class CommitNotApplied(InvestigationError):
    """A whole batch was not written, for certain, and may be written on another try (busy, deadlock)."""


class CommitUnknown(InvestigationError):
    """Nobody can tell whether a batch was written: the answer was lost. Send the identical bytes again."""


class StoreFailure(InvestigationError):
    """A whole batch was not written, for certain, and trying again will not help until somebody acts
    (disk full, read-only, no privileges). The message is for that somebody."""


@runtime_checkable
class Backend(Protocol):
    """Where investigations are kept.

    All methods are coroutines and are called from one event loop, several at a time. A method may hold that
    loop for one local durable write (the loop is the SDK's own, on a thread of its own), never for a lock
    that another process holds and never for a network. Methods other than :meth:`commit` raise
    :class:`~investigation_sdk.errors.BackendUnavailable` where the store cannot be reached. Messages never
    contain a password.

    Several backend objects, in several processes, may be open on the same data at the same time; each sees
    what another committed at once.
    """

    async def open(self) -> None:
        """Connect, and check the schema; idempotent.

        An empty embedded store is created. The version of the schema is compared by name: an older or newer
        one, or a store that is not the SDK's, raises SchemaMismatch, unless the backend was made with
        ``auto_migrate`` and the schema is older.

        Raises:
            SchemaMismatch: as said; the message says how to upgrade.
            BackendUnavailable: it cannot be reached, read or written.
        """
        ...

    async def close(self) -> None:
        """Release all connections and threads; idempotent. The backend can be opened again."""
        ...

    async def commit(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        """Apply many commits, of as many investigations, in one durable write; answer each, in order.

        A commit is applied if, and only if, the investigation's version *and* head are the expected ones at
        that moment, or it creates one (``expected_version`` 0) whose id is neither there nor deleted. What is
        a commit's own fault makes that commit answer CONFLICT, DATA, CONSTRAINT or SIZE, apply none of its
        parts, and never touch its neighbours. When the method returns, everything APPLIED is durable and
        visible to all other handles. An investigation's rows are written so: the investigation's row is
        inserted (``expected_version`` 0) or updated; phase and call rows are inserted or replaced by id. So is a
        snapshot, and its investigation's snapshots below ``snapshots_from`` are deleted.
        Lease columns or rows are never written, but for ``Commit.lease``. Blobs become visible with their commit,
        and only if it is applied; their sizes count for SIZE where the store has a limit. The creation of an id
        whose time (it is a UUIDv7) is more than a day from the store's clock answers DATA, with a message that
        says so.

        Raises:
            ValueError: a programming error: two commits of one investigation; a commit without events, or whose
                events are not ``expected_version + 1, …``, or whose investigation's row, the first of its rows,
                has another version or head than its last event.
            CommitNotApplied: none of the batch was written; try again.
            CommitUnknown: the answer was lost; the caller sends the same commits again. Sent twice, an
                applied commit answers CONFLICT.
            StoreFailure: none was written, and trying again does not help.
        """
        ...

    async def read_events(
        self,
        investigation_id: str,
        *,
        after: int = 0,
        limit: int = 1000,
        event_type: Sequence[str] | None = None,
        reverse: bool = False,
    ) -> Sequence[StoredEvent]:
        """Events with ``sequence > after`` (reverse: ``sequence < after``, or all where `after` is 0), in
        order (reverse: last first), at most `limit`, of these types if given; a text is one type, not its
        letters (:func:`types_of`). Unknown id: none."""
        ...

    async def read_snapshot(self, investigation_id: str) -> SnapshotRow | None:
        """The snapshot with the highest sequence, or None."""
        ...

    def read_blob(self, investigation_id: str, digest: str) -> AsyncIterator[bytes]:
        """The data of a blob, in order, in pieces of 1 to `CHUNK_BYTES` bytes; no piece for an unknown id or digest.

        The pieces are read as they are asked for: nothing is locked, and no transaction open, between two of them.
        If the investigation is deleted meanwhile, they may end early; whoever reads compares size and digest.
        """
        ...

    async def get(self, kind: Kind, id: str) -> Row | SnapshotRow | None:
        """One row by id, as of the last applied commit, or None."""
        ...

    async def find(self, query: Query) -> Sequence[Row | SnapshotRow]:
        """Rows that match, in order. Text is compared by code point.

        Raises:
            ValueError: a column or operator that is not in the row type: names never reach a statement.
        """
        ...

    async def aggregate(self, aggregate: Aggregate) -> Sequence[tuple[Any, ...]]:
        """Group values followed by the measures, ordered by the group values, NULL first. Sums of
        ``cost_estimate`` are exact and answered as text; sums over no rows are 0 (text ``"0"``).

        Raises:
            ValueError: an unknown column or function.
        """
        ...

    async def put_rows(self, rows: Sequence[Row]) -> None:
        """Write rows made again from the log. A row is written only where the stored one is not newer
        (by `version`, for phases and calls by `sequence`) and only if its investigation is there."""
        ...

    async def claim(self, resource: str, owner: str, *, ttl: int) -> Lease | None:
        """Take the lease on a resource for `ttl` µs: if nobody holds one, or it is expired by the store's
        clock, or `owner` holds it already. None where somebody else does. Of many that try at once, one gets it.

        Raises:
            InvalidArgument: of this method and of all others that take them: `resource` or `owner` has a NUL or half of
                a surrogate pair, which not every store can keep.
        """
        ...

    async def claim_next(self, wanted: Wanted, owners: Sequence[str], *, ttl: int) -> Sequence[Lease]:
        """Take leases for `ttl` µs on investigations that are wanted and on which there is no lease, or an expired
        one: at most one for each of `owners`, in order. By `priority`, the highest first, then by id.

        Of many that try at once, each investigation goes to one. Fewer than there are may be answered, none too,
        where others take some at the same moment; and where rows lag behind the log, also such as are wanted no
        longer: whoever has the lease looks again.
        """
        ...

    async def holder(self, resource: str) -> Lease | None:
        """The lease on a resource, expired or not, or None."""
        ...

    async def renew(self, leases: Sequence[Lease], *, ttl: int) -> Sequence[Lease | None]:
        """Extend each lease that its owner still holds (also an expired one that nobody took); answer each
        with its new expiry and the current version of its investigation, None where it is lost."""
        ...

    async def release(self, lease: Lease) -> bool:
        """Give it up, if `owner` still holds it; whether that was so. Where nobody can tell, for an answer was lost on
        the way, BackendUnavailable."""
        ...

    async def delete(self, heads: Sequence[tuple[str, int]]) -> int:
        """Delete investigations, each only if its version is still the given one, with all that belongs to
        them, blobs too; answer how many. A tombstone stays: a later commit to that id, also one that creates,
        answers CONFLICT."""
        ...


@runtime_checkable
class InlineBackend(Backend, Protocol):
    """A backend that never blocks (memory): the session commits on the caller's thread."""

    def commit_now(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        """As :meth:`Backend.commit`, at once, from any thread."""
        ...


@runtime_checkable
class OverlappingBackend(Backend, Protocol):
    """A backend that gains by being given the next batch before it has answered the last."""

    @property
    def batches_at_once(self) -> int:
        """So many calls of :meth:`commit` are made at the same time, at least 1, each with other investigations."""
        ...


@runtime_checkable
class AdvancingBackend(Backend, Protocol):
    """A backend that can write progress between two commits. In one that cannot, it is as of the last event."""

    async def advance(self, advances: Sequence[Advance]) -> None:
        """Write `progress_percentage` of rows, and nothing else of them: each only where the row's attempt is the
        given one and its percentage is lower. Rows that are not there, or that a commit is writing, are left out. It
        need not be durable, and no version or sequence changes.

        Raises:
            BackendUnavailable: it cannot be written; nobody tries again.
        """
        ...


@runtime_checkable
class OverviewBackend(Backend, Protocol):
    """A backend that reads an investigation together with its phases for less than one after the other: a server, in
    one round trip."""

    async def overview(self, id: str, *, limit: int) -> tuple[InvestigationRow, Sequence[PhaseRow]] | None:
        """The investigation's row, and those of its first `limit` phases by `phase_order` and id, all as of the same
        commit; None where there is no investigation of that id."""
        ...


@runtime_checkable
class TextsBackend(Backend, Protocol):
    """A backend that reads what events say for less than whole events."""

    async def read_texts(
        self, investigation_id: str, *, after: int, limit: int, event_type: Sequence[str]
    ) -> Sequence[EventTexts]:
        """Of the events that :meth:`Backend.read_events` gives, in order, what they say."""
        ...


class NearBackend(Backend, Protocol):
    """A backend whose store is in this process: beside a commit, to look something up costs next to nothing. One that
    is not is asked for no more than is needed."""

    near: Literal[True]


@runtime_checkable
class HintingBackend(Backend, Protocol):
    """A backend whose store can tell other processes that there is something to read.

    What it tells may be lost, and may come twice or late: a hint says where to look, and nothing else.
    """

    @property
    def hints_by(self) -> str:
        """What tells, for messages, such as ``"postgresql"``; empty where it cannot, as it is set up."""
        ...

    async def hint(self, messages: Sequence[str]) -> None:
        """Tell all who listen, this process included. A message has at most 1,024 bytes.

        Raises:
            BackendUnavailable: it cannot be told.
        """
        ...

    async def listen(self, heard: Callable[[str], object], connected: Callable[[], object]) -> None:
        """Hear until the connection is lost: call `connected` once nothing more is missed, then `heard` with each.

        Raises:
            BackendUnavailable: it cannot be reached, or was lost.
        """
        ...


@runtime_checkable
class MigratingBackend(Backend, Protocol):
    """A backend whose schema has versions: it can say which one is there, and bring it to its own.

    The store need not be open. Of these methods only :meth:`upgrade` writes.
    """

    def head_revision(self) -> str:
        """The schema that this version of the backend works with."""
        ...

    async def current_revision(self) -> str | None:
        """The store's schema, None where it has none of ours.

        Raises:
            SchemaMismatch: it is not a store that this backend can read.
            BackendUnavailable: it cannot be reached or read.
        """
        ...

    async def upgrade(self) -> None:
        """Bring an older schema, or none, to this version's; one that is there already is left as it is.

        Any number of processes may do it at the same time. It is applied as a whole, or not at all.

        Raises:
            SchemaMismatch: the schema is newer, or something of our names is there that is not ours.
            BackendUnavailable: it cannot be reached or written.
        """
        ...

    async def check_schema(self) -> Sequence[str]:
        """What is different between the schema as it is and as :meth:`head_revision` has it, a sentence each.

        Raises:
            SchemaMismatch: the schema is newer.
            BackendUnavailable: it cannot be reached or read.
        """
        ...
