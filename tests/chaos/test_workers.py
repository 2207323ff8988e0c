"""A hundred investigations at a time and four workers, of which one is killed every second in the middle of its work:
all of them complete, and nothing that had finished is done again."""

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
CONCURRENCY = 25
"""Of each worker, so that all cases are under way at the same time."""
TTL = 4.0
"""Seconds, so many that a worker that is only slow loses none of its 25."""
MISSED = 5
"""So many kills more are made, as one may find its worker between two calls."""
LONGEST = 300.0
"""Seconds for all of it, on a machine that does other things."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def url(request: pytest.FixtureRequest, sqlite_url: str) -> str:
    return sqlite_url if request.param == "sqlite" else str(request.getfixturevalue("postgres_stores")())


@pytest.fixture
def workers(url: str, tmp_path: Path) -> Iterator[list[Any]]:
    running = [start(url, tmp_path / "effects", concurrency=CONCURRENCY, ttl=TTL) for _ in range(WORKERS)]
    yield running
    for process in running:
        end(process)


def in_flight(sdk: InvestigationSDK) -> int:
    return len(sdk.sync.list(status=InvestigationState.RUNNING, limit=1000))


def test_all_complete(url: str, workers: list[Any], tmp_path: Path) -> None:
    source = random.Random(11)
    effects = tmp_path / "effects"
    began = time.monotonic()
    killed: list[int] = []
    peak = done = 0
    ids: list[str] = []
    over: set[str] = set()
    with InvestigationSDK(url) as sdk:
        while True:
            if (
                len(killed) < KILLS + MISSED
            ):  # as many as are over are followed by others, as long as workers are killed
                for n in range(len(ids), CASES + done):
                    given = {"steps": STEPS, "seconds": source.uniform(0.02, 0.2)}
                    ids.append(sdk.sync.submit(source.choice(["async", "sync"]), f"case-{n}", configuration=given).id)
            time.sleep(1.0)
            running = in_flight(sdk)
            peak = max(peak, running)
            over.update(id for id in ids if id not in over and sdk.sync.get(id).completed_at)
            done = len(over)
            if done == len(ids) and len(killed) >= KILLS + MISSED:
                break
            said = f"{len(killed)} kills; {running} in flight; {done} of {len(ids)}"
            assert time.monotonic() < began + LONGEST, said
            victim = at_work(workers, effects) if running and len(killed) < KILLS + MISSED else None
            if victim is not None:
                killed.append(workers[victim].pid)
                workers[victim].kill()
                end(workers[victim])
                workers[victim] = start(url, effects, concurrency=CONCURRENCY, ttl=TTL)
        ended: dict[tuple[str, int], int] = {}
        for id in ids:
            case = sdk.sync.get(id)
            assert (case.status, case.result) == (InvestigationState.COMPLETED, sum(range(STEPS))), case.error_message
            assert sdk.sync.verify(id).ok
            calls = {call.input_parameters["number"]: call.attempt for call in completed(sdk, id)}
            assert sorted(calls) == list(range(STEPS))
            assert len(completed(sdk, id)) == STEPS, "what is recorded as finished was done once"
            ended.update({(case.subject, number): attempt for number, attempt in calls.items()})
    begun = [
        (case, int(number), int(pid), int(attempt)) for case, number, pid, attempt in map(str.split, notes(effects))
    ]
    again = [one for one in begun if one[3] > ended[one[:2]]]
    assert again == [], "a finished call ran again"
    cut_off = {pid for case, number, pid, attempt in begun if attempt < ended[case, number]}
    hits = [pid for pid in killed if pid in cut_off]
    assert len(hits) >= KILLS, f"of {len(killed)} kills, {len(hits)} were in the middle of a call"
    assert len(begun) - len(ids) * STEPS <= len(killed) * CONCURRENCY, "at most what was in flight in a killed worker"
    assert peak > CASES // 2, f"at most {peak} were in flight at a time"


def at_work(workers: list[Any], effects: Path) -> int | None:
    """The place of the worker that has begun most calls; None where all are still starting, as on slow machines."""
    begun = Counter(int(line.split()[2]) for line in notes(effects))
    most = max(range(WORKERS), key=lambda place: begun[workers[place].pid])
    return most if begun[workers[most].pid] else None


def completed(sdk: InvestigationSDK, id: str) -> list[Any]:
    return list(sdk.sync.tools(id, status="completed", limit=1000))  # type: ignore[arg-type]
