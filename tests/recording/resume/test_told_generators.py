"""A generator that is given back is one: what is sent into it is compared; told something else, it runs."""

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest

from investigation_sdk import (
    InvestigationInterrupt,
    InvestigationSDK,
    Resolution,
    ResumeDivergence,
    UnknownOutcome,
    tool,
)
from tests.recording.resume.agents import crashing, freeze, look, ran, resumed, summaries


@tool(effect="read")
def talk(subject: str) -> Generator[str, Any, str]:
    ran.append("talk")
    heard: Any = "nothing"
    for n in range(4):
        try:
            heard = yield f"{n}: {subject}, heard {heard}"
        except KeyError as thrown:
            heard = f"thrown {thrown}"
    return f"ends, heard {heard}"


@tool(effect="read")
async def atalk(subject: str) -> AsyncGenerator[str, Any]:
    ran.append("talk")
    heard: Any = "nothing"
    for n in range(4):
        try:
            heard = yield f"{n}: {subject}, heard {heard}"
        except KeyError as thrown:
            heard = f"thrown {thrown}"


async def atold(said: tuple[Any, ...]) -> list[Any]:
    """What it gives if it is told this, and then asked on until its end."""
    one = atalk("s")
    given = [await anext(one)]
    for each in said:
        step = one.athrow(each) if isinstance(each, Exception) else one.asend(each)
        given.append(await step)
    given.extend([item async for item in one])
    return [*given, "end"]


async def told(asynchronous: bool, *said: Any) -> list[Any]:
    """So, too, and what it returns in the end."""
    if asynchronous:
        return await atold(said)
    one = talk("s")
    given = [next(one)]
    for each in said:
        step = one.throw if isinstance(each, Exception) else one.send
        given.append(step(each))

    def rest() -> Generator[str, Any, None]:
        given.append((yield from one))

    ended = list(rest())
    return [*given[:-1], *ended, given[-1]]


both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@both
async def test_told_the_same_it_gives_the_same(sdk: InvestigationSDK, *, asynchronous: bool) -> None:
    async def agent() -> Any:
        given = await told(asynchronous, "a", None, (2,))
        look(1)
        return given

    id = await crashing(sdk, agent, nth=2)
    [first, *_] = await sdk.tools(id)
    assert sorted(first.output_result["sent"]) == ["0", "2"]
    ran.clear()
    end = "end" if asynchronous else "ends, heard None"
    assert await resumed(sdk, agent) == [
        "0: s, heard nothing", "1: s, heard a", "2: s, heard None", "3: s, heard (2,)", end
    ]  # fmt: skip
    assert ran == [("look", 1)]
    assert (await summaries(sdk, id))[0]["tools"]["atalk" if asynchronous else "talk"] == {"reused": 1}


@both
@pytest.mark.parametrize(
    "second",
    [("a", "other"), ("a",), ("a", "b", "c"), ("other",), ("a", KeyError("k")), ("a", object())],
    ids=["another", "fewer", "more", "first", "thrown", "unlike anything"],
)
async def test_told_something_else_it_runs(sdk: InvestigationSDK, *, asynchronous: bool, second: Any) -> None:
    async def agent(*said: Any) -> Any:
        given = await told(asynchronous, *said)
        look(1)
        return given

    id = await crashing(sdk, lambda: agent("a", "b"), nth=2)
    ran.clear()
    given = await resumed(sdk, lambda: agent(*second))
    assert ran == ["talk", ("look", 1)]
    assert given == await told(asynchronous, *second), "as if nothing of it was recorded"
    calls = await sdk.tools(id)
    assert [(c.attempt, c.status) for c in calls if "talk" in c.tool_name] == [(1, "completed"), (2, "completed")]
    recorded = await sdk.payload(id, calls[-2].output_result)
    assert recorded["items"] == given[:-1]
    [summary] = await summaries(sdk, id)
    assert summary["tools"]["atalk" if asynchronous else "talk"] == {"again": 1}
    started = await sdk.events(id, event_type="tool.started")
    assert started[-2].event_data["again"] == calls[0].id


@both
@pytest.mark.parametrize("said", [object(), KeyError("k")], ids=["unlike anything", "thrown"])
async def test_what_cannot_be_compared_runs_again(sdk: InvestigationSDK, *, asynchronous: bool, said: Any) -> None:
    async def agent() -> Any:
        given = await told(asynchronous, said)
        look(1)
        return given

    await crashing(sdk, agent, nth=2)
    ran.clear()
    assert await resumed(sdk, agent) == await told(asynchronous, said)
    assert ran[:2] == ["talk", ("look", 1)]


async def test_it_is_closed_and_left_like_any_other(sdk: InvestigationSDK) -> None:
    def whole() -> None:
        list(talk("s"))
        look(1)

    def parts() -> list[Any]:
        one = talk("s")
        given = [next(one), one.send(None)]
        one.close()
        with pytest.raises(StopIteration):
            next(one)
        return given

    await crashing(sdk, whole, nth=2)
    ran.clear()
    assert await resumed(sdk, parts) == ["0: s, heard nothing", "1: s, heard None"]
    assert ran == []


@tool(effect="unsafe")
def order(account: str) -> Generator[str, str | None, bool]:
    ran.append(("order", account))
    answer = yield f"really {account}?"
    return answer == "yes"


def answered(answer: str) -> bool:
    asking = order("42")
    next(asking)
    try:
        asking.send(answer)
    except StopIteration as end:
        return bool(end.value)
    raise AssertionError


async def test_an_unsafe_one_is_asked_about(sdk: InvestigationSDK) -> None:
    id = await crashing(sdk, lambda: (answered("yes"), look(1)), nth=2)
    ran.clear()
    with pytest.raises(ResumeDivergence, match="something else was sent than into call") as diverged:
        await resumed(sdk, lambda: answered("no"))
    assert ran == []
    await sdk.service.resolve(diverged.value.call_id, Resolution(outcome="not_executed"))
    await sdk.service.resume(id)
    assert await resumed(sdk, lambda: answered("no")) is False
    assert ran == [("order", "42")]


async def test_an_unsafe_one_that_was_told_what_cannot_be_compared_is_warned_of(sdk: InvestigationSDK) -> None:
    def agent() -> None:
        asking: Any = order("42")
        next(asking)
        with pytest.raises(StopIteration):
            asking.send(object())
        look(1)

    id = await crashing(sdk, agent, nth=2)
    [warning, *_] = await sdk.events(id, event_type="recorder.warning")
    assert (
        "what was sent or thrown into it, on which it may depend, cannot be compared" in warning.event_data["message"]
    )
    with pytest.raises(UnknownOutcome, match="cannot be given back"):
        await resumed(sdk, agent)


@tool(effect="read")
def freezing(account: str) -> Generator[str, Any, None]:
    freeze(account, "inside")
    said = yield "frozen"
    ran.append(said)
    look(2)


async def test_what_was_called_inside_is_given_back_to_the_body_that_runs_after_all(sdk: InvestigationSDK) -> None:
    def agent(said: str) -> None:
        inside = freezing("42")
        next(inside)
        with pytest.raises(StopIteration):
            inside.send(said)
        look(1)

    id = await crashing(sdk, lambda: agent("a"), nth=4)
    assert ran == [("freeze", "42", "inside"), "a", ("look", 2), ("look", 1)]
    ran.clear()
    await resumed(sdk, lambda: agent("b"))
    assert ran == ["b", ("look", 1)], "what finished inside of it is not done again"
    [summary] = await summaries(sdk, id)
    assert summary["tools"] == {"freezing": {"again": 1}, "freeze": {"reused": 1}, "look": {"reused": 1, "again": 1}}
    assert (await sdk.verify(id)).ok


@tool(effect="read")
async def afreezing(account: str) -> AsyncGenerator[str, Any]:
    freeze(account, "inside")
    said = yield "frozen"
    ran.append(said)
    look(2)


@both
async def test_refused_when_it_is_told_something_else_it_is_no_new_one(
    url: str, make_sdk: Callable[..., InvestigationSDK], *, asynchronous: bool
) -> None:
    """It was given back, and may not run yet. Made again in the same block, it is the recorded call again."""
    sdk = make_sdk(url, durability="strict", on_pause="raise")

    async def begun() -> Any:
        one: Any = afreezing("42") if asynchronous else freezing("42")
        assert (await anext(one) if asynchronous else next(one)) == "frozen"
        return one

    async def ended(one: Any, said: str) -> None:
        with pytest.raises(StopAsyncIteration if asynchronous else StopIteration):
            await one.asend(said) if asynchronous else one.send(said)

    async def agent() -> None:
        await ended(await begun(), "a")
        look(1)

    id = await crashing(sdk, agent, nth=4)
    ran.clear()

    async def refused() -> None:
        one = await begun()
        await sdk.service.pause(id)
        with pytest.raises(InvestigationInterrupt, match="is paused"):
            await ended(one, "b")
        await sdk.service.resume(id)
        await ended(await begun(), "b")
        look(1)

    await resumed(sdk, refused)
    assert ran == ["b", ("look", 1)], "what finished inside of it is not done again"
    [summary] = await summaries(sdk, id)
    assert summary["tools"] == {
        "afreezing" if asynchronous else "freezing": {"again": 1},
        "freeze": {"reused": 1},
        "look": {"reused": 1, "again": 1},
    }
    started = await sdk.events(id, event_type="tool.started")
    assert started[-2].event_data["again"] == (await sdk.tools(id))[0].id


async def test_an_unsafe_one_that_was_refused_is_still_asked_about(
    url: str, make_sdk: Callable[..., InvestigationSDK]
) -> None:
    sdk = make_sdk(url, durability="strict", on_pause="raise")

    id = await crashing(sdk, lambda: (answered("yes"), look(1)), nth=2)
    ran.clear()

    async def refused() -> None:
        asking = order("42")
        next(asking)
        await sdk.service.pause(id)
        with pytest.raises(InvestigationInterrupt, match="is paused"):
            asking.send("no")
        await sdk.service.resume(id)
        answered("no")

    with pytest.raises(ResumeDivergence, match="something else was sent than into call"):
        await resumed(sdk, refused)
    assert ran == []
