"""From what the store gives back to what the domain and the user work with."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic_core import to_json

from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.domain.upcast import upcast
from investigation_sdk.storage.codec import Json, decode
from investigation_sdk.storage.commit import StoredEvent

_PAYLOADS: Final = frozenset({"configuration", "data", "input", "metadata", "output", "result"})


def to_event(stored: StoredEvent) -> Event:
    """The event that a stored one is, upcast to today's schema, its payloads left as JSON text.

    Raises:
        ValueError: header or data are not JSON objects.
    """
    header: dict[str, Any] = json.loads(stored.header)
    data: dict[str, Any] = json.loads(stored.event_data)
    data = upcast(header["type"], header["schema"], data)
    tagged = '"$type"' in stored.event_data
    for name, value in data.items():
        if name in _PAYLOADS:
            data[name] = Json(to_json(value).decode())  # as `codec.encode` had written it
        elif tagged and isinstance(value, dict | list):
            data[name] = decode(to_json(value).decode())  # e.g. a name with a NUL in it
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
