"""What raised or was cut off in an earlier attempt: what runs again, and what nobody can tell."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from investigation_sdk import (
    InvestigationInterrupt,
    InvestigationNotFound,
    InvestigationPaused,
    InvestigationSDK,
    InvestigationState,
    Resolution,
    ResumeDivergence,
    ToolState,
    UnknownOutcome,
    tool,
)
from tests.recording.resume.agents import (
    NothingDoneEither,
    crashing,
    freeze,
    freeze_or_ask,
    look,
    of_bank,
    ran,
    read,
    resumed,
    ticket,
)


async def test_what_raised_runs_again(sdk: InvestigationSDK) -> None:
    @tool(effect="read")
    def flaky(n: int) -> int:
        ran.append(n)
        if len(ran) == 1:
            raise OSError("not now")
        return n

    with pytest.raises(OSError, match="not now"):
        async with sdk.investigation("s", key="k"):
            flaky(1)
    assert await resumed(sdk, lambda: flaky(1)) == 1
    assert ran == [1, 1]


async def test_an_idempotent_call_keeps_its_key(sdk: InvestigationSDK) -> None:
    await crashing(sdk, lambda: ticket("a"))
    await crashing(sdk, lambda: ticket("a"))
    await resumed(sdk, lambda: (ticket("a"), ticket("a")))
    keys = [key for _, key in ran]
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]
    calls = await sdk.tools((await found(sdk)).id)
    assert calls[0].id == keys[0]


async def found(sdk: InvestigationSDK) -> Any:
    return await sdk.find(key="k")


async def test_an_unsafe_call_that_was_cut_off_is_asked_about(sdk: InvestigationSDK) -> None:
    id = await crashing(sdk, lambda: freeze("42", "sim swap"))
    [call] = await sdk.tools(id)
    for _ in range(2):
        ran.clear()
        with pytest.raises(UnknownOutcome) as unknown:
            await resumed(sdk, lambda: freeze("42", "in other words"))
        assert ran == []
        assert (unknown.value.call_id, unknown.value.tool_name) == (call.id, "freeze")
        assert (unknown.value.investigation_id, (await sdk.get(id)).status) == (id, InvestigationState.PAUSED)
        for part in ("was cut off", f"sdk.service.resolve('{call.id}'", f"sdk.service.resume('{id}')"):
            assert part in str(unknown.value)
        await sdk.service.resume(id)  # without an answer, it asks again
    resolved = await sdk.service.resolve(
        call.id, Resolution(outcome="succeeded", result=True, reason="phoned"), actor="ann"
    )
    assert (resolved.status, resolved.output_result) == (ToolState.COMPLETED, True)
    assert await resumed(sdk, lambda: freeze("42", "in other words")) is True
    assert ran == []
    [event] = [e async for e in sdk.iter_events(id, event_type="tool.resolved")]
    assert (event.actor, event.event_data["reason"], event.event_data["outcome"]) == ("ann", "phoned", "succeeded")
    assert (await sdk.verify(id)).ok


@pytest.mark.parametrize("outcome", ["failed", "not_executed"])
async def test_an_unsafe_call_that_was_not_done_runs(sdk: InvestigationSDK, outcome: Any) -> None:
    id = await crashing(sdk, lambda: freeze("42", "x"))
    with pytest.raises(UnknownOutcome) as unknown:
        await resumed(sdk, lambda: freeze("42", "x"))
    await sdk.service.resolve(unknown.value.call_id, Resolution(outcome=outcome))
    await sdk.service.resume(id)
    ran.clear()
    assert await resumed(sdk, lambda: freeze("42", "x")) is True
    assert ran == [("freeze", "42", "x")]


async def test_an_unsafe_call_that_raised(sdk: InvestigationSDK) -> None:
    for error, expected in ((NothingDoneEither(), True), (OSError("half way"), False)):
        key = type(error).__name__
        with pytest.raises(type(error)):
            async with sdk.investigation("s", key=key):
                freeze("42", error)
        with contextlib.nullcontext() if expected else pytest.raises(UnknownOutcome, match="raised OSError: half way"):
            async with sdk.investigation("s", key=key):
                assert freeze("42", "again")


async def test_an_unsafe_result_that_cannot_be_given_back(sdk: InvestigationSDK) -> None:
    @tool(effect="unsafe")
    def odd() -> object:
        return object()

    await crashing(sdk, lambda: (odd(), look(1)), nth=2)
    with pytest.raises(UnknownOutcome, match="what it returned cannot be given back") as unknown:
        await resumed(sdk, odd)
    await sdk.service.resolve(unknown.value.call_id, Resolution(outcome="succeeded", result="a stand-in"))
    await sdk.service.resume((await found(sdk)).id)
    assert await resumed(sdk, odd) == "a stand-in"


async def test_reconcile_is_asked_first(sdk: InvestigationSDK) -> None:
    id = await crashing(sdk, lambda: freeze_or_ask("42", "x"))
    ran.clear()
    of_bank.answer = Resolution(outcome="succeeded", result="was frozen")  # type: ignore[attr-defined]
    assert await resumed(sdk, lambda: freeze_or_ask("42", "y")) == "was frozen"
    assert ran == [("reconcile", "42", "y")]
    [event] = [e async for e in sdk.iter_events(id, event_type="tool.resolved")]
    assert event.event_data["by"] == "reconcile"
    assert event.metadata == {}
    [call] = await sdk.tools(id)
    assert (call.status, call.output_result) == (ToolState.COMPLETED, "was frozen")


async def test_reconcile_may_say_that_it_was_not_done_or_fail(sdk: InvestigationSDK) -> None:
    id = await crashing(sdk, lambda: freeze_or_ask("42", "x"))
    of_bank.answer = "nonsense"  # type: ignore[attr-defined]
    with pytest.raises(UnknownOutcome, match="reconcile= failed: ValidationError"):
        await resumed(sdk, lambda: freeze_or_ask("42", "y"))
    await sdk.service.resume(id)
    of_bank.answer = Resolution(outcome="not_executed")  # type: ignore[attr-defined]
    ran.clear()
    assert await resumed(sdk, lambda: freeze_or_ask("42", "z")) == "frozen"
    assert ran == [("reconcile", "42", "z"), ("freeze", "42", "z")]
    assert [call.status for call in await sdk.tools(id)] == [ToolState.INTERRUPTED, ToolState.COMPLETED]


async def test_reconcile_may_be_async_whatever_the_tool_is(sdk: InvestigationSDK) -> None:
    async def ask(n: int) -> Resolution:
        await asyncio.sleep(0)
        return Resolution(outcome="succeeded", result=n)

    @tool(effect="unsafe", reconcile=ask)
    def sync(n: int) -> int:
        raise AssertionError("must not run")

    @tool(effect="unsafe", reconcile=ask)
    async def asynchronous(n: int) -> int:
        raise AssertionError("must not run")

    async def agent() -> Any:
        return sync(1), await asynchronous(2)

    await crashing(sdk, agent, point="tool.failed")
    await crashing(sdk, agent, point="tool.failed")
    assert await resumed(sdk, agent) == (1, 2)


async def test_another_unsafe_call_while_one_is_left_over(sdk: InvestigationSDK) -> None:
    id = await crashing(sdk, lambda: (freeze("42", "x"), look(1)), nth=2)
    [recorded, _] = await sdk.tools(id)
    with pytest.raises(ResumeDivergence) as diverged:
        await resumed(sdk, lambda: freeze("43", "x"))
    assert ran == [("freeze", "42", "x"), ("look", 1)]
    assert (diverged.value.call_id, diverged.value.tool_name) == (recorded.id, "freeze")
    for part in ('"account":"43"', recorded.id, f"sdk.service.resume('{id}')"):
        assert part in str(diverged.value)
    await sdk.service.resolve(recorded.id, Resolution(outcome="succeeded", result=True, reason="both are meant"))
    await sdk.service.resume(id)
    assert await resumed(sdk, lambda: (freeze("43", "x"), freeze("42", "x"))) == (True, True)
    assert ran == [("freeze", "42", "x"), ("look", 1), ("freeze", "43", "x")]


async def test_the_interrupt_is_no_exception_for_the_agent(sdk: InvestigationSDK) -> None:
    await crashing(sdk, lambda: freeze("42", "x"))

    async def agent() -> None:
        try:
            freeze("42", "x")
        except Exception:
            ran.append("swallowed")

    with pytest.raises(UnknownOutcome):
        await resumed(sdk, agent)
    with pytest.raises(UnknownOutcome):  # not even what is still paused
        await sdk.service.resume((await found(sdk)).id)
        async with sdk.investigation("s", key="k"):
            with pytest.raises(InvestigationInterrupt):
                freeze("42", "x")
            freeze("42", "x")
    assert "swallowed" not in ran


async def test_resolving_what_is_not_in_doubt(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("s") as investigation:
        look(1)
    [call] = await sdk.tools(investigation.id)
    with pytest.raises(ValueError, match=f"Call {call.id} of 'look' is completed"):
        await sdk.service.resolve(call.id, Resolution(outcome="failed"))
    unknown = call.id[:-12] + "0" * 12
    with pytest.raises(InvestigationNotFound, match=unknown):
        await sdk.service.resolve(unknown, Resolution(outcome="failed"))


async def test_a_paused_one_stays_paused_until_it_is_resumed(
    make_sdk: Callable[..., InvestigationSDK], url: str
) -> None:
    sdk = make_sdk(url, on_pause="raise")
    await crashing(sdk, lambda: freeze("42", "x"))
    with pytest.raises(UnknownOutcome):
        await resumed(sdk, lambda: freeze("42", "x"))
    with pytest.raises(InvestigationPaused):
        await resumed(sdk, lambda: look(1))
    assert ("look", 1) not in ran


async def test_a_crash_that_is_swallowed_comes_again(sdk: InvestigationSDK) -> None:
    async def agent() -> None:
        await asyncio.gather(read(1), return_exceptions=True)
        ran.append("swallowed")
        look(2)
        ran.append("went on")

    await crashing(sdk, agent)
    assert ran == [("read", 1), "swallowed"]
