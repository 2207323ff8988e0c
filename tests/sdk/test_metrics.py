"""`sdk.metrics` is what one would count by hand, on each store."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from investigation_sdk import InvalidArgument, InvestigationSDK
from tests.measured import fragile, work


async def test_it_is_what_one_counts_by_hand(sdk: InvestigationSDK) -> None:
    await asyncio.gather(*(work(sdk, n) for n in range(10)))
    queued = await sdk.service.create_investigation("gil", "t", "abuse")
    await sdk.service.cancel(queued.id, "not needed", actor="ann")
    report = await sdk.metrics(since=timedelta(hours=1))
    assert (report.started, report.completed, report.failed, report.cancelled) == (11, 7, 3, 1)
    assert report.completion_rate == pytest.approx(7 / 11)
    assert report.tool_success_rate == {"fragile": 0.5}
    assert report.usage.tokens_used == 60
    assert report.usage.cost_estimate == Decimal("4.0")
    ways: Counter[str] = Counter()
    for one in await sdk.list(limit=100):
        async for event in sdk.iter_events(one.id):
            if event.new_state is not None:
                ways[f"{event.previous_state.value if event.previous_state else ''}->{event.new_state.value}"] += 1
    assert report.transitions == dict(ways)
    assert report.transitions_by["queued->cancelled"] == {"ann": 1}
    assert report.reasons["queued->cancelled"] == {"not needed": 1}
    assert report.failure_kinds == {"error": 3}
    phases = [p.duration_ms for one in await sdk.list(limit=100) for p in await sdk.phases(one.id)]
    assert sum(figures["count"] for figures in report.phase_durations_ms.values()) == len(phases) == 20
    assert max(figures["max"] for figures in report.phase_durations_ms.values()) == max(filter(None, phases), default=0)
    assert report.time_in_state_ms["running"]["count"] == 10


async def test_of_a_type_and_of_a_time(sdk: InvestigationSDK, make_sdk: Callable[..., InvestigationSDK]) -> None:
    await asyncio.gather(*(work(sdk, n) for n in range(4)))
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert (await sdk.metrics(since=timedelta(hours=1), investigation_type="fraud")).started == 2
    assert (await sdk.metrics(since=now)).started == 0
    assert (await sdk.metrics(since=timedelta(hours=1), until=now - timedelta(hours=1))).transitions == {}
    with pytest.raises(InvalidArgument, match="since"):
        await sdk.metrics(since="yesterday")  # type: ignore[arg-type]


def test_of_more_than_a_page(lite: InvestigationSDK, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("investigation_sdk.engine.measuring._AT_ONCE", 3)
    for n in range(7):
        with lite.investigation(f"s{n}") as investigation:
            for phase in ("a", "b"):
                with investigation.phase(phase):
                    pass
    report = lite.sync.metrics(since=timedelta(hours=1))
    assert (report.started, report.completed) == (7, 7)
    assert {name: figures["count"] for name, figures in report.phase_durations_ms.items()} == {"a": 7, "b": 7}
    assert report.transitions["running->completing"] == 7


def test_of_a_tenant(sqlite_url: str, make_sdk: Callable[..., InvestigationSDK]) -> None:
    ann, gil = (make_sdk(sqlite_url, tenant_id=tenant) for tenant in ("ann", "gil"))
    with ann.investigation("s"):
        fragile(1)
    assert ann.sync.metrics(since=timedelta(hours=1)).tool_success_rate == {"fragile": 1}
    assert gil.sync.metrics(since=timedelta(hours=1)).started == 0
