"""Measures estimates: how far off they are on runs that they have not seen, beside drawing the percentage on as a line.

Usage: python -m tests.benchmarks.eta [--runs N] [--seed N] [--only WORK …] [--again] [--keep FOLDER]

Real work is recorded first, by the clock on the wall, each kind as one type of investigation (see eta_works.py):

- audit: examples/python_environment_audit.py over as many different sets of the packages that are installed here,
- audits: the same over several such sets at once, which takes longer,
- sshd: examples/ssh_bruteforce.py over different slices of a real log (skipped, saying so, where that is not there),
- tests: some folders of the project's own tests, a phase for each, a call for each file,
- part: the same, but each run leaves out tests at random, and neither says which nor how far it is.

Then the runs are split, as a whole, into two halves; each half is told by the other. Each run is gone through again,
by its log, up to nine places at 10 to 90 percent of the time that it took in the end: the rows are what they were then
(but that what a phase reported stands there by steps of 5 percent), and from these comes what was shown. The error is
the difference to how long it took; a place where the estimate or the line says nothing counts for neither.

With --again each work is done once more, from the same inputs, and told by how it went the time before: so far off is
who knows everything but what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from investigation_sdk import InvestigationSDK
from investigation_sdk.clock import to_datetime
from investigation_sdk.domain.estimate import MIN_RUNS, History
from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.project import investigation_row, phase_row
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow
from investigation_sdk.engine import history
from investigation_sdk.engine.parts import parts_of
from investigation_sdk.engine.reading import to_event
from investigation_sdk.engine.texts import json_text
from investigation_sdk.engine.tracker import progress_of, with_estimate
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import Query, StoredEvent, Where
from tests.benchmarks.eta_works import LOG, WORKS

PLACES: Final = tuple(n / 10 for n in range(1, 10))
HEAD: Final = (
    "| work | runs | each takes | mean error | of a line | ratio | part of the run | of a line | ratio "
    "| inside the 80 % interval | median width | stated | compared |"
)


class Seen(NamedTuple):
    """What was there at one place of a run: how much of its time was gone, and the rows."""

    part: float
    now: int
    row: InvestigationRow
    phases: Sequence[PhaseRow]


class Run(NamedTuple):
    """One completed run, as the store has it, and as it was at its places."""

    row: InvestigationRow
    phases: Sequence[PhaseRow]
    places: Sequence[Seen]

    @property
    def total(self) -> int:
        """µs."""
        return (self.row.completed_at or 0) - (self.row.started_at or 0)


class Said(NamedTuple):
    """What was said at one place of one run, and how it was: seconds from there on; None: nothing was said."""

    total: float
    actual: float
    ours: float | None
    low: float
    high: float
    line: float | None


# ---- what was recorded


def record(url: str, name: str, runs: int, seed: int) -> None:
    """Do the work so many times."""
    for n in range(runs):
        with tempfile.TemporaryDirectory() as inputs:
            WORKS[name](url, Path(inputs), random.Random(f"{name} {seed} {n}"))


async def recorded(url: str) -> list[Run]:
    """The completed runs, in the order of their beginning."""
    async with InvestigationSDK(url) as sdk:
        backend = sdk._recorder.backend  # pyright: ignore[reportPrivateUsage]
        completed = (Where("status", "=", "completed"),)
        runs: list[Run] = []
        for row in await backend.find(Query("investigation", completed, limit=1000)):
            of_this = Query("phase", (Where("investigation_id", "=", row.id),), "phase_order")
            phases = [one for one in await backend.find(of_this) if isinstance(one, PhaseRow) and one.completed_at]
            if isinstance(row, InvestigationRow):
                runs.append(Run(row, phases, list(places(row, phases, await log(backend, row.id)))))
        return runs


async def log(backend: Backend, id: str) -> list[StoredEvent]:
    """All events."""
    events: list[StoredEvent] = []
    while page := await backend.read_events(id, after=events[-1].sequence if events else 0):
        events += page
    return events


def places(row: InvestigationRow, phases: Sequence[PhaseRow], stored: Sequence[StoredEvent]) -> Iterator[Seen]:
    """Go through a run again, and stop at its places. Reports that no event says are told by the marks of phases."""
    began, ended = row.started_at or 0, row.completed_at or 0
    fold = Fold(row.id, row.tenant_id)
    happened: list[tuple[int, Callable[[], object]]] = [
        (event.at, partial(fold.apply, event)) for event in map(to_event, stored)
    ]
    for phase in phases:
        span = history.span(phase, began)
        for percent, since in span.marks if span.reported else ():
            time = (phase.started_at or 0) + int(since)
            happened.append((time, partial(fold.report, phase.id, percent, time)))
    happened.sort(key=lambda one: one[0])
    for part in PLACES:
        now = began + int(part * (ended - began))
        while happened and happened[0][0] <= now:
            happened.pop(0)[1]()
        then = [phase_row(row.id, phase, json_text) for phase in fold.phases.values()]
        yield Seen(part, now, investigation_row(fold, fold.version, b"", json_text), then)


# ---- what was said


def told(run: Run, known: History) -> Iterator[Said]:
    """What both say at the places of one run."""
    for seen in run.places:
        parts = parts_of(seen.phases)
        shown = progress_of(seen.row, parts, seen.now)
        estimate = with_estimate(shown, seen.row, parts, known, seen.now).estimate
        total, percent = run.total / 1e6, shown.overall_progress
        line = seen.part * total * (100 - percent) / percent if percent else None
        low = likely = high = None
        if estimate is not None:
            now = to_datetime(seen.now)
            times = (estimate.earliest, estimate.likely, estimate.latest)
            low, likely, high = ((time - now).total_seconds() for time in times)
        yield Said(total, (1 - seen.part) * total, likely, low or 0.0, high or 0.0, line)


def measure(runs: Sequence[Run]) -> list[Said]:
    """Each half told by the other."""
    said: list[Said] = []
    for mine, others in ((runs[::2], runs[1::2]), (runs[1::2], runs[::2])):
        known = History([history.past_run(run.row, run.phases) for run in others])
        for run in mine:
            said += told(run, known)
    return said


def by_twins(runs: Sequence[Run], again: Sequence[Run]) -> list[Said]:
    """Each told by how the very same went the other time."""
    said: list[Said] = []
    for one, other in [*zip(runs, again, strict=False), *zip(again, runs, strict=False)]:
        said += told(one, History([history.past_run(other.row, other.phases)] * MIN_RUNS))
    return said


def report(name: str, runs: Sequence[Run], said: Sequence[Said]) -> str:
    """One line of the table."""
    totals = [run.total / 1e6 for run in runs]
    stated = [one for one in said if one.ours is not None]
    both = [
        (one.total, one.ours - one.actual, one.line - one.actual)
        for one in said
        if one.ours is not None and one.line is not None
    ]
    if not both:
        return f"| {name} | {len(runs)} | nothing to compare |"
    ours, line = (statistics.fmean(abs(one[n]) for one in both) for n in (1, 2))
    part, line_part = (statistics.fmean(abs(one[n]) / one[0] for one in both) for n in (1, 2))
    inside = sum(one.low <= one.actual <= one.high for one in stated) / len(stated)
    width = statistics.median((one.high - one.low) / one.total for one in stated)
    return (
        f"| {name} | {len(runs)} | {min(totals):.2f} to {max(totals):.2f} s | {ours:.3f} s | {line:.3f} s "
        f"| {ours / line:.2f} | {part:.1%} | {line_part:.1%} | {part / line_part:.2f} | {inside:.0%} | {width:.0%} "
        f"| {len(stated)} of {len(said)} | {len(both)} |"
    )


def main() -> None:
    """Record, split, tell, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24, help="of each kind of work (default 24)")
    parser.add_argument("--seed", type=int, default=1, help="which work; another seed is other work (default 1)")
    parser.add_argument("--only", nargs="+", choices=[*WORKS], default=[*WORKS], help="kinds of work")
    parser.add_argument("--again", action="store_true", help="do each once more, and tell it by the time before")
    parser.add_argument("--keep", type=Path, help="folder of the recordings; those that are there are not made again")
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[1]:.1f}, {platform.python_version()}")
    print(HEAD + "\n" + "| --- " * (HEAD.count("|") - 1) + "|", flush=True)
    with ExitStack() as stack:
        folder = Path(given.keep or stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)

        def runs_of(name: str, file: str) -> list[Run]:
            if not (folder / file).exists():
                record(f"sqlite:///{folder}/{file}", name, given.runs, given.seed)
            return asyncio.run(recorded(f"sqlite:///{folder}/{file}"))

        for name in given.only:
            if name == "sshd" and not LOG.exists():
                print(f"skipped: sshd, {LOG} is not there; INVESTIGATION_TEST_DATA names its folder", file=sys.stderr)
                continue
            runs = runs_of(name, f"{name}.db")
            print(report(name, runs, measure(runs)), flush=True)
            if given.again:
                again = runs_of(name, f"{name}-again.db")
                print(report(f"{name}, by the time before", [*runs, *again], by_twins(runs, again)), flush=True)


if __name__ == "__main__":
    main()
