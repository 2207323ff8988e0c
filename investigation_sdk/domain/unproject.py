"""Unproject: a fold made from rows that one snapshot of the store gave, to decide upon without reading a log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from investigation_sdk.domain.activity import Activity, activity_of, restore_phase
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.phase import Phase
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, ToolRow
from investigation_sdk.domain.states import InvestigationState, PhaseState

Raw = Callable[[str], Any]
"""Marks text as JSON that is encoded already."""


def fold_from_rows(row: InvestigationRow, phases: Iterable[PhaseRow], calls: Iterable[ToolRow], raw: Raw) -> Fold:
    """The fold that these rows were projected from. `calls` are those that are open.

    Raises:
        ValueError, TypeError, ArithmeticError, LookupError, AttributeError: they are no rows of one fold.
    """
    fold = Fold(row.id, row.tenant_id)
    fold.version = row.version
    fold.at = row.updated_at
    fold.status = InvestigationState(row.status)
    fold.subject = row.subject
    fold.investigation_type = row.investigation_type
    fold.user_id = row.user_id
    fold.key = row.key
    fold.generation = row.generation
    fold.parent = row.parent_investigation_id
    fold.metadata = raw(row.metadata)
    fold.configuration = raw(row.configuration)
    fold.created_at = row.created_at
    fold.started_at = row.started_at
    fold.completed_at = row.completed_at
    fold.failed_at = row.failed_at
    fold.token = row.token
    fold.owner = row.owner
    fold.attempt = row.attempt
    fold.retry_count = row.retry_count
    fold.resume_requested = bool(row.resume_requested)
    fold.priority = row.priority
    if fold.status in (InvestigationState.QUEUED, InvestigationState.RETRYING):
        fold.not_before = row.claimable_at or None
    fold.error_message = row.error_message
    fold.failure_kind = row.failure_kind
    fold.result = None if row.result is None else raw(row.result)
    fold.last_checkpoint = None if row.last_checkpoint is None else raw(row.last_checkpoint)
    fold.current_phase = row.current_phase
    fold.progress = row.progress_percentage
    fold.tokens_used = row.tokens_used
    fold.api_calls_made = row.api_calls_made
    fold.cost_estimate = Decimal(row.cost_estimate)
    said = json.loads(row.activity)
    activity = activity_of(said)
    fold.active, fold.since, fold.planned = activity.active, activity.since, activity.planned
    fold.reported = {call.id: call.progress for call in activity.running if call.progress is not None}
    for phase_row in sorted(phases, key=lambda p: p.phase_order):
        fold.phases[phase_row.phase_name] = phase_from_row(phase_row, raw)
    for call in sorted(calls, key=lambda c: c.input_sequence):
        fold.calls[call.id] = started_from_row(call, raw)
    _check_complete(fold, activity, written="active" in said)
    _check_attempt(fold)
    return fold


def _check_complete(fold: Fold, activity: Activity, *, written: bool) -> None:
    """No row of a phase or an open call is missing, as far as the other rows tell. `written`: the activity was, so it
    says how many calls are open."""
    if [phase.order for phase in fold.phases.values()] != list(range(1, len(fold.phases) + 1)):
        raise ValueError("the row of a phase is missing, or is not the only one of its order or name")
    if fold.current_phase is not None and fold.current_phase not in fold.phases:
        raise ValueError("the row of the current phase is missing")
    if written and (activity.open != len(fold.calls) or not all(call.id in fold.calls for call in activity.running)):
        raise ValueError(f"{activity.open} calls are open, and the rows of {len(fold.calls)} say so")


def _check_attempt(fold: Fold) -> None:
    """Each claim begins an attempt, from 1 on, and nothing is of a later one."""
    begun = fold.started_at is not None or fold.token is not None
    of_parts = [phase.attempt for phase in fold.phases.values()] + [call.attempt for call in fold.calls.values()]
    if fold.attempt < max(int(begun), *of_parts, 0):
        raise ValueError(f"attempt is {fold.attempt}, and there were more")


def phase_from_row(row: PhaseRow, raw: Raw) -> Phase:
    """One phase from its row. A payload that is not inline stays where it is: in its event."""
    tools: list[str] = _decode_names(row.tools)
    phase = Phase(row.id, row.phase_name, row.phase_order, row.weight, tuple(tools), row.sequence)
    phase.status = PhaseState(row.status)
    phase.progress = row.progress_percentage
    phase.attempt = row.attempt
    phase.started_at = row.started_at
    phase.completed_at = row.completed_at
    phase.duration_ms = row.duration_ms
    phase.input = None if row.input_data is None else raw(row.input_data)
    phase.output = None if row.output_data is None else raw(row.output_data)
    phase.error = None if row.error_details is None else raw(row.error_details)
    phase.input_sequence = row.input_sequence
    phase.output_sequence = row.output_sequence
    restore_phase(phase, json.loads(row.activity))
    return phase


def started_from_row(row: ToolRow, raw: Raw) -> Event:
    """The ``tool.started`` event of a call, as far as its row has it."""
    data: dict[str, Any] = {
        "phase": row.phase_id,
        "agent": row.agent_name,
        "tool": row.tool_name,
        "version": row.tool_version,
        "started_at": row.started_at,
        "effect": row.effect,
        "source": row.source,
        "input": None if row.input_parameters is None else raw(row.input_parameters),
    }
    event = Event(row.id, "tool.started", data, row.started_at, parent_call=row.parent_call_id)
    event.sequence = row.input_sequence
    event.attempt = row.attempt
    return event


def _decode_names(text: str) -> list[str]:
    return list(json.loads(text))
