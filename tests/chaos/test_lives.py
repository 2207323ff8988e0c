"""Many lives of one investigation: what finished before a kill is never run again, what is unsafe never twice."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from investigation_sdk import InvestigationSDK, ToolState

pytestmark = pytest.mark.chaos

LIVES = Path(__file__).with_name("lives.py")
ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("INVESTIGATION_TEST_DATA") or ROOT.parent / "shared" / "data") / "airline_agent_runs.jsonl"
SECONDS = 60
RACES = 100


@pytest.fixture(params=["sqlite", "postgres", "mongo"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/cases.db"
    return str(request.getfixturevalue(f"{request.param}_stores")())


def lives(seconds: float, *arguments: object) -> dict[str, object]:
    """Run the script to its end; what it says."""
    command = [sys.executable, str(LIVES), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def ran(effects: Path) -> list[tuple[int, int]]:
    """Bodies that ran, in order: the number of the call, and the attempt."""
    lines = effects.read_text(encoding="utf-8").splitlines()
    return [(int(number), int(attempt)) for number, attempt in (line.split() for line in lines)]


def run_again(executed: list[tuple[int, int]], finished: dict[int, int]) -> list[tuple[int, int]]:
    """Bodies that ran in a later attempt than that in which the end of their call became durable."""
    return [(number, attempt) for number, attempt in executed if attempt > finished.get(number, attempt)]


# ---------------------------------------------------------------- the calls of real agents


def killed_often(folder: Path, calls: int, kills: int, seconds: float) -> None:
    if not DATA.is_file():
        pytest.skip(f"{DATA} is not there; INVESTIGATION_TEST_DATA names the folder that has {DATA.name}")
    url, effects = f"sqlite:///{folder}/cases.db", folder / "effects"
    told = lives(seconds, "real", url, effects, DATA, calls, kills, 7)
    assert told["kills"] == kills, "it was at its end before it had been killed so often"
    executed = ran(effects)
    with InvestigationSDK(url) as sdk:
        found = sdk.sync.find(key="real")
        assert found is not None
        assert found.status == "completed"
        reported = sdk.sync.verify(found.id)
        assert reported.ok, reported.problems[:3]
        page = sdk.sync.tools(found.id, limit=1000)
        recorded = list(page)
        while page.next is not None:
            page = sdk.sync.tools(found.id, limit=1000, after=page.next)
            recorded += page
    ended = [call for call in recorded if call.status is ToolState.COMPLETED]
    assert len(ended) == told["calls"], "each call has one end, however often it began"
    # Call n of the run is the n-th that finished: the program makes its calls one after another.
    finished = {number: call.attempt for number, call in enumerate(ended)}
    assert run_again(executed, finished) == []
    assert {number for number, _ in executed} == set(finished)
    times = Counter(number for number, _ in executed)
    twice = [ended[n].tool_name for n, count in times.items() if count > 1 and ended[n].effect == "unsafe"]
    assert twice == []


def test_real_calls_killed_at_any_moment(tmp_path: Path) -> None:
    killed_often(tmp_path, calls=150, kills=30, seconds=120)


@pytest.mark.long
def test_all_real_calls_killed_200_times(tmp_path: Path) -> None:
    killed_often(tmp_path, calls=10_000, kills=200, seconds=500)


# ---------------------------------------------------------------- no-op tools


def test_no_op_tools_killed_after_call_200(url: str, tmp_path: Path) -> None:
    assert lives(120, "noops", url, tmp_path / "effects") == {"killed": 10}
    for turn in range(10):
        times = Counter(number for number, _ in ran(tmp_path / f"noops {turn}"))
        assert len(times) == 250
        assert [number for number, count in times.items() if count > 1] == [], "finished calls ran again"
    with InvestigationSDK(url) as sdk:
        for turn in range(10):
            found = sdk.sync.find(key=f"noops {turn}")
            assert found is not None
            assert found.status == "completed"
            [report] = sdk.sync.resumes(found.id)
            assert (report.reused, report.again, report.new) == (200, 0, 50)
            assert sdk.sync.verify(found.id).ok


# ---------------------------------------------------------------- two that resume one id


class Racer:
    """A process that drives what it is told to; each line that it says is waited for, with a limit."""

    def __init__(self, url: str, effects: Path) -> None:
        command = [sys.executable, str(LIVES), "race", url, str(effects)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self._stop = threading.Timer(240, self.process.kill)
        self._stop.start()

    def tell(self, line: str) -> None:
        _pipe(self.process.stdin).write(f"{line}\n")

    def says(self) -> str:
        line = _pipe(self.process.stdout).readline().strip()
        assert line, "the process ended, or was killed after its time"
        return line

    def end(self) -> None:
        _pipe(self.process.stdin).close()
        try:
            self.process.wait(SECONDS)
        finally:
            self._stop.cancel()
            self.process.kill()
            _pipe(self.process.stdout).close()
            self.process.wait(SECONDS)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@pytest.fixture
def racers() -> Iterator[Callable[[str, Path], list[Racer]]]:
    made: list[Racer] = []

    def make(url: str, effects: Path) -> list[Racer]:
        made.extend(Racer(url, effects) for _ in range(2))
        return made

    yield make
    for racer in made:
        racer.end()


def test_two_processes_resume_one_id_a_hundred_times(
    url: str, tmp_path: Path, racers: Callable[[str, Path], list[Racer]]
) -> None:
    effects = tmp_path / "effects"
    ids = lives(SECONDS, "abandon", url, effects, RACES)["ids"]
    assert isinstance(ids, list)
    assert len(ids) == RACES
    both = racers(url, effects)
    assert [racer.says() for racer in both] == ["ready", "ready"]
    for n, id in enumerate(ids):
        for racer in both:
            racer.tell(f"{n} {id}")
        told = [racer.says() for racer in both]
        assert sorted(told) == ["busy", "in"], f"round {n}: {told}"
        winner = both[told.index("in")]
        winner.tell("act")
        assert winner.says() == "done"
    assert Counter(number for number, _ in ran(effects)) == Counter(range(RACES))
    with InvestigationSDK(url) as sdk:
        for id in ids:
            assert sdk.sync.get(id).status == "completed"
            [report] = sdk.sync.resumes(id)
            assert (report.attempt, report.reused, report.new) == (2, 1, 1)
        assert sdk.sync.verify(ids[0]).ok
