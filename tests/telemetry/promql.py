"""As much of PromQL as the rules in docs/ use, over scrapes that a test has. Rates are not extrapolated."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import promql_parser

Labels: TypeAlias = "frozenset[tuple[str, str]]"
Vector: TypeAlias = "dict[Labels, float]"


class Scrape(NamedTuple):
    """What a scrape gave, at a time in s: values by name and labels."""

    time: float
    values: Mapping[tuple[str, Labels], float]


COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {">": operator.gt, ">=": operator.ge, "<": operator.lt}
MATCH: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "MatchOp.Equal": operator.eq,
    "MatchOp.NotEqual": operator.ne,
    "MatchOp.Re": lambda value, pattern: re.fullmatch(pattern, value) is not None,
}
CALCULATE: Final[Mapping[str, Callable[[float, float], float]]] = {
    "*": operator.mul,
    "/": lambda a, b: a / b if b else float("nan") if not a else float("inf"),
}


def evaluate(query: str, scrapes: Sequence[Scrape]) -> Vector:
    """What a query gives at the time of the last scrape; of a rule, what it fires for."""
    value = _value(promql_parser.parse(query), scrapes)
    assert isinstance(value, dict), query
    return value


def _value(node: Any, scrapes: Sequence[Scrape]) -> Any:
    match node:
        case promql_parser.NumberLiteral():
            return node.val
        case promql_parser.ParenExpr():
            return _value(node.expr, scrapes)
        case promql_parser.VectorSelector():
            return _selected(node, scrapes[-1])
        case promql_parser.AggregateExpr():
            return _aggregated(node, _value(node.expr, scrapes))
        case promql_parser.Call():
            return _called(node, scrapes)
        case promql_parser.BinaryExpr():
            return _combined(node, _value(node.lhs, scrapes), _value(node.rhs, scrapes))
    raise NotImplementedError(type(node).__name__)


def _selected(node: Any, scrape: Scrape) -> Vector:
    """The series of a selector, by their labels."""

    def fits(labels: Labels) -> bool:
        of = dict(labels)
        for matcher in node.matchers.matchers:
            if not MATCH[str(matcher.op)](of.get(matcher.name, ""), matcher.value):
                return False
        return True

    return {labels: value for (name, labels), value in scrape.values.items() if name == node.name and fits(labels)}


def _aggregated(node: Any, vector: Vector) -> Vector:
    by = set(node.modifier.labels) if node.modifier else set()
    groups: dict[Labels, list[float]] = {}
    for labels, value in vector.items():
        groups.setdefault(frozenset(pair for pair in labels if pair[0] in by), []).append(value)
    added = {"sum": True, "max": False}[str(node.op)]
    return {labels: sum(values) if added else max(values) for labels, values in groups.items()}


def _called(node: Any, scrapes: Sequence[Scrape]) -> Vector:
    name = node.func.name
    if name == "histogram_quantile":
        return _quantiles(node.args[0].val, _value(node.args[1], scrapes))
    (matrix,) = node.args
    since = scrapes[-1].time - matrix.range.total_seconds()
    series: dict[Labels, list[tuple[float, float]]] = {}
    for scrape in scrapes:
        if scrape.time > since:
            for labels, value in _selected(matrix.vector_selector, scrape).items():
                series.setdefault(labels, []).append((scrape.time, value))
    if name == "max_over_time":
        return {labels: max(value for _, value in points) for labels, points in series.items()}
    grown = {labels: (p[-1][1] - p[0][1], p[-1][0] - p[0][0]) for labels, p in series.items() if len(p) > 1}
    assert all(by >= 0 for by, _ in grown.values()), "a counter was set back"
    return {labels: by if name == "increase" else {"rate": by / within}[name] for labels, (by, within) in grown.items()}


def _quantiles(share: float, vector: Vector) -> Vector:
    """The upper bound of the bucket in which it is."""
    buckets: dict[Labels, list[tuple[float, float]]] = {}
    for labels, value in vector.items():
        of = dict(labels)
        bound = float(of.pop("le"))
        buckets.setdefault(frozenset(of.items()), []).append((bound, value))
    found: Vector = {}
    for labels, bounds in buckets.items():
        bounds.sort()
        if all_of := bounds[-1][1]:
            found[labels] = next(bound for bound, value in bounds if value >= share * all_of)
    return found


def _combined(node: Any, left: Any, right: Any) -> Any:
    op = str(node.op)
    if op == "unless":
        assert node.modifier.matching.labels == []
        return {} if right else left
    if op == "and":
        assert node.modifier is None or not node.modifier.matching
        return {labels: value for labels, value in left.items() if labels in right}
    if op in COMPARE:
        assert isinstance(left, dict)
        return {labels: value for labels, value in left.items() if COMPARE[op](value, right)}
    if isinstance(left, dict) and isinstance(right, dict):
        return {labels: CALCULATE[op](value, right[labels]) for labels, value in left.items() if labels in right}
    assert not isinstance(left, dict)
    return CALCULATE[op](left, right)
