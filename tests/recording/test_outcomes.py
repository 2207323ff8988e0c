"""What a recorded call gives to its caller, and what it says about itself."""

import asyncio
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from investigation_sdk import (
    InvestigationSDK,
    ToolCall,
    ToolState,
    current_investigation,
    current_tool,
    propagate,
    tool,
)


class Odd(Exception):
    """An exception that carries state."""

    def __init__(self, payload: object) -> None:
        super().__init__("odd")
        self.payload = payload


async def test_value_and_exception_are_the_same_objects(sdk: InvestigationSDK) -> None:
    value, payload = object(), object()
    raised = Odd(payload)

    @tool
    def gives() -> object:
        return value

    @tool
    async def agives() -> object:
        return value

    @tool
    def fails() -> None:
        raise raised

    @tool
    async def afails() -> None:
        raise raised

    async with sdk.investigation("identity") as investigation:
        assert gives() is value
        assert await agives() is value
        with pytest.raises(Odd) as found:
            fails()
        assert found.value is raised
        with pytest.raises(Odd) as found:
            await afails()
        assert found.value is raised
        assert raised.payload is payload
        assert raised.__cause__ is None
        assert raised.__context__ is None
    states = [(c.tool_name, c.status, c.error_message) for c in await sdk.tools(investigation.id)]
    assert states[2:] == [(n, ToolState.FAILED, f"{__name__}.Odd: odd") for n in ("fails", "afails")]


def test_how_a_call_failed_is_recorded(sdk: InvestigationSDK) -> None:
    @tool
    def fails() -> None:
        try:
            int("x")
        except ValueError as error:
            raise KeyError("outer") from error

    with sdk.investigation("errors") as investigation, pytest.raises(KeyError):
        fails()
    (failed,) = sdk.sync.events(investigation.id, event_type="tool.failed")
    error = failed.event_data["error"]
    assert (error["type"], error["message"]) == ("KeyError", "'outer'")
    assert "invalid literal for int()" in error["traceback"]
    assert "direct cause" in error["traceback"]


def test_exceptions_that_cannot_be_described_are_recorded_all_the_same(sdk: InvestigationSDK) -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    @tool
    def fails(error: Exception) -> None:
        raise error

    with sdk.investigation("errors") as investigation:
        for error in (Broken(), ValueError("a\0b\udc80c"), ValueError("x" * 100_000)):
            with pytest.raises(type(error)) as found:
                fails(error)
            assert found.value is error
    errors = [e.event_data["error"] for e in sdk.sync.events(investigation.id, event_type="tool.failed")]
    assert "RuntimeError" in errors[0]["message"]
    assert errors[1]["message"] == "a\\0b\\udc80c"
    assert len(errors[2]["message"]) < 20_000
    assert sdk.sync.verify(investigation.id).ok


class GraphInterrupt(Exception):
    """Named as LangGraph's."""


class ModelRetry(Exception):
    """Named as pydantic-ai's."""


class MyInterrupt(GraphInterrupt):
    """A subclass is control flow too."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (GraphInterrupt("ask"), "interrupted"),
        (ModelRetry("again"), "interrupted"),
        (MyInterrupt("ask"), "interrupted"),
        (asyncio.CancelledError("stop"), "cancelled"),
        (KeyboardInterrupt(), "interrupted"),
        (GeneratorExit(), "interrupted"),
        (BaseExceptionGroup("g", [asyncio.CancelledError()]), "cancelled"),
        (BaseExceptionGroup("g", [asyncio.CancelledError(), KeyboardInterrupt()]), "interrupted"),
    ],
)
async def test_control_flow_is_recorded_as_interrupted(sdk: InvestigationSDK, error: BaseException, kind: str) -> None:
    @tool
    def stops() -> None:
        raise error

    @tool
    async def astops() -> None:
        raise error

    async with sdk.investigation("control flow") as investigation:
        with pytest.raises(type(error)) as found:
            stops()
        assert found.value is error
        with pytest.raises(type(error)) as found:
            await astops()
        assert found.value is error
    assert [c.status for c in await sdk.tools(investigation.id)] == [ToolState.INTERRUPTED] * 2
    interrupted = await sdk.events(investigation.id, event_type="tool.interrupted")
    assert [e.event_data["kind"] for e in interrupted] == [kind] * 2
    assert (await sdk.get(investigation.id)).status == "completed"


async def test_a_cancelled_task_is_interrupted_and_stays_cancelled(sdk: InvestigationSDK) -> None:
    running = asyncio.Event()

    @tool
    async def waits() -> None:
        running.set()
        await asyncio.sleep(60)

    async with sdk.investigation("cancel") as investigation:
        task = asyncio.create_task(waits())
        await running.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
    (call,) = await sdk.tools(investigation.id)
    assert call.status is ToolState.INTERRUPTED


async def test_an_unsafe_call_that_was_interrupted_has_an_unknown_outcome(sdk: InvestigationSDK) -> None:
    @tool(effect="unsafe")
    async def pays() -> None:
        raise asyncio.CancelledError

    async with sdk.investigation("cancel") as investigation:
        with pytest.raises(asyncio.CancelledError):
            await pays()
    (call,) = await sdk.tools(investigation.id)
    assert call.status is ToolState.UNKNOWN


async def test_nested_calls_know_their_parents(sdk: InvestigationSDK) -> None:
    seen: list[str] = []

    @tool
    def leaf() -> None:
        seen.append(current_tool().id)

    @tool
    async def branch() -> None:
        seen.append(current_tool().id)
        leaf()
        await asyncio.to_thread(leaf)
        seen.append(current_tool().id)

    async with sdk.investigation("nested") as investigation:
        await branch()
        leaf()
        assert not current_tool().recording
    started = [e async for e in sdk.iter_events(investigation.id, event_type="tool.started")]
    ids = [e.id for e in started]
    assert seen == [ids[0], ids[1], ids[2], ids[0], ids[3]]
    headers = await parents(sdk, investigation.id)
    assert [headers[id] for id in ids] == [None, ids[0], ids[0], None]


async def parents(sdk: InvestigationSDK, id: str) -> dict[str, str | None]:
    """The parent calls of all events, from their headers."""
    recorder = sdk._recorder
    import json

    events = await recorder.acall(recorder.backend.read_events(id))
    return {e.id: json.loads(e.header).get("parent_call") for e in events}


async def test_what_a_tool_records_belongs_to_its_call(sdk: InvestigationSDK) -> None:
    @tool
    def notes() -> None:
        investigation = current_investigation()
        assert investigation is not None
        investigation.record("my.note", {"n": 1})

    async with sdk.investigation("notes") as investigation:
        notes()
    (call,) = await sdk.tools(investigation.id)
    (note,) = await sdk.events(investigation.id, event_type="my.note")
    assert (await parents(sdk, investigation.id))[note.id] == call.id


def test_current_tool_is_inert_outside_a_call(sdk: InvestigationSDK) -> None:
    def look() -> ToolCall:
        call = current_tool()
        call.report(tokens_used=1, cost_estimate=Decimal(1), progress=0.5, summary="s")
        return call

    outside = look()
    with sdk.investigation("inert") as investigation:
        inside = look()
        undecorated = tool(look)()
    for call in (outside, inside):
        assert (call.recording, call.id, call.attempt, call.usage, call.summary) == (False, "", 0, None, None)
        assert call.idempotency_key == ""
    assert undecorated.recording
    assert sdk.sync.get(investigation.id).usage.tokens_used == 1


def test_counters_add_up_and_the_rest_replaces(sdk: InvestigationSDK) -> None:
    @tool
    def works() -> None:
        call = current_tool()
        call.report(tokens_used=10, api_calls_made=1, cost_estimate=Decimal("0.1"), progress=0.2, summary="first")
        call.report(tokens_used=5, cost_estimate=Decimal("0.000000000000000000002"), progress=0.9)
        call.report(api_calls_made=2, cost_estimate=0.2, summary="second", progress=7)

    with sdk.investigation("usage") as investigation:
        works()
        investigation.report(tokens_used=1, api_calls_made=1, cost_estimate=0.1)
        assert investigation.usage.tokens_used == 16
    (call,) = sdk.sync.tools(investigation.id)
    assert (call.tokens_used, call.api_calls_made, call.result_summary) == (15, 3, "second")
    assert call.cost_estimate == Decimal("0.300000000000000000002")
    usage = sdk.sync.get(investigation.id).usage
    assert (usage.tokens_used, usage.api_calls_made) == (16, 4)
    assert usage.cost_estimate == Decimal("0.400000000000000000002")
    (completed,) = sdk.sync.events(investigation.id, event_type="tool.completed")
    assert completed.event_data["progress"] == 1.0


def test_a_hundred_dimes_are_ten(sdk: InvestigationSDK) -> None:
    @tool
    def dime() -> None:
        current_tool().report(cost_estimate=0.1)

    with sdk.investigation("dimes") as investigation:
        for _ in range(100):
            dime()
    assert sdk.sync.get(investigation.id).usage.cost_estimate == Decimal(10)


def test_what_a_failed_call_used_counts(sdk: InvestigationSDK) -> None:
    @tool
    def fails() -> None:
        current_tool().report(tokens_used=7)
        raise OSError("x")

    with sdk.investigation("usage") as investigation, pytest.raises(OSError, match="x"):
        fails()
    assert sdk.sync.get(investigation.id).usage.tokens_used == 7


def test_threads_of_one_call_lose_no_counts(sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch) -> None:
    from investigation_sdk.recording import tool_call

    plain: Callable[..., Any] = tool_call.add_usage
    both = threading.Barrier(2)

    def slowly(*args: Any) -> Any:
        if both.n_waiting == 0 and threading.active_count() > 1:
            try:
                both.wait(0.2)  # without a lock, both threads have read the same sum by now
            except threading.BrokenBarrierError:
                both.reset()
        return plain(*args)

    @tool
    def works() -> None:
        report = propagate(lambda: current_tool().report(tokens_used=1))
        threads = [threading.Thread(target=report) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    monkeypatch.setattr(tool_call, "add_usage", slowly)
    with sdk.investigation("threads") as investigation:
        works()
    assert sdk.sync.get(investigation.id).usage.tokens_used == 2


def test_the_idempotency_key_is_stable_within_a_call_and_differs_between_calls(sdk: InvestigationSDK) -> None:
    keys: list[str] = []

    @tool(effect="idempotent")
    def pays() -> None:
        keys.extend(current_tool().idempotency_key for _ in range(2))

    with sdk.investigation("keys"):
        pays()
        pays()
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert all(keys)


def test_current_investigation(sdk: InvestigationSDK) -> None:
    assert current_investigation() is None
    with sdk.investigation("outer", user_id="gil", metadata={"m": 1}, configuration={"c": 2}) as outer:
        assert current_investigation() is outer
        assert (outer.subject, outer.user_id, outer.investigation_type) == ("outer", "gil", "general")
        assert (outer.metadata, outer.configuration, outer.attempt) == ({"m": 1}, {"c": 2}, 1)
        with sdk.investigation("inner") as inner:
            assert current_investigation() is inner
        assert current_investigation() is outer
    assert current_investigation() is None
