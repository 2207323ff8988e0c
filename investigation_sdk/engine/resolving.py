"""Resolving: saying what became of a call of unknown outcome."""

from __future__ import annotations

from typing import Any, Final

from investigation_sdk.clock import now_us
from investigation_sdk.domain.events import Blob, Event
from investigation_sdk.domain.records import Resolution
from investigation_sdk.domain.rows import ToolRow
from investigation_sdk.domain.states import ToolState
from investigation_sdk.engine.reading import to_event
from investigation_sdk.engine.texts import clean
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.payloads import pack

_STATES: Final = {
    "succeeded": ToolState.COMPLETED,
    "failed": ToolState.FAILED,
    "not_executed": ToolState.INTERRUPTED,
}


async def started_of(backend: Backend, investigation_id: str, call_id: str) -> Event | None:
    """The ``tool.started`` event of a call, by which its row follows what is said of it; None where it has no row.

    Raises:
        BackendUnavailable: the store does not answer.
    """
    row = await backend.get("tool", call_id)
    if not isinstance(row, ToolRow):
        return None
    started = await backend.read_events(investigation_id, after=row.input_sequence - 1, limit=1)
    return to_event(started[0]) if started else None


def resolution_data(
    call_id: str, resolution: Resolution, limit: int, *, by: str | None = None
) -> tuple[dict[str, Any], tuple[Blob, ...]]:
    """The data of ``tool.resolved``, and blobs that it refers to.

    Args:
        call_id: Of the call that it is about.
        resolution: What became of it.
        limit: Bytes of the result that stand in the event.
        by: ``reconcile`` where a function found it out.

    Raises:
        PayloadTooLarge: the result cannot be recorded.
    """
    data: dict[str, Any] = {
        "call": call_id,
        "outcome": resolution.outcome,
        "state": _STATES[resolution.outcome].value,
        "completed_at": now_us(),
    }
    blobs: tuple[Blob, ...] = ()
    if resolution.outcome == "succeeded":
        data["output"], _, _, blobs = pack(resolution.result, limit)
    if resolution.reason is not None:
        data["reason"] = clean(resolution.reason)
    if by is not None:
        data["by"] = by
    return data, blobs
