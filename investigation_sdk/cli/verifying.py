"""``verify``: whether logs are as they were written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from investigation_sdk.cli.out import Cell, Column, Out, note, state
from investigation_sdk.cli.paging import Paged
from investigation_sdk.cli.store import Store, find, on_a_store

if TYPE_CHECKING:
    from investigation_sdk import Investigation, InvestigationSDK, Page, VerificationReport

_PROBLEM = 1
_REPORT = (
    Column("CHAIN"),
    Column("ID"),
    Column("EVENTS", right=True),
    Column("HEAD", bends=1),
)


@click.command()
@click.argument("references", metavar="[REF]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Verify all investigations.")
@click.option("--type", "investigation_type", metavar="TYPE", help="Of this type only.")
@on_a_store()
def verify(
    store: Store, out: Out, references: Sequence[str], *, everything: bool, investigation_type: str | None
) -> int:
    """Check logs: was an event changed, removed, inserted or moved?

    The exit status is 1 if anything is wrong. Keep the heads that it prints outside of the database: against one that
    was kept, also a log whose end was cut off together with its row can be told.
    """
    if bool(references) == everything:
        raise click.UsageError("name investigations, or all of them with --all")
    with store.opened() as sdk:
        if everything:
            total = sum(one.version for one in _all(sdk, investigation_type))
            chosen: Iterable[Investigation] = _all(sdk, investigation_type)
        else:
            named = [find(sdk, reference, investigation_type) for reference in references]
            total, chosen = sum(one.version for one in named), named
        found = _Found()
        with progress(out, total) as advance:
            reports = found.seen(_verified(sdk, chosen, advance))
            if out.terminal and len(references) == 1:
                _print_one(out, reports)
            elif not out.records(_REPORT, reports, _rows, sdk, at_once=1) and not out.as_json:
                note("There is no investigation to verify.")
        if not out.as_json:
            found.tell(out)
    return _PROBLEM if found.broken else 0


def _verified(
    sdk: InvestigationSDK, chosen: Iterable[Investigation], advance: Callable[[int], object]
) -> Iterator[VerificationReport]:
    for one in chosen:
        yield sdk.sync.verify(one.id, progress=advance)
        advance(0)


def _all(sdk: InvestigationSDK, investigation_type: str | None) -> Iterator[Investigation]:
    def read(after: str | None, limit: int) -> Page[Investigation]:
        return sdk.sync.list(investigation_type=investigation_type, after=after, limit=limit)

    return iter(Paged(read, None, sys.maxsize))


def _rows(reports: Iterable[VerificationReport]) -> Iterator[list[Cell]]:
    for one in reports:
        yield [_chain(one), Cell(one.investigation_id), Cell(str(one.checked)), Cell(one.head)]


def _chain(report: VerificationReport) -> Cell:
    return state("ok" if report.ok else "BROKEN")


def _print_one(out: Out, reports: Iterable[VerificationReport]) -> None:
    for one in reports:  # a head is too wide for a table
        named = (one.investigation_id, f"{one.checked:,}", one.head)
        out.fields([("chain", _chain(one)), *zip(("id", "events", "head"), map(Cell, named), strict=True)])


class _Found:
    """What is said at the end: how much was checked, and what is wrong where, up to a bound."""

    def __init__(self) -> None:
        self.checked = self.events = self.broken = 0
        self._listed: list[VerificationReport] = []

    def seen(self, reports: Iterable[VerificationReport]) -> Iterator[VerificationReport]:
        """The reports, noticed as they pass."""
        for report in reports:
            self.checked += 1
            self.events += report.checked
            if not report.ok:
                self.broken += 1
                if len(self._listed) < _LISTED:
                    self._listed.append(report)
            yield report

    def tell(self, out: Out) -> None:
        """Say it."""
        for report in self._listed:
            out.blank()
            out.text(f"{report.investigation_id} is not as it was written:", "bold red")
            for problem in report.problems[:_LISTED]:
                out.text(f"  {problem.kind}: {problem.message}")
            if len(report.problems) > _LISTED:
                out.text(f"  and {len(report.problems) - _LISTED} more; all of them: --json")
        if self.broken > len(self._listed):
            out.text(f"and {self.broken - len(self._listed)} more such investigations; all of them: --json")
        if out.terminal and self.checked > 1:
            out.blank()
            broken = self.broken or "none"
            out.text(f"{self.checked:,} investigations, {self.events:,} events, {broken} broken")


_LISTED = 20


@contextmanager
def progress(out: Out, total: int | None, doing: str = "verifying") -> Generator[Callable[[int], object]]:
    """A bar on a terminal, where it takes longer or nobody knows how long: to be told how many events of an
    investigation are checked, and 0 before those of the next."""
    if not sys.stderr.isatty() or (total is not None and total < _LONG) or (out.as_json and sys.stdout.isatty()):
        yield lambda _checked: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = out.console if out.terminal else Console(stderr=True)  # one that prints nothing else, or all of it
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        before = last = 0

        def advance(checked: int) -> None:
            nonlocal before, last
            if not checked:  # the next investigation
                before, last = before + last, 0
                return
            last = checked
            bar.update(task, completed=before + checked)

        yield advance


_LONG = 2000
