"""``check``: whether the rows of investigations are what their logs add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from investigation_sdk.cli.out import Cell, Column, Out, note, state
from investigation_sdk.cli.store import Store, find, on_a_store
from investigation_sdk.cli.verifying import progress

if TYPE_CHECKING:
    from investigation_sdk import InvestigationSDK, RowsReport

_PROBLEM = 1
_LISTED = 20
_COLUMNS = (
    Column("ROWS"),
    Column("ID"),
    Column("EVENTS", right=True),
    Column("COMPARED", right=True),
    Column("REPAIRED", right=True),
)


@click.command()
@click.argument("references", metavar="[REF]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Check all investigations.")
@click.option("--type", "investigation_type", metavar="TYPE", help="Of this type only.")
@click.option("--repair", is_flag=True, help="Make rows again that are damaged or missing.")
@on_a_store()
def check(
    store: Store, out: Out, references: Sequence[str], *, everything: bool, investigation_type: str | None, repair: bool
) -> int:
    """Compare rows with what the logs add up to.

    Without --repair nothing is written. The exit status is 1 if anything is wrong, after the repair where there is one.
    Rows that are ahead of their log are reported and never repaired: they show that events are gone.
    """
    if bool(references) == everything:
        raise click.UsageError("name investigations, or all of them with --all")
    with store.opened() as sdk:  # that also shows that the store is there, before anything opens it to write
        named = [find(sdk, reference, investigation_type).id for reference in references]
    with store.writing() if repair else store.opened() as sdk:
        found = _Found()
        with progress(out, None, "checking") as advance:
            if everything:
                reports: Iterable[RowsReport] = sdk.sync.check_all(
                    investigation_type=investigation_type, repair=repair, progress=advance
                )
            else:
                reports = _checked(sdk, named, advance, repair=repair)
            if not out.records(_COLUMNS, found.seen(reports, advance), _rows, sdk, at_once=1) and not out.as_json:
                note("There is no investigation to check.")
        if not out.as_json:
            found.tell(out, repair=repair)
    return _PROBLEM if found.broken else 0


def _checked(
    sdk: InvestigationSDK, ids: Iterable[str], advance: Callable[[int], object], *, repair: bool
) -> Iterator[RowsReport]:
    for id in ids:
        yield sdk.sync.check(id, repair=repair, progress=advance)


def _rows(reports: Iterable[RowsReport]) -> Iterator[list[Cell]]:
    for one in reports:
        numbers = (one.checked, one.rows, one.repaired)
        yield [
            state("ok" if one.ok else "BROKEN"),
            Cell(one.investigation_id),
            *(Cell(str(number)) for number in numbers),
        ]


class _Found:
    """What is said at the end: how much was checked, and what is wrong where, up to a bound."""

    def __init__(self) -> None:
        self.checked = self.broken = self.repaired = self.repairable = 0
        self._listed: list[RowsReport] = []

    def seen(self, reports: Iterable[RowsReport], advance: Callable[[int], object]) -> Iterator[RowsReport]:
        """The reports, noticed as they pass."""
        for report in reports:
            advance(0)
            self.checked += 1
            self.repaired += report.repaired
            if not report.ok:
                self.broken += 1
                self.repairable += any(problem.kind in ("damaged", "missing") for problem in report.problems)
                if len(self._listed) < _LISTED:
                    self._listed.append(report)
            yield report

    def tell(self, out: Out, *, repair: bool) -> None:
        """Say it."""
        for report in self._listed:
            out.blank()
            out.text(f"{report.investigation_id} has rows that its log does not add up to:", "bold red")
            for problem in report.problems[:_LISTED]:
                out.text(f"  {problem.kind}: {problem.table} {problem.id}: {problem.message}")
            if len(report.problems) > _LISTED:
                out.text(f"  and {len(report.problems) - _LISTED} more; all of them: --json")
        if self.broken > len(self._listed):
            out.text(f"and {self.broken - len(self._listed)} more such investigations; all of them: --json")
        if self.repairable and not repair:
            note("Rows that are damaged or missing can be made again from the log: add --repair")
        if out.terminal and self.checked > 1:
            out.blank()
            out.text(f"{self.checked:,} investigations, {self.broken or 'none'} broken, {self.repaired} rows repaired")
