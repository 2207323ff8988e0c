"""Writes what ``investigate --help`` prints, for each command, into docs/reference/cli.md.

Usage: generate_cli.py [--check]; with --check nothing is written, and a page that is out of date is exit code 1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from investigation_sdk.cli.app import investigate

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "cli.md"
BEGIN, END = "<!-- begin: .ci/generate_cli.py -->\n", "<!-- end -->\n"
WIDTH = 78  # what click makes of 80 columns


def helps(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """Each command, those inside it too, with what its --help prints."""
    settings: dict[str, Any] = {**command.context_settings, "terminal_width": WIDTH}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from helps(found, inner, context)


def generate(page: str) -> str:
    """The page, with the commands as they are."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"no {BEGIN.strip()} in {PAGE}"
    assert end, f"no {END.strip()} in {PAGE}"
    parts = [f"### `{name}`\n\n```text\n{text}\n```\n\n" for name, text in helps(investigate, "investigate")]
    return f"{before}{BEGIN}\n{''.join(parts)}{END}{after}"


def main() -> int:
    """Write the page, or say whether it is up to date."""
    page = PAGE.read_text(encoding="utf-8")
    if generate(page) == page:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{PAGE.relative_to(ROOT)} is out of date; run: python .ci/generate_cli.py", file=sys.stderr)
        return 1
    PAGE.write_text(generate(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
