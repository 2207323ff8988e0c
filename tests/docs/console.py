"""Pages whose blocks are run in order, in one folder: files are written, commands are run, what they print is compared.

A block with a title, ```` ```python title="logins.py" ````, is a file. A ``console`` block has commands after ``$ ``,
each with what it prints. What differs from run to run (ids, hashes, times, durations, the width of columns) is not
compared.

To write what commands print now into the pages: ``python -m tests.docs.console``.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120
COLUMNS = 100
SHORTENED = 8
OPENING = re.compile(r'^```(\w+)(?: title="([^"]+)")?$')
NO_RUN = re.compile(r"<!--\s*no-run:")
MACHINE = re.compile(r'(?<="owner": ")[^/"\n]+')
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
VARIES = (
    (re.compile(r"\b[0-9a-f]{20,64}\b…?"), "HASH"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{1,4}\b"), "ID"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?"), "TIME"),
    (re.compile(r"\b\d\d-\d\d \d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)?(ms|µs|s|m|h)\b"), "SPAN"),
    (re.compile(r'"owner": "[^"\n]*'), "OWNER"),
    (re.compile(r"[ \t]+"), " "),
)


class Block(NamedTuple):
    """One block of a page."""

    line: int
    """Of its first line inside, from 0."""
    language: str
    title: str | None
    text: list[str]


class Command(NamedTuple):
    """One command of a block, and what it prints, by the page."""

    line: int
    text: str
    told: list[str]


def blocks(lines: list[str]) -> Iterator[Block]:
    """The fenced blocks of a page that are not marked as not run."""
    marked = False
    at = 0
    while at < len(lines):
        opening = OPENING.match(lines[at])
        if opening is None:
            marked = bool(NO_RUN.match(lines[at])) or (marked and not lines[at].strip())
            at += 1
            continue
        end = next(n for n in range(at + 1, len(lines)) if lines[n] == "```")
        if not marked:
            yield Block(at + 1, opening[1], opening[2], lines[at + 1 : end])
        marked = False
        at = end + 1


def commands(block: Block) -> list[Command]:
    """The commands of a ``console`` block."""
    found: list[Command] = []
    for number, line in enumerate(block.text, block.line):
        if line.startswith("$ "):
            found.append(Command(number, line[2:], []))
        elif found:
            found[-1].told.append(line)
        else:
            raise ValueError(f"line {number + 1}: a console block begins with '$ ' and a command")
    return found


def run(command: str, folder: Path) -> list[str]:
    """What a command prints on a terminal of 100 columns."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INVESTIGATION_")}
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}", "TERM": "xterm"}
    main, other = pty.openpty()
    with subprocess.Popen(
        ["bash", "-c", f"stty cols {COLUMNS}; {command}"],
        cwd=folder,
        env={**environment, "COLUMNS": str(COLUMNS)},
        stdin=other,
        stdout=other,
        stderr=other,
    ) as process:
        os.close(other)
        printed = b""
        while True:
            try:
                piece = os.read(main, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not piece:
                break
            printed += piece
        os.close(main)
        process.wait(SECONDS)
    return [line.rstrip() for line in ANSI.sub("", printed.decode()).splitlines()]


def same(printed: list[str], told: list[str]) -> bool:
    """They differ only in what differs from run to run."""
    one, two = compared(printed), compared(told)
    return len(one) == len(two) and all(map(alike, one, two))


def compared(lines: list[str]) -> list[str]:
    """The lines without what differs from run to run."""
    text = "\n".join(lines)
    for pattern, name in VARIES:
        text = pattern.sub(name, text)
    return [line.strip() for line in text.splitlines()]


def alike(one: str, two: str) -> bool:
    """The same; a text that was shortened to fit may have been shortened a little more or less."""
    pieces, others = one.split("…"), two.split("…")
    if len(pieces) != len(others) or pieces[-1] != others[-1]:
        return False
    pairs = list(zip(pieces[:-1], others[:-1], strict=True))
    return all((a.startswith(b) or b.startswith(a)) and abs(len(a) - len(b)) <= SHORTENED for a, b in pairs)


def play(page: Path, folder: Path) -> Iterator[tuple[Command, list[str]]]:
    """Write the files and run the commands of a page; each command with what it printed."""
    for block in blocks(page.read_text(encoding="utf-8").splitlines()):
        if block.title is not None:
            (folder / block.title).write_text("\n".join(block.text) + "\n", encoding="utf-8")
        elif block.language == "console":
            for command in commands(block):
                yield command, run(command.text, folder)


def pages() -> list[Path]:
    """Pages with commands to run."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if "```console\n" in page.read_text(encoding="utf-8")]


def rewrite(page: Path) -> bool:
    """Write what the commands of a page print now; whether anything but the varying differed."""
    with tempfile.TemporaryDirectory() as folder:
        played = list(play(page, Path(folder)))
    changed = [(command, printed) for command, printed in played if not same(printed, command.told)]
    lines = page.read_text(encoding="utf-8").splitlines()
    for command, printed in reversed(changed):
        lines[command.line + 1 : command.line + 1 + len(command.told)] = [
            MACHINE.sub("laptop", line) for line in printed
        ]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return bool(changed)


if __name__ == "__main__":
    for each in pages():
        print("rewritten" if rewrite(each) else "as it was", each.relative_to(ROOT))  # noqa: T201
