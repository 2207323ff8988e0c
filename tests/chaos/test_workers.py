"""Workers are killed, one after another, while they work: all completes, and nothing that finished is done again."""

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
    with InvestigationSDK(url) as sdk:
        ids = []
        for n in range(CASES):
            given = {"steps": STEPS, "seconds": source.uniform(0.02, 0.2)}
            ids.append(sdk.sync.submit(source.choice(["async", "sync"]), f"case-{n}", configuration=given).id)
        kills = 0
        while len(sdk.sync.list(status=InvestigationState.COMPLETED, limit=100)) < CASES:
            assert time.monotonic() < began + LONGEST, f"{kills} kills; {in_flight(sdk)} in flight"
            time.sleep(1.0)
            if kills < KILLS and in_flight(sdk):
                victim = source.randrange(WORKERS)
                workers[victim].kill()
                end(workers[victim])
                kills += 1
                workers[victim] = start(url, effects, concurrency=CONCURRENCY, ttl=1.5)
        assert kills >= KILLS, "killed while there was work in flight"
        for id in ids:
            done = sdk.sync.get(id)
            assert (done.status, done.result) == (InvestigationState.COMPLETED, sum(range(STEPS))), done.error_message
            assert sdk.sync.verify(id).ok
            calls = Counter(call.input_parameters["number"] for call in completed(sdk, id))
            assert calls == dict.fromkeys(range(STEPS), 1), "what is recorded as finished was done once"
    begun = Counter(tuple(line.split()[:2]) for line in notes(effects))
    again = sum(times - 1 for times in begun.values())
    assert len(begun) == CASES * STEPS
    assert again <= kills * CONCURRENCY, "at most what was in flight in a worker that was killed"


def completed(sdk: InvestigationSDK, id: str) -> list[Any]:
    return list(sdk.sync.tools(id, status="completed", limit=1000))  # type: ignore[arg-type]
