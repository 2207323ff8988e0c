"""The statements that write, as text made once for a store. Many rows arrive as one array for each column."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from .names import BLOBS, fields, mutable
from .postgres_names import COLUMNS, EVENT_COLUMNS, Names

HEAD: Final = fields("investigation")
MUTABLE: Final = mutable("investigation")
FIRST_MUTABLE: Final = len(HEAD) - len(MUTABLE)
_HEAD_TYPES: Final = COLUMNS["investigation"]
_PROGRESS: Final = {"id": "uuid", "attempt": "int4", "percent": "int4"}
_GUARD: Final = {"id": "uuid", "expected_version": "int8", "expected_head": "bytea"}
_ADVANCING: Final = {**_GUARD, **{name: _HEAD_TYPES[name] for name in MUTABLE}}
_ALIKE: Final = frozenset(
    {"status", "attempt", "progress_percentage", "retry_count", "resume_requested", "priority"}
    | {"tokens_used", "api_calls_made", "cost_estimate", "tenant_id", "agent_name", "tool_name", "source"}
)
"""Columns that often have the same value in all rows of a batch."""
ALIKE_HEADS: Final = frozenset(n for n, name in enumerate(_ADVANCING) if name in _ALIKE)
ALIKE_TOOLS: Final = frozenset(n for n, name in enumerate(COLUMNS["tool"]) if name in _ALIKE)
"""Their places among the arrays: one of a single element says it of all rows."""


def _quoted(names: Iterable[str], of: str = "") -> str:
    return ", ".join(f'{of}"{name}"' for name in names)


def _assign(names: Iterable[str], to: str) -> str:
    return ", ".join(f'"{name}" = {to}."{name}"' for name in names)


def _cast(type: str, array: str = "") -> str:
    """What a parameter is cast to. Decimals go as the text that they are: the driver takes long to encode them."""
    return f"text{array}::numeric{array}" if type == "numeric" else type + array


def _element(array: str, type: str) -> str:
    """The first of an array that is a parameter."""
    return f"({array})[1]::{type}"


class _Parameters:
    """Numbers the parameters of a statement as they come."""

    def __init__(self) -> None:
        self._last = 0

    def unnest(
        self,
        columns: Mapping[str, str],
        alias: str,
        *,
        ordinality: bool = False,
        alike: frozenset[int] = frozenset(),
    ) -> str:
        """A set of rows out of one array for each column; at the places `alike`, out of one element for all of them."""
        numbered = [(f"${self._last + n}", name, type) for n, (name, type) in enumerate(columns.items(), 1)]
        self._last += len(columns)
        arrays = ", ".join(f"{parameter}::{_cast(type, '[]')}" for parameter, _, type in numbered)
        ordinal = ["n"] if ordinality else []
        rows = f"unnest({arrays}) {'WITH ORDINALITY ' if ordinality else ''}AS {alias}({_quoted([*columns, *ordinal])})"
        if not alike:
            return rows
        chosen = [
            f'CASE cardinality({parameter}) WHEN 1 THEN {_element(parameter, type)} ELSE {alias}."{name}" END'
            if place in alike
            else f'{alias}."{name}"'
            for place, (parameter, name, type) in enumerate(numbered)
        ]
        listed = ", ".join(f'{value} AS "{name}"' for value, name in zip(chosen, columns, strict=True))
        return f"(SELECT {', '.join([listed, *ordinal])} FROM {rows}) AS {alias}"

    def values(self, columns: Mapping[str, str], alias: str, rows: int) -> str:
        """So many rows, each value a parameter of its own."""
        listed = ", ".join(f"({', '.join(map(self.one, columns.values()))})" for _ in range(rows))
        return f"(VALUES {listed}) AS {alias}({_quoted(columns)})"

    def one(self, type: str) -> str:
        """One value, or one array."""
        self._last += 1
        return f"${self._last}::{_cast(type)}"


class Statements:
    """All of one store. What is made of pieces is made when first asked for."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.apply: Callable[..., str] = functools.cache(self._apply)
        self.apply_one: Callable[..., str] = functools.cache(self._apply_one)
        investigations, tombstones, leases = names.investigations, names.tombstones, names.leases
        self.look: str = (
            f"SELECT clock_timestamp() AS now, "
            f"ARRAY(SELECT id::text FROM {investigations} WHERE id = ANY($1::uuid[])) AS there, "
            f"ARRAY(SELECT investigation_id::text FROM {tombstones} WHERE investigation_id = ANY($1::uuid[])) AS buried"
        )
        parameters = _Parameters()
        self.create: str = (
            f"INSERT INTO {investigations} ({_quoted(HEAD)}) "
            f"SELECT {_quoted(HEAD)} FROM {parameters.unnest(_HEAD_TYPES, 'c', ordinality=True)} ORDER BY n "
            "ON CONFLICT DO NOTHING RETURNING id::text"
        )
        self.holder_of_key: str = (
            f"SELECT id::text FROM {investigations} "
            'WHERE tenant_id = $1 AND investigation_type = $2 AND "key" = $3 AND generation = $4'
        )
        self.exists: str = f"SELECT 1 FROM {investigations} WHERE id = $1::uuid"
        # deleted between the look and the insert
        self.bury_again: str = (
            f"DELETE FROM {investigations} WHERE id = ANY($1::uuid[]) AND id IN "
            f"(SELECT investigation_id FROM {tombstones} WHERE investigation_id = ANY($1::uuid[])) RETURNING id::text"
        )
        parameters = _Parameters()
        self.lease: str = (
            f"INSERT INTO {leases} (resource, owner, expires_at) "
            "SELECT resource, owner, clock_timestamp() + ttl * interval '1 microsecond' "
            f"FROM {parameters.unnest({'resource': 'text', 'owner': 'text', 'ttl': 'int8'}, 'l')} "
            "ON CONFLICT (resource) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at"
        )
        self.snapshot: str = self._upsert(
            "snapshot", _Parameters().unnest(COLUMNS["snapshot"], "r"), fields("snapshot")[1:], where=""
        )
        parameters = _Parameters()
        self.forget_snapshots: str = (
            f"DELETE FROM {names.kind('snapshot')} AS s "
            f"USING {parameters.unnest({'investigation_id': 'uuid', 'sequence': 'int8'}, 'r')} "
            "WHERE s.investigation_id = r.investigation_id AND s.sequence < r.sequence"
        )
        blobs = {"investigation_id": "uuid", "digest": "text", "position": "int4", "data": "bytea"}
        self.blobs: str = (
            f"INSERT INTO {names.of(BLOBS)} ({_quoted(blobs)}) SELECT * FROM {_Parameters().unnest(blobs, 'b')} "
            "ON CONFLICT DO NOTHING"
        )
        self._upkeep()

    def _apply(self, *, created: bool, phases: bool, tools: bool) -> str:
        """Heads that are as expected advance, and what belongs to them is written; answers which, by position from 1.

        Arrays: of the heads that advance; ids of `created` ones, if there are any; of the events; of the phases and
        calls, if there are any.
        """
        parameters = _Parameters()
        heads = parameters.unnest(_ADVANCING, "c", ordinality=True, alike=ALIKE_HEADS)
        with_ = (
            # in the order of ids, so that two batches never wait for each other
            f"WITH held AS MATERIALIZED (SELECT c.* FROM {heads} JOIN {self._names.investigations} AS h ON h.id = c.id "
            "WHERE h.version = c.expected_version AND h.head = c.expected_head ORDER BY h.id FOR NO KEY UPDATE OF h), "
            f"advanced AS (UPDATE {self._names.investigations} AS h SET {_assign(MUTABLE, 'held')} "
            "FROM held WHERE h.id = held.id RETURNING h.id, held.n), "
        )
        if created:
            with_ += f"won AS (SELECT id FROM advanced UNION ALL SELECT unnest({parameters.one('uuid[]')})), "
        else:
            with_ += "won AS (SELECT id FROM advanced), "
        of_winners = " JOIN won ON won.id = r.investigation_id"
        parts = [f"e AS ({self._insert_events(parameters.unnest(EVENT_COLUMNS, 'r') + of_winners)})"]
        for kind, wanted, alike in (("phase", phases, frozenset[int]()), ("tool", tools, ALIKE_TOOLS)):
            if wanted:
                rows = parameters.unnest(COLUMNS[kind], "r", alike=alike) + of_winners
                parts.append(f"{kind} AS ({self._upsert(kind, rows, mutable(kind), where='')})")
        return f"{with_}{', '.join(parts)} SELECT n FROM advanced"

    def _apply_one(self, *, events: int, phases: int, tools: int) -> str:
        """The same for one head that advances, and so many rows: with values for arrays it is half the work."""
        parameters = _Parameters()
        id, version, head = (parameters.one(type) for type in _GUARD.values())
        changes = ", ".join(f'"{name}" = {parameters.one(_HEAD_TYPES[name])}' for name in MUTABLE)
        advance = f"UPDATE {self._names.investigations} SET {changes} WHERE id = {id}"
        parts = [
            f"won AS ({advance} AND version = {version} AND head = {head} RETURNING 1)",
            f"e AS ({self._insert_events(parameters.values(EVENT_COLUMNS, 'r', events) + ', won')})",
        ]
        for kind, count in (("phase", phases), ("tool", tools)):
            if count:
                rows = parameters.values(COLUMNS[kind], "r", count) + ", won"
                parts.append(f"{kind} AS ({self._upsert(kind, rows, mutable(kind), where='')})")
        return f"WITH {', '.join(parts)} SELECT 1 FROM won"

    def _insert_events(self, rows: str) -> str:
        return (
            f"INSERT INTO {self._names.events} ({_quoted(EVENT_COLUMNS)}) "
            f"SELECT {_quoted(EVENT_COLUMNS, 'r.')} FROM {rows}"
        )

    def _upsert(self, kind: str, rows: str, changes: Iterable[str], *, where: str) -> str:
        columns = COLUMNS[kind]
        return (
            f"INSERT INTO {self._names.kind(kind)} AS t ({_quoted(columns)}) SELECT {_quoted(columns, 'r.')} "
            f"FROM {rows} ON CONFLICT (id) DO UPDATE SET {_assign(changes, 'excluded')}{where}"
        )

    def _claim_next(self, which: str) -> str:
        """Leases on the first that are free, one for each of the owners. Whoever is at the row of one takes it, or
        changes it: that one is passed over. Who was quicker by a whole statement has left a lease, which stands."""
        names = self._names
        return (
            f"WITH picked AS MATERIALIZED (SELECT i.id, i.version, i.priority FROM {names.investigations} AS i "
            f"WHERE {which} AND i.investigation_type = ANY($1::text[]) AND ($2::text IS NULL OR i.tenant_id = $2) "
            f"AND NOT EXISTS (SELECT 1 FROM {names.leases} AS l "
            "WHERE l.resource = i.id::text AND l.expires_at > clock_timestamp()) "
            "ORDER BY i.priority DESC, i.id LIMIT cardinality($3::text[]) FOR NO KEY UPDATE OF i SKIP LOCKED), "
            "placed AS (SELECT *, row_number() OVER (ORDER BY priority DESC, id) AS n FROM picked), "
            f"taken AS (INSERT INTO {names.leases} AS l (resource, owner, expires_at) "
            "SELECT id::text, ($3::text[])[n], clock_timestamp() + $4::int8 * interval '1 microsecond' "
            "FROM placed ORDER BY n "
            "ON CONFLICT (resource) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at "
            "WHERE l.expires_at <= clock_timestamp() RETURNING l.resource, l.owner, l.expires_at) "
            "SELECT taken.resource, taken.owner, taken.expires_at, placed.version FROM taken "
            "JOIN placed ON placed.id::text = taken.resource ORDER BY placed.n"
        )

    def _upkeep(self) -> None:
        names = self._names
        parameters = _Parameters()
        rest = HEAD[1:]
        assigned = _assign(rest, "c").replace(
            '"parent_investigation_id" = c."parent_investigation_id"',
            # a parent that was deleted since stays forgotten
            f'"parent_investigation_id" = '
            f"(SELECT p.id FROM {names.investigations} AS p WHERE p.id = c.parent_investigation_id)",
        )
        self.restore_heads: str = (
            f"WITH c AS MATERIALIZED (SELECT * FROM {parameters.unnest(_HEAD_TYPES, 'c')}), "
            f"held AS MATERIALIZED (SELECT h.id FROM {names.investigations} AS h JOIN c ON c.id = h.id "
            "WHERE h.version <= c.version ORDER BY h.id FOR NO KEY UPDATE OF h) "
            f"UPDATE {names.investigations} AS h SET {assigned} FROM held JOIN c ON c.id = held.id WHERE h.id = held.id"
        )
        self.restore: dict[str, str] = {
            kind: self._upsert(
                kind,
                _Parameters().unnest(COLUMNS[kind], "r")
                + f" JOIN {names.investigations} AS i ON i.id = r.investigation_id",
                fields(kind)[1:],
                where=" WHERE excluded.sequence >= t.sequence",
            )
            for kind in ("phase", "tool")
        }
        self.delete: str = (
            f"WITH gone AS (DELETE FROM {names.investigations} WHERE id = $1::uuid AND version = $2 "
            "RETURNING id, version), "
            f"e AS (DELETE FROM {names.events} USING gone WHERE investigation_id = gone.id), "
            f"l AS (DELETE FROM {names.leases} USING gone WHERE resource = gone.id::text), "
            f"t AS (INSERT INTO {names.tombstones} SELECT id, version, clock_timestamp() FROM gone) "
            "SELECT count(*) FROM gone"
        )
        self.tombstone: str = (
            f"SELECT deleted_at, clock_timestamp() FROM {names.tombstones} "
            "WHERE investigation_id = $1::uuid AND version = $2"
        )
        self.advance: dict[str, str] = {
            kind: (
                f"WITH c AS MATERIALIZED (SELECT * FROM {_Parameters().unnest(_PROGRESS, 'c')}), "
                f"held AS MATERIALIZED (SELECT r.id, c.percent FROM {names.kind(kind)} AS r JOIN c ON c.id = r.id "
                "WHERE r.attempt = c.attempt AND r.progress_percentage < c.percent FOR NO KEY UPDATE OF r SKIP LOCKED) "
                f"UPDATE {names.kind(kind)} AS r SET progress_percentage = held.percent FROM held WHERE r.id = held.id"
            )
            for kind in ("investigation", "phase")
        }
        version = f"(SELECT version FROM {names.investigations} AS i WHERE i.id = "
        self.claim: str = (
            f"WITH taken AS (INSERT INTO {names.leases} AS l (resource, owner, expires_at) "
            "VALUES ($1, $2, clock_timestamp() + $3::int8 * interval '1 microsecond') "
            "ON CONFLICT (resource) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at "
            "WHERE l.owner = excluded.owner OR l.expires_at <= clock_timestamp() RETURNING expires_at) "
            f"SELECT expires_at, {version}$4::uuid) FROM taken"
        )
        self.claim_queued: str = self._claim_next("i.claimable_at IS NOT NULL AND i.claimable_at <= clock_timestamp()")
        self.claim_left: str = self._claim_next("i.token IS NOT NULL AND i.status = ANY($5::text[])")
        self.holder: str = f"SELECT owner, expires_at, {version}$2::uuid) FROM {names.leases} WHERE resource = $1"
        held = {"resource": "text", "owner": "text", "id": "uuid"}
        self.renew: str = (
            f"WITH c AS MATERIALIZED (SELECT * FROM {_Parameters().unnest(held, 'c')}), "
            f"held AS MATERIALIZED (SELECT l.resource, c.id FROM {names.leases} AS l "
            "JOIN c ON c.resource = l.resource AND c.owner = l.owner ORDER BY l.resource FOR NO KEY UPDATE OF l), "
            f"renewed AS (UPDATE {names.leases} AS l "
            "SET expires_at = clock_timestamp() + $4::int8 * interval '1 microsecond' FROM held "
            "WHERE l.resource = held.resource RETURNING l.resource, l.owner, l.expires_at, held.id) "
            f"SELECT resource, owner, expires_at, {version}renewed.id) FROM renewed"
        )
        self.release: str = f"DELETE FROM {names.leases} WHERE resource = $1 AND owner = $2"
