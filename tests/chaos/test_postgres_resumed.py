"""PostgreSQL that goes away again and again: an investigation is gone on with each time, and no act is done twice."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from investigation_sdk import (
    InvestigationBusy,
    InvestigationInterrupt,
    InvestigationPaused,
    InvestigationSDK,
    NotRecorded,
    Resolution,
    ToolState,
    tool,
)
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.testing.proxy import FaultProxy
from investigation_sdk.testing.servers import PostgresServer

pytestmark = pytest.mark.chaos

CALLS, CUTS, ATTEMPTS = 60, 10, 80
WAIT = timedelta(seconds=30)

done: list[str] = []
"""What bodies did, in order."""
acknowledged: set[str] = set()
"""Calls that have returned: their end must be durable."""


@tool(effect="read")
def look(n: int) -> int:
    done.append(f"look {n}")
    return n


@tool(effect="unsafe")
def act(n: int) -> int:
    done.append(f"act {n}")
    return n


def one_attempt(url: str, harm: Callable[[int], None]) -> bool:
    """Whether it came to its end, where `harm` is done before each call; what stops it is that the store is away."""
    try:
        with InvestigationSDK(url) as sdk, sdk.investigation("s", key="k", wait=WAIT) as investigation:
            if investigation.finished:
                return True
            for n in range(CALLS):
                harm(n)
                kind = act if n % 3 == 0 else look
                name, before = f"{'act' if n % 3 == 0 else 'look'} {n}", len(done)
                assert kind(n) == n
                assert not (name in acknowledged and len(done) > before), f"{name} ran again after it had returned"
                acknowledged.add(name)
    except (BackendUnavailable, NotRecorded, InvestigationBusy, InvestigationPaused, InvestigationInterrupt):
        return False
    return True


def answer(url: str) -> None:
    """Say of unsafe calls what became of them, by what was done, and let the investigation go on."""
    with InvestigationSDK(url) as sdk:
        found = sdk.sync.find(key="k")
        if found is None or found.status != "paused":
            return
        for call in sdk.sync.tools(found.id, status=[ToolState.UNKNOWN, ToolState.FAILED]):
            assert call.input_parameters is not None
            n = call.input_parameters["n"]
            happened = Resolution(outcome="succeeded", result=n) if f"act {n}" in done else Resolution(outcome="failed")
            sdk.sync.service.resolve(call.id, happened)
        sdk.sync.service.resume(found.id)


def to_its_end(url: str, direct: str, harm: Callable[[int], None]) -> None:
    for _ in range(ATTEMPTS):
        if one_attempt(url, harm):
            return
        answer(direct)
    raise AssertionError(f"it was not done after {ATTEMPTS} attempts")


def check(direct: str) -> None:
    """Nothing that was acknowledged is lost, nothing is there twice."""
    times = Counter(done)
    assert [name for name, count in times.items() if count > 1 and name.startswith("act")] == []
    assert len(acknowledged) == CALLS
    with InvestigationSDK(direct) as sdk:
        found = sdk.sync.find(key="k")
        assert found is not None
        assert found.status == "completed"
        report = sdk.sync.verify(found.id)
        assert report.ok, report.problems[:3]
        ended = Counter(
            f"{call.tool_name} {(call.input_parameters or {})['n']}"
            for call in sdk.sync.tools(found.id, status=ToolState.COMPLETED, limit=1000)
        )
        assert ended == Counter(acknowledged)
        numbers = [event.sequence for event in sdk.sync.iter_events(found.id)]
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()
    acknowledged.clear()


def test_cut_at_commit_again_and_again(server: PostgresServer, proxy: FaultProxy, mortal_database: str) -> None:
    url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{mortal_database}"
    cuts, waiting = 0, True

    def cut(n: int) -> None:
        nonlocal cuts, waiting
        if waiting and proxy.was_cut():
            cuts, waiting = cuts + 1, False
        if not waiting and n % 4 == 0:
            # A commit that creates ends with COMMIT; any other is one statement, which has its events in it.
            proxy.cut_when(b"tool.completed", forward=cuts % 2 == 0)
            waiting = True

    proxy.cut_when(b"COMMIT\0", forward=True)
    to_its_end(url, server.url_of(mortal_database), cut)
    check(server.url_of(mortal_database))
    assert cuts >= CUTS


def test_restarted_in_the_middle(server: PostgresServer, mortal_database: str) -> None:
    restarted: list[int] = []

    def restart(n: int) -> None:
        if n % 20 == 10 and n not in restarted:
            restarted.append(n)
            server.kill()
            server.start()

    to_its_end(server.url_of(mortal_database), server.url_of(mortal_database), restart)
    check(server.url_of(mortal_database))
    assert restarted == [10, 30, 50]
