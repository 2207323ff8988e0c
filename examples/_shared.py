"""What the examples share: the manners of a command, and what is printed from a record."""

import argparse
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from investigation_sdk import InvestigationSDK, ToolExecution


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage, and exits with 2."""

    def error(self, message: str) -> NoReturn:
        """Exit with one sentence."""
        self.exit(2, f"{self.prog}: {message}\n")


def shown(text: object) -> str:
    """Printable: names may hold control characters, or bytes that are no text at all."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def show(text: str, *, end: bool = False) -> None:
    """Progress on stderr: on a terminal one line that changes, in a file one line for each phase."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        print(f"\r{text[:width]:<{width}}", end="\n" if end else "", file=sys.stderr, flush=True)
    elif end:
        print(text, file=sys.stderr, flush=True)


def positive(text: str) -> int:
    """A whole number from 1."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number greater than 0")
    return int(text)


def input_file(parser: Parser, path: Path) -> Path:
    """A file that can be read and is not empty; else the command ends, before any store is made."""
    try:
        if not path.is_file():
            parser.error(f"there is no file {path}" if not path.exists() else f"{path} is not a file")
        with path.open("rb") as file:
            if not file.read(1):
                parser.error(f"{path} is empty")
    except (OSError, ValueError) as error:
        parser.error(f"{shown(path)} cannot be read: {getattr(error, 'strerror', None) or error}")
    return path


def calls_of(sdk: InvestigationSDK, investigation_id: str) -> Iterator[ToolExecution]:
    """All calls of an investigation, page by page."""
    after: str | None = None
    while True:
        page = sdk.sync.tools(investigation_id, after=after)
        yield from page
        if (after := page.next) is None:
            return


def print_phases(sdk: InvestigationSDK, investigation_id: str) -> None:
    """The investigation's subject, and a table of its phases."""
    investigation = sdk.sync.get(investigation_id)
    calls = Counter(call.phase_id for call in calls_of(sdk, investigation_id))
    phases = sdk.sync.phases(investigation_id)
    rows = [(phase.phase_name, phase.status, calls[phase.id], phase.duration_ms or 0) for phase in phases]
    print(f"\n{investigation.subject}\n\n{'phase':<12}{'state':<12}{'tool calls':>10}{'time':>12}")
    for name, state, count, ms in [*rows, ("total", investigation.status, calls.total(), sum(row[3] for row in rows))]:
        print(f"{name:<12}{state:<12}{count:>10}{ms / 1000:>10.2f} s")


def print_chain(sdk: InvestigationSDK, investigation_id: str) -> bool:
    """Whether the chain of hashes holds, and how to look further; returns whether it holds."""
    checked = sdk.sync.verify(investigation_id)
    chain = "verified" if checked.ok else "BROKEN: " + "; ".join(problem.message for problem in checked.problems)
    print(f"Investigation {investigation_id}: {checked.checked} events, chain {chain}.")
    if command := sdk.command_for(sdk.sync.get(investigation_id).key or investigation_id):
        print(f"To look further: {command}")
    return checked.ok


def print_next(sdk: InvestigationSDK, investigation_type: str, investigation_id: str) -> None:
    """How to look further, at all of a type and at one of them; nothing where the store is gone with this process."""
    if command := sdk.command_for(investigation_id):
        _, _, _, *store = shlex.split(command)
        print(f"To look further: {shlex.join(['investigate', 'ls', '--type', investigation_type, *store])}")
        print(f"     or, at one: {command}")
