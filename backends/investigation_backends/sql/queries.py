"""Select statements, shared by the SQL stores. Names come from the tables, values are always bound."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Select, false, func, or_, select, text

from investigation_backends.checks import MONEY, check_aggregate, check_query
from investigation_sdk.storage.commit import Aggregate, Measure, Query, Where

from .tables import BY_KIND, NOT_COMPLETED, phases

_COMPARE: Final[Mapping[str, Callable[[Any, Any], ColumnElement[bool]]]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Money = Mapping[str, Callable[[ColumnElement[Any]], ColumnElement[Any]]]
"""How a store computes with exact decimals: a function of SQL for sum, min, max and avg."""


def page(query: Query) -> Select[Any]:
    """The statement of one page.

    Raises:
        ValueError: see :func:`investigation_backends.checks.check_query`.
    """
    check_query(query)
    table = BY_KIND[query.kind]
    sort, id = table.c[query.sort], table.c.id
    statement = select(table).where(*conditions(query.kind, query.where)).limit(query.limit)
    if query.after is not None:
        value, last = query.after
        beyond = operator.lt if query.descending else operator.gt
        if sort is id:
            statement = statement.where(beyond(id, last))
        else:
            # the first condition is implied; with it an index on the sort column gives a range
            within = operator.le if query.descending else operator.ge
            statement = statement.where(within(sort, value), or_(beyond(sort, value), beyond(id, last)))
    order = [sort] if sort is id else [sort, id]
    return statement.order_by(*(column.desc() if query.descending else column.asc() for column in order))


def figures(aggregate: Aggregate, money: Money) -> Select[Any]:
    """The statement of an aggregate. Groups come in any order.

    Raises:
        ValueError: see :func:`investigation_backends.checks.check_aggregate`.
    """
    check_aggregate(aggregate)
    table = BY_KIND[aggregate.kind]
    groups = [table.c[name] for name in aggregate.group_by]
    measures = [_measure(table.c[measure.field], measure, money) for measure in aggregate.measures]
    # labels: two measures may be the same
    columns = [column.label(f"c{n}") for n, column in enumerate([*groups, *measures])]
    return select(*columns).select_from(table).where(*conditions(aggregate.kind, aggregate.where)).group_by(*groups)


def _measure(column: ColumnElement[Any], measure: Measure, money: Money) -> ColumnElement[Any]:
    if measure.function == "count":
        return func.count()
    if measure.field == MONEY:
        return money[measure.function](column)
    if measure.function == "sum":
        return func.coalesce(func.sum(column), 0)
    function: Callable[[Any], ColumnElement[Any]] = getattr(func, measure.function)
    return function(column)


def conditions(kind: str, where: Sequence[Where]) -> list[ColumnElement[bool]]:
    """Conditions of SQL for checked ones, with those that follow from them and let an index be used."""
    table = BY_KIND[kind]
    found: list[ColumnElement[bool]] = [_condition(table.c[name], op, value) for name, op, value in where]
    if kind == "tool":
        for name, op, value in where:
            if name == "status" and _excludes_completed(op, value):
                found.append(cast("ColumnElement[bool]", text(NOT_COMPLETED)))
            elif name == "phase_id" and op == "=" and value is not None:
                of = select(phases.c.investigation_id).where(phases.c.id == value).scalar_subquery()
                found.append(table.c.investigation_id == of)
    return found


def _excludes_completed(op: str, value: Any) -> bool:
    if op == "in":
        return "completed" not in value
    return op == "=" and value is not None and value != "completed"


def _condition(column: ColumnElement[Any], op: str, value: Any) -> ColumnElement[bool]:
    if op == "in":
        return column.in_([member for member in value if member is not None])
    return false() if value is None else _COMPARE[op](column, value)
