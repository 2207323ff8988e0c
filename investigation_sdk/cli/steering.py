"""``pause``, ``resume``, ``cancel``, ``retry``, ``resolve``: what the state machine allows, by hand."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from investigation_sdk.cli.out import Cell, Out, note, state
from investigation_sdk.cli.store import Store, find, on_a_store
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.engine.shell import visible

if TYPE_CHECKING:
    from investigation_sdk import Investigation

_F = TypeVar("_F", bound=Callable[..., Any])
_Verb = Literal["pause", "resume", "cancel", "retry"]


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def _said(function: _F) -> _F:
    """Why, and who says so."""
    function = click.option("--reason", metavar="TEXT", help="Why; it is recorded.")(function)
    who = "Who says so.  [default: the user's name]"
    return click.option("--actor", metavar="NAME", default=_user, help=who)(function)


def _steers(function: _F) -> _F:
    of_type = "Of this type, where a key is that of several."
    function = click.option("--type", "investigation_type", metavar="TYPE", help=of_type)(function)
    return click.argument("reference", metavar="REF")(_said(function))


def _give(
    store: Store, out: Out, verb: _Verb, reference: str, investigation_type: str | None, reason: str | None, actor: str
) -> Investigation:
    with store.opened() as sdk:
        before = find(sdk, reference, investigation_type)
    with store.writing() as sdk:
        command = getattr(sdk.sync.service, verb)
        after: Investigation = command(before.id, reason, actor=actor or None)
        if out.as_json:
            from investigation_sdk.cli.shapes import document

            out.json(document(after, sdk))
    if not out.as_json:
        was = "" if after.status == before.status else f"  (was {before.status})"
        status = state(after.status)
        shown = [("investigation", Cell(after.id)), ("subject", Cell(after.subject))]
        out.fields([*shown, ("status", Cell(f"{after.status}{was}", None, status.style))])
    return after


@click.command()
@_steers
@on_a_store()
def pause(store: Store, out: Out, **given: Any) -> None:
    """Pause one that runs.

    Its program stops before its next tool or phase, and waits there, or ends. REF is its id, the beginning of its id,
    or its key.
    """
    _give(store, out, "pause", **given)


@click.command()
@_steers
@on_a_store()
def resume(store: Store, out: Out, **given: Any) -> None:
    """Let one that is paused go on.

    Its program goes on if it waits; else whoever drives the investigation next does: a worker, or its program when it
    is run again. REF is its id, the beginning of its id, or its key.
    """
    after = _give(store, out, "resume", **given)
    if after.status == InvestigationState.PAUSED:
        note("Nobody drives it now. It goes on when a worker takes it, or its program is run again.")


@click.command()
@_steers
@click.option("--yes", is_flag=True, help="Do not ask.")
@on_a_store()
def cancel(store: Store, out: Out, *, yes: bool, **given: Any) -> None:
    """Cancel one for good.

    Its program stops before its next tool or phase. REF is its id, the beginning of its id, or its key.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise click.ClickException("A cancelled investigation cannot be run any more. Add --yes")
        note(f"This cancels {visible(given['reference'])} for good: it cannot be run any more.")
        if not click.confirm("Cancel?", err=True):
            note("Nothing was changed.")
            return
    _give(store, out, "cancel", **given)


@click.command()
@_steers
@on_a_store()
def retry(store: Store, out: Out, **given: Any) -> None:
    """Let one that failed be run again.

    It goes on when a worker takes it, or its program is run again. REF is its id, the beginning of its id, or its key.
    """
    _give(store, out, "retry", **given)


@click.command()
@click.argument("call", metavar="CALL")
@click.option(
    "--outcome", type=click.Choice(["succeeded", "failed", "not_executed"]), required=True, help="What became of it."
)
@click.option("--result", metavar="JSON", help="What the call is to give back; with 'succeeded' only.")
@_said
@on_a_store()
def resolve(
    store: Store, out: Out, call: str, outcome: Literal["succeeded", "failed", "not_executed"], result: str | None,
    reason: str | None, actor: str,
) -> None:  # fmt: skip
    """Say what became of a call of which that is not known.

    CALL is its id, as the error names it that stopped the program. Then let the investigation go on, by resume.
    """
    from investigation_sdk import Resolution

    if result is not None and outcome != "succeeded":
        raise click.UsageError(f"--result goes with --outcome succeeded; a call that {outcome} gives nothing back")
    with store.opened():
        pass  # a store that is not there is not made
    with store.writing() as sdk:
        resolution = Resolution(outcome=outcome, result=_json(result), reason=reason)
        resolved = sdk.sync.service.resolve(call, resolution, actor=actor or None)
        one = sdk.sync.get(resolved.investigation_id)
        if out.as_json:
            from investigation_sdk.cli.shapes import document

            out.json(document(resolved, sdk))
            return
    out.fields(
        (("call", Cell(resolved.id)), ("tool", Cell(resolved.tool_name)), ("status", state(resolved.status)))
    )  # fmt: skip
    if one.status == InvestigationState.PAUSED:
        note(f"Its investigation is paused. Let it go on: {store.command('resume', resolved.investigation_id)}")


def _json(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--result is not JSON ({error}); quote text twice: '\"done\"'") from None
