"""What goes over the seam between the engine and a store: commits and their results, leases, queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

from investigation_sdk.domain.events import Blob
from investigation_sdk.domain.rows import Row, SnapshotRow, StoredEvent

__all__ = [
    "APPLIED",
    "CHUNK_BYTES",
    "CONFLICT",
    "GENESIS",
    "MAX_ROWS",
    "Advance",
    "Aggregate",
    "Blob",
    "Commit",
    "CommitResult",
    "CommitStatus",
    "EventTexts",
    "Kind",
    "Lease",
    "Measure",
    "Operator",
    "Query",
    "StoredEvent",
    "Wanted",
    "Where",
    "chunks",
]

GENESIS = bytes(32)
"""The hash before an investigation's first event; also the head of version 0."""


class Lease(NamedTuple):
    """Who may try to drive a resource until when, by the store's clock. It fences nothing: tokens do."""

    resource: str
    """An investigation's id, or any other name."""
    owner: str
    expires_at: int
    """µs since the epoch, by the store's clock."""
    version: int | None = None
    """The current version of the investigation that `resource` names; None where it names none."""


class Wanted(NamedTuple):
    """Which investigations a worker would take up.

    Without `left_in`, those that are queued: whose row's `claimable_at` is not after the store's clock. With it,
    those that somebody drives, and has left perhaps: whose row has a `token`, and a `status` out of these.
    """

    types: Sequence[str]
    """Their types, one of these."""
    tenant_id: str | None = None
    """None: anybody's."""
    left_in: Sequence[str] = ()


class CommitStatus(StrEnum):
    """What became of one commit."""

    APPLIED = "applied"
    CONFLICT = "conflict"
    """Version or head is not the expected one, the investigation is not there, or its id is deleted."""
    DATA = "data"
    """The store cannot represent a value of this commit."""
    CONSTRAINT = "constraint"
    """The key is taken (`existing_id` has it), or a parent is not there."""
    SIZE = "size"
    """This commit is larger than the store takes."""


class CommitResult(NamedTuple):
    """The answer to one commit."""

    status: CommitStatus
    existing_id: str | None = None
    """With CONSTRAINT: the investigation that holds the key."""
    message: str = ""


CHUNK_BYTES: Final = 262_144
"""Bytes of a blob that stores keep in one piece, and at most give out in one."""


def chunks(data: bytes) -> Iterator[bytes]:
    """The data of a blob in pieces of `CHUNK_BYTES`, in order; the last one may be shorter."""
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]


APPLIED = CommitResult(CommitStatus.APPLIED)
CONFLICT = CommitResult(CommitStatus.CONFLICT)


@dataclass(slots=True, eq=False)
class Commit:
    """Events of one investigation, in order, with what they change. All of it is applied, or nothing.

    Attributes:
        id: Id of the first event.
        expected_version: Sequence of the last event that must be there; 0 creates the investigation.
        expected_head: Hash of that event; :data:`GENESIS` for 0.
        events: At least one; their sequences are ``expected_version + 1, …``.
        rows: The investigation's row first (its `version` and `head` are those of the last event), then
            each phase and call that the events changed, once.
        blobs: Payloads that the events refer to by their digests. They are kept per investigation, one for each
            digest: one that is there already is left as it is, here or in an earlier commit. A blob has the digest
            of its data and at least one byte; who makes the commit sees to that.
        snapshot: To be stored with it, if any.
        snapshots_from: With a snapshot: those of the same investigation with a lower sequence are deleted with it.
        lease: To be taken with it; only where `expected_version` is 0. `expires_at` is then a duration (µs)
            that the store adds to its own clock.
    """

    id: str
    investigation_id: str
    expected_version: int
    expected_head: bytes
    events: Sequence[StoredEvent]
    rows: Sequence[Row]
    blobs: Sequence[Blob] = ()
    snapshot: SnapshotRow | None = None
    lease: Lease | None = None
    snapshots_from: int = 0


class Advance(NamedTuple):
    """How far an investigation, or one of its phases, is said to be: advisory, and not an event."""

    kind: Literal["investigation", "phase"]
    id: str
    """Of the row."""
    attempt: int
    """The row's; what was said in another attempt does not count."""
    percent: int


MAX_ROWS: Final = 1001
"""Rows of one answer: a page of 1000, and one more that tells whether it is the last."""

Kind = Literal["investigation", "phase", "tool", "snapshot"]
Operator = Literal["=", "in", "<", "<=", ">", ">="]


class EventTexts(NamedTuple):
    """Of a :class:`StoredEvent` what it says, and where it stands."""

    sequence: int
    event_type: str
    header: str
    event_data: str


class Where(NamedTuple):
    """One condition on a column. Conditions with None match nothing, as in SQL."""

    field: str
    op: Operator
    value: Any


@dataclass(frozen=True, slots=True)
class Query:
    """A page of rows: equality, membership and ranges, one sort column, keyset paging.

    Attributes:
        where: All must hold.
        sort: The column that orders; never NULL. Ties are broken by id, in the same direction.
        after: ``(value of sort, id)`` of the last row of the page before.
        limit: Rows at most, 1 to `MAX_ROWS`.
    """

    kind: Kind
    where: tuple[Where, ...] = ()
    sort: str = "id"
    descending: bool = False
    after: tuple[Any, str] | None = None
    limit: int = 100

    def __reduce__(self) -> tuple[type[Query], tuple[Any, ...]]:
        # compiled it is a struct, and one that is frozen is not given its parts one by one
        return Query, (self.kind, self.where, self.sort, self.descending, self.after, self.limit)


class Measure(NamedTuple):
    """One figure of an aggregate: ``count`` counts rows, the others take a numeric column."""

    function: Literal["count", "sum", "min", "max", "avg"]
    field: str = "id"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Groups and their figures.

    Attributes:
        group_by: Columns of `kind`; without any there is one row.
        measures: Result rows are the group's values followed by these.
    """

    kind: Kind
    where: tuple[Where, ...] = ()
    group_by: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = field(default=(Measure("count"),))

    def __reduce__(self) -> tuple[type[Aggregate], tuple[Any, ...]]:
        return Aggregate, (self.kind, self.where, self.group_by, self.measures)
