"""What finished in an earlier attempt is given back, and the rest runs."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from investigation_sdk import AsyncInvestigationRun, InvestigationSDK, RecordUnreadable, ToolState, tool
from investigation_sdk.testing import SimulatedCrash, crash_at
from tests.recording.resume.agents import crashing, look, ran, read, resumed, summaries


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


async def test_what_cannot_be_read_any_more_is_refused_each_time(
    sqlite_url: str, make_sdk: Callable[..., InvestigationSDK]
) -> None:
    """Its call is never a new one, however often that is made."""

    def agent() -> None:
        for _ in range(3):
            with pytest.raises(RecordUnreadable, match="cannot be read"):
                look(7)

    await crashing(make_sdk(sqlite_url), lambda: (look(7), look(1)), nth=2)
    ran.clear()
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), timeout=30)) as file, file:
        damage = "UPDATE investigation_events SET event_data = replace(event_data, ?, ?) WHERE event_type = ?"
        assert file.execute(damage, ('{"n":7}', '{"n":7,}', "tool.completed")).rowcount
    await resumed(make_sdk(sqlite_url), agent)
    assert ran == []
