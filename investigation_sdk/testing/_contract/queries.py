"""Pages of rows, and figures over them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any
from unittest import SkipTest

from investigation_sdk.domain.rows import Row, SnapshotRow, ToolRow
from investigation_sdk.storage.backend import Backend, OverviewBackend
from investigation_sdk.storage.commit import Aggregate, Kind, Measure, Operator, Query, Where

from .building import TIME, Case, all_same, same
from .opening import ContractBase, OpenStore, refused

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, members: value in members,
}
_ORDERED: tuple[Operator, ...] = ("=", "<", "<=", ">", ">=")
_NAMES = ("Zeta", "alpha", "a\uffff", "a\U0001f575", "\u00e9", "", "it's %", "alpha")
_BAD_NAMES = ("nothing", "id; DROP TABLE investigations", "id) OR (1=1", '"id"', "ID", "__class__", "_fields", "$where")


def _matches(row: Row | SnapshotRow, where: Sequence[Where]) -> bool:
    for name, op, wanted in where:
        value = getattr(row, name)
        if value is None or wanted is None or not _COMPARE[op](value, wanted):
            return False
    return True


async def _filled(backend: Backend) -> tuple[list[Case], list[ToolRow]]:
    """Eight investigations with five calls each, with ties, gaps and texts that collations disagree about."""
    cases: list[Case] = []
    tools: list[ToolRow] = []
    for n, name in enumerate(_NAMES):
        case = Case(
            subject=name,
            user_id=name if n % 3 else None,
            tenant_id="ab"[n % 2],
            tokens_used=n // 2,
            status="abcd"[n % 4],
        )
        mine = [
            case.tool(
                tool_name=_NAMES[(n + k) % 8],
                started_at=100 + (n * k) % 7,
                duration_ms=(n + k) % 4 if k else None,
                tokens_used=k if n % 2 else None,
                status=("completed", "failed", "running", "unknown", "interrupted")[k],
                cost_estimate=None if k == 3 else f"0.{n}{k}",
            )
            for k in range(5)
        ]
        await case.apply(backend, case.commit(rows=mine, snapshot=case.snapshot(1)))
        cases.append(case)
        tools += mine
    return cases, tools


class FindTests(ContractBase):
    """``find``: conditions, order, pages."""

    async def test_every_operator(self, store: OpenStore) -> None:
        cases, tools = await _filled(store.a)
        rows: dict[Kind, list[Any]] = {"investigation": [case.row for case in cases], "tool": tools}
        questions: list[tuple[Kind, tuple[Where, ...]]] = [("tool", ()), ("investigation", ())]
        for op in _ORDERED:
            for name, value in (
                ("started_at", 103),
                ("duration_ms", 2),
                ("tool_name", "alpha"),
                ("tool_name", "a\uffff"),
            ):
                questions.append(("tool", (Where(name, op, value),)))
            questions.append(("investigation", (Where("user_id", op, "alpha"), Where("tokens_used", ">", 0))))
        more: list[tuple[Kind, tuple[Where, ...]]] = [
            ("tool", (Where("id", "=", tools[7].id),)),
            ("tool", (Where("id", "in", [tools[3].id, tools[9].id, Case().id]),)),
            ("tool", (Where("investigation_id", "=", cases[2].id), Where("status", "=", "failed"))),
            ("tool", (Where("status", "in", ["failed", "running"]),)),
            ("tool", (Where("status", "in", ["completed", "running"]),)),
            ("tool", (Where("status", "=", "completed"), Where("tokens_used", "in", (0, 2)))),
            ("tool", (Where("started_at", ">", 101), Where("started_at", "<=", 104), Where("tool_name", "in", _NAMES))),
            ("tool", (Where("status", "=", "nothing"),)),
            ("tool", (Where("id", "=", ""),)),
        ]
        for kind, where in questions + more:
            wanted = sorted((row for row in rows[kind] if _matches(row, where)), key=lambda row: row.id)
            assert all_same(await store.a.find(Query(kind, where, limit=1000)), wanted), where

    async def test_none_matches_nothing(self, store: OpenStore) -> None:
        await _filled(store.a)
        for op in _ORDERED:
            assert not await store.a.find(Query("investigation", (Where("user_id", op, None),)))
        assert not await store.a.find(Query("investigation", (Where("user_id", "in", [None]),)))
        assert not await store.a.find(Query("investigation", (Where("user_id", "in", []),)))
        found = await store.a.find(Query("investigation", (Where("user_id", "in", [None, "alpha"]),)))
        assert {row.user_id for row in found} == {"alpha"}  # type: ignore[union-attr]

    async def test_values_are_never_part_of_a_statement(self, store: OpenStore) -> None:
        cases, _ = await _filled(store.a)
        for text in ("' OR 1=1 --", "it's %", "%", "_", "alpha' ", "$ne", ":x", "\\"):
            found = await store.a.find(Query("investigation", (Where("subject", "=", text),)))
            assert [row.subject for row in found] == [n for n in _NAMES if n == text]  # type: ignore[union-attr]
        assert len(await store.a.find(Query("investigation"))) == len(cases)

    async def test_unknown_names_are_refused(self, store: OpenStore) -> None:
        await _filled(store.a)
        bad: tuple[Any, ...] = _BAD_NAMES
        for name in bad:
            for query in (
                Query("tool", (Where(name, "=", "x"),)),
                Query("tool", sort=name),
                Query("tool", (Where("id", name, "x"),)),
                Query(name),
            ):
                await refused(store.a.find(query), repr(name))
            for aggregate in (
                Aggregate("tool", (Where(name, "=", "x"),)),
                Aggregate("tool", group_by=(name,)),
                Aggregate("tool", measures=(Measure("sum", name),)),
                Aggregate("tool", measures=(Measure(name, "tokens_used"),)),
            ):
                await refused(store.a.aggregate(aggregate), repr(name))
        assert len(await store.a.find(Query("investigation"))) == len(_NAMES)

    async def test_order_is_by_code_point(self, store: OpenStore) -> None:
        cases, _ = await _filled(store.a)
        for descending in (False, True):
            found = await store.a.find(Query("investigation", sort="subject", descending=descending))
            rows = sorted((case.row for case in cases), key=lambda row: (row.subject, row.id), reverse=descending)
            assert all_same(found, rows)

    async def test_pages_are_complete_without_duplicates(self, store: OpenStore) -> None:
        cases, tools = await _filled(store.a)
        sets: list[tuple[Kind, str, list[Any]]] = [
            ("tool", "started_at", tools),
            ("tool", "tool_name", tools),
            ("tool", "id", tools),
            ("investigation", "tokens_used", [case.row for case in cases]),
            ("investigation", "created_at", [case.row for case in cases]),
        ]
        for kind, sort, rows in sets:
            for descending in (False, True):
                for limit in (1, 3, 7):
                    found = await _all_pages(store.a, Query(kind, (), sort, descending, None, limit))
                    wanted = sorted(rows, key=lambda row: (getattr(row, sort), row.id), reverse=descending)
                    assert all_same(found, wanted), f"{kind} by {sort}, descending={descending}, limit={limit}"

    async def test_pages_of_a_filter(self, store: OpenStore) -> None:
        _, tools = await _filled(store.a)
        where = (Where("status", "in", ["failed", "completed"]), Where("started_at", ">=", 101))
        found = await _all_pages(store.a, Query("tool", where, "started_at", True, None, 2))
        wanted = sorted((t for t in tools if _matches(t, where)), key=lambda t: (t.started_at, t.id), reverse=True)
        assert all_same(found, wanted)

    async def test_calls_of_a_phase_and_snapshots(self, store: OpenStore) -> None:
        case = Case()
        phases = [case.phase(phase_order=n) for n in (2, 1)]
        tools = [case.tool(phase_id=phases[n % 2].id) for n in range(6)]
        snapshot = case.snapshot(1)
        await case.apply(store.a, case.commit(rows=[*phases, *tools], snapshot=snapshot))
        found = await store.a.find(Query("tool", (Where("phase_id", "=", phases[0].id),)))
        assert all_same(found, tools[::2])
        assert not await store.a.find(Query("tool", (Where("phase_id", "=", Case().id),)))
        where = (Where("investigation_id", "=", case.id),)
        assert all_same(await store.a.find(Query("phase", where, sort="phase_order")), phases[::-1])
        assert [row.id for row in await store.a.find(Query("snapshot", where))] == [snapshot.id]

    async def test_an_investigation_together_with_its_phases(self, store: OpenStore) -> None:
        backend = store.a
        if not isinstance(backend, OverviewBackend):
            raise SkipTest("this backend reads them one after the other")
        case, other = Case(user_id="it's %"), Case()
        ended = {"status": "completed", "completed_at": TIME + 7, "duration_ms": 2, "output_data": '{"n":[1,"é"]}'}
        phases = [case.phase(phase_order=n, weight=0.25 * n, **(ended if n == 1 else {})) for n in (3, 1, 2)]
        await case.apply(backend, case.commit(rows=[*phases, case.tool(phase_id=phases[0].id)]))
        await other.apply(backend, other.commit())
        ordered = [phases[1], phases[2], phases[0]]
        for limit in (1, 2, 3, 1000):
            found = await backend.overview(case.id, limit=limit)
            assert found is not None
            assert same(found[0], case.row)
            assert all_same(found[1], ordered[:limit])
        none = await backend.overview(other.id, limit=1000)
        assert none is not None
        assert (none[0].id, list(none[1])) == (other.id, [])
        for id in (Case().id, phases[0].id, "", "no id", "\0"):
            assert await backend.overview(id, limit=1000) is None


async def _all_pages(backend: Backend, query: Query) -> list[Any]:
    found: list[Any] = []
    while page := await backend.find(query):
        assert len(page) <= query.limit
        found += page
        last = page[-1]
        query = Query(
            query.kind, query.where, query.sort, query.descending, (getattr(last, query.sort), last.id), query.limit
        )
    return found


class AggregateTests(ContractBase):
    """``aggregate``: groups and exact figures."""

    async def test_counts_and_sums(self, store: OpenStore) -> None:
        _, tools = await _filled(store.a)
        measures = (
            Measure("count"),
            Measure("sum", "tokens_used"),
            Measure("min", "duration_ms"),
            Measure("max", "duration_ms"),
            Measure("avg", "duration_ms"),
        )
        groups: dict[str, list[ToolRow]] = {}
        for tool in tools:
            groups.setdefault(tool.status, []).append(tool)
        wanted: list[tuple[Any, ...]] = []
        for status in sorted(groups):
            durations = [tool.duration_ms for tool in groups[status] if tool.duration_ms is not None]
            tokens = sum(tool.tokens_used or 0 for tool in groups[status])
            figures = (min(durations), max(durations), sum(durations) / len(durations)) if durations else (None,) * 3
            wanted.append((status, len(groups[status]), tokens, *figures))
        found = await store.a.aggregate(Aggregate("tool", group_by=("status",), measures=measures))
        assert [tuple(row) for row in found] == wanted

    async def test_groups_are_ordered_with_null_first(self, store: OpenStore) -> None:
        await _filled(store.a)
        found = await store.a.aggregate(Aggregate("investigation", group_by=("user_id", "tenant_id")))
        groups = [tuple(row[:2]) for row in found]
        assert groups == sorted(groups, key=lambda group: (group[0] is not None, group[0] or "", group[1]))
        assert groups[0][0] is None
        assert sum(row[2] for row in found) == len(_NAMES)

    async def test_sums_of_money_are_exact(self, store: OpenStore) -> None:
        case = Case()
        costs = ["0.1", "0.2", "100000000000000000000.000000000000000000001", None, "0.0000001", "-0.3", "7"]
        tools = [case.tool(cost_estimate=cost) for cost in costs]
        await case.apply(store.a, case.commit(rows=tools, cost_estimate="0.30"))
        wanted = Decimal("100000000000000000007.000000100000000000001")
        measures = tuple(Measure(function, "cost_estimate") for function in ("sum", "min", "max"))
        ((total, least, most),) = await store.a.aggregate(Aggregate("tool", measures=measures))
        assert isinstance(total, str)
        assert Decimal(total) == wanted
        assert (Decimal(least), Decimal(most)) == (Decimal("-0.3"), Decimal(str(costs[2])))
        ((total,),) = await store.a.aggregate(Aggregate("investigation", measures=(Measure("sum", "cost_estimate"),)))
        assert Decimal(total) == Decimal("0.3")

    async def test_no_rows(self, store: OpenStore) -> None:
        measures = (
            Measure("count"),
            Measure("sum", "tokens_used"),
            Measure("sum", "cost_estimate"),
            Measure("max", "tokens_used"),
        )
        assert [tuple(row) for row in await store.a.aggregate(Aggregate("tool", measures=measures))] == [
            (0, 0, "0", None)
        ]
        assert list(await store.a.aggregate(Aggregate("tool", group_by=("status",), measures=measures))) == []

    async def test_conditions(self, store: OpenStore) -> None:
        _, tools = await _filled(store.a)
        where = (Where("status", "=", "failed"), Where("started_at", ">", 101))
        ((count,),) = await store.a.aggregate(Aggregate("tool", where))
        assert count == sum(_matches(tool, where) for tool in tools)
        assert [tuple(row) for row in await store.a.aggregate(Aggregate("tool", (Where("phase_id", "=", None),)))] == [
            (0,)
        ]
