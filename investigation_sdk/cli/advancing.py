"""``progress``: how far an investigation is, once or for as long as it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from investigation_sdk.cli.out import Cell, Column, Out, state
from investigation_sdk.cli.store import Store, find, on_a_store
from investigation_sdk.cli.text import duration, spoken
from investigation_sdk.domain.states import TERMINAL, InvestigationState
from investigation_sdk.engine.shell import visible

if TYPE_CHECKING:
    from investigation_sdk import Estimate, InvestigationProgress, InvestigationSDK

_EVERY: Final = 0.5
_BAR: Final = 30
_ENDED: Final = (*TERMINAL, InvestigationState.FAILED)
_PHASES: Final = (
    Column("PHASE", bends=2),
    Column("STATUS"),
    Column("DONE", right=True),
    Column("TOOK", right=True),
    Column("TOOL", bends=1),
    Column("PENDING", bends=1, columns=90),
)


@click.command()
@click.argument("reference", metavar="REF")
@click.option("--type", "investigation_type", metavar="TYPE", help="Of this type, where a key is that of several.")
@click.option("--watch", is_flag=True, help="Go on until it ends.")
@on_a_store()
def progress(store: Store, out: Out, reference: str, investigation_type: str | None, *, watch: bool) -> None:
    """Show how far one is, and when it may be done.

    REF is its id, the beginning of its id, or its key. The time of its end is told by past runs of its type, where
    there are at least three. With --watch a terminal gets a bar, and a pipe a line whenever something has changed.
    """
    with store.opened() as sdk:
        one = find(sdk, reference, investigation_type)
        if watch:
            _watch(out, sdk, one.id)
        elif out.as_json:
            out.json(sdk.sync.progress(one.id).model_dump(mode="json"))
        else:
            _show(out, one.subject, sdk.sync.progress(one.id, include_tools=False))


def _show(out: Out, subject: str, found: InvestigationProgress) -> None:
    out.text(subject, "bold")
    fields = [
        ("done", Cell(f"{found.overall_progress}%", f"{_bar(found.overall_progress)} {found.overall_progress}%")),
        ("status", state(found.status)),
        ("running for", Cell(duration(found.elapsed_ms))),
        ("expected end", Cell("" if found.estimate is None else _expected(found.estimate, datetime.now(UTC)))),
        ("now", Cell(", ".join(_call(call) for call in found.running))),
    ]
    out.fields((name, cell) for name, cell in fields if cell.full)
    if found.phases:
        out.blank()
        out.table(_PHASES, [_row(phase) for phase in found.phases])


def _row(phase: Mapping[str, Any]) -> Sequence[Cell]:
    return (
        Cell(phase["name"]),
        state(phase["status"]),
        Cell(f"{phase['progress']}%"),
        Cell(duration(phase.get("duration_ms", phase.get("elapsed_ms")))),
        Cell(phase.get("active_tool", "")),
        Cell(", ".join(phase.get("tools_pending", ()))),
    )


def _call(call: Mapping[str, Any]) -> str:
    far = f" {call['progress']}%" if "progress" in call else ""
    return f"{call['tool']}{far} ({duration(call['elapsed_ms'])})"


def _expected(estimate: Estimate, now: datetime) -> str:
    low, likely, high = (
        duration(max(0.0, (time - now).total_seconds() * 1000))
        for time in (estimate.earliest, estimate.likely, estimate.latest)
    )
    return f"{spoken(estimate.likely)}, in {likely} ({low} to {high}), by {estimate.basis}"


def _bar(percent: int) -> str:
    full = _BAR * percent // 100
    return "█" * full + "░" * (_BAR - full)


def _line(found: InvestigationProgress) -> str:
    """In a line: what does not change by the mere passing of time."""
    current = found.current_phase
    where = "" if current is None else f"  {current['name']} {current['progress']}%"
    tool = "".join(f"  {call['tool']}" for call in found.running[-1:])
    return visible(f"{found.overall_progress}%  {found.status}{where}{tool}")


def _watch(out: Out, sdk: InvestigationSDK, id: str) -> None:
    """Look twice a second, until it ends."""
    before = None
    while True:
        found = sdk.sync.progress(id, include_tools=out.as_json)
        line = _line(found)
        if out.terminal:
            left = "" if found.estimate is None else _expected(found.estimate, datetime.now(UTC))
            shown = f"{_bar(found.overall_progress)} {line}  {duration(found.elapsed_ms)}  {left}".rstrip()
            sys.stdout.write(f"\r\x1b[2K{shown[: out.console.width - 1]}")
            sys.stdout.flush()
        elif line != before:
            if out.as_json:
                out.json(found.model_dump(mode="json"))
            else:
                out.text(line)
            sys.stdout.flush()
        if found.status in _ENDED:
            break
        before = line
        time.sleep(_EVERY)
    if out.terminal:
        out.blank()
