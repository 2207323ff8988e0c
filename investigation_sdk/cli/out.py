"""Where output goes: a terminal gets tables in colour, shortened to its width; a pipe gets all of it, between tabs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from investigation_sdk.cli.text import json_line
from investigation_sdk.engine.shell import visible

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.text import Text

    from investigation_sdk import InvestigationSDK

R = TypeVar("R", bound="BaseModel")

STYLES: Final[Mapping[str, str]] = {
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
    "paused": "yellow",
    "interrupted": "yellow",
    "unknown": "yellow",
    "running": "cyan",
    "ok": "green",
    "BROKEN": "bold red",
}
"""By what a cell says; other states are plain."""

PIPED: Final = sys.maxsize
"""As wide is no terminal."""

_GAP: Final = 2
_LEAST: Final = 8
"""A column that is shortened keeps so many characters."""


class Column(NamedTuple):
    """A column of a table. Where a terminal is too narrow, those that bend are shortened: they share by weight.

    A terminal of less than `columns` columns does not get it; a pipe gets all.
    """

    title: str
    right: bool = False
    bends: int = 0
    columns: int = 0


class Cell(NamedTuple):
    """What a cell says: all of it, and what a terminal shows of it if that is less."""

    full: str
    short: str | None = None
    style: str = ""

    @property
    def shown(self) -> str:
        """For a terminal."""
        return self.full if self.short is None else self.short


class Out:
    """Standard output, as it was found when the command started.

    Args:
        as_json: Only :meth:`json` prints.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.terminal: bool = sys.stdout.isatty() and not as_json

    @cached_property
    def console(self) -> Console:
        """Rich's, for a terminal."""
        from rich.console import Console

        return Console(highlight=False, markup=False, emoji=False)

    def json(self, value: Any) -> None:
        """A value as one line of JSON."""
        self._write(json_line(value))

    def text(self, text: str, style: str = "") -> None:
        """A line."""
        if self.terminal:
            self.console.print(self._styled(text, style))
        else:
            self._write(visible(text))

    def command(self, command: str) -> None:
        """A command to go on with, on a terminal only; never broken into lines, so that it can be copied."""
        if self.terminal:
            self.console.print(self._styled(command, "dim"), soft_wrap=True)

    def blank(self) -> None:
        """An empty line, on a terminal and in a pipe."""
        self._write("")

    def fields(self, fields: Iterable[tuple[str, Cell]]) -> None:
        """Names and values, one a line."""
        if not self.terminal:
            for name, cell in fields:
                self._write(f"{name}\t{visible(cell.full)}")
            return
        from rich.table import Table

        grid = Table.grid(padding=(0, _GAP, 0, 0))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, cell in fields:
            grid.add_row(name, self._styled(cell.shown, cell.style))
        self.console.print(grid)

    def records(
        self,
        columns: Sequence[Column],
        records: Iterable[R],
        rows: Callable[[Iterable[R]], Iterable[Sequence[Cell]]],
        sdk: InvestigationSDK,
        *,
        at_once: int = 100,
    ) -> bool:
        """Records as JSON, payloads in full, or as a table of `rows`; whether there was any. They are read as they
        are printed, `at_once` at a time."""
        if not self.as_json:
            return self.table(columns, rows(records), at_once=at_once)
        from investigation_sdk.cli.shapes import document

        return self._lines((json_line(document(record, sdk)) for record in records), at_once)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, at_once: int = 100) -> bool:
        """A table with a heading; nothing where there is no row. Whether there was any.

        A terminal gets `at_once` rows at a time, whose columns are as wide as those before, or wider.
        """
        source = iter(rows)
        if self.terminal:
            return self._tables(columns, source, at_once)
        first = next(source, None)
        if first is None:
            return False
        self._write("\t".join(column.title for column in columns))
        return self._lines(("\t".join(visible(cell.full) for cell in row) for row in chain([first], source)), at_once)

    def _lines(self, lines: Iterable[str], at_once: int) -> bool:
        number = 0
        for number, line in enumerate(lines, 1):
            self._write(line)
            if not number % at_once:
                sys.stdout.flush()
        return number > 0

    def _tables(self, columns: Sequence[Column], rows: Iterator[Sequence[Cell]], at_once: int) -> bool:
        from rich.cells import cell_len

        kept = [n for n, column in enumerate(columns) if column.columns <= self.console.width]
        columns = [columns[n] for n in kept]
        natural = [cell_len(column.title) for column in columns]
        found = False
        while some := list(islice(rows, at_once)):
            lines = [[self._styled(row[n].shown, row[n].style) for n in kept] for row in some]
            natural = [max(n, *(line[at].cell_len for line in lines)) for at, n in enumerate(natural)]
            self._table(columns, lines, _fitted(natural, columns, self.console.width), heading=not found)
            found = True
        return found

    def _table(
        self, columns: Sequence[Column], lines: Sequence[Sequence[Text]], widths: Sequence[int], *, heading: bool
    ) -> None:
        from rich.table import Table

        table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold", show_header=heading)
        for column, width in zip(columns, widths, strict=True):
            table.add_column(
                column.title,
                justify="right" if column.right else "left",
                no_wrap=True,
                overflow="ellipsis",
                width=width,
            )
        for texts in lines:
            table.add_row(*texts)
        self.console.print(table)

    def _styled(self, text: str, style: str = "") -> Text:
        from rich.text import Text

        return Text(visible(text), style)

    def _write(self, text: str) -> None:
        sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A remark, on standard error: what is piped on stays data."""
    print(visible(text), file=sys.stderr)


def state(status: str) -> Cell:
    """A state in its colour."""
    return Cell(status, None, STYLES.get(status, ""))


def _fitted(natural: Sequence[int], columns: Sequence[Column], width: int) -> list[int]:
    """Widths that fit: columns that bend keep a least width, and share what is left; what one does not need goes to
    the rest."""
    widths = [min(size, _LEAST) if columns[n].bends else size for n, size in enumerate(natural)]
    lacking = {n: size - widths[n] for n, size in enumerate(natural)}
    bending = sorted((n for n, one in enumerate(columns) if one.bends), key=lambda n: lacking[n] / columns[n].bends)
    left = max(0, width - _GAP * (len(columns) - 1) - sum(widths))
    weight = sum(columns[n].bends for n in bending)
    for n in bending:
        more = min(lacking[n], left * columns[n].bends // weight)
        widths[n] += more
        left -= more
        weight -= columns[n].bends
    return widths
