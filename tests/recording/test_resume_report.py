"""What a resume says it did: given back, run again, new, no longer called, diverged; and what one would do."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from investigation_sdk import (
    InvestigationNotFound,
    InvestigationSDK,
    Resolution,
    ResumeDivergence,
    ResumedTool,
    UnknownOutcome,
    propagate,
    tool,
)
from investigation_sdk.testing import SimulatedCrash, crash_at

CALLS, THREADS = 400, 8


@tool(effect="read")
def look(n: int) -> int:
    return n


@tool
def think(n: int) -> int:
    return n


@tool(effect="unsafe", identity=["account"])
def freeze(account: str) -> bool:
    return True


@tool(effect="read")
def flaky(n: int, *, fails: bool) -> int:
    if fails:
        raise ConnectionError("no answer")
    return n


@tool(effect="idempotent")
async def alook(n: int) -> int:
    return n


@tool(effect="read")
def around(n: int) -> int:
    return look(n) + look(n + 1)


@pytest.fixture
def sdk() -> Any:
    with InvestigationSDK("memory://") as sdk:
        yield sdk


def stopping(sdk: InvestigationSDK, agent: Callable[[], object], error: type[BaseException] = SimulatedCrash) -> str:
    """Run it in the investigation `k` until it raises; the id."""
    id = ""
    with pytest.raises(error), sdk.investigation("s", key="k") as investigation:
        id = investigation.id
        agent()
        raise SimulatedCrash
    return id


def test_each_attempt_is_told_by_tool(sdk: InvestigationSDK) -> None:
    def first() -> None:
        for n in range(3):
            look(n)
        think(1)
        raise ConnectionError

    id = stopping(sdk, first, ConnectionError)
    assert list(sdk.sync.resumes(id)) == []
    with sdk.investigation("s", key="k") as investigation:
        with investigation.phase("other"):
            look(0)
        look(0), look(1), look(7)
        think(1)
    [report] = sdk.sync.resumes(id)
    assert report.attempt == 2
    assert (report.reused, report.again, report.new, report.no_longer_called) == (3, 0, 2, 1)
    assert report.tools == (
        ResumedTool(tool_name="look", reused=2, new=2, no_longer_called=1),
        ResumedTool(tool_name="think", reused=1),
    )
    assert report.diverged == ()


def test_a_divergence_is_told_with_its_attempt(sdk: InvestigationSDK) -> None:
    def dies() -> None:
        freeze("42")

    with crash_at("tool.completed"):
        id = stopping(sdk, dies)
    stopping(sdk, lambda: freeze("43"), ResumeDivergence)
    [report] = sdk.sync.resumes(id)
    assert report.attempt == 2
    [why] = report.diverged
    [call] = sdk.sync.tools(id)
    assert why.startswith(f"Investigation {id}: this call of the unsafe tool 'freeze' is not among those")
    assert call.id in why


def test_what_a_resume_would_do(sdk: InvestigationSDK) -> None:
    def dies() -> None:
        around(1)
        think(1)
        with pytest.raises(ConnectionError):
            flaky(1, fails=True)
        freeze("42")

    with crash_at("tool.completed", nth=5):  # look, look, around, think, freeze
        id = stopping(sdk, dies)
    preview = sdk.sync.resume_preview(id)
    [call] = [call for call in sdk.sync.tools(id) if call.tool_name == "freeze"]
    assert (preview.reused, preview.again, preview.asked) == (2, 1, (call.id,))
    assert preview.tools == (
        ResumedTool(tool_name="around", reused=1),  # the calls inside it are not made again
        ResumedTool(tool_name="flaky", again=1),
        ResumedTool(tool_name="freeze"),
        ResumedTool(tool_name="think", reused=1),
    )
    assert preview.undeclared == ("think",)
    stopping(sdk, lambda: freeze("42"), UnknownOutcome)
    sdk.sync.service.resolve(call.id, Resolution(outcome="succeeded", result=True))
    assert sdk.sync.resume_preview(id).asked == ()
    assert sdk.sync.resume_preview(id).reused == 3


def test_what_was_tried_again_until_it_finished_is_one_call(sdk: InvestigationSDK) -> None:
    answers = [True, False]

    @tool(effect="unsafe")
    def act(n: int) -> int:
        if answers.pop(0):
            raise ConnectionError("no answer")
        return n

    def tries() -> None:
        with pytest.raises(ConnectionError):
            act(1)
        act(1)
        raise KeyError

    id = stopping(sdk, tries, KeyError)
    preview = sdk.sync.resume_preview(id)
    assert (preview.reused, preview.again, preview.asked) == (1, 0, ())


def test_calls_on_many_threads_are_all_counted(sdk: InvestigationSDK) -> None:
    barrier = threading.Barrier(THREADS)

    def piece(first: int) -> None:
        barrier.wait(60)
        for n in range(first, CALLS, THREADS):
            look(n)

    def agent() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(propagate(piece), range(THREADS), timeout=60))

    def dies() -> None:
        agent()
        raise KeyError

    id = stopping(sdk, dies, KeyError)
    with sdk.investigation("s", key="k"):
        agent()
    [report] = sdk.sync.resumes(id)
    assert (report.reused, report.again, report.new, report.no_longer_called) == (CALLS, 0, 0, 0)


async def test_the_asynchronous_face(sdk: InvestigationSDK) -> None:
    with pytest.raises(InvestigationNotFound):
        await sdk.resumes("01a20000-0000-7000-8000-000000000000")
    with pytest.raises(InvestigationNotFound):
        await sdk.resume_preview("01a20000-0000-7000-8000-000000000000")
    await asyncio.sleep(0)


def test_a_call_is_counted_once_whatever_was_tried_and_whatever_is_inside_of_it(sdk: InvestigationSDK) -> None:
    answers = [True, False]

    @tool(effect="read")
    def tried(n: int) -> int:
        if answers.pop(0):
            raise ConnectionError("no answer")
        return n

    def first() -> None:
        with pytest.raises(ConnectionError):
            tried(1)
        tried(1)
        around(1)
        around(5)
        raise KeyError

    id = stopping(sdk, first, KeyError)
    with sdk.investigation("s", key="k"):
        assert tried(1) == 1
        assert around(1) == 3
    [report] = sdk.sync.resumes(id)
    assert report.tools == (
        ResumedTool(tool_name="around", reused=1, no_longer_called=1),
        ResumedTool(tool_name="tried", reused=1),
    )


async def test_a_call_that_was_broken_off_before_it_began_is_counted_once(sdk: InvestigationSDK) -> None:
    with pytest.raises(SimulatedCrash), crash_at("tool.completed"):
        async with sdk.investigation("s", key="k") as run:
            await alook(1)
    async with sdk.investigation("s", key="k"):
        with_starts_broken_off = sdk._recorder
        submit = with_starts_broken_off.submit
        broken: list[Any] = []

        def breaking(session: Any, submission: Any, **options: Any) -> Any:
            event = getattr(submission, "event", None)
            if event is not None and event.type == "tool.started" and not broken:
                broken.append(event)
                raise asyncio.CancelledError
            return submit(session, submission, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(with_starts_broken_off, "submit", breaking)
            with pytest.raises(asyncio.CancelledError):
                await alook(1)
            assert await alook(1) == 1
        assert len(broken) == 1
    [report] = await sdk.resumes(run.id)
    assert (report.again, report.new, report.no_longer_called) == (1, 0, 0)
