"""From what the store gives back to what the domain and the user work with."""

from __future__ import annotations

import json
from typing import Any, Final

from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.domain.upcast import upcast
from investigation_sdk.storage.codec import Json
from investigation_sdk.storage.commit import StoredEvent

_PAYLOADS: Final = ("configuration", "data", "input", "metadata", "output", "result")


def to_event(stored: StoredEvent) -> Event:
    """The event that a stored one is, upcast to today's schema, its payloads left as JSON text.

    Raises:
        ValueError: header or data are not JSON objects.
    """
    header: dict[str, Any] = json.loads(stored.header)
    data: dict[str, Any] = json.loads(stored.event_data)
    data = upcast(header["type"], header["schema"], data)
    for name in _PAYLOADS:
        value = data.get(name)
        if value is not None:
            data[name] = Json(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    event = Event(
        header["id"],
        header["type"],
        data,
        header["at"],
        text=stored.event_data,
        actor=header.get("actor"),
        previous_state=_state(header.get("previous_state")),
        new_state=_state(header.get("new_state")),
        parent_call=header.get("parent_call"),
    )
    event.metadata = header.get("metadata")
    event.schema_version = header["schema"]
    event.sequence = header["sequence"]
    event.at = header["at"]
    event.attempt = header["attempt"]
    return event


def _state(name: str | None) -> InvestigationState | None:
    return None if name is None else InvestigationState(name)
