"""How far an investigation is: the JSON of progress, on every store."""

import json
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_sdk import (
    InvestigationNotFound,
    InvestigationProgress,
    InvestigationSDK,
    InvestigationState,
    PhasePlan,
    current_tool,
    tool,
)
from investigation_sdk.testing.faults import FaultyBackend

PLAN = (
    "initialization",
    PhasePlan("device_analysis", weight=2, tools=("fingerprint_analyzer", "device_reputation")),
    PhasePlan("network_analysis", tools=("vpn_detection", "ip_geolocation", "proxy_detection", "tor_check")),
)


@tool(agent="device_agent", summary=str)
def fingerprint_analyzer() -> str:
    return "High confidence device match"


@tool(agent="device_agent")
def device_reputation() -> None:
    """Finds nothing."""


@tool(agent="network_agent")
def vpn_detection() -> None:
    """Finds nothing."""


@tool(agent="network_agent")
def tor_check() -> None:
    raise OSError("no answer")


def names(progress: InvestigationProgress, phase: str) -> dict[str, Any]:
    (found,) = [one for one in progress.phases if one["name"] == phase]
    return found


def test_the_plans_example(sdk: InvestigationSDK) -> None:
    seen: list[InvestigationProgress] = []

    @tool(agent="network_agent", effect="idempotent")  # its start is durable before its body
    def ip_geolocation() -> None:
        seen.append(sdk.sync.tracker.calculate_progress(investigation.id))

    with sdk.investigation("account 42", phases=PLAN) as investigation:
        with investigation.phase("initialization"):
            pass
        with investigation.phase("device_analysis"):
            fingerprint_analyzer()
            device_reputation()
        with investigation.phase("network_analysis"):
            vpn_detection()
            ip_geolocation()
            during = sdk.sync.progress(investigation.id)
    (inside,) = seen
    said = json.loads(inside.model_dump_json())
    assert said["investigation_id"] == investigation.id
    assert said["status"] == "running"
    assert said["overall_progress"] == 81  # 1 + 2 + 1/4 of 4
    assert said["current_phase"].pop("elapsed_ms") >= 0
    assert said["current_phase"] == {"name": "network_analysis", "progress": 25, "status": "running"}
    first, second, third = said["phases"]
    assert (first.pop("duration_ms") >= 0, second.pop("duration_ms") >= 0, third.pop("elapsed_ms") >= 0) == (True,) * 3
    assert first == {"name": "initialization", "status": "completed", "progress": 100}
    both = ["fingerprint_analyzer", "device_reputation"]
    assert second == {
        "name": "device_analysis",
        "status": "completed",
        "progress": 100,
        "tools_used": both,
        "tools_completed": both,
    }
    assert third == {
        "name": "network_analysis",
        "status": "running",
        "progress": 25,
        "active_tool": "ip_geolocation",
        "tools_used": ["vpn_detection", "ip_geolocation"],
        "tools_completed": ["vpn_detection"],
        "tools_pending": ["proxy_detection", "tor_check"],
    }
    calls = said["tool_executions"]
    assert [call["tool"] for call in calls] == [*both, "vpn_detection", "ip_geolocation"]
    assert calls[0].pop("duration_ms") >= 0
    assert calls[0] == {
        "tool": "fingerprint_analyzer",
        "agent": "device_agent",
        "status": "completed",
        "result_summary": "High confidence device match",
    }
    assert calls[3]["status"] == "running"
    assert calls[3]["elapsed_ms"] >= 0
    (running,) = said["running"]
    assert (running["tool"], running["agent"], running["phase"]) == ("ip_geolocation", "network_agent", third["name"])
    assert (said["tool_calls"], said["running_calls"]) == (4, 1)
    assert said["estimated_completion"] is None
    assert [(change["from"], change["to"]) for change in said["state_transitions"]] == [
        ("created", "queued"),
        ("queued", "initializing"),
        ("initializing", "running"),
    ]
    assert said["state_transitions"][0]["timestamp"].endswith("Z")
    assert names(during, "network_analysis")["progress"] == 50
    assert during.running == []
    done = sdk.sync.progress(investigation.id)
    assert (done.overall_progress, done.status, done.current_phase) == (100, InvestigationState.COMPLETED, None)
    assert "tools_pending" not in names(done, "network_analysis")


async def test_phases_that_are_skipped_count_and_tools_that_fail_are_not_pending(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("x", phases=PLAN) as investigation:
        investigation.skip_phase("device_analysis")
        async with investigation.phase("network_analysis"):
            with pytest.raises(OSError, match="no answer"):
                tor_check()
            progress = await sdk.progress(investigation.id)
    phase = names(progress, "network_analysis")
    assert (phase["tools_used"], phase["tools_completed"]) == (["tor_check"], [])
    assert "tor_check" not in phase["tools_pending"]
    assert progress.overall_progress == 56  # 2 and 1/4 of 4
    assert names(progress, "device_analysis") == {
        "name": "device_analysis",
        "status": "skipped",
        "progress": 0,
        "tools_used": [],
        "tools_completed": [],
    }


async def test_without_a_plan_one_more_is_taken_to_come(sdk: InvestigationSDK) -> None:
    seen: list[int] = []
    async with sdk.investigation("x") as investigation:
        for n in range(3):
            async with investigation.phase(f"part {n}"):
                vpn_detection()
                seen.append(names(await sdk.progress(investigation.id), f"part {n}")["progress"])
            seen.append((await sdk.progress(investigation.id)).overall_progress)
    assert seen == [50, 50, 50, 66, 50, 75]


async def test_a_plan_that_grows_takes_nothing_back(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("x", phases=("one", "two")) as investigation:
        async with investigation.phase("one"):
            pass
        investigation.plan("three", "four", "five")
        await sdk.flush()
        assert (await sdk.progress(investigation.id)).overall_progress == 50
        for name in ("two", "three"):
            async with investigation.phase(name):
                pass
        assert (await sdk.progress(investigation.id)).overall_progress == 60


async def test_pauses_are_not_counted(sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch) -> None:
    async with sdk.investigation("x") as investigation, investigation.phase("a"):
        await sdk.service.pause(investigation.id)
        paused = await sdk.progress(investigation.id)
        hour = int(datetime.now(UTC).timestamp() * 1e6) + 3_600_000_000
        monkeypatch.setattr("investigation_sdk.engine.tracker.now_us", lambda: hour)
        later = await sdk.progress(investigation.id)
        assert later.status is InvestigationState.PAUSED
        assert later.elapsed_ms == paused.elapsed_ms
        assert later.current_phase == paused.current_phase
        await sdk.service.resume(investigation.id)
        resumed = await sdk.progress(investigation.id)
        assert resumed.elapsed_ms > 3_000_000
        assert resumed.current_phase is not None
        assert resumed.current_phase["elapsed_ms"] > 3_000_000


async def test_a_later_attempt_counts_from_what_is_done(url: str, make_sdk: Callable[..., InvestigationSDK]) -> None:
    sdk = make_sdk(url)
    with pytest.raises(ValueError, match="broken"):
        async with sdk.investigation("x", key="k", phases=("one", "two", "three")) as investigation:
            async with investigation.phase("one"):
                vpn_detection()
            raise ValueError("broken")
    async with sdk.investigation("x", key="k") as again:
        assert (await sdk.progress(again.id)).overall_progress == 33
        async with again.phase("one"):
            assert (await sdk.progress(again.id)).overall_progress == 33
            vpn_detection()
        async with again.phase("two"):
            progress = await sdk.progress(again.id)
            assert (progress.overall_progress, progress.attempt) == (33, 2)


async def test_the_summary_has_the_same_without_lists(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("x", phases=PLAN) as investigation:
        async with investigation.phase("device_analysis"):
            fingerprint_analyzer()
        full = await sdk.progress(investigation.id)
        summary = await sdk.progress(investigation.id, include_tools=False)
    left_out: dict[str, Any] = {"tool_executions": [], "state_transitions": [], "tool_calls": None}
    elapsed = {"elapsed_ms": summary.elapsed_ms}
    assert full.model_copy(update={**left_out, **elapsed}) == summary
    assert summary.phases[1]["tools_used"] == ["fingerprint_analyzer"]


async def test_the_summary_takes_two_reads_however_many_calls_there_are(
    make_sdk: Callable[..., InvestigationSDK],
) -> None:
    backend = FaultyBackend(MemoryBackend())
    sdk = make_sdk(backend)
    reads: list[int] = []
    async with sdk.investigation("x") as investigation, investigation.phase("a"):
        await sdk.progress(investigation.id)  # reads past runs, once in a minute
        for calls in (10, 990):
            for _ in range(calls):
                vpn_detection()
            before = backend.reads
            await sdk.progress(investigation.id, include_tools=False)
            reads.append(backend.reads - before)
        full = await sdk.progress(investigation.id)
    assert reads == [2, 2]
    assert (full.tool_calls, len(full.tool_executions)) == (1000, 100)


async def test_what_is_not_there(sdk: InvestigationSDK) -> None:
    with pytest.raises(InvestigationNotFound, match="no investigation 01900000"):
        await sdk.progress("01900000-0000-7000-8000-000000000000")
    with pytest.raises(ValueError, match="include_tools"):
        await sdk.progress("01900000-0000-7000-8000-000000000000", include_tools="no")  # type: ignore[arg-type]


async def test_another_tenants_is_not_found(url: str, make_sdk: Callable[..., InvestigationSDK]) -> None:
    mine = make_sdk(url, tenant_id="a")
    async with mine.investigation("x") as investigation:
        pass
    other = make_sdk(mine._recorder.backend if url.startswith("memory") else url, tenant_id="b")  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(InvestigationNotFound):
        await other.progress(investigation.id)


def test_calls_in_flight(sdk: InvestigationSDK) -> None:
    @tool(effect="idempotent")
    def outer() -> int:
        return inner()

    @tool(effect="idempotent")
    def inner() -> int:
        current_tool().report(progress=0.5)
        return len(sdk.sync.progress(investigation.id).running)

    with sdk.investigation("x") as investigation:
        assert outer() == 2
    assert sdk.sync.progress(investigation.id).running_calls == 0
    assert timedelta(0) <= timedelta(milliseconds=sdk.sync.progress(investigation.id).elapsed_ms)


def test_the_summary_is_read_by_keys_and_indexes(sqlite_url: str, make_sdk: Callable[..., InvestigationSDK]) -> None:
    """Whatever the length of the investigation: no table is scanned, and that of calls is not touched."""
    sdk = make_sdk(sqlite_url)
    with sdk.investigation("x", phases=PLAN) as investigation:
        statements: list[str] = []
        connect = sqlite3.connect

        class Traced(sqlite3.Connection):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                self.set_trace_callback(statements.append)

        sdk.sync.progress(investigation.id)  # reads past runs, once in a minute
        sdk.sync.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite3, "connect", lambda *a, **o: connect(*a, **{**o, "factory": Traced}))
            sdk.sync.progress(investigation.id, include_tools=False)
        reads = [
            one for one in statements if one.startswith("SELECT") and " FROM investigation" in one.replace("\n", "")
        ]
        reads = [one for one in reads if "version_num" not in one and "leases" not in one]
        assert len(reads) == 2
        with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
            plans = [connection.execute(f"EXPLAIN QUERY PLAN {one}").fetchall() for one in reads]
    for plan in plans:
        (first, *others) = [line[-1] for line in plan]
        assert re.fullmatch(r"SEARCH investigation\w* USING INDEX \w+ \((id|investigation_id)=\?\)", first)
        assert all("TEMP B-TREE FOR ORDER BY" in other for other in others)  # of the phases of one investigation
    assert "tool_executions" not in " ".join(reads)
