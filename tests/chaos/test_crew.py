"""A hundred investigations and four workers, of which one is killed every second: all of them complete."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from investigation_sdk import InvestigationSDK, InvestigationState, ToolState

pytestmark = [pytest.mark.chaos, pytest.mark.long]

CREW = Path(__file__).with_name("crew.py")
CASES, CALLS, WORKERS, KILLS = 100, 20, 4, 30
SECONDS = 400
OVER = (InvestigationState.COMPLETED, InvestigationState.CANCELLED)
OPEN = [state for state in InvestigationState if state not in OVER]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/cases.db"
    return str(request.getfixturevalue(f"{request.param}_stores")())


class Crew:
    """Worker processes; one that was killed is replaced."""

    def __init__(self, url: str, folder: Path) -> None:
        self.effects = folder / "effects"
        self._command = [sys.executable, str(CREW), url, str(self.effects)]
        self._log = (folder / "workers").open("ab")
        self.workers = [self._start() for _ in range(WORKERS)]

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=self._log, stderr=self._log)

    def lines(self) -> list[list[str]]:
        if not self.effects.exists():
            return []
        return [line.split() for line in self.effects.read_text(encoding="utf-8").splitlines()]

    def counts(self) -> dict[int, Counter[str]]:
        """By worker, how many bodies have begun and how many have ended."""
        counts: dict[int, Counter[str]] = {}
        for what, *_, pid in self.lines():
            counts.setdefault(int(pid), Counter())[what] += 1
        return counts

    def kill_one(self) -> bool:
        """Kill the one that has done most, so that slow machines get on, too, and start another in its place; whether
        something was in flight when it was dead."""
        counts = self.counts()
        worker = max(self.workers, key=lambda worker: counts.get(worker.pid, Counter())["end"])
        if not counts.get(worker.pid, Counter())["end"]:
            return False
        worker.kill()
        worker.wait(60)
        done = self.counts()[worker.pid]
        self.workers[self.workers.index(worker)] = self._start()
        return done["begin"] > done["end"]

    def end(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait(60)
        self._log.close()


@pytest.fixture
def crew(url: str, tmp_path: Path) -> Iterator[Crew]:
    with InvestigationSDK(url):  # the tables are there before four make them
        pass
    crew = Crew(url, tmp_path)
    yield crew
    crew.end()


async def submitted(sdk: InvestigationSDK) -> list[str]:
    return [one.id for one in [await sdk.submit("crew", f"case-{n}") for n in range(CASES)]]


def test_workers_are_killed_every_second(url: str, crew: Crew, tmp_path: Path) -> None:
    with InvestigationSDK(url) as sdk:
        ids = asyncio.run(submitted(sdk))
        until = time.monotonic() + SECONDS
        kills = 0
        while True:
            open_ = len(sdk.sync.list(status=OPEN, limit=CASES))
            if not open_:
                break
            assert time.monotonic() < until, (
                f"{open_} of {CASES} are not done after {SECONDS} s and {kills} kills:\n"
                + (tmp_path / "workers").read_text(encoding="utf-8", errors="replace")[-2000:]
            )
            time.sleep(1)
            kills += crew.kill_one()
        assert kills >= KILLS, f"only {kills} kills hit work in flight"
        begun = [
            (case, int(number), int(attempt)) for what, case, number, attempt, _ in crew.lines() if what == "begin"
        ]
        for id in ids:
            one = sdk.sync.get(id)
            assert (one.status, one.result) == ("completed", sum(range(CALLS)))
            assert sdk.sync.verify(id).ok
            ended = {
                (call.input_parameters or {})["number"]: call.attempt
                for call in sdk.sync.tools(id, status=ToolState.COMPLETED, limit=1000)
            }
            assert sorted(ended) == list(range(CALLS))
            again = [(n, attempt) for case, n, attempt in begun if case == one.subject and attempt > ended[n]]
            assert again == [], "finished calls ran again"
