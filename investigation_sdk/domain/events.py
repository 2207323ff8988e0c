"""Events: what happened, in the order in which it happened. The log of them is the only truth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from investigation_sdk.domain.event_types import EventType
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.errors import InvalidArgument

FORMAT_VERSION: Final = 1
"""Version of the header's format; `v` in every header."""

_CHANGED: Final[dict[str, int]] = {}
"""Types whose data was changed since the first release; :mod:`~investigation_sdk.domain.upcast` has the ways there."""

SCHEMA_VERSIONS: Final[Mapping[str, int]] = {str(t): 1 for t in EventType} | _CHANGED
"""Version of each type's ``event_data``. A change adds an upcaster and a golden file, never edits one."""

RESERVED_PREFIXES: Final = tuple(
    sorted({t.partition(".")[0] + "." for t in EventType} | {"recorder.", "resume.", "investigation."})
)
"""Event types that begin so are the SDK's own."""

_CUSTOM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")


def check_custom_type(event_type: str) -> str:
    """The type of a user's own event, checked.

    Raises:
        InvalidArgument: it has other characters than letters, digits and ``_ . : -``, is longer than 100, or begins
            with a reserved prefix.
    """
    if not _CUSTOM.fullmatch(event_type):
        raise InvalidArgument(
            f"{event_type!r} cannot be an event type: use 1 to 100 letters, digits, '_', '.', ':' or '-', "
            "for example 'fraud.hypothesis'"
        )
    if event_type.startswith(RESERVED_PREFIXES):
        raise InvalidArgument(
            f"{event_type!r} begins with a prefix that is reserved for the SDK's own events "
            f"({', '.join(RESERVED_PREFIXES)}); choose another first word, for example 'my.{event_type}'"
        )
    return event_type


class Blob(NamedTuple):
    """A payload that is too large to stand in its event, which refers to it by its digest."""

    digest: str
    """SHA-256 of `data`, 64 hexadecimal digits."""
    data: bytes
    """Its JSON text in UTF-8; never empty."""


class Event:
    """One event. `sequence`, `at` and `attempt` are assigned when it is decided, and again if decided again.

    Attributes:
        id: UUIDv7.
        type: An :class:`EventType`, or a user's own type.
        data: What ``event_data`` says. Payloads in it may be JSON text (``codec.Json``) or decoded values.
        text: ``event_data`` as JSON text, as it is hashed; None until encoded.
        blobs: What its data refers to, until that is durable.
        actor: Who caused it; None for the SDK itself.
        previous_state, new_state: Set exactly on the events that change the state.
        parent_call: Id of the call inside which it happened.
        metadata: Notes on the record itself: ``late``, ``stale``, ``trace``, and ``progress``: what was reported
            since the event before, percent by the id of the phase or call.
        started: On the closing event of a call, its ``tool.started`` event, where the writer has it.
        time: µs, when it was submitted.
        at: µs, `time` or the time of the event before, whichever is later.
    """

    __slots__ = (
        "actor", "at", "attempt", "blobs", "data", "id", "metadata", "new_state", "parent_call", "previous_state",
        "schema_version", "sequence", "started", "text", "time", "type",
    )  # fmt: skip

    def __init__(
        self,
        id: str,
        type: str,
        data: dict[str, Any],
        time: int,
        *,
        text: str | None = None,
        blobs: tuple[Blob, ...] = (),
        actor: str | None = None,
        previous_state: InvestigationState | None = None,
        new_state: InvestigationState | None = None,
        parent_call: str | None = None,
        started: Event | None = None,
    ) -> None:
        self.id: str = id
        self.type: str = type
        self.data: dict[str, Any] = data
        self.text: str | None = text
        self.blobs: tuple[Blob, ...] = blobs
        self.time: int = time
        self.actor: str | None = actor
        self.previous_state: InvestigationState | None = previous_state
        self.new_state: InvestigationState | None = new_state
        self.parent_call: str | None = parent_call
        self.started: Event | None = started
        self.metadata: dict[str, Any] | None = None
        self.schema_version: int = SCHEMA_VERSIONS.get(type, 1)
        self.sequence: int = 0
        self.at: int = 0
        self.attempt: int = 0

    def __repr__(self) -> str:
        return f"<Event {self.sequence} {self.type} {self.id}>"

    @property
    def late(self) -> bool:
        """It was recorded after whatever it belongs to had ended; it changes no state."""
        return self.metadata is not None and bool(self.metadata.get("late"))
