"""Sums over investigations: quantiles within their bound, memory within its own."""

import math
import statistics
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from investigation_sdk.domain.metrics import Change, Metrics, Sketch


@given(st.lists(st.floats(0, 1e9, allow_nan=False), min_size=1, max_size=300), st.floats(0, 1))
def test_quantiles_are_within_one_percent(values: list[float], q: float) -> None:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    exact = sorted(values)[math.floor(q * (len(values) - 1))]
    if exact > 1e-300:
        assert sketch.quantile(q) == pytest.approx(exact, rel=0.0101)
    else:
        assert sketch.quantile(q) <= 1e-300
    assert sketch.summary()["avg"] == pytest.approx(statistics.fmean(values))
    assert sketch.summary()["max"] == max(values)


def test_memory_grows_with_the_range_not_the_number() -> None:
    sketch = Sketch()
    for n in range(200_000):
        sketch.add(n % 10_000)
    assert sketch.count == 200_000
    assert len(sketch._buckets) < 500


def test_no_values() -> None:
    assert Sketch().summary() == {"count": 0, "avg": 0, "p50": 0, "p95": 0, "p99": 0, "max": 0}


def change(at: int, before: str | None, new: str, actor: str | None = None, reason: str | None = None) -> Change:
    return Change(at, before, new, actor, reason, "error" if new == "failed" else None)


def test_changes() -> None:
    metrics = Metrics()
    metrics.investigation("failed", 5, 1, Decimal("0.1"))
    metrics.investigation("completed", 5, 0, Decimal("0.2"))
    metrics.investigation("running", 0, 0, Decimal(0))
    metrics.tool("whois", "completed", 3)
    metrics.tool("whois", "failed", 1)
    metrics.tool("whois", "running", 7)
    metrics.tool("unknown only", "unknown", 7)
    metrics.changes(
        [
            change(0, None, "created"),
            change(2_000, "created", "running"),
            change(12_000, "running", "paused", "ann", "lunch"),
            change(112_000, "paused", "running", "ann"),
            change(113_000, "running", "failed"),
        ]
    )
    report = metrics.report()
    assert (report.started, report.completed, report.failed, report.cancelled) == (3, 1, 1, 0)
    assert report.completion_rate == 0.5
    assert report.tool_success_rate == {"whois": 0.75}
    assert report.transitions == {
        "->created": 1, "created->running": 1, "paused->running": 1, "running->failed": 1, "running->paused": 1
    }  # fmt: skip
    assert report.time_in_state_ms["running"]["count"] == 2
    assert report.time_in_state_ms["running"]["avg"] == 5.5
    assert report.time_in_state_ms["paused"]["max"] == 100
    assert report.transitions_by["running->paused"] == {"ann": 1}
    assert report.reasons == {"running->paused": {"lunch": 1}}
    assert report.failure_kinds == {"error": 1}
    assert report.usage.cost_estimate == Decimal("0.3")


def test_reasons_are_bounded_and_add_up() -> None:
    metrics = Metrics()
    for n in range(100):
        metrics.changes([change(0, "running", "paused", None, f"reason {n}")])
    reasons = metrics.report().reasons["running->paused"]
    assert len(reasons) == 21
    assert reasons["(others)"] == 80
    assert sum(reasons.values()) == 100


def test_of_nothing() -> None:
    report = Metrics().report()
    assert report.completion_rate is None
    assert report.transitions == {}
