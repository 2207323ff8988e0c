"""What a client gets: one JSON object for each event, written once however many watch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from investigation_sdk.clock import to_datetime
from investigation_sdk.domain.event_types import EventType
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.storage.commit import StoredEvent

EVENT_TYPES: Final[Mapping[str, str]] = MappingProxyType({t.name: t.value for t in EventType})
"""Name and type of each event of the SDK: ``TOOL_COMPLETED`` is ``"tool.completed"``."""

HEARTBEAT: Final = "heartbeat"
RESYNC: Final = "resync_required"
CURSORS: Final = "stream.cursors"
CAUGHT_UP: Final = "stream.caught_up"
END: Final = "stream.end"
PROGRESS: Final = "investigation.progress"

_UPDATE_TYPES: Final[Mapping[str, str]] = {
    EventType.PHASE_STARTED: "phase_started",
    EventType.TOOL_COMPLETED: "tool_executed",
    EventType.TOOL_FAILED: "tool_executed",
}


class Message(NamedTuple):
    """One message to a client."""

    type: str
    text: str
    """JSON, without line breaks."""
    investigation_id: str = ""
    sequence: int = 0
    """Of the event that it is; 0 where it is none of the log."""
    new_state: InvestigationState | None = None


def of_event(event: StoredEvent) -> Message:
    """The message of an event. ``data`` is what the log has, byte for byte."""
    state = None if event.new_state is None else InvestigationState(event.new_state)
    head = json.dumps(
        {
            "type": event.event_type,
            "investigation_id": event.investigation_id,
            "update_type": _update_type(event.event_type, state),
            "timestamp": to_datetime(event.event_timestamp).isoformat(),
            "sequence": event.sequence,
            "id": event.id,
            "actor": event.actor,
            "previous_state": event.previous_state,
            "new_state": event.new_state,
        }
    )
    metadata = event.metadata or "{}"
    text = f'{head[:-1]}, "metadata": {metadata}, "data": {event.event_data}}}'
    return Message(event.event_type, text, event.investigation_id, event.sequence, state)


def _update_type(event_type: str, state: InvestigationState | None) -> str:
    if state is not None:
        return "state_changed"
    return _UPDATE_TYPES.get(event_type, event_type.replace(".", "_"))


def of_progress(investigation_id: str, update_type: str, data: Mapping[str, Any], type: str = PROGRESS) -> Message:
    """The message of what is told and not recorded."""
    said = {
        "type": type,
        "investigation_id": investigation_id,
        "update_type": update_type,
        "timestamp": datetime.now(UTC).isoformat(),
        "data": dict(data),
    }
    return Message(type, json.dumps(said, default=str), investigation_id)


def of_stream(type: str, **said: Any) -> Message:
    """A message about the stream itself."""
    return Message(type, json.dumps({"type": type, "timestamp": datetime.now(UTC).isoformat(), **said}, default=str))
