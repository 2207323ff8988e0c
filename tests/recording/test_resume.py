"""What a later attempt is given back, what runs again, and what nobody can tell."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from investigation_sdk import (
    AsyncInvestigationRun,
    InvestigationInterrupt,
    InvestigationNotFound,
    InvestigationPaused,
    InvestigationSDK,
    InvestigationState,
    Resolution,
    ResumeDivergence,
    ToolState,
    UnknownOutcome,
    current_tool,
    tool,
)
from investigation_sdk.testing import SimulatedCrash, crash_at

ran: list[Any] = []
"""What bodies did, in order."""


@pytest.fixture
def sdk(url: str, make_sdk: Callable[..., InvestigationSDK]) -> InvestigationSDK:
    """STRICT, so that every body that began is in the log."""
    return make_sdk(url, durability="strict")


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@tool
def look(n: int) -> dict[str, int]:
    ran.append(("look", n))
    return {"n": n}


@tool(effect="read")
async def read(n: Any) -> Any:
    ran.append(("read", n))
    return n


@tool(effect="idempotent")
def ticket(title: str) -> str:
    ran.append(("ticket", current_tool().idempotency_key))
    return f"T-{title}"


class NothingDone(Exception):
    pass


class NothingDoneEither(NothingDone):
    pass


def _of_bank(account: str, reason: str) -> Resolution:
    ran.append(("reconcile", account, reason))
    return _of_bank.answer  # type: ignore[attr-defined,no-any-return]


@tool(effect="unsafe", identity=["account"], no_effect_on=(NothingDone,))
def freeze(account: str, reason: Any) -> bool:
    ran.append(("freeze", account, reason))
    if isinstance(reason, BaseException):
        raise reason
    return True


@tool(effect="unsafe", identity=["account"], reconcile=_of_bank)
def freeze_or_ask(account: str, reason: str) -> str:
    ran.append(("freeze", account, reason))
    return "frozen"


async def crashing(sdk: InvestigationSDK, agent: Callable[[], Any], point: str = "tool.completed", nth: int = 1) -> str:
    """Run an agent in the investigation `k` until it is killed; the id."""
    id = ""
    with pytest.raises(SimulatedCrash), crash_at(point, nth=nth):
        async with sdk.investigation("s", key="k") as investigation:
            id = investigation.id
            await _called(agent)
    return id


async def resumed(sdk: InvestigationSDK, agent: Callable[[], Any]) -> Any:
    """Run it again; what it gave."""
    async with sdk.investigation("s", key="k") as investigation:
        assert investigation.attempt > 1
        investigation.result = "done"
        return await _called(agent)


async def _called(agent: Callable[[], Any]) -> Any:
    answer = agent()
    return await answer if asyncio.iscoroutine(answer) else answer


async def summaries(sdk: InvestigationSDK, id: str) -> list[dict[str, Any]]:
    return [e.event_data async for e in sdk.iter_events(id, event_type="resume.summary")]


# ---- what finished


async def test_what_finished_is_given_back_and_the_rest_runs(sdk: InvestigationSDK) -> None:
    id = await crashing(sdk, lambda: [look(n) for n in range(5)], nth=4)
    assert ran == [("look", n) for n in range(4)]
    ran.clear()
    assert await resumed(sdk, lambda: [look(n) for n in range(5)]) == [{"n": n} for n in range(5)]
    assert ran == [("look", 3), ("look", 4)]
    calls = await sdk.tools(id)
    assert [(c.input_parameters["n"], c.attempt, c.status) for c in calls] == [
        (0, 1, "completed"), (1, 1, "completed"), (2, 1, "completed"), (3, 1, "interrupted"),
        (3, 2, "completed"), (4, 2, "completed"),
    ]  # fmt: skip
    assert await summaries(sdk, id) == [
        {"phase": None, "reused": 3, "again": 1, "new": 1, "tools": {"look": {"reused": 3, "again": 1, "new": 1}}}
    ]
    assert (await sdk.verify(id)).ok
    assert (await sdk.get(id)).result == "done"


async def test_every_attempt_counts(sdk: InvestigationSDK) -> None:
    for _ in range(4):
        await crashing(sdk, lambda: [look(n) for n in range(5)], nth=2)
    await resumed(sdk, lambda: [look(n) for n in range(5)])
    assert sorted(ran) == [("look", n) for n in (0, 1, 1, 2, 2, 3, 3, 4, 4)]


async def test_the_same_call_many_times_is_taken_in_order(sdk: InvestigationSDK) -> None:
    numbers = iter(range(100))

    @tool
    def dice(_sides: int) -> int:
        return next(numbers)

    await crashing(sdk, lambda: [dice(6) for _ in range(5)], nth=4)
    assert await resumed(sdk, lambda: [dice(6) for _ in range(5)]) == [0, 1, 2, 4, 5]


async def test_calls_at_the_same_time(sdk: InvestigationSDK) -> None:
    async def agent() -> list[Any]:
        return await asyncio.gather(*(read(n) for n in range(20)))

    with pytest.raises(SimulatedCrash), crash_at("tool.completed", nth=12):
        async with sdk.investigation("s", key="k") as run:
            await agent()
    ran.clear()
    assert await resumed(sdk, agent) == list(range(20))
    durable = await sdk.tools(run.id, status=ToolState.COMPLETED)
    first = [call.input_parameters["n"] for call in durable if call.attempt == 1]
    assert sorted(n for _, n in ran) == sorted(set(range(20)) - set(first))


VALUES = [
    (1, 2),
    {3, 4},
    b"\x00",
    Decimal("1.10"),
    datetime(2026, 1, 2, tzinfo=UTC),
    {1: "a"},
    "\x00\ud800",
    2**70,
    [None, {"$type": "x"}],
    "x" * 100_000,
]


@pytest.mark.parametrize("value", VALUES, ids=[type(v).__name__ + str(i) for i, v in enumerate(VALUES)])
async def test_values_come_back_exactly(sdk: InvestigationSDK, value: Any) -> None:
    async def agent() -> Any:
        given = await read(value)
        look(1)
        return given

    await crashing(sdk, agent, nth=2)
    ran.clear()
    given = await resumed(sdk, agent)
    assert (given, type(given)) == (value, type(value))
    assert ran == [("look", 1)]


async def test_what_cannot_be_given_back_runs_again(sdk: InvestigationSDK) -> None:
    class Odd:
        pass

    @tool
    def odd(_n: int) -> Odd:
        ran.append("odd")
        return Odd()

    await crashing(sdk, lambda: (odd(1), look(1)), nth=2)
    assert isinstance((await resumed(sdk, lambda: (odd(1), look(1))))[0], Odd)
    assert ran == ["odd", ("look", 1), "odd", ("look", 1)]


async def test_another_version_phase_or_argument_is_another_call(sdk: InvestigationSDK) -> None:
    def versioned(version: str) -> Callable[[int], str]:
        @tool(name="versioned", version=version)
        def body(n: int) -> str:
            ran.append((version, n))
            return version

        return body

    async def agent(run: AsyncInvestigationRun, version: str, phase: str) -> None:
        async with run.phase(phase):
            versioned(version)(1)
            look(1)

    with pytest.raises(SimulatedCrash), crash_at("tool.completed", nth=2):
        async with sdk.investigation("s", key="k") as run:
            await agent(run, "1", "a")
    for version, phase, expected in (("2", "a", "2"), ("1", "b", "1")):
        ran.clear()
        with pytest.raises(OSError, match="x"):
            async with sdk.investigation("s", key="k") as run:
                await agent(run, version, phase)
                raise OSError("x")
        assert (expected, 1) in ran
    ran.clear()
    async with sdk.investigation("s", key="k") as run:
        await agent(run, "1", "a")
    assert ran == []


async def test_phases_and_their_outputs(sdk: InvestigationSDK) -> None:
    async def agent(run: AsyncInvestigationRun) -> None:
        async with run.phase("one") as one:
            if not one.completed_before:
                one.output_data = {"found": look(1)}
            ran.append((one.completed_before, one.previous_output))
        async with run.phase("two"):
            look(2)

    with pytest.raises(SimulatedCrash), crash_at("tool.completed", nth=2):
        async with sdk.investigation("s", key="k") as run:
            await agent(run)
    ran.clear()
    async with sdk.investigation("s", key="k") as run:
        await agent(run)
    assert ran == [(True, {"found": {"n": 1}}), ("look", 2)]
    assert await summaries(sdk, run.id) == [
        {"phase": "two", "reused": 0, "again": 1, "new": 0, "tools": {"look": {"again": 1}}},
        {"phase": None, "reused": 0, "again": 0, "new": 0, "tools": {}, "no_longer_called": {"look": 1}},
    ]


async def test_tools_inside_tools(sdk: InvestigationSDK) -> None:
    @tool
    def outer(n: int) -> list[int]:
        ran.append("outer")
        return [look(n)["n"], look(n + 1)["n"]]

    async def agent() -> list[list[int]]:
        return [outer(1), outer(1)]

    # 1 and 2 are inside the first outer, which is the third to complete; the second outer is cut off behind its first
    await crashing(sdk, agent, nth=5)
    assert ran == ["outer", ("look", 1), ("look", 2), "outer", ("look", 1), ("look", 2)]
    ran.clear()
    await crashing(sdk, agent, nth=2)  # the second outer ran again, and is cut off before its own end
    assert ran == ["outer", ("look", 2)]
    ran.clear()
    assert await resumed(sdk, agent) == [[1, 2], [1, 2]]
    assert ran == ["outer"]


async def test_generators(sdk: InvestigationSDK) -> None:
    @tool
    def count(n: int) -> Iterator[int]:
        ran.append("count")
        yield from range(n)
        return "end"  # type: ignore[return-value]

    @tool
    async def acount(n: int) -> AsyncIterator[int]:
        ran.append("acount")
        for i in range(n):
            yield i

    async def agent() -> Any:
        ended: list[Any] = []

        def whole() -> Iterator[int]:
            numbers: Any = count(3)
            ended.append((yield from numbers))

        given = list(whole()), [i async for i in acount(2)], [next(iter(count(3)))]
        look(1)
        return given, ended

    await crashing(sdk, agent, nth=4)
    assert ran == ["count", "acount", "count", ("look", 1)]
    ran.clear()
    assert await resumed(sdk, agent) == (([0, 1, 2], [0, 1], [0]), ["end"])
    assert ran == ["count", ("look", 1)]  # of the one that was given up nobody knows the rest


async def test_what_is_masked_is_compared_by_its_keyed_digest(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    @tool(sensitive=["secret"])
    def login(secret: str) -> str:
        ran.append(secret)
        return "in"

    await crashing(sdk, lambda: (login("a"), look(1)), nth=2)
    await resumed(sdk, lambda: login("a"))
    assert ran == ["a", ("look", 1), "a"]  # without a key, nobody can tell one secret from another
    ran.clear()
    monkeypatch.setenv("INVESTIGATION_DIGEST_KEY", "k")
    with pytest.raises(SimulatedCrash), crash_at("tool.completed", nth=2):
        async with sdk.investigation("s", key="keyed"):
            login("a")
            look(1)
    async with sdk.investigation("s", key="keyed"):
        login("a")
        login("b")
    assert ran == ["a", ("look", 1), "b"]


# ---- what raised, or was cut off


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
    _of_bank.answer = Resolution(outcome="succeeded", result="was frozen")  # type: ignore[attr-defined]
    assert await resumed(sdk, lambda: freeze_or_ask("42", "y")) == "was frozen"
    assert ran == [("reconcile", "42", "y")]
    [event] = [e async for e in sdk.iter_events(id, event_type="tool.resolved")]
    assert event.event_data["by"] == "reconcile"
    assert event.metadata == {}
    [call] = await sdk.tools(id)
    assert (call.status, call.output_result) == (ToolState.COMPLETED, "was frozen")


async def test_reconcile_may_say_that_it_was_not_done_or_fail(sdk: InvestigationSDK) -> None:
    id = await crashing(sdk, lambda: freeze_or_ask("42", "x"))
    _of_bank.answer = "nonsense"  # type: ignore[attr-defined]
    with pytest.raises(UnknownOutcome, match="reconcile= failed: ValidationError"):
        await resumed(sdk, lambda: freeze_or_ask("42", "y"))
    await sdk.service.resume(id)
    _of_bank.answer = Resolution(outcome="not_executed")  # type: ignore[attr-defined]
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


# ---- sdk.run


async def test_run_by_key(sdk: InvestigationSDK) -> None:
    async def handler(run: AsyncInvestigationRun) -> dict[str, Any]:
        async with run.phase("p"):
            return {"looked": look(1), "read": await read(2)}

    with pytest.raises(SimulatedCrash), crash_at("tool.completed", nth=2):
        await sdk.run(handler, "s", key="k")
    assert await sdk.run(handler, "s", key="k") == {"looked": {"n": 1}, "read": 2}
    assert ran == [("look", 1), ("read", 2), ("read", 2)]
    assert await sdk.run(handler, "s", key="k") == {"looked": {"n": 1}, "read": 2}
    assert len(ran) == 3


async def test_run_of_a_blocking_handler(sdk: InvestigationSDK) -> None:
    def handler(run: Any) -> int:
        with run.phase("p"):
            return look(1)["n"]

    assert [await sdk.run(handler, "s", key="k") for _ in range(2)] == [1, 1]
    assert ran == [("look", 1)]
