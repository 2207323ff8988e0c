"""``db``: the schema of a store."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, TypeVar

import click

from investigation_sdk.cli.out import Cell, Out, note
from investigation_sdk.cli.store import Store, on_a_store

if TYPE_CHECKING:
    from investigation_sdk.storage.backend import MigratingBackend

T = TypeVar("T")

_DIFFERS = 1


@click.group()
def db() -> None:
    """Look at the store's schema, and upgrade it."""


def _migrating(store: Store, *, read_only: bool = True) -> MigratingBackend:
    from investigation_sdk.storage.backend import MigratingBackend

    backend = store.backend(read_only=read_only)
    if not isinstance(backend, MigratingBackend):
        raise click.ClickException(f"{store.url.partition('://')[0]}:// has no schema, so there is nothing to upgrade")
    return backend


def _wait(work: Coroutine[object, object, T]) -> T:
    import asyncio

    return asyncio.run(work)


@db.command()
@on_a_store()
def current(store: Store, out: Out) -> None:
    """Print the store's schema, and the one of this version."""
    backend = _migrating(store)
    with store.named():
        found = _wait(backend.current_revision())
    if out.as_json:
        out.json({"current": found, "head": backend.head_revision()})
        return
    out.fields([("current", Cell(found or "none")), ("head", Cell(backend.head_revision()))])


@db.command()
@on_a_store()
def check(store: Store, out: Out) -> int:
    """Compare the store's tables with this version's.

    Nothing is written. The exit status is 1 if they differ.
    """
    backend = _migrating(store)
    with store.named():
        differences = list(_wait(backend.check_schema()))
    if out.as_json:
        out.json({"ok": not differences, "differences": differences})
    elif differences:
        for difference in differences:
            out.text(difference, "red")
    else:
        out.text(f"The schema is {backend.head_revision()}, and the tables are as they should be.", "green")
    return _DIFFERS if differences else 0


@db.command()
@on_a_store(json=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
def upgrade(store: Store, out: Out, *, yes: bool) -> None:
    """Bring the store to the schema of this version."""
    head = _migrating(store).head_revision()
    with store.named():
        found = _wait(_migrating(store).current_revision())
    if found == head:
        out.text(f"The schema is {head} already: nothing to do.")
        return
    if found:
        with store.named():
            _wait(_migrating(store).check_schema())  # a newer schema is refused before anybody is asked
    step = f"from schema {found} to {head}" if found else f"to schema {head}: none of ours is there yet"
    if not yes:
        if not sys.stdin.isatty():
            raise click.ClickException(f"This would upgrade the store {step}. Back it up, and add --yes")
        note(f"This upgrades the store {step}. There is no way back but a backup.")
        if not click.confirm("Upgrade?", err=True):
            note("Nothing was changed.")
            return
    _wait(_migrating(store, read_only=False).upgrade())
    out.text(f"Upgraded {step}.")
