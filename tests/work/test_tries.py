"""What counts as progress between two takeovers; and that no more of the log is read than tells it."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from investigation_sdk import InvestigationRun, InvestigationSDK, tool
from investigation_sdk.testing import SimulatedCrash, crash_at
from investigation_sdk.work import recovery
from investigation_sdk.work.recovery import Tries


class Odd:
    """Cannot be given back."""


@tool(effect="read")
def look(n: int) -> int:
    return n


@tool(effect="read")
def odd() -> object:
    return Odd()


@tool
def die() -> None:
    raise OSError


@pytest.fixture
def sdk(url: str, make_sdk: Callable[..., InvestigationSDK]) -> InvestigationSDK:
    return make_sdk(url)


def attempt(sdk: InvestigationSDK, agent: Callable[[InvestigationRun], object]) -> Tries:
    """An attempt that dies behind all that it does; what was tried in vain then."""
    with pytest.raises(SimulatedCrash), crash_at("tool.failed"), sdk.investigation("s", key="k") as run:
        agent(run)
        die()
    return tries(sdk)


def tries(sdk: InvestigationSDK) -> Tries:
    found = sdk.sync.find(key="k")
    assert found is not None
    recorder: Any = sdk._recorder
    return recorder.call(recovery.tries(recorder.backend, found.id))  # type: ignore[no-any-return]


def test_a_new_call_brings_it_further_and_one_that_is_given_back_does_not(sdk: InvestigationSDK) -> None:
    assert attempt(sdk, lambda _: look(1)) == (0, 0)
    assert attempt(sdk, lambda _: look(1)) == (1, 1)
    assert attempt(sdk, lambda _: look(1)) == (2, 2)
    assert attempt(sdk, lambda _: (look(1), look(2))) == (0, 0)
    assert attempt(sdk, lambda _: None) == (1, 1)


def test_a_result_that_cannot_be_given_back_is_new_once(sdk: InvestigationSDK) -> None:
    assert attempt(sdk, lambda _: odd()) == (0, 0)
    assert [attempt(sdk, lambda _: odd()) for _ in range(3)] == [(1, 1), (2, 2), (3, 3)]
    assert attempt(sdk, lambda _: (odd(), odd())) == (0, 0), "the second one of them is new"


@tool(effect="read", sensitive=["token"])
def secretly(token: str) -> int:
    return look(len(token))


def test_a_call_that_nobody_can_compare_is_new_once(sdk: InvestigationSDK) -> None:
    assert attempt(sdk, lambda _: secretly("a")) == (0, 0)
    assert [attempt(sdk, lambda _: secretly("a")) for _ in range(3)] == [(1, 1), (2, 2), (3, 3)]
    assert attempt(sdk, lambda _: (secretly("a"), secretly("bc"))) == (0, 0), "no attempt made two of them"
    assert attempt(sdk, lambda _: (secretly("a"), secretly("bc"))) == (1, 1)
    assert attempt(sdk, lambda _: secretly("a")) == (2, 2)


def test_a_call_that_was_cut_off_is_new_when_it_completes(sdk: InvestigationSDK) -> None:
    with pytest.raises(SimulatedCrash), crash_at("tool.completed"), sdk.investigation("s", key="k"):
        odd()
    assert tries(sdk) == (1, 0)
    assert attempt(sdk, lambda _: odd()) == (0, 0)
    assert attempt(sdk, lambda _: odd()) == (1, 1)


def test_a_phase_is_new_once_whatever_attempt_ends_it(sdk: InvestigationSDK) -> None:
    def enter(run: InvestigationRun) -> None:
        with run.phase("a"):
            pass

    def cut_off(run: InvestigationRun) -> None:
        with run.phase("a"):
            die()

    assert attempt(sdk, enter) == (0, 0)
    assert attempt(sdk, cut_off) == (1, 1)
    assert attempt(sdk, enter) == (2, 2), "that it was entered once more, and cut off, changes nothing"


def test_a_checkpoint_counts_where_there_is_nothing_else(sdk: InvestigationSDK) -> None:
    assert attempt(sdk, lambda run: run.checkpoint({"page": 1})) == (0, 0)
    assert attempt(sdk, lambda run: run.checkpoint({"page": 1})) == (1, 1)
    assert attempt(sdk, lambda run: run.checkpoint({"page": 2})) == (0, 0)

    def with_a_call(run: InvestigationRun) -> None:
        look(1)
        run.checkpoint({"at": time.time_ns()})

    assert [attempt(sdk, with_a_call) for _ in range(3)] == [(0, 0), (1, 1), (2, 2)]


def test_whether_there_are_calls_is_asked_once(sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(sdk, lambda _: look(1))

    def save(run: InvestigationRun) -> None:
        for n in range(30):
            run.checkpoint({"n": n})

    attempt(sdk, save)
    backend: Any = sdk._recorder.backend
    read_events, asked = backend.read_events, []

    async def noting(*args: Any, **kwargs: Any) -> Any:
        asked.append(kwargs)
        return await read_events(*args, **kwargs)

    monkeypatch.setattr(backend, "read_events", noting)
    assert tries(sdk) == (1, 1)
    assert len(asked) <= 2


def test_no_more_is_read_than_tells(sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch) -> None:
    def many(_: object) -> None:
        for n in range(400):
            look(n)

    attempt(sdk, many)
    for _ in range(2):
        assert attempt(sdk, lambda _: look(1))
    backend: Any = sdk._recorder.backend
    read_events, read = backend.read_events, []

    async def counting(*args: Any, **kwargs: Any) -> Any:
        page = await read_events(*args, **kwargs)
        read.extend(page)
        return page

    monkeypatch.setattr(backend, "read_events", counting)
    assert tries(sdk) == (2, 2)
    assert len(read) <= 100, "a page, of more than 800 events"


def test_an_event_that_cannot_be_read_is_told_and_left_out(
    sqlite_url: str, tmp_path: Path, make_sdk: Callable[..., InvestigationSDK], caplog: pytest.LogCaptureFixture
) -> None:
    sdk = make_sdk(sqlite_url)
    attempt(sdk, lambda _: look(1))
    attempt(sdk, lambda _: look(1))
    attempt(sdk, lambda _: look(2))
    connection = sqlite3.connect(tmp_path / "cases.db", isolation_level=None)
    for data in ("{", "[]", '{"call":1}'):
        last = "(SELECT max(sequence) FROM investigation_events WHERE event_type = 'tool.completed')"
        connection.execute(f"UPDATE investigation_events SET event_data = ? WHERE sequence = {last}", (data,))
        caplog.clear()
        assert tries(sdk) in ((2, 2), (0, 0))
        assert ("cannot be read" in caplog.text) is (data != '{"call":1}')
    connection.close()
