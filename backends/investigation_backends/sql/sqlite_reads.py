"""Short reads from a SQLite file, without SQLAlchemy."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from investigation_sdk.domain.rows import ROW_TYPES, Row, SnapshotRow
from investigation_sdk.storage.commit import EventTexts, Query, StoredEvent

from .names import BLOBS, EVENTS, TABLE_OF

_BY_ID: Final = {kind: f"SELECT * FROM {table} WHERE id=?" for kind, table in TABLE_OF.items()}
_SNAPSHOT: Final = f"SELECT * FROM {TABLE_OF['snapshot']} WHERE investigation_id=? ORDER BY sequence DESC LIMIT 1"


def one(connection: sqlite3.Connection, kind: str, id: str) -> Row | SnapshotRow | None:
    """A row by id."""
    try:
        found = connection.execute(_BY_ID[kind], (id,)).fetchone()
    except UnicodeEncodeError:  # no id that was stored
        return None
    return None if found is None else ROW_TYPES[kind]._make(found)


def snapshot(connection: sqlite3.Connection, investigation_id: str) -> SnapshotRow | None:
    """The latest snapshot."""
    try:
        found = connection.execute(_SNAPSHOT, (investigation_id,)).fetchone()
    except UnicodeEncodeError:
        return None
    return None if found is None else SnapshotRow._make(found)


_NARROW: Final = {
    "investigation": frozenset({"tenant_id", "investigation_type", "key"}),
    "phase": frozenset({"investigation_id"}),
    "tool": frozenset({"investigation_id", "status"}),
}
"""Conditions on these columns find few rows by an index: of calls, those that are running."""


def is_narrow(query: Query) -> bool:
    """Whether :func:`page` finds it in no time: what an opening asks for."""
    return (
        query.after is None
        and frozenset(where.field for where in query.where) == _NARROW.get(query.kind)
        and all(op == "=" and (name != "status" or value == "running") for name, op, value in query.where)
    )


def page(connection: sqlite3.Connection, query: Query) -> list[Row | SnapshotRow]:
    """The first page of a checked query that is narrow. Its names are those of columns."""
    conditions = [f"{name}=?" for name, _, _ in query.where]
    if query.kind == "tool":  # the partial index of those that are not completed, and no other one
        conditions = ["status<>'completed'", *(one if one.startswith("status") else f"+{one}" for one in conditions)]
    way = "DESC" if query.descending else "ASC"
    order = ", ".join(f"{name} {way}" for name in dict.fromkeys((query.sort, "id")))
    where = " AND ".join(conditions)
    statement = f"SELECT * FROM {TABLE_OF[query.kind]} WHERE {where} ORDER BY {order} LIMIT ?"
    values = [value for _, _, value in query.where]
    try:
        found = connection.execute(statement, (*values, query.limit)).fetchall()
    except UnicodeEncodeError:  # nothing that was stored
        return []
    return list(map(ROW_TYPES[query.kind]._make, found))


_CHUNK: Final = f"SELECT CAST(data AS BLOB) FROM {BLOBS} WHERE investigation_id=? AND digest=? AND position=?"


def chunk(connection: sqlite3.Connection, investigation_id: str, digest: str, position: int) -> bytes | None:
    """One piece of a blob, None behind the last."""
    try:
        found = connection.execute(_CHUNK, (investigation_id, digest, position)).fetchone()
    except UnicodeEncodeError:
        return None
    return None if found is None else found[0]


def events(
    connection: sqlite3.Connection,
    investigation_id: str,
    after: int,
    limit: int,
    event_type: Sequence[str] | None,
    *,
    reverse: bool,
) -> list[StoredEvent]:
    """A page of the log."""
    found = _page_of_log(connection, "*", investigation_id, after, limit, event_type, reverse=reverse)
    return list(map(StoredEvent._make, found))


_TEXTS: Final = ",".join(EventTexts._fields)


def texts(
    connection: sqlite3.Connection, investigation_id: str, after: int, limit: int, event_type: Sequence[str]
) -> list[EventTexts]:
    """What the events of a page say."""
    found = _page_of_log(connection, _TEXTS, investigation_id, after, limit, event_type, reverse=False)
    return list(map(EventTexts._make, found))


def _page_of_log(
    connection: sqlite3.Connection,
    columns: str,
    investigation_id: str,
    after: int,
    limit: int,
    event_type: Sequence[str] | None,
    *,
    reverse: bool,
) -> list[tuple[Any, ...]]:
    statement = f"SELECT {columns} FROM {EVENTS} WHERE investigation_id=?"
    values: list[Any] = [investigation_id]
    if after or not reverse:
        statement += " AND sequence<?" if reverse else " AND sequence>?"
        values.append(after)
    if event_type is not None:
        statement += f" AND event_type IN ({','.join('?' * len(event_type))})"
        values += event_type
    statement += f" ORDER BY sequence{' DESC' if reverse else ''} LIMIT ?"
    values.append(max(0, limit))
    try:
        return connection.execute(statement, values).fetchall()
    except UnicodeEncodeError:
        return []
    except sqlite3.OperationalError as error:
        if "decode to UTF-8" not in str(error):
            raise
        connection.text_factory = _not_text
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            connection.text_factory = str


def _not_text(data: bytes) -> str:
    """What somebody wrote into the file that is no UTF-8: handed on, so that ``verify`` can name the event."""
    return data.decode("utf-8", "surrogateescape")
