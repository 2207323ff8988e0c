"""What a batch of commits does to a SQLite file. Statements are text made once, rows bind as they are."""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from investigation_backends.checks import refuse_id
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, Row, SnapshotRow, ToolRow
from investigation_sdk.storage.commit import (
    APPLIED,
    CONFLICT,
    Advance,
    Commit,
    CommitResult,
    CommitStatus,
    Lease,
    StoredEvent,
    Wanted,
    chunks,
)

from .names import BLOBS, EVENTS, LEASES, TABLE_OF, TOMBSTONES, fields, mutable
from .sqlite_errors import DATA_ERRORS, answer
from .sqlite_link import immediately


def _marks(names: Sequence[str]) -> str:
    return ",".join("?" * len(names))


def _set(names: Iterable[str]) -> str:
    return ",".join(f"{name}=?" for name in names)


def _upsert(kind: str) -> str:
    changes = ",".join(f"{name}=excluded.{name}" for name in mutable(kind))
    return f"INSERT INTO {TABLE_OF[kind]} VALUES({_marks(fields(kind))}) ON CONFLICT(id) DO UPDATE SET {changes}"


_MUTABLE: Final = mutable("investigation")
_FIRST: Final = len(fields("investigation")) - len(_MUTABLE)
_GUARD: Final = "WHERE id=? AND version=? AND head=?"
# most commits leave the status and the queue as they are: a statement that does not set them leaves their indexes alone
_QUEUE: Final = 2
"""How many columns at the end of a row belong to the queue; `priority` is one, and never changes."""
_ADVANCE: Final = f"UPDATE investigations SET {_set(_MUTABLE[1:-_QUEUE])} {_GUARD} AND status=? AND claimable_at IS ?"
_ADVANCE_STATUS: Final = f"UPDATE investigations SET {_set(_MUTABLE)} {_GUARD}"
_CREATE: Final = f"INSERT INTO investigations VALUES({_marks(fields('investigation'))}) ON CONFLICT DO NOTHING"
_EVENT: Final = f"INSERT INTO {EVENTS} VALUES({_marks(StoredEvent._fields)})"
_SNAPSHOT: Final = f"INSERT OR REPLACE INTO {TABLE_OF['snapshot']} VALUES({_marks(SnapshotRow._fields)})"
_FORGET: Final = f"DELETE FROM {TABLE_OF['snapshot']} WHERE investigation_id=? AND sequence<?"
_BLOB: Final = f"INSERT OR IGNORE INTO {BLOBS} VALUES(?,?,?,?)"
_PHASE: Final = _upsert("phase")
_TOOL: Final = _upsert("tool")
_LEASE: Final = f"INSERT OR REPLACE INTO {LEASES} VALUES(?,?,?)"
_BURIED: Final = f"SELECT 1 FROM {TOMBSTONES} WHERE investigation_id=?"
_EXISTS: Final = "SELECT 1 FROM investigations WHERE id=?"
_KEY: Final = "SELECT id FROM investigations WHERE tenant_id=? AND investigation_type=? AND key=? AND generation=?"


def now_us() -> int:
    """The store's clock, µs: all that open one file are on one machine, so the machine's clock is the store's."""
    return time.time_ns() // 1000


def apply(connection: sqlite3.Connection, commits: Sequence[Commit]) -> list[CommitResult]:
    """Apply a batch inside a transaction; any error leaves a part of it there, for a rollback."""
    cursor = connection.cursor()
    execute = cursor.execute
    results: list[CommitResult] = []
    won: list[Commit] = []
    for commit in commits:
        version = commit.expected_version
        if not version:
            result = _create(connection, commit)
            results.append(result)
            if result is APPLIED:
                won.append(commit)
            continue
        row = commit.rows[0]
        guard = (commit.investigation_id, version, commit.expected_head)
        if (
            execute(_ADVANCE, (*row[_FIRST + 1 : -_QUEUE], *guard, row[_FIRST], row[-1])).rowcount == 1
            or execute(_ADVANCE_STATUS, (*row[_FIRST:], *guard)).rowcount == 1
        ):
            results.append(APPLIED)
            won.append(commit)
        else:
            results.append(CONFLICT)
    _insert(cursor, won)
    return results


def apply_each(connection: sqlite3.Connection, commits: Sequence[Commit]) -> list[CommitResult]:
    """Apply a batch inside a transaction in which some value cannot be stored: only its own commit fails."""
    results: list[CommitResult] = []
    for commit in commits:
        connection.execute("SAVEPOINT one")
        try:
            results += apply(connection, (commit,))
        except DATA_ERRORS as error:
            connection.execute("ROLLBACK TO one")
            results.append(answer(error))
        connection.execute("RELEASE one")
    return results


def _insert(cursor: sqlite3.Cursor, commits: Sequence[Commit]) -> None:
    events: list[StoredEvent] = []
    phases: list[Row] = []
    tools: list[Row] = []
    for commit in commits:
        events += commit.events
        for row in commit.rows:
            kind = row.__class__
            if kind is ToolRow:
                tools.append(row)
            elif kind is PhaseRow:
                phases.append(row)
        if commit.blobs:
            cursor.executemany(_BLOB, _chunk_rows(commit))
        if commit.snapshot is not None:
            cursor.execute(_FORGET, (commit.investigation_id, commit.snapshots_from))
            cursor.execute(_SNAPSHOT, commit.snapshot)
    cursor.executemany(_EVENT, events)
    if phases:
        cursor.executemany(_PHASE, phases)
    if tools:
        cursor.executemany(_TOOL, tools)


def _chunk_rows(commit: Commit) -> Iterator[tuple[str, str, int, bytes]]:
    for digest, data in commit.blobs:
        for position, chunk in enumerate(chunks(data)):
            yield commit.investigation_id, digest, position, chunk


def _create(connection: sqlite3.Connection, commit: Commit) -> CommitResult:
    execute = connection.execute
    row = commit.rows[0]
    assert isinstance(row, InvestigationRow)
    if execute(_BURIED, (row.id,)).fetchone() is not None:
        return CONFLICT
    if (refusal := refuse_id(row.id, now_us())) is not None:
        return refusal if execute(_EXISTS, (row.id,)).fetchone() is None else CONFLICT
    parent = row.parent_investigation_id
    if parent is not None and execute(_EXISTS, (parent,)).fetchone() is None:
        if execute(_EXISTS, (row.id,)).fetchone() is not None:
            return CONFLICT
        return CommitResult(CommitStatus.CONSTRAINT, None, f"parent investigation {parent} is not there")
    if execute(_CREATE, row).rowcount != 1:
        if execute(_EXISTS, (row.id,)).fetchone() is not None:
            return CONFLICT
        existing = execute(_KEY, (row.tenant_id, row.investigation_type, row.key, row.generation)).fetchone()
        return CommitResult(CommitStatus.CONSTRAINT, existing[0], f"the key {row.key!r} is taken")
    lease = commit.lease
    if lease is not None:
        execute(_LEASE, (lease.resource, lease.owner, now_us() + lease.expires_at))
    return APPLIED


_CLAIM: Final = (
    f"INSERT INTO {LEASES} VALUES(?,?,?) ON CONFLICT(resource) DO UPDATE SET owner=excluded.owner, "
    f"expires_at=excluded.expires_at WHERE {LEASES}.owner=excluded.owner OR {LEASES}.expires_at<=?"
)
_RENEW: Final = f"UPDATE {LEASES} SET expires_at=? WHERE resource=? AND owner=?"
_RELEASE: Final = f"DELETE FROM {LEASES} WHERE resource=? AND owner=?"
_VERSION: Final = "SELECT version FROM investigations WHERE id=?"
_HOLDER: Final = f"SELECT resource, owner, expires_at FROM {LEASES} WHERE resource=?"


def _version(connection: sqlite3.Connection, resource: str) -> int | None:
    found = connection.execute(_VERSION, (resource,)).fetchone()
    return None if found is None else found[0]


def claim(connection: sqlite3.Connection, resource: str, owner: str, ttl: int) -> Lease | None:
    """Take a lease, inside a transaction."""
    now = now_us()
    if connection.execute(_CLAIM, (resource, owner, now + ttl, now)).rowcount != 1:
        return None
    return Lease(resource, owner, now + ttl, _version(connection, resource))


def next_in_queue(wanted: Wanted, now: int, most: int) -> tuple[str, list[object]]:
    """The statement that finds what is queued or left and free, and its values."""
    # the plus keeps the planner from the index of types, whose rows it would have to sort
    where = [
        f"+i.investigation_type IN ({_marks(wanted.types)})",
        f"NOT EXISTS (SELECT 1 FROM {LEASES} AS l WHERE l.resource=i.id AND l.expires_at>?)",
    ]
    values: list[object] = [*wanted.types, now]
    if wanted.left_in:
        where.append(f"i.token IS NOT NULL AND i.status IN ({_marks(wanted.left_in)})")
        values += wanted.left_in
    else:
        where.append("i.claimable_at IS NOT NULL AND i.claimable_at<=?")
        values.append(now)
    if wanted.tenant_id is not None:
        where.append("+i.tenant_id=?")
        values.append(wanted.tenant_id)
    order = "ORDER BY i.priority DESC, i.id LIMIT ?"
    return f"SELECT i.id, i.version FROM investigations AS i WHERE {' AND '.join(where)} {order}", [*values, most]


def claim_next(connection: sqlite3.Connection, wanted: Wanted, owners: Sequence[str], ttl: int) -> list[Lease]:
    """Take leases on what is queued or left, inside a transaction."""
    now = now_us()
    found = connection.execute(*next_in_queue(wanted, now, len(owners))).fetchall()
    leases = [Lease(id, owner, now + ttl, version) for (id, version), owner in zip(found, owners, strict=False)]
    connection.executemany(_LEASE, [lease[:3] for lease in leases])
    return leases


def holder(connection: sqlite3.Connection, resource: str) -> Lease | None:
    """Read a lease."""
    found = connection.execute(_HOLDER, (resource,)).fetchone()
    if found is None:
        return None
    _, owner, until = found
    return Lease(resource, owner, until, _version(connection, resource))


def renew(connection: sqlite3.Connection, leases: Sequence[Lease], ttl: int) -> list[Lease | None]:
    """Extend leases, inside a transaction."""
    until = now_us() + ttl
    return [
        Lease(lease.resource, lease.owner, until, _version(connection, lease.resource))
        if connection.execute(_RENEW, (until, lease.resource, lease.owner)).rowcount == 1
        else None
        for lease in leases
    ]


def release(connection: sqlite3.Connection, lease: Lease) -> bool:
    """Give a lease up, inside a transaction."""
    return connection.execute(_RELEASE, (lease.resource, lease.owner)).rowcount == 1


_DELETE: Final = "DELETE FROM investigations WHERE id=? AND version=?"
_FREE: Final = f"DELETE FROM {LEASES} WHERE resource=?"
_BURY: Final = f"INSERT INTO {TOMBSTONES} VALUES(?,?,?)"


def delete_each(connection: sqlite3.Connection, heads: Sequence[tuple[str, int]]) -> int:
    """Delete investigations, in one transaction each, so that others' commits get their turn."""
    deleted = 0
    for head in heads:
        deleted += immediately(connection, functools.partial(_delete, head=head))
    return deleted


def _delete(connection: sqlite3.Connection, head: tuple[str, int]) -> bool:
    """What belongs to it goes by the foreign keys."""
    id, version = head
    if connection.execute(_DELETE, (id, version)).rowcount != 1:
        return False
    connection.execute(_FREE, (id,))
    connection.execute(_BURY, (id, version, now_us()))
    return True


_ADVANCES: Final = {
    kind: f"UPDATE {TABLE_OF[kind]} SET progress_percentage=?1 WHERE id=?2 AND attempt=?3 AND progress_percentage<?1"
    for kind in ("investigation", "phase")
}


def advance(connection: sqlite3.Connection, advances: Sequence[Advance]) -> None:
    """Write progress, inside a transaction."""
    for kind, id, attempt, percent in advances:
        connection.execute(_ADVANCES[kind], (percent, id, attempt))


def _restore(kind: str) -> str:
    names = fields(kind)
    changes = ",".join(f"{name}=excluded.{name}" for name in names[1:])
    table = TABLE_OF[kind]
    return (
        f"INSERT INTO {table} SELECT {_marks(names)} WHERE EXISTS (SELECT 1 FROM investigations WHERE id=?) "
        f"ON CONFLICT(id) DO UPDATE SET {changes} "
        f"WHERE excluded.sequence>={table}.sequence OR typeof({table}.sequence)<>'integer'"  # text is above any number
    )


_ALL: Final = fields("investigation")
# a parent that was deleted since stays forgotten
_RESTORE_HEAD: Final = (
    f"UPDATE investigations SET {_set(_ALL[1:])} WHERE id=? AND (version<=? OR typeof(version)<>'integer')".replace(
        "parent_investigation_id=?", "parent_investigation_id=(SELECT p.id FROM investigations AS p WHERE p.id=?)"
    )
)
_RESTORE_PHASE: Final = _restore("phase")
_RESTORE_TOOL: Final = _restore("tool")


def put_rows(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Write rows made again, in one transaction, each only over one that is not newer.

    Raises:
        ValueError: a value cannot be stored, or a call names a phase that is not there.
    """
    try:
        immediately(connection, functools.partial(_put_rows, rows=rows))
    except DATA_ERRORS as error:
        raise ValueError(f"rows cannot be stored: {error}") from error


def _put_rows(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    heads = [(*row[1:], row.id, row.version) for row in rows if isinstance(row, InvestigationRow)]
    connection.executemany(_RESTORE_HEAD, heads)
    phases = [(*row, row.investigation_id) for row in rows if isinstance(row, PhaseRow)]
    connection.executemany(_RESTORE_PHASE, phases)
    tools = [(*row, row.investigation_id) for row in rows if isinstance(row, ToolRow)]
    connection.executemany(_RESTORE_TOOL, tools)
