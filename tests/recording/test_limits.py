"""Nothing unbounded, and nothing that one store takes and another does not."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_sdk import BackendUnavailable, InvestigationSDK, ToolState, current_tool, tool
from investigation_sdk.testing.faults import Fault, FaultyBackend, Plan

Make = Callable[..., InvestigationSDK]


@tool
async def reports(count: int) -> str:
    current_tool().report(tokens_used=count)
    return "value"


@pytest.mark.parametrize("count", [-1, 2**53 + 1, 10**30])
async def test_a_count_that_cannot_be_kept_is_an_error_where_it_is_reported(sdk: InvestigationSDK, count: int) -> None:
    async with sdk.investigation("counts") as investigation:
        with pytest.raises(ValueError, match="tokens_used="):
            await reports(count)
        with pytest.raises(ValueError, match="api_calls_made="):
            investigation.report(api_calls_made=count)
        assert await reports(2**53) == "value"
    calls = await sdk.tools(investigation.id)
    assert [c.status for c in calls] == [ToolState.FAILED, ToolState.COMPLETED]
    assert (await sdk.get(investigation.id)).usage.tokens_used == 2**53


async def test_what_only_appends_stops_when_too_much_waits(make_sdk: Make) -> None:
    plan = Plan()
    sdk = make_sdk(FaultyBackend(MemoryBackend(), plan), spool_limit=10)
    recorded = 0
    with pytest.raises(BackendUnavailable, match="wait for a store"):
        async with sdk.investigation("many") as investigation:
            plan.outage = Fault("not_applied")
            try:
                for number in range(1000):
                    investigation.record("my.note", {"number": number})
                    recorded += 1
            finally:
                plan.outage = None
    assert 50 <= recorded <= 60
    assert await sdk.flush(10) == 0
    notes = [e.event_data["number"] async for e in sdk.iter_events(investigation.id, event_type="my.note")]
    assert notes == list(range(recorded))


async def test_an_actor_that_is_not_text_is_refused_and_a_strange_one_is_kept(sdk: InvestigationSDK) -> None:
    made = await sdk.service.create_investigation("gil", "subject", "general", actor="bob\ud800")
    with pytest.raises(ValueError, match="actor=5 is not text"):
        await sdk.service.cancel(made.id, actor=5)  # type: ignore[arg-type]
    call = await sdk.service.record_tool_execution(made.id, None, "agent", "tool", {}, "out", actor="bob\ud800")
    assert call.status == "completed"
    events = await sdk.events(made.id)
    assert events[0].actor == "bob\\ud800"
    assert (await sdk.verify(made.id)).ok


async def test_a_reported_call_cannot_end_before_it_began(sdk: InvestigationSDK) -> None:
    made = await sdk.service.create_investigation("gil", "subject", "general")
    began = made.created_at
    with pytest.raises(ValueError, match="is before started_at"):
        await sdk.service.record_tool_execution(
            made.id, None, "agent", "tool", {}, started_at=began, completed_at=began - timedelta(seconds=1)
        )


async def test_a_phase_that_was_not_left_is_warned_of_by_name(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("open") as investigation:
        await investigation.phase("triage").__aenter__()
    (warning,) = [e async for e in sdk.iter_events(investigation.id, event_type="recorder.warning")]
    assert warning.event_data["kind"] == "phase_left_open"
    assert "Phase 'triage' was not left" in warning.event_data["message"]
    assert (await sdk.get(investigation.id)).status == "completed"
