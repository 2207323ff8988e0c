"""A hundred investigations and four workers, of which one is killed every second in the middle of its work: all of
them complete, and nothing that had finished is done again."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from investigation_sdk import InvestigationSDK, InvestigationState
from tests.work.processes import end, notes, start

pytestmark = pytest.mark.chaos

CASES, STEPS, KILLS, WORKERS = 100, 20, 30, 4
CONCURRENCY = 1
"""So little, that all cases take longer than the kills do, however fast the machine is."""
LONGEST = 300.0
"""Seconds for all of it, on a machine that does other things."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def url(request: pytest.FixtureRequest, sqlite_url: str) -> str:
    return sqlite_url if request.param == "sqlite" else str(request.getfixturevalue("postgres_stores")())


@pytest.fixture
def workers(url: str, tmp_path: Path) -> Iterator[list[Any]]:
    running = [start(url, tmp_path / "effects", concurrency=CONCURRENCY, ttl=1.5) for _ in range(WORKERS)]
    yield running
    for process in running:
        end(process)


def in_flight(sdk: InvestigationSDK) -> int:
    return len(sdk.sync.list(status=InvestigationState.RUNNING, limit=100))


def test_all_complete(url: str, workers: list[Any], tmp_path: Path) -> None:
    source = random.Random(11)
    effects = tmp_path / "effects"
    began = time.monotonic()
    killed: list[int] = []
    with InvestigationSDK(url) as sdk:
        ids = []
        for n in range(CASES):
            given = {"steps": STEPS, "seconds": source.uniform(0.02, 0.2)}
            ids.append(sdk.sync.submit(source.choice(["async", "sync"]), f"case-{n}", configuration=given).id)
        while len(sdk.sync.list(status=InvestigationState.COMPLETED, limit=100)) < CASES:
            assert time.monotonic() < began + LONGEST, f"{len(killed)} kills; {in_flight(sdk)} in flight"
            time.sleep(1.0)
            if len(killed) < 2 * KILLS and in_flight(sdk):
                victim = at_work(workers, effects)
                killed.append(workers[victim].pid)
                workers[victim].kill()
                end(workers[victim])
                workers[victim] = start(url, effects, concurrency=CONCURRENCY, ttl=1.5)
        ended: dict[tuple[str, int], int] = {}
        for id in ids:
            done = sdk.sync.get(id)
            assert (done.status, done.result) == (InvestigationState.COMPLETED, sum(range(STEPS))), done.error_message
            assert sdk.sync.verify(id).ok
            calls = {call.input_parameters["number"]: call.attempt for call in completed(sdk, id)}
            assert sorted(calls) == list(range(STEPS))
            assert len(completed(sdk, id)) == STEPS, "what is recorded as finished was done once"
            ended.update({(done.subject, number): attempt for number, attempt in calls.items()})
    begun = [
        (case, int(number), int(pid), int(attempt)) for case, number, pid, attempt in map(str.split, notes(effects))
    ]
    again = [one for one in begun if one[3] > ended[one[:2]]]
    assert again == [], "a finished call ran again"
    last = {pid: (case, number, attempt) for case, number, pid, attempt in begun}
    hits = [pid for pid in killed if pid in last and last[pid][2] < ended[last[pid][:2]]]
    assert len(hits) >= KILLS, f"of {len(killed)} kills, {len(hits)} were in the middle of a call"
    assert len(begun) - CASES * STEPS <= len(killed) * CONCURRENCY, "at most what was in flight in a killed worker"


def at_work(workers: list[Any], effects: Path) -> int:
    """The place of the worker that has begun most calls: on slow machines, others are still starting."""
    begun = Counter(int(line.split()[2]) for line in notes(effects))
    return max(range(WORKERS), key=lambda place: begun[workers[place].pid])


def completed(sdk: InvestigationSDK, id: str) -> list[Any]:
    return list(sdk.sync.tools(id, status="completed", limit=1000))  # type: ignore[arg-type]
