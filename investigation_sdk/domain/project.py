"""Project: the rows that a fold stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from investigation_sdk.domain.activity import investigation_activity, phase_activity
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.phase import Phase
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, Row, ToolRow
from investigation_sdk.domain.states import Effect, InvestigationState, ToolState

INLINE_LIMIT: Final = 512
"""Payloads up to so many characters of JSON stand in the rows; longer ones only in their event."""

TEXT_LIMIT: Final = 4000
"""Characters of an error message or a summary in a row; the event has all of it."""

_new: Any = cast("Any", tuple).__new__  # a third faster than calling a named tuple

Encode = Callable[[Any], str]
"""Gives a payload's JSON text: as it is where it is text already, else encoded."""


def shorten(text: str, limit: int = TEXT_LIMIT) -> str:
    """Text cut to `limit` characters, visibly."""
    return text if len(text) <= limit else f"{text[: limit - 30]}… (of {len(text)} characters)"


def _short(text: str | None) -> str | None:
    return None if text is None else shorten(text)


def _fixed(fold: Fold, encode: Encode) -> tuple[Any, ...]:
    """The columns that never change after the creation."""
    return (
        fold.id,
        fold.tenant,
        fold.user_id,
        fold.subject,
        fold.investigation_type,
        fold.key,
        fold.generation,
        fold.parent,
        encode(fold.metadata),
        encode(fold.configuration),
        fold.created_at,
    )


def investigation_row(fold: Fold, version: int, head: bytes, encode: Encode) -> InvestigationRow:
    """The row of the investigation itself, as of `version`."""
    status = fold.status
    assert status is not None
    fixed = fold.fixed
    if fixed is None:
        fixed = fold.fixed = _fixed(fold, encode)
    values = (
        *fixed,
        status._value_,
        version,
        head,
        fold.token,
        fold.owner,
        fold.attempt,
        fold.current_phase,
        fold.progress,
        fold.started_at,
        fold.completed_at,
        fold.failed_at,
        fold.at,
        fold.retry_count,
        _short(fold.error_message),
        fold.failure_kind,
        None if fold.result is None else encode(fold.result),
        None if fold.last_checkpoint is None else encode(fold.last_checkpoint),
        int(fold.resume_requested),
        fold.tokens_used,
        fold.api_calls_made,
        str(fold.cost_estimate),
        investigation_activity(fold, encode),
        fold.priority,
        claimable_at(fold),
    )
    row: InvestigationRow = _new(InvestigationRow, values)
    return row


_WAITING: Final = frozenset({InvestigationState.QUEUED, InvestigationState.RETRYING})
LEFT_IN: Final = (InvestigationState.INITIALIZING, InvestigationState.RUNNING, InvestigationState.COMPLETING)
"""States in which whoever drives it may leave it, for somebody else to go on."""


def waits(status: InvestigationState | None, *, resume_requested: bool) -> bool:
    """Whether there is something to do for a worker, if nobody drives it."""
    return status in _WAITING or status in LEFT_IN or resume_requested


def claimable_at(fold: Fold) -> int | None:
    """From when on a worker may take it up: see :class:`~investigation_sdk.domain.rows.InvestigationRow`."""
    status = fold.status
    if fold.token is not None or not waits(status, resume_requested=fold.resume_requested):
        return None
    return fold.not_before or 0


def _inline(payload: Any, encode: Encode) -> str | None:
    if payload is None:
        return None
    text = encode(payload)
    return text if len(text) <= INLINE_LIMIT else None


def phase_row(investigation_id: str, phase: Phase, encode: Encode) -> PhaseRow:
    """The row of one phase."""
    return PhaseRow(
        phase.id,
        investigation_id,
        phase.name,
        phase.order,
        phase.status._value_,
        phase.progress,
        phase.weight,
        encode(list(phase.tools)),
        phase.attempt,
        phase.started_at,
        phase.completed_at,
        phase.duration_ms,
        _inline(phase.input, encode),
        _inline(phase.output, encode),
        None if phase.error is None else encode(phase.error),
        phase.input_sequence,
        phase.output_sequence,
        phase.sequence,
        phase_activity(phase, encode),
    )


_CLOSED: Final = {
    "tool.completed": ToolState.COMPLETED.value,
    "tool.failed": ToolState.FAILED.value,
}


def interrupted_state(effect: str | None) -> ToolState:
    """What is known of a call that was cut off: an unsafe one may or may not have happened."""
    return ToolState.UNKNOWN if effect == Effect.UNSAFE.value else ToolState.INTERRUPTED


def tool_row(investigation_id: str, tenant: str, started: Event, closing: Event | None, encode: Encode) -> ToolRow:
    """The row of one call, from the event that started it and the one that closed it last."""
    data = started.data
    get = data.get
    given = get("input")
    if closing is None:
        end, status, output, output_sequence, error, duration = _NOTHING, "running", None, None, None, None
        usage, last = _NOTHING, started.sequence
    else:
        end = closing.data
        status = _CLOSED.get(closing.type) or end.get("state") or interrupted_state(get("effect")).value
        output = end.get("output")
        output_sequence = None if output is None else closing.sequence
        error = end.get("error")
        duration = end.get("duration_ms")
        usage = end.get("usage") or _NOTHING
        last = closing.sequence
    values = (
        started.id,
        investigation_id,
        tenant,
        get("phase"),
        data["agent"],
        data["tool"],
        get("version"),
        data["started_at"],
        get("effect"),
        get("source", "executed"),
        started.attempt,
        started.parent_call,
        None if given is None else _inline(given, encode),
        started.sequence,
        end.get("completed_at"),
        None if duration is None else round(duration),
        status,
        None if output is None else _inline(output, encode),
        output_sequence,
        None if error is None else shorten(error_message(error)),
        _short(end.get("summary")),
        usage.get("tokens_used"),
        usage.get("api_calls_made"),
        usage.get("cost_estimate"),
        last,
    )
    row: ToolRow = _new(ToolRow, values)
    return row


_NOTHING: Final[dict[str, Any]] = {}


def error_message(error: dict[str, Any]) -> str:
    """One line for an error that an event describes: ``type: message``."""
    message = error.get("message")
    return f"{error['type']}: {message}" if message else str(error["type"])


def touched_rows(fold: Fold, encode: Encode) -> list[Row]:
    """The rows of what a fold says was touched since it was last asked; it forgets them."""
    touched = fold.touched
    if not touched:
        return []
    fold.touched = {}
    rows: list[Row] = []
    for item in touched.values():
        if type(item) is tuple:
            rows.append(tool_row(fold.id, fold.tenant, item[0], item[1], encode))
        else:
            assert isinstance(item, Phase)
            rows.append(phase_row(fold.id, item, encode))
    return rows
