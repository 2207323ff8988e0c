"""What every backend refuses in the same way: batches, queries and aggregates that are programming errors.

Names of columns reach a statement only after they were found here, in the row types.
"""

from __future__ import annotations

import functools
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from decimal import Context
from typing import Any, Final, NamedTuple, cast

from investigation_sdk.domain.rows import ROW_TYPES, InvestigationRow
from investigation_sdk.errors import BackendUnavailable, ConfigurationError, InvalidArgument
from investigation_sdk.ids import time_of
from investigation_sdk.storage.commit import (
    MAX_ROWS,
    Aggregate,
    Commit,
    CommitResult,
    CommitStatus,
    Measure,
    Query,
    Where,
)

OPERATORS: Final = frozenset({"=", "in", "<", "<=", ">", ">="})
FUNCTIONS: Final = frozenset({"count", "sum", "min", "max", "avg"})
MONEY: Final = "cost_estimate"
"""The columns of this name are decimals, as text."""
EXACT: Final = Context(prec=1000)
"""For sums of money, which must not round; the default context does after 28 digits."""
_DAY: Final = 86_400_000_000


_LONGEST: Final = 2_000_000
"""Seconds that servers and drivers can still count, in 32 bits of ms."""


def milliseconds(**seconds: float) -> list[int]:
    """Limits of time as servers and drivers want them, each at least 1: to them, 0 is no limit.

    Raises:
        ConfigurationError: one of them is no time.
    """
    for name, value in seconds.items():
        if not 0 < value <= _LONGEST:
            raise ConfigurationError(f"{name}={value}: that is seconds, greater than 0 and at most {_LONGEST:,}")
    return [math.ceil(value * 1000) for value in seconds.values()]


_UNSTORABLE: Final = re.compile(r"[\0\ud800-\udfff]")  # raw, as mypyc takes no surrogates in literals


def check_names(*names: str) -> None:
    """Refuse names of leases that not every store can keep.

    Raises:
        InvalidArgument: one has a NUL, or half of a surrogate pair.
    """
    for name in names:
        if _UNSTORABLE.search(name):
            raise InvalidArgument(
                f"{name[:100]!a} names what is held, or who holds it, and has a NUL or half of a surrogate pair, which "
                "not every store can keep; leave it out"
            )


class Column(NamedTuple):
    """What a row type says about one of its fields."""

    type: type
    nullable: bool


@functools.cache
def columns(kind: str) -> Mapping[str, Column]:
    """The columns of a kind by name, in order.

    Raises:
        ValueError: there is no such kind.
    """
    row_type = ROW_TYPES.get(kind)
    if row_type is None:
        raise ValueError(f"there are no rows of kind {kind!r}; there are: {', '.join(ROW_TYPES)}")
    found: dict[str, Column] = {}
    for name, hint in typing.get_type_hints(row_type).items():
        members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        found[name] = Column(members[0], types.NoneType in members)
    return types.MappingProxyType(found)


def check_batch(commits: Sequence[Commit]) -> None:
    """Refuse what no caller may send.

    Raises:
        ValueError: two commits of one investigation; a commit without events, with other sequences than
            ``expected_version + 1, …``, or whose investigation's row does not state its last event.
    """
    if len(commits) > 1 and len({commit.investigation_id for commit in commits}) != len(commits):
        raise ValueError("a batch has two commits of one investigation; merge them, or send one after the other")
    for commit in commits:
        events, rows = commit.events, commit.rows
        if not events:
            raise _no_commit(commit, "has no events")
        sequence = commit.expected_version
        for event in events:
            sequence += 1
            if event.sequence != sequence:
                raise _no_commit(commit, f"has event {event.sequence} where {sequence} is expected")
        row = rows[0] if rows else None
        if not isinstance(row, InvestigationRow):
            raise _no_commit(commit, "does not begin its rows with the investigation's")
        if row.version != sequence or row.head != events[-1].hash:
            raise _no_commit(commit, f"has a row whose version and head are not those of its last event, {sequence}")


def _no_commit(commit: Commit, why: str) -> ValueError:
    return ValueError(f"commit {commit.id} of investigation {commit.investigation_id} {why}")


def refuse_id(id: str, now_us: int) -> CommitResult | None:
    """The answer to the creation of an id whose time is not the store's; None where it is.

    Ids stand for times of creation in queries, and in the order of their index.
    """
    try:
        apart = time_of(id) * 1000 - now_us
    except ValueError:
        return CommitResult(CommitStatus.DATA, None, f"the id {id!r} is no UUIDv7")
    if abs(apart) <= _DAY:
        return None
    return CommitResult(
        CommitStatus.DATA,
        None,
        f"the id {id} was made {abs(apart) / _DAY:,.1f} days {'after' if apart > 0 else 'before'} the time of the "
        "store's clock, and one day is allowed; set the clock of this machine, or that of the store",
    )


def check_query(query: Query) -> None:
    """Refuse unknown names, operators and types.

    Raises:
        ValueError: as said; also a limit outside 1 to 1001, and sorting by a column that may be NULL
            without a condition on it.
    """
    check_where(query.kind, query.where)
    sort = _column(query.kind, query.sort)
    if sort.nullable and not any(condition.field == query.sort for condition in query.where):
        raise ValueError(f"{query.sort!r} may be NULL: rows can be sorted by it only with a condition on it")
    if not 1 <= query.limit <= MAX_ROWS:
        raise ValueError(f"limit is {query.limit}; it must be from 1 to {MAX_ROWS}")
    if query.after is not None:
        _check_value(query.sort, sort, query.after[0])
        _check_value("id", Column(str, False), query.after[1])


def check_aggregate(aggregate: Aggregate) -> None:
    """Refuse unknown names, functions and columns that are not numbers.

    Raises:
        ValueError: as said.
    """
    check_where(aggregate.kind, aggregate.where)
    for name in aggregate.group_by:
        _column(aggregate.kind, name)
    for measure in aggregate.measures:
        _check_measure(aggregate.kind, measure)


def check_where(kind: str, where: Sequence[Where]) -> None:
    """Refuse conditions with unknown names, operators and types.

    Raises:
        ValueError: as said.
    """
    for name, operator, value in where:
        column = _column(kind, name)
        if operator not in OPERATORS:
            raise ValueError(f"{operator!r} is not an operator; there are: {', '.join(sorted(OPERATORS))}")
        if operator != "in":
            _check_value(name, column, value)
        elif isinstance(value, str | bytes) or not isinstance(value, Sequence | set | frozenset):
            raise ValueError(f"'in' on {name!r} takes a sequence, not {type(value).__name__}")
        else:
            for member in cast("Sequence[Any]", value):
                _check_value(name, column, member)


def nulls_first(values: Sequence[Any]) -> list[tuple[bool, Any]]:
    """A key that sorts rows of values, text by code point, with None before everything."""
    return [(value is not None, 0 if value is None else value) for value in values]


def _column(kind: str, name: str) -> Column:
    found = columns(kind).get(name)
    if found is None:
        raise ValueError(f"{name!r} is not a column of {kind!r}; there are: {', '.join(columns(kind))}")
    return found


def _check_measure(kind: str, measure: Measure) -> None:
    if measure.function not in FUNCTIONS:
        raise ValueError(f"{measure.function!r} is not a function; there are: {', '.join(sorted(FUNCTIONS))}")
    column = _column(kind, measure.field)
    if measure.function != "count" and column.type not in (int, float) and measure.field != MONEY:
        raise ValueError(f"{measure.function!r} takes a numeric column, and {measure.field!r} is none")


def _check_value(name: str, column: Column, value: Any) -> None:
    # stores differ in what they make of a comparison across types: an error in one, '5' = 5 in another
    wanted = (int, float) if column.type is float else column.type
    if value is not None and not isinstance(value, wanted):
        raise ValueError(f"{name!r} is compared with {column.type.__name__}, not {type(value).__name__}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{name!r} is compared with a number beyond 64 bits")


def read_only_refusal(place: str) -> BackendUnavailable:
    """What is to be raised where something is to be written to a store that was opened to be read alone."""
    return BackendUnavailable(f"{place} was opened with read_only, and this writes; drop the option")
