"""Filters, pages and figures over rows in memory."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from investigation_sdk.domain.rows import ROW_TYPES, InvestigationRow, Row, SnapshotRow
from investigation_sdk.storage.commit import Aggregate, Lease, Measure, Query, Wanted, Where

from .checks import EXACT, MONEY, nulls_first

AnyRow = Row | SnapshotRow

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Rows(Protocol):
    """Where rows come from."""

    def rows(self, kind: str) -> Iterable[AnyRow]:
        """All rows of a kind."""
        ...

    def rows_of(self, kind: str, investigation_id: str) -> Iterable[AnyRow]:
        """The rows of a kind that belong to one investigation."""
        ...

    def one(self, kind: str, id: str) -> AnyRow | None:
        """A row by id."""
        ...


def candidates(store: Rows, kind: str, where: Sequence[Where]) -> list[AnyRow]:
    """The rows that match, looked up by id or by investigation where a condition allows it."""
    rows: Iterable[AnyRow] | None = None
    for name, op, value in where:
        if op == "=" and name == "id":
            found = store.one(kind, value)
            rows = [] if found is None else [found]
            break
        if op == "=" and name == "investigation_id" and value is not None:
            rows = store.rows_of(kind, value)
    if rows is None:
        rows = store.rows(kind)
    for condition in where:
        rows = filter(_test(kind, condition), rows)
    return list(rows)


def _test(kind: str, condition: Where) -> Callable[[AnyRow], bool]:
    name, op, value = condition
    column = ROW_TYPES[kind]._fields.index(name)
    if op == "in":
        members = frozenset(member for member in value if member is not None)
        return lambda row: row[column] in members
    if value is None:
        return lambda _: False
    compare = _COMPARE[op]
    return lambda row: row[column] is not None and compare(row[column], value)


def page(query: Query, rows: list[AnyRow]) -> list[AnyRow]:
    """One page, in order."""
    column = ROW_TYPES[query.kind]._fields.index(query.sort)

    def place(row: AnyRow) -> tuple[Any, str]:
        return row[column], row[0]

    if query.after is not None:
        after = query.after
        compare = operator.lt if query.descending else operator.gt
        rows = [row for row in rows if compare(place(row), after)]
    rows.sort(key=place, reverse=query.descending)
    return rows[: query.limit]


def figures(aggregate: Aggregate, rows: Iterable[AnyRow]) -> list[tuple[Any, ...]]:
    """One row for each group, in order."""
    fields = ROW_TYPES[aggregate.kind]._fields
    by = [fields.index(name) for name in aggregate.group_by]
    groups: dict[tuple[Any, ...], list[AnyRow]] = {} if by else {(): []}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in by), []).append(row)
    ordered = sorted(groups, key=nulls_first)
    return [
        group + tuple(_figure(m, fields.index(m.field), groups[group]) for m in aggregate.measures) for group in ordered
    ]


def _figure(measure: Measure, column: int, rows: Sequence[AnyRow]) -> Any:
    if measure.function == "count":
        return len(rows)
    values: list[Any] = [row[column] for row in rows if row[column] is not None]
    if measure.field == MONEY:
        return _money(measure.function, [Decimal(value) for value in values])
    if measure.function == "sum":
        return sum(values)
    if not values:
        return None
    if measure.function == "avg":
        return sum(values) / len(values)
    return min(values) if measure.function == "min" else max(values)


def _money(function: str, values: list[Decimal]) -> Any:
    if not values:
        return "0" if function == "sum" else None
    if function in ("min", "max"):
        return format(min(values) if function == "min" else max(values), "f")
    total = Decimal(0)
    for value in values:
        total = EXACT.add(total, value)
    return format(total, "f") if function == "sum" else float(total / len(values))


def queue(
    rows: Iterable[InvestigationRow], leases: Mapping[str, Lease], wanted: Wanted, now: int
) -> list[InvestigationRow]:
    """The investigations that are wanted and free at the time `now` (µs), in the order in which they are taken up."""
    found = [row for row in rows if _is_wanted(row, wanted, now)]
    free = [row for row in found if (held := leases.get(row.id)) is None or held.expires_at <= now]
    return sorted(free, key=lambda row: (-row.priority, row.id))


def _is_wanted(row: InvestigationRow, wanted: Wanted, now: int) -> bool:
    if row.investigation_type not in wanted.types or wanted.tenant_id not in (None, row.tenant_id):
        return False
    if wanted.left_in:
        return row.token is not None and row.status in wanted.left_in
    return row.claimable_at is not None and row.claimable_at <= now
