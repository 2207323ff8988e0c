"""Pages and figures from a SQLite file, by SQLAlchemy. Runs on the reader thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, create_engine, func
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from investigation_backends.checks import EXACT, nulls_first
from investigation_sdk.domain.rows import ROW_TYPES, Row, SnapshotRow
from investigation_sdk.storage.commit import Aggregate, Query

from .queries import Money, figures, page
from .sqlite_link import Link
from .tables import build

T = TypeVar("T")

_TABLES: Final = build("sqlite")


class _Sum:
    """An aggregate function of SQL: exact over decimals that are stored as text."""

    def __init__(self) -> None:
        self._total = Decimal(0)

    def step(self, value: str | None) -> None:
        if value is not None:
            self._total = EXACT.add(self._total, Decimal(value))

    def finalize(self) -> str:
        return format(self._total, "f")


class _Average:
    def __init__(self) -> None:
        self._total = Decimal(0)
        self._count = 0

    def step(self, value: str | None) -> None:
        if value is not None:
            self._total = EXACT.add(self._total, Decimal(value))
            self._count += 1

    def finalize(self) -> float | None:
        return float(self._total / self._count) if self._count else None


class _Extreme:
    better: Callable[[Decimal, Decimal], Decimal]

    def __init__(self) -> None:
        self._found: Decimal | None = None

    def step(self, value: str | None) -> None:
        if value is not None:
            other = Decimal(value)
            self._found = other if self._found is None else self.better(self._found, other)

    def finalize(self) -> str | None:
        return None if self._found is None else format(self._found, "f")


class _Least(_Extreme):
    better = staticmethod(min)


class _Greatest(_Extreme):
    better = staticmethod(max)


_AGGREGATES: Final[dict[str, Any]] = {"sum": _Sum, "avg": _Average, "min": _Least, "max": _Greatest}


def _total(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(func.decimal_sum(column), "0")  # over no rows the function is not even made


_MONEY: Final[Money] = {"sum": _total, "avg": func.decimal_avg, "min": func.decimal_min, "max": func.decimal_max}


class Selects:
    """Runs selects, one after another, on a connection that is kept for them."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._engine = create_engine("sqlite://", creator=self._connect, poolclass=NullPool)
        self._connection: Connection | None = None
        link.close_reading = self._close

    def _connect(self) -> sqlite3.Connection:
        connection = self._link.connect(timeout=self._link.patience)
        connection.execute("PRAGMA query_only=ON")
        for name, function in _AGGREGATES.items():
            connection.create_aggregate(f"decimal_{name}", 1, function)
        return connection

    def close(self) -> None:
        """Close the connection; the next call makes it again."""
        with self._link.reading:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def find(self, query: Query) -> list[Row | SnapshotRow]:
        """See :meth:`investigation_sdk.storage.backend.Backend.find`."""
        statement = page(query, _TABLES)
        make = ROW_TYPES[query.kind]._make
        return [make(found) for found in self._rows(statement)]

    def aggregate(self, aggregate: Aggregate) -> list[tuple[Any, ...]]:
        """See :meth:`investigation_sdk.storage.backend.Backend.aggregate`."""
        groups = len(aggregate.group_by)
        found: list[tuple[Any, ...]] = [tuple(row) for row in self._rows(figures(aggregate, _TABLES, _MONEY))]
        return sorted(found, key=lambda row: nulls_first(row[:groups]))

    def _rows(self, statement: Any) -> Sequence[Any]:
        with self._link.reading:
            self._link.check_usable()
            try:
                if self._connection is None:
                    self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                return self._connection.execute(statement).all()
            except DBAPIError as error:
                self._close()
                raise error.orig or error from error
