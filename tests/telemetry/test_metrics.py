"""Metrics are what the store says, and no series is named by an id."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from investigation_sdk import InvestigationSDK, InvestigationState, LeaseLost
from tests.measured import fragile, work
from tests.telemetry.collected import Collected

Make = Callable[..., InvestigationSDK]


async def test_metrics_equal_what_sql_counts(otel: Collected, make_sdk: Make, tmp_path: Path) -> None:
    sdk = make_sdk(f"sqlite:///{tmp_path}/m.db", telemetry=otel.options())
    await asyncio.gather(*(work(sdk, n) for n in range(20)))
    await sdk.flush()
    with sqlite3.connect(tmp_path / "m.db") as db:

        def counted(query: str) -> Counter[tuple[str | None, ...]]:
            return Counter({tuple(row[:-1]): row[-1] for row in db.execute(query)})

        transitions = counted(
            "SELECT i.investigation_type, e.previous_state, e.new_state, count(*) FROM investigation_events e "
            "JOIN investigations i ON i.id = e.investigation_id WHERE e.new_state IS NOT NULL GROUP BY 1, 2, 3"
        )
        tools = counted("SELECT tool_name, status, count(*) FROM tool_executions GROUP BY 1, 2")
        phases = counted(
            "SELECT i.investigation_type, p.phase_name, p.status, count(*) FROM investigation_phases p "
            "JOIN investigations i ON i.id = p.investigation_id GROUP BY 1, 2, 3"
        )
        (events,) = db.execute("SELECT count(*) FROM investigation_events").fetchone()
    assert {
        (a["investigation.type"], a.get("investigation.state.previous"), a["investigation.state.new"]): n
        for a, n in otel.points("investigation.transitions")
        if n  # what may go wrong is counted from 0
    } == transitions
    assert {
        (a["gen_ai.tool.name"], "failed" if "error.type" in a else "completed"): count
        for a, (count, _) in otel.points("gen_ai.execute_tool.duration")
    } == tools
    assert {
        (a["investigation.type"], a["investigation.phase.name"], a["investigation.outcome"]): count
        for a, (count, _) in otel.points("investigation.phase.duration")
    } == phases
    assert sum(total for _, (_, total) in otel.points("investigation.store.commit.size")) == events
    assert sum(count for _, (count, _) in otel.points("gen_ai.workflow.duration")) == 20
    assert {a["investigation.failure.kind"]: n for a, n in otel.points("investigation.failures")} == {"error": 5}
    assert {n for _, n in otel.points("investigation.active")} == {0}
    assert [n for _, n in otel.points("investigation.recorder.queue")] == [0]


async def test_no_series_is_named_by_an_id(otel: Collected, make_sdk: Make, sqlite_url: str) -> None:
    sdk = make_sdk(sqlite_url, telemetry=otel.options())
    await work(sdk, 0)
    few = sorted(map(str, otel.series()))
    await asyncio.gather(*(work(sdk, n) for n in range(0, 24, 4)))
    assert sorted(map(str, otel.series())) == few


async def test_what_is_active_retried_lost_and_not_recorded_as_it_was(
    otel: Collected, make_sdk: Make, sqlite_url: str
) -> None:
    sdk = make_sdk(sqlite_url, telemetry=otel.options())
    with pytest.raises(LeaseLost):
        async with sdk.investigation("s") as investigation:
            assert otel.points("investigation.active") == [({"investigation.type": "general"}, 1)]
            investigation.record("note", {"odd": object()})
            await sdk.flush()
            await sdk.service.transition_state(investigation.id, InvestigationState.FAILED, actor="ann")
            fragile(1)
    assert otel.points("investigation.lease.lost") == [({"investigation.type": "general"}, 1)]
    assert [(a, n) for a, n in otel.points("investigation.recorder.dropped") if n] == [
        ({"investigation.warning.kind": "data"}, 1)
    ]
    with pytest.raises(RuntimeError):
        async with sdk.investigation("t", key="k"):
            with pytest.raises(ValueError, match="3"):
                fragile(3)
            raise RuntimeError
    async with sdk.investigation("t", key="k"):
        with pytest.raises(ValueError, match="3"):
            fragile(3)
    assert otel.points("investigation.tool.retries") == [({"gen_ai.tool.name": "fragile"}, 1)]


def test_two_sdks_share_the_instruments_of_a_provider(otel: Collected, make_sdk: Make, tmp_path: Path) -> None:
    for name in ("a", "b"):
        with make_sdk(f"sqlite:///{tmp_path}/{name}.db", telemetry=otel.options()).investigation("s"):
            fragile(1)
    assert otel.points("gen_ai.execute_tool.duration")[0][1][0] == 2
    assert len(otel.points("investigation.recorder.queue")) == 1


async def test_a_process_that_only_steers_is_counted(
    otel: Collected, make_sdk: Make, lite: InvestigationSDK, sqlite_url: str
) -> None:
    made = [await lite.service.create_investigation("gil", "s", "fraud") for _ in range(2)]
    sdk = make_sdk(sqlite_url, telemetry=otel.options())
    await sdk.service.cancel(made[0].id)
    await sdk.service.create_investigation("gil", "s", "fraud")
    await sdk.service.cancel(made[1].id)
    counted = [(a["investigation.state.new"], n) for a, n in otel.points("investigation.transitions") if n]
    assert sorted(counted) == [("cancelled", 2), ("created", 1), ("queued", 1)]
