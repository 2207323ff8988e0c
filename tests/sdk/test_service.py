"""Commands from outside, and hooks on changes of state."""

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from investigation_sdk import (
    InvalidStateTransition,
    Investigation,
    InvestigationCancelled,
    InvestigationEvent,
    InvestigationFinished,
    InvestigationNotFound,
    InvestigationSDK,
    InvestigationState,
    InvestigationUnfinished,
    PayloadTooLarge,
    PhasePlan,
    ToolState,
)
from investigation_sdk.testing import assert_state_path, assert_tools_called

S = InvestigationState
Make = Callable[..., InvestigationSDK]


async def test_create_and_drive(sdk: InvestigationSDK) -> None:
    parent = await sdk.service.create_investigation("gil", "parent", "fraud")
    plan: list[str | PhasePlan] = [PhasePlan("a", weight=3), "b"]
    made = await sdk.service.create_investigation(
        "gil", "subject", "fraud", {"c": 1}, key="k", phases=plan, metadata={"m": 2}, parent=parent.id, actor="api"
    )
    assert (made.status, made.user_id, made.subject, made.key) == ("queued", "gil", "subject", "k")
    assert (made.configuration, made.metadata, made.parent_investigation_id) == ({"c": 1}, {"m": 2}, parent.id)
    assert {e.actor for e in await sdk.events(made.id)} == {"api"}
    async with sdk.attach(made.id) as investigation:
        assert (investigation.attempt, investigation.configuration) == (1, {"c": 1})
        async with investigation.phase("a"):
            pass
    await assert_state_path(sdk, made.id, ["created", "queued", "initializing", "running", "completing", "completed"])
    assert [p.phase_name for p in await sdk.phases(made.id)] == ["a", "b"]


async def test_create_without_queueing(sdk: InvestigationSDK) -> None:
    made = await sdk.service.create_investigation("gil", "subject", "fraud", queue=False)
    assert made.status == "created"
    with pytest.raises(InvalidStateTransition):
        await sdk.service.pause(made.id)
    async with sdk.attach(made.id):
        pass
    await assert_state_path(sdk, made.id, ["created", "queued", "initializing", "running", "completing", "completed"])


async def test_a_live_investigation_may_be_the_parent(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("outer") as outer:
        child = await sdk.service.create_investigation("u", "child", "t", parent=outer)
    assert child.parent_investigation_id == outer.id


async def test_keys_of_created_investigations(sdk: InvestigationSDK) -> None:
    made = await sdk.service.create_investigation("u", "s", "t", key="k")
    with pytest.raises(InvestigationUnfinished, match=made.id) as unfinished:
        await sdk.service.create_investigation("u", "s", "t", key="k")
    assert unfinished.value.investigation_id == made.id
    async with sdk.attach(made.id) as investigation:
        investigation.result = 7
    with pytest.raises(InvestigationFinished, match=made.id) as finished:
        await sdk.service.create_investigation("u", "s", "t", key="k")
    assert finished.value.result == 7
    await sdk.service.create_investigation("u", "s", "another type", key="k")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"subject": ""}, "subject=.. is not text"),
        ({"investigation_type": ""}, "investigation_type=.. is not text"),
        ({"key": ""}, "key=.. is not text"),
        ({"subject": 3}, "subject=3 is not text"),
        ({"phases": ["a", "a"]}, "two planned phases are called 'a'"),
    ],
)
async def test_what_an_investigation_needs(given: dict[str, Any], error: str) -> None:
    async with InvestigationSDK("memory://") as sdk:
        with pytest.raises(ValueError, match=error):
            sdk.investigation(**{"subject": "s", **given})
        with pytest.raises(ValueError, match=error):
            await sdk.service.create_investigation(
                **{"user_id": "u", "subject": "s", "investigation_type": "t", **given}
            )
        assert len(await sdk.list()) == 0


async def test_transitions_by_hand(sdk: InvestigationSDK) -> None:
    made = await sdk.service.create_investigation("u", "s", "t", queue=False)
    assert await sdk.service.transition_state(made.id, S.QUEUED, "by hand", actor="gil") is True
    with pytest.raises(InvalidStateTransition) as refused:
        await sdk.service.transition_state(made.id, S.COMPLETED)
    error = refused.value
    assert (error.current, error.requested, error.allowed) == (S.QUEUED, S.COMPLETED, (S.INITIALIZING, S.CANCELLED))
    assert error.investigation_id == made.id
    assert made.id in str(error)
    assert "Next states: initializing, cancelled" in str(error)
    for state in (S.INITIALIZING, S.FAILED, S.RETRYING, "failed", S.CANCELLED):
        assert await sdk.service.transition_state(made.id, state) is True  # type: ignore[arg-type]
    with pytest.raises(InvalidStateTransition, match="it is final"):
        await sdk.service.transition_state(made.id, S.QUEUED)
    with pytest.raises(ValueError, match=r"is not one of .created"):
        await sdk.service.transition_state(made.id, "runing")  # type: ignore[arg-type]
    (event,) = await sdk.events(made.id, actor="gil")
    assert (event.previous_state, event.new_state, event.event_data) == (S.CREATED, S.QUEUED, {"reason": "by hand"})


async def test_a_failed_one_is_retried(sdk: InvestigationSDK) -> None:
    with pytest.raises(OSError, match="x"):
        async with sdk.investigation("retry") as investigation:
            raise OSError("x")
    record = await sdk.service.retry(investigation.id, "again", actor="gil")
    assert (record.status, record.retry_count, record.error_message) == ("retrying", 1, None)
    async with sdk.attach(investigation.id) as again:
        assert again.attempt == 2
    assert (await sdk.get(investigation.id)).status == "completed"


async def test_attach_restarts_a_failed_one(sdk: InvestigationSDK) -> None:
    with pytest.raises(OSError, match="x"):
        async with sdk.investigation("attach") as investigation:
            async with investigation.phase("p") as p:
                p.output_data = [1]
            raise OSError("x")
    async with sdk.attach(investigation.id) as again, again.phase("p") as p:
        assert (p.completed_before, p.previous_output) == (True, [1])
    record = await sdk.get(investigation.id)
    assert (record.status, record.retry_count, record.failure_kind) == ("completed", 1, None)


async def test_a_reported_call(sdk: InvestigationSDK) -> None:
    ended = datetime.now(UTC)
    began = ended - timedelta(seconds=1.5)
    async with sdk.investigation("reported") as investigation:
        async with investigation.phase("p") as p:
            call = await sdk.service.record_tool_execution(
                investigation.id,
                p.id,
                "remote",
                "geo.lookup",
                {"ip": "10.0.0.1"},
                {"country": "NL"},
                tool_version="2",
                started_at=began,
                completed_at=ended,
                tokens_used=5,
                api_calls_made=1,
                cost_estimate=Decimal("0.0000001"),
                actor="gateway",
            )
            failed = await sdk.service.record_tool_execution(
                investigation.id, None, "remote", "x", {}, error="no route"
            )
            cheap = await sdk.service.record_tool_execution(
                investigation.id,
                None,
                "a",
                "t",
                {},
                cost_estimate=0.0000002,  # type: ignore[arg-type]
            )
        assert investigation.usage.tokens_used == 5
    assert (call.source, call.status, call.phase_id, call.agent_name) == (
        "reported",
        ToolState.COMPLETED,
        p.id,
        "remote",
    )
    assert (call.tool_name, call.tool_version, call.duration_ms) == ("geo.lookup", "2", 1500)
    assert (call.input_parameters, call.output_result) == ({"ip": "10.0.0.1"}, {"country": "NL"})
    assert (call.started_at, call.completed_at, call.cost_estimate) == (began, ended, Decimal("0.0000001"))
    assert (failed.status, failed.error_message) == (ToolState.FAILED, "reported: no route")
    assert cheap.cost_estimate == Decimal("0.0000002")
    assert (await sdk.get(investigation.id)).usage.cost_estimate == Decimal("0.0000003")
    await assert_tools_called(sdk, investigation.id, [("geo.lookup", {"ip": "10.0.0.1"}), "x"])
    late = await sdk.service.record_tool_execution(investigation.id, None, "a", "after the end", {})
    assert late.status is ToolState.COMPLETED
    assert (await sdk.get(investigation.id)).status == "completed"
    (event,) = await sdk.events(
        investigation.id, event_type="tool.started", after=(await sdk.get(investigation.id)).version - 2
    )
    assert event.metadata["late"] is True


async def test_what_a_reported_call_may_not_be(sdk: InvestigationSDK, most: int) -> None:
    async with sdk.investigation("reported") as investigation:
        other = "01900000-0000-7000-8000-000000000000"
        with pytest.raises(InvestigationNotFound, match=f"has no phase {other}"):
            await sdk.service.record_tool_execution(investigation.id, other, "a", "t", {})
        with pytest.raises(PayloadTooLarge):
            await sdk.service.record_tool_execution(investigation.id, None, "a", "t", {"x": "x" * 40_000})
        with pytest.raises(ValueError, match="is not a datetime with a time zone"):
            await sdk.service.record_tool_execution(
                investigation.id,
                None,
                "a",
                "t",
                {},
                started_at=datetime(2026, 1, 1),  # noqa: DTZ001
            )
        assert len(await sdk.tools(investigation.id)) == 0
        await sdk.service.record_tool_execution(investigation.id, None, "a", "t", {"x": object()}, object())
    warnings = await sdk.events(investigation.id, event_type="recorder.warning")
    assert [w.event_data["kind"] for w in warnings] == ["input", "output"]


class Seen:
    """What hooks were called with."""

    def __init__(self, sdk: InvestigationSDK) -> None:
        self.calls: list[tuple[str, str]] = []
        self.threads: set[str] = set()
        self._sdk = sdk

    def __call__(self, investigation: Investigation, event: InvestigationEvent) -> None:
        assert event.new_state is not None
        self.calls.append((investigation.id, event.new_state.value))
        self.threads.add(threading.current_thread().name)

    async def states(self) -> list[str]:
        assert await asyncio.to_thread(self._sdk.service._hooks.drain)
        return [state for _, state in self.calls]


ALL = ["created", "queued", "initializing", "running", "completing", "completed"]


async def test_hooks_see_changes_after_their_commit(sdk: InvestigationSDK) -> None:
    every, some, later = Seen(sdk), Seen(sdk), Seen(sdk)
    sdk.service.on_state()(every)

    @sdk.service.on_state(S.COMPLETED, S.FAILED)
    async def on_end(investigation: Investigation, event: InvestigationEvent) -> None:
        await asyncio.sleep(0)
        some(investigation, event)
        assert investigation.result == 7
        assert (await sdk.get(investigation.id)).status == "completed"

    async with sdk.investigation("hooks") as investigation:
        sdk.service.on_state()(later)
        investigation.result = 7
    assert await every.states() == ALL
    assert await some.states() == ["completed"]
    assert await later.states() == ["completing", "completed"]
    assert "investigation-io" not in every.threads | some.threads
    assert threading.current_thread().name not in every.threads


async def test_a_hook_that_fails_harms_nothing(sdk: InvestigationSDK, caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen(sdk)

    @sdk.service.on_state(S.RUNNING)
    def broken(investigation: Investigation, event: InvestigationEvent) -> None:
        raise KeyError("broken hook")

    @sdk.service.on_state(S.COMPLETING)
    def leaves(investigation: Investigation, event: InvestigationEvent) -> None:
        raise SystemExit

    sdk.service.on_state()(seen)
    with caplog.at_level(logging.ERROR, "investigation_sdk.hooks"):
        async with sdk.investigation("hooks") as investigation:
            pass
        assert await seen.states() == ALL
    assert (await sdk.get(investigation.id)).status == "completed"
    assert "broken hook" in caplog.text


def test_a_hook_may_use_the_blocking_face(sdk: InvestigationSDK) -> None:
    subjects: list[str] = []

    @sdk.service.on_state(S.COMPLETED)
    def on_end(investigation: Investigation, event: InvestigationEvent) -> None:
        subjects.append(sdk.sync.get(investigation.id).subject)
        sdk.sync.service.record_tool_execution(investigation.id, None, "hook", "notify", {})

    with sdk.investigation("hooks") as investigation:
        pass
    assert sdk.service._hooks.drain()
    assert subjects == ["hooks"]
    assert [c.tool_name for c in sdk.sync.tools(investigation.id)] == ["notify"]


async def test_commands_of_this_process_reach_hooks_and_those_of_others_do_not(
    lite: InvestigationSDK, other: InvestigationSDK
) -> None:
    mine, theirs = Seen(lite), Seen(other)
    lite.service.on_state()(mine)
    other.service.on_state()(theirs)
    made = await lite.service.create_investigation("u", "s", "t")
    await other.service.cancel(made.id)
    assert await mine.states() == ["created", "queued"]
    assert await theirs.states() == ["cancelled"]


async def test_hooks_are_called_before_the_sdk_is_closed_and_do_not_open_it_again(url: str) -> None:
    sdk = InvestigationSDK(url)
    seen = Seen(sdk)
    sdk.service.on_state()(seen)
    async with sdk, sdk.investigation("closing"):
        pass
    assert await seen.states() == ALL
    assert not sdk._recorder._opened
    with sdk, sdk.investigation("closing"):
        pass
    assert await seen.states() == ALL * 2
    assert not sdk._recorder._opened


def test_a_mistyped_state_of_a_hook() -> None:
    with pytest.raises(ValueError, match=r"state=.runing. is not one of"):
        InvestigationSDK("memory://").service.on_state("runing")(print)  # type: ignore[arg-type]


async def test_cancelling_what_nobody_drives(sdk: InvestigationSDK) -> None:
    made = await sdk.service.create_investigation("u", "s", "t")
    assert (await sdk.service.cancel(made.id, "no need")).status == "cancelled"
    assert (await sdk.service.cancel(made.id)).version == (await sdk.get(made.id)).version
    with pytest.raises(InvestigationCancelled, match=made.id):
        async with sdk.attach(made.id):
            raise AssertionError("must not run")
