"""``tools`` and ``events``: the calls and the log of one investigation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import click

from investigation_sdk.cli.looking import limit_option, note_more
from investigation_sdk.cli.out import PIPED, Cell, Column, Out, note, state
from investigation_sdk.cli.paging import Paged
from investigation_sdk.cli.store import Store, find, on_a_store
from investigation_sdk.cli.text import arguments, duration, error_text, in_a_line, iso
from investigation_sdk.domain.states import ToolState

if TYPE_CHECKING:
    from investigation_sdk import InvestigationEvent, Page, ToolExecution

_REFERENCE = (
    click.argument("reference", metavar="REF"),
    click.option("--type", "investigation_type", metavar="TYPE", help="Of this type, where a key is that of several."),
)

_TOOLS = (
    Column("ID", columns=PIPED),
    Column("STARTED", columns=160),
    Column("TOOL", bends=1),
    Column("AGENT", bends=1, columns=70),
    Column("PHASE", bends=1, columns=110),
    Column("STATUS"),
    Column("TOOK", right=True, columns=60),
    Column("INPUT", bends=2, columns=60),
    Column("OUTCOME", bends=2),
)


@click.command()
@_REFERENCE[0]
@_REFERENCE[1]
@on_a_store()
@click.option("--tool", metavar="NAME", help="Calls of this tool.")
@click.option("--agent", metavar="NAME", help="By this agent.")
@click.option("--phase", metavar="NAME", help="In this phase.")
@click.option(
    "--status", multiple=True, type=click.Choice([s.value for s in ToolState]), metavar="STATE",
    help="In this state; may be given again.",
)  # fmt: skip
@limit_option(100)
@click.option("--after", metavar="ID", help="Go on after this call.")
def tools(
    store: Store,
    out: Out,
    reference: str,
    investigation_type: str | None,
    tool: str | None,
    agent: str | None,
    phase: str | None,
    status: Sequence[str],
    limit: int,
    after: str | None,
) -> None:
    """List the calls of one, in the order of their start.

    REF is its id, the beginning of its id, or its key.
    """
    from investigation_sdk.ids import canonical

    with store.opened() as sdk:
        one = find(sdk, reference, investigation_type)
        phases = {phase.id: phase.phase_name for phase in sdk.sync.phases(one.id)}
        if phase is not None and phase not in phases.values():
            names = ", ".join(phases.values()) or "none"
            raise click.ClickException(f"There is no phase {phase!r} in {one.id}; its phases are: {names}")

        def read(after: str | None, limit: int) -> Page[ToolExecution]:
            return sdk.sync.tools(
                one.id,
                tool=tool,
                agent=agent,
                phase=phase,
                status=[ToolState(s) for s in status] or None,
                after=after,
                limit=limit,
            )

        calls = Paged(read, None if after is None else canonical(after), limit)
        any_call = out.records(_TOOLS, calls, lambda found: (_tool_row(call, phases) for call in found), sdk)
        if not any_call and not out.as_json:
            note("No call" + (" matches." if tool or agent or phase or status or after else ": no tool has run."))
        note_more(calls.next)


def _tool_row(call: ToolExecution, phases: dict[str, str]) -> list[Cell]:
    outcome = in_a_line(call.output_result) if call.error_message is None else in_a_line(call.error_message)
    summary = call.result_summary if call.error_message is None else None
    return [
        Cell(call.id),
        Cell(iso(call.started_at)),
        Cell(call.tool_name),
        Cell(call.agent_name),
        Cell(phases.get(call.phase_id or "", "")),
        state(call.status),
        Cell(duration(call.duration_ms)),
        Cell(in_a_line(call.input_parameters), arguments(call.input_parameters)),
        Cell(outcome, summary, "red" if call.error_message is not None else ""),
    ]


_EVENTS = (
    Column("SEQ", right=True),
    Column("TIME", columns=60),
    Column("EVENT"),
    Column("ACTOR", columns=PIPED),
    Column("PREVIOUS", columns=PIPED),
    Column("NEW", columns=PIPED),
    Column("WHAT", bends=1),
)


@click.command()
@_REFERENCE[0]
@_REFERENCE[1]
@on_a_store()
@click.option("--event", "event_type", multiple=True, metavar="TYPE", help="Of this type; may be given again.")
@limit_option(100)
@click.option("--after", type=click.IntRange(0), default=0, metavar="SEQ", help="Go on after this event.")
@click.option("--all", "everything", is_flag=True, help="Print all of them, whatever --limit.")
def events(
    store: Store,
    out: Out,
    reference: str,
    investigation_type: str | None,
    event_type: Sequence[str],
    limit: int,
    after: int,
    *,
    everything: bool,
) -> None:
    """Print the log of one, event by event.

    REF is its id, the beginning of its id, or its key.
    """
    last = after
    with store.opened() as sdk:
        one = find(sdk, reference, investigation_type)
        stream = sdk.sync.iter_events(one.id, event_type=list(event_type) or None, after=after)

        def counted() -> Iterator[InvestigationEvent]:
            nonlocal last
            for event in stream if everything else islice(stream, limit):
                last = event.sequence
                yield event

        if not out.records(_EVENTS, counted(), _event_rows, sdk):
            if not out.as_json:
                note("No event" + (f" after {after}." if after else f" of type {', '.join(event_type)}."))
        elif next(stream, None) is not None:
            note(f"There are more. Go on with --after {last}, or print all of them with --all.")


def _event_rows(stream: Iterable[InvestigationEvent]) -> Iterator[list[Cell]]:
    names: dict[str, str] = {}
    for event in stream:
        data = event.event_data
        if isinstance(data.get("tool"), str):
            names[event.id] = data["tool"]
        yield [
            Cell(str(event.sequence)),
            Cell(iso(event.event_timestamp), f"{event.event_timestamp:%m-%d %H:%M:%S}"),
            Cell(event.event_type, None, _STYLES.get(event.event_type.rpartition(".")[2], "")),
            Cell(event.actor or ""),
            Cell(event.previous_state or ""),
            Cell(event.new_state or ""),
            Cell(in_a_line(data), _what(event, names)),
        ]


_STYLES = {"failed": "red", "occurred": "red", "completed": "green", "interrupted": "yellow", "warning": "yellow"}


def _what(event: InvestigationEvent, names: dict[str, str]) -> str:
    """An event in a few words."""
    data: dict[str, Any] = event.event_data
    parts = [f"by {event.actor}:" if event.actor else ""]
    if event.new_state is not None:
        before = f"{event.previous_state} to " if event.previous_state else ""
        parts.append(f"{before}{event.new_state}")
    named = data.get("tool") or data.get("name") or data.get("subject") or names.get(str(data.get("call")))
    parts.append(str(named) if named else "")
    if "error" in data:
        parts.append(error_text(data["error"]))
    if data.get("input") is not None:
        parts.append(_inputs(data["input"]))
    parts += [in_a_line(data.get(member)) for member in ("output", "result", "reason", "message")]
    return " ".join(filter(None, parts)) or in_a_line(data)


def _inputs(value: Any) -> str:
    return f"({arguments(cast('dict[str, Any]', value)) if isinstance(value, dict) else in_a_line(value)})"
