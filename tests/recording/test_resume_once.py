"""An unsafe act is done once, whatever becomes of the call that does it; and calls that are over ask nothing."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from investigation_sdk import (
    InvalidArgument,
    Investigation,
    InvestigationSDK,
    InvestigationState,
    Resolution,
    ResumeDivergence,
    UnknownOutcome,
    current_tool,
    tool,
)
from investigation_sdk.testing import SimulatedCrash, crash_at

done: list[Any] = []
"""What bodies did, in order."""


@pytest.fixture
def sdk(url: str, make_sdk: Callable[..., InvestigationSDK]) -> InvestigationSDK:
    return make_sdk(url)


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


@tool(effect="unsafe")
def notify(who: str) -> str:
    done.append(who)
    return who


@tool(effect="read")
def look_and_notify(who: str) -> str:
    return notify(who)


@tool(effect="unsafe", identity=["who"])
def letters(who: str) -> Iterator[int]:
    done.append(who)
    yield 1
    yield 2


def crash(sdk: InvestigationSDK, agent: Callable[[], Any], point: str = "tool.completed", nth: int = 1) -> None:
    with pytest.raises(SimulatedCrash), crash_at(point, nth=nth), sdk.investigation("s", key="k"):
        agent()


def again(sdk: InvestigationSDK, agent: Callable[[], Any]) -> Any:
    with sdk.investigation("s", key="k"):
        return agent()


def case(sdk: InvestigationSDK) -> Investigation:
    found = sdk.sync.find(key="k")
    assert found is not None
    return found


def test_a_later_try_that_was_cut_off_is_asked_about_before_the_one_that_did_nothing(sdk: InvestigationSDK) -> None:
    refuse = ["no funds"]

    @tool(effect="unsafe", identity=["account"], no_effect_on=(ConnectionRefusedError,))
    def transfer(account: str) -> str:
        if refuse:
            raise ConnectionRefusedError(refuse.pop())
        done.append(account)
        return account

    def persistent() -> str:
        try:
            return transfer("42")
        except ConnectionRefusedError:
            return transfer("42")

    crash(sdk, persistent)
    assert done == ["42"]
    with pytest.raises(UnknownOutcome, match="was cut off") as asked:
        again(sdk, persistent)
    assert done == ["42"]
    sdk.sync.service.resolve(asked.value.call_id, Resolution(outcome="succeeded", result="42"))
    sdk.sync.service.resume(case(sdk).id)
    assert again(sdk, persistent) == "42"
    assert done == ["42"]


def test_unsafe_calls_inside_one_that_is_given_back_are_not_left_over(sdk: InvestigationSDK) -> None:
    def agent() -> list[str]:
        return [look_and_notify("ann"), notify("bob")]

    crash(sdk, agent, "tool.started", nth=3)
    assert done == ["ann"]
    assert again(sdk, agent) == ["ann", "bob"]
    assert done == ["ann", "bob"]
    id = case(sdk).id
    summaries = [event.event_data for event in sdk.sync.iter_events(id, event_type="resume.summary")]
    assert [(s["reused"], s["new"], s.get("no_longer_called")) for s in summaries] == [(1, 1, None)]


def test_unsafe_calls_inside_one_that_is_not_made_again_are_left_over(sdk: InvestigationSDK) -> None:
    crash(sdk, lambda: (look_and_notify("ann"), notify("bob")), "tool.started", nth=3)
    with pytest.raises(ResumeDivergence):
        again(sdk, lambda: notify("bob"))
    assert done == ["ann"]


async def test_a_call_that_is_cancelled_while_it_is_asked_about_is_asked_about_again(sdk: InvestigationSDK) -> None:
    answers: list[Resolution] = []
    asked: list[str] = []

    async def of_bank(account: str) -> Resolution:
        asked.append(account)
        if not answers:
            await asyncio.sleep(60)
        return answers.pop()

    @tool(effect="unsafe", reconcile=of_bank)
    async def transfer(account: str) -> str:
        done.append(account)
        return account

    with pytest.raises(SimulatedCrash), crash_at("tool.completed"):
        async with sdk.investigation("s", key="k"):
            await transfer("42")
    async with sdk.investigation("s", key="k"):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(transfer("42"), 0.05)
        answers.append(Resolution(outcome="succeeded", result="42"))
        assert await transfer("42") == "42"
    assert asked == ["42", "42"]
    assert done == ["42"]


async def test_an_idempotent_call_keeps_its_key_where_its_start_is_given_up(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    from investigation_sdk.recording.driver import Driver

    @tool(effect="idempotent")
    async def ticket() -> None:
        done.append(current_tool().idempotency_key)

    with pytest.raises(SimulatedCrash), crash_at("tool.completed"):
        async with sdk.investigation("s", key="k"):
            await ticket()

    def cancelled(self: Driver, call: Any) -> Any:
        raise asyncio.CancelledError

    async with sdk.investigation("s", key="k"):
        with monkeypatch.context() as patch, pytest.raises(asyncio.CancelledError):
            patch.setattr(Driver, "start_and_wait", cancelled)
            await ticket()
        await ticket()
    assert done[0] == done[1]


@pytest.mark.parametrize("reconciled", [False, True])
def test_a_generator_is_resolved_by_the_list_of_its_items(sdk: InvestigationSDK, reconciled: bool) -> None:
    answers = [Resolution(outcome="succeeded", result=[1, 2]), Resolution(outcome="succeeded", result=3)]

    def of_post(who: str) -> Resolution:
        return answers.pop()

    numbers: Any = letters
    if reconciled:

        @tool(name="letters", effect="unsafe", identity=["who"], reconcile=of_post)
        def reconciling(who: str) -> Iterator[int]:
            yield from ()

        numbers = reconciling
    crash(sdk, lambda: list(letters("ann")))
    with pytest.raises(UnknownOutcome, match="the list of the items" if reconciled else "was cut off") as asked:
        again(sdk, lambda: list(numbers("ann")))
    if not reconciled:
        with pytest.raises(InvalidArgument, match="the list of the items"):
            sdk.sync.service.resolve(asked.value.call_id, answers.pop())
        sdk.sync.service.resolve(asked.value.call_id, answers.pop())
    sdk.sync.service.resume(case(sdk).id)
    assert again(sdk, lambda: list(numbers("ann"))) == [1, 2]
    assert done == ["ann"]


async def test_an_unknown_outcome_that_is_swallowed_ends_the_block(sdk: InvestigationSDK) -> None:
    @tool(effect="unsafe")
    async def transfer(account: str) -> str:
        done.append(account)
        return account

    async def agent() -> None:
        async with sdk.investigation("s", key="k"):
            await asyncio.gather(transfer("42"), return_exceptions=True)

    with pytest.raises(SimulatedCrash), crash_at("tool.completed"):
        async with sdk.investigation("s", key="k"):
            await transfer("42")
    with pytest.raises(UnknownOutcome):
        await agent()
    assert case(sdk).status is InvestigationState.PAUSED
    assert done == ["42"]


def test_a_block_that_waited_for_the_answer_acts_on_it(sdk: InvestigationSDK) -> None:
    crash(sdk, lambda: notify("ann"))
    with pytest.raises(UnknownOutcome) as asked:
        again(sdk, lambda: notify("ann"))
    with sdk.investigation("s", key="k"):  # paused: the log is read before anybody answers
        answer = Resolution(outcome="succeeded", result="by phone")
        sdk.sync.service.resolve(asked.value.call_id, answer)
        sdk.sync.service.resume(case(sdk).id)
        assert notify("ann") == "by phone"
    assert done == ["ann"]


def test_a_block_that_waited_until_a_left_over_call_was_resolved_makes_its_new_one(sdk: InvestigationSDK) -> None:
    crash(sdk, lambda: (notify("ann"), notify("bob")), nth=2)
    with pytest.raises(ResumeDivergence) as asked:
        again(sdk, lambda: (notify("ann"), notify("eve")))
    with sdk.investigation("s", key="k"):
        sdk.sync.service.resolve(asked.value.call_id, Resolution(outcome="not_executed"))
        sdk.sync.service.resume(case(sdk).id)
        assert (notify("ann"), notify("eve")) == ("ann", "eve")
    assert done == ["ann", "bob", "eve"]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("sensitive", [True, ["pin"]])
def test_what_is_masked_and_was_resolved_is_not_done_again(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch, sensitive: Any, waits: bool
) -> None:
    monkeypatch.delenv("INVESTIGATION_DIGEST_KEY", raising=False)

    @tool(effect="unsafe", sensitive=sensitive)
    def unlock(door: str, pin: str) -> str:
        done.append(door)
        return door

    def resolve(call_id: str | None) -> None:
        assert call_id is not None
        sdk.sync.service.resolve(call_id, Resolution(outcome="succeeded", result="unlocked"))
        sdk.sync.service.resume(case(sdk).id)

    crash(sdk, lambda: unlock("front", pin="1234"))
    with pytest.raises(ResumeDivergence, match="may be the same one; with INVESTIGATION_DIGEST_KEY") as asked:
        again(sdk, lambda: unlock("front", pin="1234"))
    if not waits:
        resolve(asked.value.call_id)
    with sdk.investigation("s", key="k"):
        if waits:
            resolve(asked.value.call_id)
        assert unlock("front", pin="1234") == "unlocked"
        assert done == ["front"]
        assert unlock("back", pin="1234") == "back"
    assert done == ["front", "back"]


@tool(effect="unsafe", identity=["who"])
def fax(who: str, paper: list[str]) -> str:
    if not paper:
        raise OSError("no paper")
    done.append(who)
    return who


def fax_twice(who: str) -> str:
    try:
        return fax(who, [])
    except OSError:
        return fax(who, ["paper"])


def test_an_unsafe_call_that_raised_and_was_tried_again_is_not_left_over(sdk: InvestigationSDK) -> None:
    def agent() -> list[str]:
        return [fax_twice("ann"), fax_twice("bob")]

    crash(sdk, agent, "tool.started", nth=3)
    assert done == ["ann"]
    assert again(sdk, agent) == ["ann", "bob"]
    assert done == ["ann", "bob"]


def test_the_same_unsafe_call_twice_of_which_the_first_raised_is_still_asked_about(sdk: InvestigationSDK) -> None:
    def agent() -> None:
        with contextlib.suppress(OSError):
            fax("ann", [])
        fax("ann", ["paper"])
        fax("bob", ["paper"])

    crash(sdk, agent, "tool.started", nth=3)
    with pytest.raises(UnknownOutcome, match="no paper"):
        again(sdk, agent)
    assert done == ["ann"]


def test_a_tool_that_became_a_generator_runs_again(sdk: InvestigationSDK) -> None:
    @tool(name="ports", effect="read")
    def before(host: str) -> dict[str, int]:
        return {"open": 22}

    @tool(name="ports", effect="read")
    def after(host: str) -> Iterator[int]:
        yield 22

    crash(sdk, lambda: (before("h"), before("i")), nth=2)
    assert again(sdk, lambda: list(after("h"))) == [22]


def test_what_was_given_back_is_kept_no_longer(sdk: InvestigationSDK) -> None:
    @tool(effect="read")
    def page(n: int) -> list[int]:
        return [n]

    crash(sdk, lambda: [page(n) for n in range(3)], nth=3)
    with sdk.investigation("s", key="k") as investigation:
        resume: Any = investigation._driver.resume
        page(0)
        assert [record.output for record in resume._recorded.left() if record.state == "finished"] == [[1]]


async def test_a_handler_that_gives_something_to_await_is_refused(sdk: InvestigationSDK) -> None:
    async def handle(investigation: Any) -> int:
        return 5

    class Handler:
        async def __call__(self, investigation: Any) -> int:
            return 6

    mistaken: Any = lambda investigation: handle(investigation)  # noqa: E731, PLW0108 - as people write it
    handler: Any = Handler()
    with pytest.raises(TypeError, match="no `async def`"):
        await sdk.run(mistaken, "s", key="lambda")
    assert await sdk.run(handler, "s", key="object") == 6


@pytest.mark.parametrize("wait", [20, -timedelta(seconds=1)])
def test_a_wait_that_is_no_duration_is_refused(sdk: InvestigationSDK, wait: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"wait=.*timedelta\(seconds=30\)"):
        sdk.investigation("s", key="k", wait=wait)
    with pytest.raises(InvalidArgument, match=r"wait=.*timedelta\(seconds=30\)"):
        sdk.attach("01a2129b-7e33-714e-81d5-f8c492b753d2", wait=wait)


@pytest.mark.parametrize("second_fails", [False, True])
@pytest.mark.parametrize("effect", ["read", "idempotent"])
async def test_a_first_try_that_ends_late_is_given_back_though_a_second_one_began(
    sdk: InvestigationSDK, effect: Any, second_fails: bool
) -> None:
    """The second try was cut off, or raises even later: the call is not made a third time."""
    began, may_end = [asyncio.Event(), asyncio.Event()], [asyncio.Event(), asyncio.Event()]

    @tool(effect=effect)
    async def slow() -> int:
        done.append("slow")
        nth = len(done)
        began[nth - 1].set()
        await may_end[nth - 1].wait()
        if nth == 2:
            raise OSError
        return nth

    tasks: list[asyncio.Task[int]] = []
    for event in began:
        with pytest.raises(KeyError):
            async with sdk.investigation("s", key="k"):
                tasks.append(asyncio.create_task(slow()))
                await asyncio.wait_for(event.wait(), 60)
                raise KeyError
    may_end[0].set()
    assert await tasks[0] == 1
    if second_fails:
        may_end[1].set()
        with pytest.raises(OSError):
            await tasks[1]
    async with sdk.investigation("s", key="k"):
        assert await asyncio.wait_for(slow(), 60) == 1
    assert done == ["slow"] * 2
    may_end[1].set()
    await asyncio.gather(*tasks, return_exceptions=True)
