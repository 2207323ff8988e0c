"""Pages and figures from PostgreSQL: statements by SQLAlchemy, run on the driver's connection."""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Float, Numeric, Select, Text, Uuid, cast, func
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.url import URL

from investigation_backends.checks import MONEY, columns, nulls_first
from investigation_sdk.domain.rows import ROW_TYPES, Row, SnapshotRow
from investigation_sdk.storage.commit import Aggregate, Measure, Query

from .postgres_driver import Connection
from .queries import Money, figures, members_of, page, shape
from .tables import build


def _plain(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """As a row has it: ids and decimals are text."""
    # to SQLAlchemy 2.0 a Float is a Numeric
    text = isinstance(column.type, Uuid | Numeric) and not isinstance(column.type, Float)
    return cast(column, Text) if text else column


_MONEY: Final[Money] = {
    "sum": lambda column: cast(func.coalesce(func.sum(column), 0), Text),
    "avg": lambda column: cast(func.avg(column), Float),
    "min": lambda column: cast(func.min(column), Text),
    "max": lambda column: cast(func.max(column), Text),
}


_MOST: Final = 500
"""Texts of pages that are kept."""


def _asyncpg() -> Dialect:
    return URL.create("postgresql+asyncpg").get_dialect()()


class Selects:
    """The pages and figures of one store."""

    def __init__(self, schema: str | None, prefix: str) -> None:
        self._tables = build("postgresql", prefix)
        for table in self._tables.metadata.tables.values():
            table.schema = schema
        self._dialect: Dialect = _asyncpg()
        self._made: dict[Hashable, tuple[str, list[str], dict[str, Any]]] = {}

    def page(self, query: Query) -> Select[Any]:
        """The statement of one page.

        Raises:
            ValueError: see :meth:`investigation_sdk.storage.backend.Backend.find`.
        """
        table = self._tables.by_kind.get(query.kind)
        statement = page(query, self._tables)
        return statement if table is None else statement.with_only_columns(*map(_plain, table.columns))

    def figures(self, aggregate: Aggregate) -> Select[Any]:
        """The statement of figures.

        Raises:
            ValueError: see :meth:`investigation_sdk.storage.backend.Backend.aggregate`.
        """
        return figures(aggregate, self._tables, _MONEY)

    async def find(self, connection: Connection, query: Query) -> list[Row | SnapshotRow]:
        """See :meth:`investigation_sdk.storage.backend.Backend.find`."""
        text, values = self.kept_text(query)
        make = ROW_TYPES[query.kind]._make
        return [make(found) for found in await connection.fetch(text, *values)]

    def kept_text(self, asked: Query | Aggregate) -> tuple[str, list[Any]]:
        """The statement of a page, or of figures, as the driver takes it, and its values.

        To make one takes longer than to run it, so the texts are kept, by the shape of what is asked.
        """
        key = shape(asked)
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= _MOST:
                self._made.clear()
            compiled = self._compiled(self.page(asked) if isinstance(asked, Query) else self.figures(asked))
            made = self._made[key] = (compiled.string, list(compiled.positiontup or ()), compiled.params)
        text, names, constants = made  # such as the 0 for a sum of nothing
        values = {**constants, **self._values(asked)}
        return text, [values[name] for name in names]

    def _values(self, asked: Query | Aggregate) -> dict[str, Any]:
        """What the parameters of a statement are, by their names in :mod:`.queries`."""
        columns = self._tables.by_kind[asked.kind].c
        values: dict[str, Any] = {}
        if isinstance(asked, Query):
            values["most"] = asked.limit
            if asked.after is not None:
                values["after"], values["after_id"] = asked.after
        for n, (name, op, value) in enumerate(asked.where):
            if op == "in":
                members = enumerate(members_of(columns[name], value), 1)
                values.update((f"w{n}_{place}", member) for place, member in members)
            else:
                values[f"w{n}"] = value
        return values

    async def aggregate(self, connection: Connection, aggregate: Aggregate) -> list[tuple[Any, ...]]:
        """See :meth:`investigation_sdk.storage.backend.Backend.aggregate`."""
        groups = len(aggregate.group_by)
        text, parameters = self.kept_text(aggregate)
        found: list[tuple[Any, ...]] = []
        for row in await connection.fetch(text, *parameters):
            values = list(row)
            group = (str(value) if isinstance(value, UUID | Decimal) else value for value in values[:groups])
            measured = zip(aggregate.measures, values[groups:], strict=True)
            found.append((*group, *(_figure(aggregate.kind, measure, value) for measure, value in measured)))
        return sorted(found, key=lambda row: nulls_first(row[:groups]))

    def text(self, statement: Select[Any]) -> tuple[str, list[Any]]:
        """A statement as the driver takes it, and its values."""
        compiled = self._compiled(statement)
        parameters = compiled.params
        return compiled.string, [parameters[name] for name in compiled.positiontup or ()]

    def _compiled(self, statement: Select[Any]) -> Any:
        return statement.compile(dialect=self._dialect, compile_kwargs={"render_postcompile": True})


def _figure(kind: str, measure: Measure, value: Any) -> Any:
    """Sums and averages of integers arrive as decimals."""
    if value is None or measure.function == "count" or measure.field == MONEY:
        return value
    return float(value) if measure.function == "avg" else columns(kind)[measure.field].type(value)
