"""The garbage collector runs a clean-up that calls a tool: anywhere, on any thread."""

import gc
from typing import Any

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_sdk import Durability, tool
from investigation_sdk.clock import now_us
from investigation_sdk.domain.commands import Create
from investigation_sdk.engine import session as sessions
from investigation_sdk.engine.repair import empty
from investigation_sdk.engine.sealing import make_commit
from tests.engine.rig import DATA


@tool
def release(x):
    return x


@tool
def work(x):
    return x


def rows():
    try:
        yield 1
    finally:
        release(1)


class _Cycle:
    """Holds itself, and a generator that began."""

    def __init__(self, began):
        self.me = self
        self.rows = began
        next(began)


@pytest.fixture
def by_hand():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("durability", list(Durability))
@pytest.mark.usefixtures("by_hand")
def test_a_submission_in_the_middle_of_another_comes_behind_it(monkeypatch, make_sdk, url, durability):
    sdk = make_sdk(url, durability=durability)
    number = sessions.Session._number
    armed: list[Any] = []

    def collecting(session, events):
        number(session, events)
        if armed:
            armed.pop()
            gc.collect()

    monkeypatch.setattr(sessions.Session, "_number", collecting)
    with sdk.investigation("s") as investigation:
        _Cycle(rows())
        armed.append(True)
        work(5)
    assert sdk.sync.verify(investigation.id).ok
    types = [event.event_type for event in sdk.sync.iter_events(investigation.id)]
    assert types.count("tool.started") == types.count("tool.completed") == 2


@pytest.mark.parametrize("at", ["before", "behind"])
@pytest.mark.usefixtures("by_hand")
def test_a_submission_in_the_middle_of_an_inline_commit_goes_out_with_the_next(monkeypatch, make_sdk, at):
    """On the caller's own thread there is no other shell to hold off: the commit itself sees that it is in one."""
    backend: Any = MemoryBackend()
    commit_now = backend.commit_now
    armed: list[Any] = []
    depth: list[int] = []

    def collecting(commits):
        assert not depth, "one commit in the middle of another"
        depth.append(1)
        if armed and at == "before":
            armed.pop()
            gc.collect()
        results = commit_now(commits)
        if armed:
            armed.pop()
            gc.collect()
        depth.pop()
        return results

    monkeypatch.setattr(backend, "commit_now", collecting)
    sdk = make_sdk(backend)
    with sdk.investigation("s") as investigation:
        _Cycle(rows())
        armed.append(True)
        work(5)
        assert not armed
    assert sdk.sync.verify(investigation.id).ok
    calls = sdk.sync.tools(investigation.id)
    assert sorted((call.tool_name, call.status.value) for call in calls) == [
        ("release", "completed"),
        ("work", "completed"),
    ]


@pytest.mark.usefixtures("by_hand")
def test_a_tool_on_the_io_thread_does_not_wait_for_it(make_sdk, sqlite_url):
    sdk = make_sdk(sqlite_url)
    with sdk.investigation("s") as investigation:
        _Cycle(tool(rows)())

        async def collect():
            gc.collect()

        sdk._recorder.io.submit(collect()).result(20)
    types = [event.event_type for event in sdk.sync.iter_events(investigation.id)]
    assert types.count("tool.completed") >= 1


def test_a_commit_out_of_sequence_is_not_made():

    session = empty("00000000-0000-7000-8000-000000000000", "")
    entry = session.submit(Create(time=now_us(), data=DATA))
    entry.events[-1].sequence += 1
    with pytest.raises(AssertionError, match="is not the one behind"):
        make_commit([entry], session.decided, 0, session.head, None)
