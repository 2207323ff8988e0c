"""``metrics``: what the investigations of a time add up to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from investigation_sdk.cli.looking import as_moment
from investigation_sdk.cli.out import Cell, Column, Out, note, state
from investigation_sdk.cli.store import Store, on_a_store
from investigation_sdk.cli.text import duration

if TYPE_CHECKING:
    from investigation_sdk import MetricsReport

_TIMES = ("count", "avg", "p50", "p95", "max")
_TOOLS = (Column("TOOL", bends=1), Column("SUCCEEDED", right=True))
_WAYS = (
    Column("FROM"),
    Column("TO"),
    Column("TIMES", right=True),
    Column("MOSTLY BY", bends=1),
    Column("WHY", bends=2),
)


def _of_times(title: str) -> Sequence[Column]:
    return (Column(title, bends=1), *(Column(name.upper(), right=True) for name in _TIMES))


@click.command()
@click.option(
    "--since", callback=as_moment, default="7d", show_default=True, metavar="WHEN", help="Created since: 12h, 7d, …"
)
@click.option("--until", callback=as_moment, metavar="WHEN", help="Created before.")
@click.option("--type", "investigation_type", metavar="TYPE", help="Of this type only.")
@on_a_store()
def metrics(
    store: Store, out: Out, since: datetime | None, until: datetime | None, investigation_type: str | None
) -> None:
    """Add up investigations: rates, durations, transitions.

    Durations are of what has ended; percentiles are within 1 %.
    """
    with store.opened() as sdk:
        report = sdk.sync.metrics(since=since or timedelta(days=7), until=until, investigation_type=investigation_type)
    if out.as_json:
        out.json(report.model_dump(mode="json"))
        return
    if not report.started:
        note("No investigation was created in that time.")
        return
    out.fields(_figures(report))
    for title, times in (("PHASE", report.phase_durations_ms), ("TIME IN STATE", report.time_in_state_ms)):
        if times:
            out.blank()
            out.table(_of_times(title), _time_rows(times))
    if report.tool_success_rate:
        out.blank()
        out.table(_TOOLS, ((Cell(tool), Cell(_share(rate))) for tool, rate in report.tool_success_rate.items()))
    out.blank()
    out.table(_WAYS, _way_rows(report))


def _figures(report: MetricsReport) -> Iterable[tuple[str, Cell]]:
    yield "investigations", Cell(str(report.started))
    for status in ("completed", "failed", "cancelled"):
        number = getattr(report, status)
        yield status, Cell(str(number), None, state(status).style if number else "")
    rate = report.completion_rate
    yield "completion rate", Cell("" if rate is None else _share(rate))
    if report.failure_kinds:
        yield "failures", Cell(", ".join(f"{kind} {times}" for kind, times in report.failure_kinds.items()))
    usage = report.usage
    yield "usage", Cell(f"{usage.tokens_used} tokens, {usage.api_calls_made} calls, cost {usage.cost_estimate}")


def _share(rate: float) -> str:
    return f"{100 * rate:.1f}%"


def _time_rows(times: Mapping[str, Mapping[str, float]]) -> Iterable[Sequence[Cell]]:
    for name, figures in times.items():
        shown = (Cell(f"{figures[of]:.3f}", duration(figures[of])) for of in _TIMES[1:])
        yield (Cell(name), Cell(f"{figures['count']:.0f}"), *shown)


def _way_rows(report: MetricsReport) -> Iterable[Sequence[Cell]]:
    for way, times in report.transitions.items():
        before, _, after = way.partition("->")
        by = next(iter(report.transitions_by[way]), "")
        why = next(iter(report.reasons.get(way, ())), "")
        yield Cell(before), state(after), Cell(str(times)), Cell(by), Cell(why)
