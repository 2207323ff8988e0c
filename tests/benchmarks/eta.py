"""Measures estimates: how far off they are on runs that they have not seen, beside drawing the percentage on as a line.

Usage: python -m tests.benchmarks.eta [--runs N] [--only WORK …] [--keep FOLDER]

Real work is recorded first, by the clock on the wall, each kind as one type of investigation:

- audit: examples/python_environment_audit.py over as many different sets of the packages that are installed here,
- sshd: examples/ssh_bruteforce.py over different slices of a real log (skipped, saying so, where that is not there),
- tests: the project's own tests, one phase for each of some folders.

Then the runs are split, as a whole, into two halves; each half is told by the other. At nine places of each run, at 10
to 90 percent of the time that it took in the end, both say how much longer it takes. The error is the difference to how
long it took; a place at which one of them says nothing counts for neither, and is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from investigation_sdk import InvestigationSDK, PhasePlan, tool
from investigation_sdk.domain.estimate import History, PastRun, Place
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow
from investigation_sdk.engine import history
from investigation_sdk.storage.commit import Query, Where

ROOT: Final = Path(__file__).resolve().parents[2]
DATA: Final = Path(os.environ.get("INVESTIGATION_TEST_DATA") or ROOT.parent / "shared" / "data")
LOG: Final = DATA / "openssh_2k.log"
PLACES: Final = tuple(n / 10 for n in range(1, 10))
FOLDERS: Final = ("vectors", "golden", "domain")


class Said(NamedTuple):
    """What was said at one place of one run, and how it was. All as a part of the run's time; None: nothing said."""

    actual: float
    ours: float | None
    low: float
    high: float
    line: float | None
    total: float
    """Seconds."""


# ---- recording


def audit(url: str, count: int, folder: Path, chance: random.Random) -> None:
    """Audits of different sets of packages."""
    site = next((Path(sys.prefix) / "lib").glob("python*/site-packages"))
    installed = sorted(path for path in site.glob("*.dist-info"))
    for n in range(count):
        target = folder / f"site-{n}" / "site-packages"
        target.mkdir(parents=True)
        for info in chance.sample(installed, chance.randint(len(installed) // 3, len(installed))):
            for name in {line.split("/")[0] for line in (info / "RECORD").read_text("utf-8").splitlines()}:
                if not (target / name).exists() and (site / name).is_dir():
                    (target / name).symlink_to(site / name)
        example("python_environment_audit.py", "--environment", str(target), "--db", url)


def sshd(url: str, count: int, folder: Path, chance: random.Random) -> None:
    """Investigations of logs that are made of slices of a real one."""
    lines = LOG.read_text("utf-8", errors="surrogateescape").splitlines(keepends=True)
    for n in range(count):
        path = folder / f"sshd-{n}.log"
        with path.open("w", encoding="utf-8", errors="surrogateescape") as file:
            for _ in range(chance.randint(20, 60)):
                begin = chance.randrange(len(lines))
                file.writelines(lines[begin : begin + chance.randint(100, 2000)])
        example("ssh_bruteforce.py", str(path), "--db", url)


def tests(url: str, count: int, folder: Path, chance: random.Random) -> None:
    """Runs of the project's own tests, of which each leaves out some at random."""

    @tool(name="pytest")
    def run(name: str, seed: int) -> int:
        letters = random.Random(seed).sample("abcdefghijklmnoprstuw", 12)
        wanted = " or ".join(f"test_{letter}" for letter in letters)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{name}", "-k", wanted]
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=500).returncode

    plan = [PhasePlan(name, tools=(run,)) for name in FOLDERS]
    with InvestigationSDK(url) as sdk:
        for _ in range(count):
            with sdk.investigation("the project's tests", investigation_type="tests", phases=plan) as investigation:
                for name in FOLDERS:
                    with investigation.phase(name):
                        run(name, chance.randrange(10**6))


def example(name: str, *arguments: str) -> None:
    """Run one of the examples; what it finds is of no concern here."""
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")


WORKS: Final[dict[str, Callable[[str, int, Path, random.Random], None]]] = {
    "audit": audit,
    "sshd": sshd,
    "tests": tests,
}


# ---- telling


class Run(NamedTuple):
    """One completed run, as the store has it."""

    row: InvestigationRow
    phases: Sequence[PhaseRow]

    @property
    def total(self) -> int:
        """µs."""
        return (self.row.completed_at or 0) - (self.row.started_at or 0)

    @property
    def past(self) -> PastRun:
        """As estimates of others see it."""
        began = self.row.started_at or 0
        return PastRun(self.total, {one.phase_name: history.span(one, began) for one in self.phases})

    def at(self, elapsed: float) -> tuple[Place, int]:
        """Where it was after so long (µs), and the percentage that was shown."""
        spans, place = self.past.phases, Place(elapsed)
        done = 0.0
        for phase in self.phases:
            span = spans[phase.phase_name]
            marks = [mark for mark in span.marks if span.began + mark[1] <= elapsed]
            percent = marks[-1][0] if marks else 0
            if span.ended <= elapsed:
                done += phase.weight
                place = Place(elapsed, phase.phase_name, span.ended, inside=False)
            elif span.began <= elapsed:
                done += phase.weight * percent / 100
                place = Place(elapsed, phase.phase_name, span.began, percent=percent, marks=marks)
        return place, int(100 * done / sum(phase.weight for phase in self.phases))


async def recorded(url: str) -> list[Run]:
    """The completed runs, in the order of their beginning."""
    async with InvestigationSDK(url) as sdk:
        backend = sdk._recorder.backend  # pyright: ignore[reportPrivateUsage]
        completed = (Where("status", "=", "completed"),)
        rows = await backend.find(Query("investigation", completed, limit=1000))
        runs: list[Run] = []
        for row in rows:
            of_this = Query("phase", (Where("investigation_id", "=", row.id),), "phase_order")
            phases = [one for one in await backend.find(of_this) if isinstance(one, PhaseRow) and one.completed_at]
            if isinstance(row, InvestigationRow):
                runs.append(Run(row, phases))
        return runs


def told(run: Run, known: History) -> Iterator[Said]:
    """What both say at the places of one run."""
    for part in PLACES:
        elapsed = part * run.total
        place, percent = run.at(elapsed)
        remaining = known.remaining(place)
        line = part * (100 - percent) / percent if percent else None
        if remaining is None:
            yield Said(1 - part, None, 0, 0, line, run.total / 1e6)
        else:
            low, likely, high = (time / run.total for time in remaining[:3])
            yield Said(1 - part, likely, low, high, line, run.total / 1e6)


def measure(runs: Sequence[Run]) -> list[Said]:
    """Each half told by the other."""
    halves = runs[::2], runs[1::2]
    said: list[Said] = []
    for mine, others in (halves, halves[::-1]):
        known = History([run.past for run in others])
        for run in mine:
            said += told(run, known)
    return said


def report(name: str, runs: Sequence[Run], said: Sequence[Said]) -> None:
    """One line of the table."""
    totals = [run.total / 1e6 for run in runs]
    both = [one for one in said if one.ours is not None and one.line is not None]
    stated = [one for one in said if one.ours is not None]
    if not both:
        print(f"| {name} | {len(runs)} | nothing to compare |")
        return
    seconds = (
        [(one.ours or 0) * one.total - one.actual * one.total for one in both],
        [(one.line or 0) * one.total - one.actual * one.total for one in both],
    )
    ours, line = (statistics.fmean(map(abs, errors)) for errors in seconds)
    typical = [
        statistics.median(abs(error) / one.total for error, one in zip(errors, both, strict=True)) for errors in seconds
    ]
    inside = sum(one.low <= one.actual <= one.high for one in stated) / len(stated)
    print(
        f"| {name} | {len(runs)} | {min(totals):.2f} to {max(totals):.2f} s "
        f"| {ours:.3f} s | {line:.3f} s | {ours / line:.2f} "
        f"| {typical[0]:.0%} | {typical[1]:.0%} | {inside:.0%} | {len(stated)} of {len(said)} | {len(both)} |"
    )


def main() -> None:
    """Record, split, tell, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24, help="of each kind of work (default 24)")
    parser.add_argument("--only", nargs="+", choices=[*WORKS], default=[*WORKS], help="kinds of work")
    parser.add_argument("--keep", type=Path, help="folder of the recordings; those that are there are not made again")
    given = parser.parse_args()
    print(
        "| work | runs | each takes | mean error | linear | ratio | median, part of the run | linear "
        "| inside the 80 % interval | stated | compared |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    with ExitStack() as stack:
        folder = Path(given.keep or stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        for name in given.only:
            if name == "sshd" and not LOG.exists():
                print(f"skipped: sshd, {LOG} is not there; INVESTIGATION_TEST_DATA names its folder", file=sys.stderr)
                continue
            url = f"sqlite:///{folder}/{name}.db"
            if not (folder / f"{name}.db").exists():
                with tempfile.TemporaryDirectory() as inputs:
                    WORKS[name](url, given.runs, Path(inputs), random.Random(7))
            runs = asyncio.run(recorded(url))
            report(name, runs, measure(runs))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
