"""What a batch of commits does on a PostgreSQL connection."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterator, Sequence
from itertools import chain
from typing import Any, Final, cast

from investigation_backends.checks import refuse_id
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, Row, ToolRow
from investigation_sdk.storage.commit import (
    APPLIED,
    CONFLICT,
    Advance,
    Commit,
    CommitResult,
    CommitStatus,
    Lease,
    Wanted,
    chunks,
)

from .names import uuid_or_none
from .postgres_driver import DRIVER_ERRORS, Connection
from .postgres_errors import Means, answer, fault, lacks_partition
from .postgres_statements import ALIKE_HEADS, ALIKE_TOOLS, FIRST_MUTABLE, MUTABLE, Statements

BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"

_MOST: Final = (4, 1, 2)
"""Events, phases and calls of a commit that has a statement of its own shape; each shape is planned once."""
_NO_HEADS: Final[list[list[Any]]] = [[]] * (3 + len(MUTABLE))


class TryAgain(Exception):
    """The batch met something that is over by now. Nothing of it is applied."""


class NotCommitted(Exception):
    """The transaction was not committed; `why` is the driver's error, or one to try again after."""

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


_BEFORE_COMMIT: Final[tuple[type[Exception], ...]] = (*DRIVER_ERRORS, TryAgain)


def is_plain(commits: Sequence[Commit]) -> bool:
    """Whether the batch is one statement: no investigation is created, nothing but events and rows."""
    return all(commit.expected_version and not commit.blobs and commit.snapshot is None for commit in commits)


async def append(connection: Connection, statements: Statements, commits: Sequence[Commit]) -> list[CommitResult]:
    """A plain batch, in one statement, which is a transaction of its own where none is open."""
    if len(commits) == 1:
        commit = commits[0]
        phases, tools = _rows_of(commits)
        shape = (len(commit.events), len(phases), len(tools))
        if all(count <= most for count, most in zip(shape, _MOST, strict=True)):
            statement = statements.apply_one(events=shape[0], phases=shape[1], tools=shape[2])
            values = chain(_guarded(commit), *commit.events, *phases, *tools)
            return [APPLIED if await connection.fetch(statement, *values) else CONFLICT]
    return await _apply(connection, statements, commits, [])


async def transaction(
    connection: Connection, statements: Statements, commits: Sequence[Commit], until: float
) -> list[CommitResult]:
    """Any batch, in a transaction of its own, which ends by the loop's time `until`.

    Raises:
        NotCommitted: before it was committed.
        Exception: one of the driver's, while it was being committed.
    """
    try:
        async with asyncio.timeout_at(until):
            await connection.execute(BEGIN)
            results = await apply_apart(connection, statements, commits)
    except TimeoutError as error:
        connection.terminate()  # whoever does not answer this does not answer a ROLLBACK
        raise NotCommitted(error) from error
    except _BEFORE_COMMIT as error:
        await roll_back(connection, until)
        raise NotCommitted(error) from error
    async with asyncio.timeout_at(until):
        tag = await connection.execute("COMMIT")
    if tag != "COMMIT":
        raise NotCommitted(TryAgain("the transaction was rolled back"))
    return results


async def roll_back(connection: Connection, until: float | None = None) -> None:
    """End a transaction after an error; what cannot be told to the server in time ends with the connection."""
    try:
        async with asyncio.timeout_at(until):
            await connection.execute("ROLLBACK")
    except DRIVER_ERRORS:
        connection.terminate()


async def apply(connection: Connection, statements: Statements, commits: Sequence[Commit]) -> list[CommitResult]:
    """Any batch, inside a transaction; any error leaves a part of it there, for a rollback."""
    creating = [commit for commit in commits if not commit.expected_version]
    refused = await _create(connection, statements, creating) if creating else {}
    left = [commit for commit in commits if commit.investigation_id not in refused]
    created = [commit.investigation_id for commit in left if not commit.expected_version]
    results = await _apply(connection, statements, left, created) if left else []
    done = dict(zip((commit.investigation_id for commit in left), results, strict=True))
    await _write_rest(connection, statements, [commit for commit in left if done[commit.investigation_id] is APPLIED])
    done.update(refused)
    return [done[commit.investigation_id] for commit in commits]


async def apply_apart(connection: Connection, statements: Statements, commits: Sequence[Commit]) -> list[CommitResult]:
    """A batch inside a transaction in which some value cannot be stored: halved until its commit is alone."""
    await connection.execute("SAVEPOINT part")
    try:
        results = await apply(connection, statements, commits)
    except DRIVER_ERRORS as error:
        if fault(error).means is not Means.DATA or lacks_partition(error):
            raise
        await connection.execute("ROLLBACK TO SAVEPOINT part")
        if len(commits) == 1:
            return [answer(error)]
    else:
        await connection.execute("RELEASE SAVEPOINT part")
        return results
    half = len(commits) // 2
    first = await apply_apart(connection, statements, commits[:half])
    return first + await apply_apart(connection, statements, commits[half:])


async def _apply(
    connection: Connection, statements: Statements, commits: Sequence[Commit], created: Sequence[str]
) -> list[CommitResult]:
    results = [CONFLICT if commit.expected_version else APPLIED for commit in commits]
    places = [place for place, commit in enumerate(commits) if commit.expected_version]
    heads = [_guarded(commits[place]) for place in places]
    phases, tools = _rows_of(commits)
    values: list[Any] = _columns(heads, ALIKE_HEADS) if heads else [*_NO_HEADS]
    if created:
        values.append(created)
    values += _columns([event for commit in commits for event in commit.events])
    values += _columns(phases)
    values += _columns(tools, ALIKE_TOOLS)
    statement = statements.apply(created=bool(created), phases=bool(phases), tools=bool(tools))
    for found in await connection.fetch(statement, *values):
        results[places[found[0] - 1]] = APPLIED
    return results


def _columns(rows: Sequence[tuple[Any, ...]], alike: Container[int] = ()) -> list[tuple[Any, ...] | None]:
    """One array for each column. None for one that is NULL in all rows, which is what unnest() makes of that; a single
    element, at the places `alike`, for one that is the same in all. The driver takes long for each element, and more
    than half of them are so."""
    count = len(rows)
    columns: list[tuple[Any, ...] | None] = []
    for place, column in enumerate(zip(*rows, strict=True)):
        first = column[0]
        if (first is None or place in alike) and column.count(first) == count:
            columns.append(None if first is None else column[:1])
        else:
            columns.append(column)
    return columns


def _guarded(commit: Commit) -> tuple[Any, ...]:
    """What a head must be, and what it becomes."""
    return commit.investigation_id, commit.expected_version, commit.expected_head, *commit.rows[0][FIRST_MUTABLE:]


def _rows_of(commits: Sequence[Commit]) -> tuple[list[Row], list[Row]]:
    """The rows of phases, and those of calls."""
    phases: list[Row] = []
    tools: list[Row] = []
    for commit in commits:
        for row in commit.rows:
            kind = row.__class__
            if kind is ToolRow:
                tools.append(row)
            elif kind is PhaseRow:
                phases.append(row)
    return phases, tools


async def _create(connection: Connection, statements: Statements, commits: Sequence[Commit]) -> dict[str, CommitResult]:
    """Insert the heads that may be created; the answers to those that may not."""
    rows = [cast("InvestigationRow", commit.rows[0]) for commit in commits]
    ids = [id for row in rows for id in (row.id, row.parent_investigation_id) if uuid_or_none(id) is not None]
    now, there, buried = await connection.fetchrow(statements.look, ids)
    there, buried = set(there), set(buried)
    refused: dict[str, CommitResult] = {}
    made: list[InvestigationRow] = []
    for row in rows:
        parent = row.parent_investigation_id
        if row.id in there or row.id in buried:
            refused[row.id] = CONFLICT
        elif (refusal := refuse_id(row.id, now)) is not None:
            refused[row.id] = refusal
        elif parent is not None and parent not in there:
            refused[row.id] = CommitResult(CommitStatus.CONSTRAINT, None, f"parent investigation {parent} is not there")
        else:
            made.append(row)
            there.add(row.id)
    if not made:
        return refused
    found = {row[0] for row in await connection.fetch(statements.create, *zip(*made, strict=True))}
    for row in made:
        if row.id not in found:
            refused[row.id] = await _why_not(connection, statements, row)
    if found:
        for row in await connection.fetch(statements.bury_again, list(found)):
            refused[row[0]] = CONFLICT
    leases = [commit.lease for commit in commits if commit.lease is not None and commit.investigation_id not in refused]
    if leases:
        values = [(lease.resource, lease.owner, lease.expires_at) for lease in leases]
        await connection.execute(statements.lease, *zip(*values, strict=True))
    return refused


async def _why_not(connection: Connection, statements: Statements, row: InvestigationRow) -> CommitResult:
    """Another transaction was first, between the look and the insert, or the key is taken."""
    if await connection.fetchrow(statements.exists, row.id) is not None:
        return CONFLICT
    key = (row.tenant_id, row.investigation_type, row.key, row.generation)
    holder = await connection.fetchrow(statements.holder_of_key, *key)
    if holder is None:
        raise TryAgain(f"the investigation that held the key {row.key!r} was deleted just now")
    return CommitResult(CommitStatus.CONSTRAINT, holder[0], f"the key {row.key!r} is taken")


async def _write_rest(connection: Connection, statements: Statements, commits: Sequence[Commit]) -> None:
    """Blobs and snapshots of commits that are applied."""
    for commit in commits:
        for row in _chunk_rows(commit):
            await connection.execute(statements.blobs, *([value] for value in row))
    if with_snapshots := [(commit, commit.snapshot) for commit in commits if commit.snapshot is not None]:
        forgotten = [(commit.investigation_id, commit.snapshots_from) for commit, _ in with_snapshots]
        await connection.execute(statements.forget_snapshots, *zip(*forgotten, strict=True))
        await connection.execute(statements.snapshot, *zip(*(row for _, row in with_snapshots), strict=True))


def _chunk_rows(commit: Commit) -> Iterator[tuple[str, str, int, bytes]]:
    for digest, data in commit.blobs:
        for position, chunk in enumerate(chunks(data)):
            yield commit.investigation_id, digest, position, chunk


# ---------------------------------------------------------------- upkeep


async def put_rows(connection: Connection, statements: Statements, rows: Sequence[Row]) -> None:
    """Write rows made again, in one transaction, each only over one that is not newer."""
    try:
        await connection.execute(BEGIN)
        await _put_rows(connection, statements, rows)
        await connection.execute("COMMIT")
    except DRIVER_ERRORS:
        await roll_back(connection)
        raise


async def _put_rows(connection: Connection, statements: Statements, rows: Sequence[Row]) -> None:
    heads = {row.id: row for row in rows if isinstance(row, InvestigationRow)}
    if heads:
        await connection.execute(statements.restore_heads, *zip(*heads.values(), strict=True))
    for kind, of in (("phase", PhaseRow), ("tool", ToolRow)):
        newest: dict[str, PhaseRow | ToolRow] = {}
        for row in rows:
            if isinstance(row, of) and (row.id not in newest or newest[row.id].sequence <= row.sequence):
                newest[row.id] = row
        if newest:
            await connection.execute(statements.restore[kind], *zip(*newest.values(), strict=True))


async def advance(connection: Connection, statements: Statements, advances: Sequence[Advance]) -> None:
    """Write progress; rows that a commit holds are left to it, so that neither waits for the other."""
    for kind, statement in statements.advance.items():
        values = [one[1:] for one in advances if one.kind == kind and uuid_or_none(one.id) is not None]
        if values:
            await connection.execute(statement, *zip(*values, strict=True))


async def delete(connection: Connection, statements: Statements, id: str, version: int) -> int:
    """Delete one investigation, with all that belongs to it."""
    (count,) = await connection.fetchrow(statements.delete, id, version)
    return int(count)


async def deleted_since(connection: Connection, statements: Statements, id: str, version: int, begun: float) -> int:
    """Whether it was deleted at this version since the loop's time `begun`, as 1 or 0: what a call whose answer was
    lost has done."""
    found = await connection.fetchrow(statements.tombstone, id, version)
    if found is None:
        return 0
    deleted_at, now = found
    # the time between two moments is the same by both clocks
    return int(now - deleted_at <= (asyncio.get_running_loop().time() - begun) * 1_000_000)


async def claim(connection: Connection, statements: Statements, resource: str, owner: str, ttl: int) -> Lease | None:
    """Take a lease."""
    found = await connection.fetchrow(statements.claim, resource, owner, ttl, uuid_or_none(resource))
    return None if found is None else Lease(resource, owner, found[0], found[1])


async def claim_next(
    connection: Connection, statements: Statements, wanted: Wanted, owners: Sequence[str], ttl: int
) -> list[Lease]:
    """Take leases on what is queued or left."""
    statement = statements.claim_left if wanted.left_in else statements.claim_queued
    values = [list(wanted.types), wanted.tenant_id, list(owners), ttl]
    if wanted.left_in:
        values.append(list(wanted.left_in))
    return [Lease(*row) for row in await connection.fetch(statement, *values)]


async def holder(connection: Connection, statements: Statements, resource: str) -> Lease | None:
    """Read a lease."""
    found = await connection.fetchrow(statements.holder, resource, uuid_or_none(resource))
    return None if found is None else Lease(resource, found[0], found[1], found[2])


async def renew(
    connection: Connection, statements: Statements, leases: Sequence[Lease], ttl: int
) -> list[Lease | None]:
    """Extend leases."""
    values = [(lease.resource, lease.owner, uuid_or_none(lease.resource)) for lease in leases]
    found = await connection.fetch(statements.renew, *zip(*values, strict=True), ttl)
    renewed = {(row[0], row[1]): Lease(*row) for row in found}
    return [renewed.get((lease.resource, lease.owner)) for lease in leases]


async def release(connection: Connection, statements: Statements, lease: Lease) -> bool:
    """Give a lease up."""
    return await connection.execute(statements.release, lease.resource, lease.owner) == "DELETE 1"
