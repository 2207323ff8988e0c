"""``worker``: run the handlers of a program."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from investigation_sdk import InvestigationSDK


@click.command()
@click.argument("program", metavar="MODULE:NAME")
@click.option("--concurrency", type=click.IntRange(1), default=100, show_default=True, help="Run so many at a time.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only of this type; may be repeated.")
@click.option("--limit", "limits", multiple=True, metavar="TYPE=N", help="Of this type N at a time; may be repeated.")
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=20.0,
    show_default=True,
    help="Seconds that what runs may go on after SIGTERM or Ctrl-C.",
)
def worker(program: str, *, concurrency: int, types: Sequence[str], limits: Sequence[str], patience: float) -> None:
    """Run queued investigations, until SIGTERM or Ctrl-C.

    MODULE is imported, from the working directory too; NAME is its
    InvestigationSDK, with the handlers that @sdk.investigator registers.
    """
    sdk = _load(program)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    sdk.worker(
        concurrency=concurrency,
        types=list(types) or None,
        limits=dict(map(_limit, limits)),
        patience=timedelta(seconds=patience),
    ).run()
    sdk.sync.close()


def _limit(given: str) -> tuple[str, int]:
    name, _, number = given.rpartition("=")
    if not name or not number.isdecimal() or int(number) < 1:
        raise click.UsageError(f"--limit {given} is not TYPE=N, such as phishing=5")
    return name, int(number)


def _load(program: str) -> InvestigationSDK:
    """The SDK object of a program, by ``module:name``."""
    from importlib import import_module

    from investigation_sdk import InvestigationSDK

    module_name, _, name = program.partition(":")
    if not module_name or not name:
        raise click.UsageError(f"{program} is not MODULE:NAME, such as fraud.main:sdk")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # something that the program itself imports
        raise click.ClickException(f"there is no module {error.name}; is {Path.cwd()} the right directory?") from error
    found = getattr(module, name, None)
    if not isinstance(found, InvestigationSDK):
        what = "has no such name" if found is None else f"is {type(found).__name__}"
        raise click.ClickException(f"{program} {what}, and should be an InvestigationSDK")
    return found
