"""The statements of pages and figures are kept by the shape of the query: what is kept must be what would be made."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from investigation_backends.checks import check_query, columns
from investigation_backends.sql import postgres_selects
from investigation_backends.sql.postgres_selects import Selects
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.commit import Aggregate, Kind, Measure, Query, Where

IDS = [uuid7() for _ in range(3)]
TEXTS = st.sampled_from([*IDS, "completed", "failed", "", "no id", IDS[0].upper()])
KINDS: list[Kind] = ["investigation", "phase", "tool", "snapshot"]


def values(kind: str, name: str) -> st.SearchStrategy[Any]:
    column = columns(kind)[name]
    return TEXTS if column.type is str else st.integers(0, 3).map(column.type)


@st.composite
def queries(draw: st.DrawFn, kind: Kind) -> Query:
    where: list[Where] = []
    for name in draw(st.lists(st.sampled_from(sorted(columns(kind))), max_size=4)):
        op: Any = draw(st.sampled_from(["=", "<", ">=", "in"]))
        one = st.none() | values(kind, name)
        where.append(Where(name, op, draw(st.lists(one, max_size=3) if op == "in" else one)))
    sort = draw(st.sampled_from([name for name, column in sorted(columns(kind).items()) if not column.nullable]))
    after = draw(st.none() | st.tuples(values(kind, sort), TEXTS))
    query = Query(kind, tuple(where), sort, draw(st.booleans()), after, draw(st.integers(1, 1000)))
    check_query(query)
    return query


SELECTS = Selects(None, "")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_kept_statement_is_the_one_that_would_be_made(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    for query in data.draw(st.lists(queries(kind), min_size=2, max_size=4)):
        assert SELECTS.kept_text(query) == SELECTS.text(SELECTS.page(query))
        if kind in ("investigation", "tool"):
            measured = Measure("sum", "tokens_used")
            figures = Aggregate(kind, query.where, ("status",), (Measure("count"), measured))
            assert SELECTS.kept_text(figures) == SELECTS.text(SELECTS.figures(figures))


def test_constants_of_figures_are_kept_with_them() -> None:
    for id in IDS:
        figures = Aggregate("tool", (Where("investigation_id", "=", id),), (), (Measure("sum", "duration_ms"),))
        text, values = SELECTS.kept_text(figures)
        assert (text, values) == SELECTS.text(SELECTS.figures(figures))
        assert values == [0, id]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Where("status", "=", "completed"), Where("status", "=", "failed")),
        (Where("status", "in", ["failed"]), Where("status", "in", ["completed"])),
        (Where("status", "in", ["failed"]), Where("status", "in", ["failed", "running"])),
        (Where("phase_id", "=", IDS[0]), Where("phase_id", "=", "no id")),
        (Where("phase_id", "=", IDS[0]), Where("phase_id", "=", None)),
        (Where("phase_id", "in", IDS), Where("phase_id", "in", [*IDS[1:], "no id"])),
        (Where("id", "<", IDS[0]), Where("id", "<", "0")),
    ],
)
def test_shapes_that_differ(one: Where, other: Where) -> None:
    selects = Selects(None, "")
    for where in (one, other, one):
        query = Query("tool", (where,))
        assert selects.kept_text(query) == selects.text(selects.page(query))


def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_selects, "_MOST", 3)
    selects = Selects(None, "")
    for count in range(1, 9):
        selects.kept_text(Query("tool", (Where("tool_name", "in", ["x"] * count),)))
        assert len(selects._made) <= 3
