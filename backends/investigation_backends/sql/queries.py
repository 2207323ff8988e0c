"""Select statements, shared by the SQL stores. Names come from the tables, values are always bound."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Integer, Select, Text, Uuid, bindparam, false, func, or_, select, text
from sqlalchemy import cast as cast_

from investigation_backends.checks import MONEY, check_aggregate, check_query
from investigation_sdk.storage.commit import Aggregate, Measure, Query, Where

from .names import uuid_or_none
from .tables import NOT_COMPLETED, Tables

_COMPARE: Final[Mapping[str, Callable[[Any, Any], ColumnElement[bool]]]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Money = Mapping[str, Callable[[ColumnElement[Any]], ColumnElement[Any]]]
"""How a store computes with exact decimals: a function of SQL for sum, min, max and avg."""


def page(query: Query, tables: Tables) -> Select[Any]:
    """The statement of one page.

    Raises:
        ValueError: see :func:`investigation_backends.checks.check_query`.
    """
    check_query(query)
    table = tables.by_kind[query.kind]
    sort, id = table.c[query.sort], table.c.id
    statement = select(table).where(*conditions(query.kind, query.where, tables))
    statement = statement.limit(bindparam("most", query.limit, Integer()))
    if query.after is not None:
        value, last = query.after
        beyond = "<" if query.descending else ">"
        if sort is id:
            statement = statement.where(compare(id, beyond, last, "after_id"))
        else:
            # the first condition is implied; with it an index on the sort column gives a range
            further = or_(compare(sort, beyond, value, "after"), compare(id, beyond, last, "after_id"))
            statement = statement.where(compare(sort, f"{beyond}=", value, "after"), further)
    order = [sort] if sort is id else [sort, id]
    return statement.order_by(*(column.desc() if query.descending else column.asc() for column in order))


def shape(asked: Query | Aggregate) -> Hashable:
    """What of a checked query its statement depends on: two of the same shape differ in their values alone."""
    forms = [(name, op, _form(op, value)) for name, op, value in asked.where]
    if isinstance(asked, Aggregate):
        return asked.kind, tuple(asked.group_by), tuple(asked.measures), *forms
    after = None if asked.after is None else tuple(_form("=", value) for value in asked.after)
    return asked.kind, asked.sort, asked.descending, after, *forms


def _form(op: str, value: Any) -> Hashable:
    if op == "in":
        members = [member for member in value if member is not None]
        ids = sum(uuid_or_none(member) is not None for member in members if isinstance(member, str))
        return len(members), ids, "completed" in members
    return value is None, value == "completed", isinstance(value, str) and uuid_or_none(value) is not None


def figures(aggregate: Aggregate, tables: Tables, money: Money) -> Select[Any]:
    """The statement of an aggregate. Groups come in any order.

    Raises:
        ValueError: see :func:`investigation_backends.checks.check_aggregate`.
    """
    check_aggregate(aggregate)
    table = tables.by_kind[aggregate.kind]
    groups = [table.c[name] for name in aggregate.group_by]
    measures = [_measure(table.c[measure.field], measure, money) for measure in aggregate.measures]
    # labels: two measures may be the same
    columns = [column.label(f"c{n}") for n, column in enumerate([*groups, *measures])]
    wheres = conditions(aggregate.kind, aggregate.where, tables)
    return select(*columns).select_from(table).where(*wheres).group_by(*groups)


def _measure(column: ColumnElement[Any], measure: Measure, money: Money) -> ColumnElement[Any]:
    if measure.function == "count":
        return func.count()
    if measure.field == MONEY:
        return money[measure.function](column)
    if measure.function == "sum":
        return func.coalesce(func.sum(column), 0)
    function: Callable[[Any], ColumnElement[Any]] = getattr(func, measure.function)
    return function(column)


def conditions(kind: str, where: Sequence[Where], tables: Tables) -> list[ColumnElement[bool]]:
    """Conditions of SQL for checked ones, with those that follow from them and let an index be used."""
    table = tables.by_kind[kind]
    found: list[ColumnElement[bool]] = [
        _condition(table.c[name], op, value, f"w{n}") for n, (name, op, value) in enumerate(where)
    ]
    if kind == "tool":
        for n, (name, op, value) in enumerate(where):
            if name == "status" and _excludes_completed(op, value):
                found.append(cast("ColumnElement[bool]", text(NOT_COMPLETED)))
            elif name == "phase_id" and op == "=" and value is not None:
                phases = tables.by_kind["phase"]
                is_it = compare(phases.c.id, "=", value, f"w{n}")
                of = select(phases.c.investigation_id).where(is_it).scalar_subquery()
                found.append(table.c.investigation_id == of)
    return found


def _excludes_completed(op: str, value: Any) -> bool:
    if op == "in":
        return "completed" not in value
    return op == "=" and value is not None and value != "completed"


def _condition(column: ColumnElement[Any], op: str, value: Any, bind: str) -> ColumnElement[bool]:
    if op == "in":
        return column.in_(bindparam(bind, members_of(column, value), column.type, expanding=True))
    return false() if value is None else compare(column, op, value, bind)


def members_of(column: ColumnElement[Any], values: Iterable[Any]) -> list[Any]:
    """Those of an ``in`` that can be in the column."""
    members = [member for member in values if member is not None]
    if isinstance(column.type, Uuid):
        members = [member for member in members if uuid_or_none(member)]
    return members


def compare(column: ColumnElement[Any], op: str, value: Any, bind: str) -> ColumnElement[bool]:
    """A comparison with the value of a parameter. Where a store has a type for ids, what is no id is compared with
    their text."""
    if isinstance(column.type, Uuid) and uuid_or_none(value) is None:
        if op == "=":
            return false()
        return _COMPARE[op](cast_(column, Text).collate("C"), bindparam(bind, value, Text()))
    # of the column's type, not of what Python says of the value: a time is a number here
    return _COMPARE[op](column, bindparam(bind, value, column.type))
