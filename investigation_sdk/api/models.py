"""What goes in and comes out, where it is not a record of the SDK as it is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from investigation_sdk.domain.progress_record import InvestigationProgress
from investigation_sdk.domain.records import InvestigationEvent
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.storage.codec import LargePayload, encode

R = TypeVar("R", bound=BaseModel)

_PAYLOADS: Final = (
    "configuration",
    "error_details",
    "event_data",
    "input_data",
    "input_parameters",
    "metadata",
    "output_data",
    "output_result",
    "phase_states",
    "result",
    "state_data",
    "tool_states",
)


class NewInvestigation(BaseModel):
    """What is to be investigated."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "investigation_type": "account_takeover",
                    "subject": "account 42 taken over",
                    "key": "case-981",
                    "configuration": {"device": "d-17"},
                }
            ]
        },
    )

    investigation_type: str = Field(min_length=1, max_length=200)
    subject: str = Field(min_length=1, max_length=10_000)
    user_id: str | None = Field(default=None, min_length=1, max_length=1000)
    """On whose behalf; by default, whoever asks."""
    key: str | None = Field(default=None, min_length=1, max_length=1000)
    """One that names an investigation already gives that one."""
    configuration: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    priority: int = Field(default=0, ge=-1000, le=1000)


class InvestigationStateResponse(BaseModel):
    """The state after a change by hand."""

    investigation_id: str
    status: InvestigationState
    allowed: list[InvestigationState]
    """The states that can follow."""


class ProgressResponse(InvestigationProgress):
    """How far an investigation is; with ``include_events``, its first 1000 events."""

    events: list[InvestigationEvent] | None = None


class Ticket(BaseModel):
    """Lets its holder watch: ``…/ws/ticket?ticket=…``, with the same parameters as it was asked for."""

    ticket: str
    expires_at: datetime


class Health(BaseModel):
    """Whether this process serves, and by what it hears of others."""

    status: str
    hearing: str | None = None
    """``redis``, ``postgresql`` or ``polling``."""
    deaf: str | None = None
    """Why it does not hear by that, where it does not: it looks at the store instead, and is slower to tell."""


def _plain(value: Any) -> Any:
    if isinstance(value, LargePayload):
        return {"$type": "blob", "digest": value.digest, "bytes": value.bytes}
    if isinstance(value, dict):
        return {str(name): _plain(member) for name, member in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return json.loads(encode(value).text)


def shown(record: R) -> R:
    """A record whose payloads are JSON: what is not stays tagged, as it is in the log."""
    names = [name for name in _PAYLOADS if name in type(record).model_fields]
    return record.model_copy(update={name: _plain(getattr(record, name)) for name in names})


def all_shown(records: Iterable[R]) -> list[R]:
    """As :func:`shown`, for each."""
    return [shown(record) for record in records]
