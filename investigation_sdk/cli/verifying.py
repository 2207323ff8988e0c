"""``verify``: whether logs are as they were written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from investigation_sdk.cli.out import Cell, Column, Out, note, state
from investigation_sdk.cli.store import Store, find, on_a_store

if TYPE_CHECKING:
    from investigation_sdk import Investigation, InvestigationSDK, VerificationReport

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
    reports: list[VerificationReport] = []
    with store.opened() as sdk:
        chosen = (
            list(_all(sdk, investigation_type))
            if everything
            else [find(sdk, r, investigation_type) for r in references]
        )
        with _progress(sum(one.version for one in chosen)) as advance:
            for one in chosen:
                reports.append(sdk.sync.verify(one.id, progress=advance))
                advance(0)
    if out.as_json:
        from investigation_sdk.cli.shapes import document

        for report in reports:
            out.json(document(report))
    else:
        _print(out, reports)
    return _PROBLEM if any(not report.ok for report in reports) else 0


def _all(sdk: InvestigationSDK, investigation_type: str | None) -> Iterator[Investigation]:
    after = None
    while True:
        page = sdk.sync.list(investigation_type=investigation_type, after=after, limit=1000)
        yield from page
        after = page.next
        if after is None:
            return


def _print(out: Out, reports: Sequence[VerificationReport]) -> None:
    if not reports:
        note("There is no investigation to verify.")
        return
    if out.terminal and len(reports) == 1:  # a head is too wide for a table
        [report] = reports
        chain = state("ok" if report.ok else "BROKEN")
        named = (report.investigation_id, f"{report.checked:,}", report.head)
        out.fields([("chain", chain), *zip(("id", "events", "head"), map(Cell, named), strict=True)])
    else:
        _print_table(out, reports)
    broken = [report for report in reports if not report.ok]
    for report in broken:
        out.blank()
        out.text(f"{report.investigation_id} is not as it was written:", "bold red")
        for problem in report.problems[:_LISTED]:
            out.text(f"  {problem.kind}: {problem.message}")
        if len(report.problems) > _LISTED:
            out.text(f"  and {len(report.problems) - _LISTED} more; all of them: --json")
    if out.terminal and len(reports) > 1:
        events = sum(report.checked for report in reports)
        out.blank()
        out.text(f"{len(reports)} investigations, {events:,} events, {len(broken) or 'none'} broken")


def _print_table(out: Out, reports: Sequence[VerificationReport]) -> None:
    out.table(
        _REPORT,
        (
            [state("ok" if one.ok else "BROKEN"), Cell(one.investigation_id), Cell(str(one.checked)), Cell(one.head)]
            for one in reports
        ),
    )


_LISTED = 20


@contextmanager
def _progress(total: int) -> Generator[Callable[[int], object]]:
    """A bar on a terminal, where it takes longer: to be told how many events of an investigation are checked."""
    if not sys.stderr.isatty() or total < _LONG:
        yield lambda _checked: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
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
