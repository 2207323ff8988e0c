"""Pages and figures. Names of fields are ours, values stand behind an operator: nothing of a user's is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from bson.decimal128 import Decimal128

from investigation_backends.checks import EXACT, MONEY, columns, nulls_first
from investigation_sdk.domain.rows import Row, SnapshotRow
from investigation_sdk.storage.commit import Aggregate, Measure, Query, Where

from .documents import storable
from .link import Link
from .names import Document, column, row_of

_OPERATORS: Final = {"=": "$eq", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_NOTHING: Final[Document] = {"_id": {"$in": []}}


async def find(link: Link, query: Query) -> list[Row | SnapshotRow]:
    """See :meth:`investigation_sdk.storage.backend.Backend.find`."""
    direction = -1 if query.descending else 1
    sort = [(column(query.sort), direction)]
    if query.sort != "id":
        sort.append(("_id", direction))
    conditions = [_condition(one) for one in query.where]
    if query.after is not None:
        conditions.append(_behind(query))
    found = await link.rows(query.kind).find(_all(conditions), sort=sort, limit=query.limit)
    return [row_of(query.kind, one) for one in found]


def _all(conditions: Sequence[Document]) -> Document:
    if len(conditions) < 2:
        return conditions[0] if conditions else {}
    names = [name for one in conditions for name in one]
    if len(set(names)) == len(names):
        return {name: test for one in conditions for name, test in one.items()}
    return {"$and": list(conditions)}


def _condition(where: Where) -> Document:
    name, op, value = where
    if op == "in":
        members = [one for one in value if one is not None and _storable(one)]
        return {column(name): {"$in": members}}
    if value is None or not _storable(value):
        return _NOTHING
    return {column(name): {_OPERATORS[op]: value}}


def _storable(value: Any) -> bool:
    return not isinstance(value, str) or storable(value)


def _behind(query: Query) -> Document:
    """What comes behind the last row of the page before."""
    assert query.after is not None
    value, id = query.after
    compare = "$lt" if query.descending else "$gt"
    if query.sort == "id":
        return {"_id": {compare: id}}
    name = column(query.sort)
    return {"$or": [{name: {compare: value}}, {name: {"$eq": value}, "_id": {compare: id}}]}


# ---------------------------------------------------------------- figures


async def aggregate(link: Link, wanted: Aggregate) -> list[tuple[Any, ...]]:
    """See :meth:`investigation_sdk.storage.backend.Backend.aggregate`.

    The server groups, also by each amount of money that is asked for: 34 digits are all that its decimals have,
    so those are added here. One pipeline, so that all figures are of the same rows.
    """
    by = {f"g{n}": f"${column(name)}" for n, name in enumerate(wanted.group_by)}
    has_money = any(measure.field == MONEY and measure.function != "count" for measure in wanted.measures)
    if has_money:
        by["money"] = f"${MONEY}"
    grouping: Document = {"_id": by or None, "rows": {"$sum": 1}}
    for n, measure in enumerate(wanted.measures):
        if measure.function != "count" and measure.field != MONEY:
            grouping |= _partial(n, measure, columns(wanted.kind)[measure.field].type)
    conditions = [_condition(one) for one in wanted.where]
    match: list[Document] = [{"$match": _all(conditions)}] if conditions else []
    found = await link.rows(wanted.kind).aggregate([*match, {"$group": grouping}])
    groups: dict[tuple[Any, ...], list[Document]] = {} if wanted.group_by else {(): []}
    for one in found:
        id: Document = one["_id"] or {}
        groups.setdefault(tuple(id.get(f"g{n}") for n in range(len(wanted.group_by))), []).append(one)
    return [
        group + tuple(_figure(n, measure, groups[group]) for n, measure in enumerate(wanted.measures))
        for group in sorted(groups, key=nulls_first)
    ]


def _partial(n: int, measure: Measure, of: type) -> Document:
    field = f"${column(measure.field)}"
    if measure.function in ("min", "max"):
        return {f"m{n}": {f"${measure.function}": field}}
    # 64 bits may not be enough for a sum of them
    exact = field if of is float else {"$toDecimal": field}
    counted = {"$sum": {"$cond": [{"$eq": [{"$ifNull": [field, None]}, None]}, 0, 1]}}
    return {f"m{n}": {"$sum": exact}, f"c{n}": counted}


def _figure(n: int, measure: Measure, parts: Sequence[Document]) -> Any:
    if measure.function == "count":
        return sum(part["rows"] for part in parts)
    if measure.field == MONEY:
        return _money(measure.function, parts)
    values: list[Any] = [_number(part[f"m{n}"]) for part in parts if part[f"m{n}"] is not None]
    if measure.function in ("min", "max"):
        return None if not values else min(values) if measure.function == "min" else max(values)
    total = sum(values)
    if measure.function == "sum":
        return total
    count = sum(part[f"c{n}"] for part in parts)
    return total / count if count else None


def _number(value: Any) -> Any:
    if not isinstance(value, Decimal128):
        return value
    return int(value.to_decimal())


def _money(function: str, parts: Iterable[Mapping[str, Any]]) -> Any:
    amounts = [(Decimal(part["_id"]["money"]), part["rows"]) for part in parts if part["_id"].get("money")]
    if not amounts:
        return "0" if function == "sum" else None
    if function in ("min", "max"):
        values = [amount for amount, _ in amounts]
        return format(min(values) if function == "min" else max(values), "f")
    total, count = Decimal(0), 0
    for amount, times in amounts:
        total = EXACT.add(total, EXACT.multiply(amount, Decimal(times)))
        count += times
    return format(total, "f") if function == "sum" else float(EXACT.divide(total, Decimal(count)))
