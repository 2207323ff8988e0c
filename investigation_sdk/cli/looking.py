"""``ls`` and ``show``: which investigations there are, and what became of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import click

from investigation_sdk.cli.out import PIPED, Cell, Column, Out, note, state
from investigation_sdk.cli.paging import Paged
from investigation_sdk.cli.resumed import Resumed
from investigation_sdk.cli.store import Store, find, on_a_store
from investigation_sdk.cli.text import ago, duration, error_text, in_a_line, iso, moment, spoken
from investigation_sdk.domain.event_types import EventType
from investigation_sdk.domain.states import InvestigationState

if TYPE_CHECKING:
    from investigation_sdk import (
        Investigation,
        InvestigationEvent,
        InvestigationPhase,
        InvestigationSDK,
        Page,
        ToolTotals,
    )

_F = TypeVar("_F", bound=Callable[..., Any])

WENT_WRONG = (EventType.TOOL_FAILED, EventType.PHASE_FAILED, EventType.ERROR_OCCURRED, EventType.INVESTIGATION_FAILED)


def as_moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """The moment that an option names, by a date or by how long ago."""
    try:
        return None if value is None else moment(value, datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def limit_option(limit: int) -> Callable[[_F], _F]:
    """How many of a list are printed."""
    return click.option(
        "--limit", type=click.IntRange(1), default=limit, show_default=True, metavar="N", help="Print so many at most."
    )


# ---- ls

_LS = (
    Column("ID"),
    Column("STATUS"),
    Column("DONE", right=True, columns=50),
    Column("CREATED", columns=PIPED),
    Column("AGE", right=True, columns=60),
    Column("TOOK", right=True, columns=70),
    Column("TYPE", bends=1, columns=110),
    Column("USER", bends=1, columns=140),
    Column("KEY", bends=1, columns=60),
    Column("SUBJECT", bends=2),
)


@click.command()
@on_a_store()
@click.option(
    "--status", multiple=True, type=click.Choice([s.value for s in InvestigationState]), metavar="STATE",
    help="In this state; may be given again.",
)  # fmt: skip
@click.option("--type", "investigation_type", metavar="TYPE", help="Of this type.")
@click.option("--user", metavar="ID", help="On behalf of this user.")
@click.option("--since", callback=as_moment, metavar="WHEN", help="Created since: 12h, 7d, 2026-11-25, …")
@click.option("--until", callback=as_moment, metavar="WHEN", help="Created before.")
@limit_option(20)
@click.option("--after", metavar="ID", help="Go on after this one.")
def ls(
    store: Store,
    out: Out,
    status: Sequence[str],
    investigation_type: str | None,
    user: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    after: str | None,
) -> None:
    """List investigations, the newest first."""
    from investigation_sdk.ids import canonical

    with store.opened() as sdk:

        def read(after: str | None, limit: int) -> Page[Investigation]:
            return sdk.sync.list(
                investigation_type=investigation_type,
                status=[InvestigationState(s) for s in status] or None,
                user_id=user,
                since=since,
                until=until,
                after=after,
                limit=limit,
            )

        found = Paged(read, None if after is None else canonical(after), limit)
        if not out.records(_LS, found, _ls_rows, sdk) and not out.as_json:
            note("No investigation" + (" matches." if _narrowed() else ": nothing has been recorded here yet."))
        note_more(found.next)


def note_more(following: str | None) -> None:
    """Say that a list goes on."""
    if following is not None:
        note(f"There are more. Go on with --after {following}, or set --limit.")


def _narrowed() -> bool:
    given = click.get_current_context().params
    return any(given[name] for name in ("status", "investigation_type", "user", "since", "until", "after", "tenant"))


def _ls_rows(found: Iterable[Investigation]) -> Iterator[list[Cell]]:
    now = datetime.now(UTC)
    before = ""
    for one, following in pairwise(chain(found, [None])):
        assert one is not None
        size = _distinct(one.id, before, "" if following is None else following.id)
        before = one.id
        yield [
            Cell(one.id, one.id[:size]),
            state(one.status),
            Cell(f"{one.progress_percentage}%"),
            Cell(iso(one.created_at)),
            Cell(ago(one.created_at, now)),
            Cell(duration(_took(one, now))),
            Cell(one.investigation_type),
            Cell(one.user_id or ""),
            Cell(one.key or ""),
            Cell(one.subject),
        ]


def _distinct(id: str, *neighbours: str) -> int:
    """How much of an id tells it from those beside it: the time in ms, which mostly does, or more."""
    return next((size for size in (13, 18, 23) if all(id[:size] != other[:size] for other in neighbours)), 36)


def _took(one: Investigation, now: datetime) -> float | None:
    if one.started_at is None:
        return None
    ended = {"completed": one.completed_at, "failed": one.failed_at, "cancelled": one.updated_at}.get(one.status, now)
    return ((ended or one.updated_at) - one.started_at).total_seconds() * 1000


# ---- show

_PHASES = (Column("PHASE", bends=1), Column("STATUS"), Column("TOOK", right=True), Column("CALLS", right=True))
_TOOLS = (
    Column("TOOL", bends=1),
    Column("AGENT", bends=1),
    Column("CALLS", right=True),
    Column("FAILED", right=True),
    Column("OPEN", right=True),
    Column("TIME", right=True),
)


@click.command()
@click.argument("reference", metavar="REF")
@click.option("--type", "investigation_type", metavar="TYPE", help="Of this type, where a key is that of several.")
@on_a_store()
def show(store: Store, out: Out, reference: str, investigation_type: str | None) -> None:
    """Show one: its phases, its tools, what went wrong.

    REF is its id, the beginning of its id, or its key.
    """
    with store.opened() as sdk:
        one = find(sdk, reference, investigation_type)
        phases = list(sdk.sync.phases(one.id))
        totals = list(sdk.sync.tool_totals(one.id))
        wrong = next(iter(sdk.sync.events(one.id, event_type=WENT_WRONG, limit=1)), None)
        resumed = Resumed.of(sdk, one)
        if out.as_json:
            from investigation_sdk.cli.shapes import document

            out.json(
                {
                    **resumed.document(),
                    "investigation": document(one, sdk),
                    "phases": [document(phase, sdk) for phase in phases],
                    "tools": [document(total, sdk) for total in totals],
                    "first_error": None if wrong is None else document(wrong, sdk),
                }
            )
            return
        source = "" if wrong is None else _source(sdk, wrong)
        paused = _why_paused(sdk, one)
        _header(out, one, paused)
    if phases:
        out.blank()
        out.table(_PHASES, _phase_rows(phases, totals))
    if totals:
        out.blank()
        out.table(_TOOLS, _tool_rows(totals))
    resumed.show(out)
    if wrong is not None:
        out.blank()
        out.text(f"First error: {source}{error_text(_error(wrong))} (event {wrong.sequence})", "red")
    if out.terminal:
        out.blank()
        more = (reference,) if investigation_type is None else (reference, "--type", investigation_type)
        for verb in ("tools", "events", "verify"):
            out.command(store.command(verb, *more))


def _why_paused(sdk: InvestigationSDK, one: Investigation) -> str:
    """Who paused it and why, where it is paused and somebody said so."""
    if one.status != InvestigationState.PAUSED:
        return ""
    *_, last = sdk.sync.iter_events(one.id, event_type=EventType.STATE_TRANSITION)
    reason = last.event_data.get("reason")
    return ", ".join(
        filter(None, [f"by {last.actor}" if last.actor else "", reason if isinstance(reason, str) else ""])
    )


def _header(out: Out, one: Investigation, paused: str) -> None:
    now = datetime.now(UTC)
    out.text(one.subject, "bold")
    status = str(one.status) if one.failure_kind in (None, "error") else f"{one.status} ({one.failure_kind})"
    fields = [
        ("status", Cell(status, f"{status}, {one.progress_percentage}%", state(one.status).style)),
        ("paused", Cell(paused, None, "yellow")),
        ("id", Cell(one.id)),
        ("key", Cell(one.key or "")),
        ("type", Cell(one.investigation_type)),
        ("user", Cell(one.user_id or "")),
        ("tenant", Cell(one.tenant_id or "")),
        ("parent", Cell(one.parent_investigation_id or "")),
        ("created", Cell(iso(one.created_at), f"{spoken(one.created_at)}, {ago(one.created_at, now)} ago")),
        ("took", Cell(duration(_took(one, now)))),
        ("phase", Cell(one.current_phase or "")),
        ("retries", Cell(str(one.retry_count or ""))),
        ("usage", Cell(_usage(one))),
        ("error", Cell(one.error_message or "", None, "red")),
        ("result", _long(one.result)),
    ]
    out.fields((name, cell) for name, cell in fields if cell.full)


def _long(value: Any) -> Cell:
    text = in_a_line(value)
    return Cell(text, text if len(text) <= _LONG else f"{text[:_LONG]}… ({len(text)} characters; all of it: --json)")


_LONG = 400


def _usage(one: Investigation) -> str:
    usage = one.usage
    parts = [
        f"{usage.tokens_used:,} tokens" if usage.tokens_used else "",
        f"{usage.api_calls_made:,} API calls" if usage.api_calls_made else "",
        f"cost {usage.cost_estimate:f}" if usage.cost_estimate else "",
    ]
    return ", ".join(filter(None, parts))


def _phase_rows(phases: Sequence[InvestigationPhase], totals: Sequence[ToolTotals]) -> list[list[Cell]]:
    calls = Counter[str | None]()
    for total in totals:
        calls[total.phase_id] += total.calls
    return [
        [
            Cell(phase.phase_name),
            state(phase.status),
            Cell(duration(phase.duration_ms)),
            Cell(str(calls[phase.id] or "")),
        ]
        for phase in phases
    ]


def _tool_rows(totals: Sequence[ToolTotals]) -> list[list[Cell]]:
    summed: dict[tuple[str, str], Counter[str]] = {}
    for total in totals:
        counts = summed.setdefault((total.tool_name, total.agent_name), Counter())
        counts.update({"calls": total.calls, "ms": total.duration_ms})
        counts.update({str(status): count for status, count in total.by_status.items()})
    return [
        [
            Cell(tool),
            Cell(agent),
            Cell(str(counts["calls"])),
            Cell(str(counts["failed"] or ""), None, "red"),
            Cell(str(counts["calls"] - counts["completed"] - counts["failed"] or ""), None, "yellow"),
            Cell(duration(counts["ms"])),
        ]
        for (tool, agent), counts in summed.items()
    ]


def _error(event: InvestigationEvent) -> Any:
    return event.event_data.get("error", event.event_data)


def _source(sdk: InvestigationSDK, event: InvestigationEvent) -> str:
    """Where an error came from, with a colon behind it: the name of a tool or a phase."""
    call = event.event_data.get("call")
    if event.event_type == EventType.TOOL_FAILED and isinstance(call, str):
        failed = sdk.sync.tools(event.investigation_id, after=_before(call), limit=1)
        return f"{failed[0].tool_name}: " if failed and failed[0].id == call else ""
    name = event.event_data.get("name")
    return f"phase {name}: " if isinstance(name, str) else ""


def _before(id: str) -> str:
    """The id that stands directly before another's place, in the order of every store."""
    return str(UUID(int=UUID(id).int - 1))
