"""Short reads from PostgreSQL, without SQLAlchemy."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from investigation_sdk.domain.rows import ROW_TYPES, InvestigationRow, PhaseRow, Row, SnapshotRow
from investigation_sdk.storage.commit import StoredEvent

from .names import BLOBS
from .postgres_driver import Connection
from .postgres_names import COLUMNS, EVENT_COLUMNS, Names, read_as


class Reads:
    """The statements of one store, and what they answer."""

    def __init__(self, names: Names) -> None:
        def columns_of(kind: str) -> str:
            return ", ".join(read_as(*column) for column in COLUMNS[kind].items())

        def select(kind: str, rest: str) -> str:
            return f"SELECT {columns_of(kind)} FROM {names.kind(kind)} {rest}"

        self._by_id = {kind: select(kind, "WHERE id = $1::uuid") for kind in COLUMNS}
        self._overview = (
            f"SELECT {columns_of('investigation')}, ARRAY(SELECT ROW({columns_of('phase')}) FROM {names.kind('phase')} "
            f"WHERE investigation_id = $1::uuid ORDER BY phase_order, id LIMIT $2) "
            f"FROM {names.investigations} WHERE id = $1::uuid"
        )
        self._snapshot = select("snapshot", "WHERE investigation_id = $1::uuid ORDER BY sequence DESC LIMIT 1")
        self._chunk = (
            f"SELECT data FROM {names.of(BLOBS)} WHERE investigation_id = $1::uuid AND digest = $2 AND position = $3"
        )
        columns = ", ".join(read_as(*column) for column in EVENT_COLUMNS.items())
        self._events = f"SELECT {columns} FROM {names.events} WHERE investigation_id = $1::uuid"
        self._page = functools.cache(self._page_of)

    async def one(self, connection: Connection, kind: str, id: str) -> Row | SnapshotRow | None:
        """A row by id."""
        found = await connection.fetchrow(self._by_id[kind], id)
        return None if found is None else ROW_TYPES[kind]._make(found)

    async def overview(
        self, connection: Connection, id: str, limit: int
    ) -> tuple[InvestigationRow, list[PhaseRow]] | None:
        """The row of an investigation, and those of its phases."""
        found = await connection.fetchrow(self._overview, id, limit)
        if found is None:
            return None
        *row, phases = found
        return InvestigationRow._make(row), [PhaseRow._make(phase) for phase in phases]

    async def snapshot(self, connection: Connection, investigation_id: str) -> SnapshotRow | None:
        """The latest snapshot."""
        found = await connection.fetchrow(self._snapshot, investigation_id)
        return None if found is None else SnapshotRow._make(found)

    async def chunk(self, connection: Connection, investigation_id: str, digest: str, position: int) -> bytes | None:
        """One piece of a blob, None behind the last."""
        found = await connection.fetchrow(self._chunk, investigation_id, digest, position)
        return None if found is None else found[0]

    def _page_of(self, *, reverse: bool, bounded: bool, types: bool) -> str:
        statement = self._events
        if bounded:
            statement += f" AND sequence {'<' if reverse else '>'} $3"
        if types:
            statement += f" AND event_type = ANY(${4 if bounded else 3}::text[])"
        return f"{statement} ORDER BY sequence {'DESC ' if reverse else ''}LIMIT $2"

    async def events(
        self,
        connection: Connection,
        investigation_id: str,
        after: int,
        limit: int,
        event_type: Sequence[str] | None,
        *,
        reverse: bool,
    ) -> list[StoredEvent]:
        """A page of the log."""
        bounded = bool(after) or not reverse
        values: list[Any] = [investigation_id, max(0, limit)]
        values += [after] if bounded else []
        values += [list(event_type)] if event_type is not None else []
        statement = self._page(reverse=reverse, bounded=bounded, types=event_type is not None)
        return [StoredEvent._make(found) for found in await connection.fetch(statement, *values)]


def storable(*texts: str) -> bool:
    """Whether PostgreSQL could have stored these texts: else nothing is found by them."""
    return not any("\0" in text or any("\ud800" <= c <= "\udfff" for c in text) for text in texts)
