"""Every error of the SDK: one tree under :class:`InvestigationError`, with typed fields.

Each message says what happened, to which id, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from investigation_sdk.domain.states import InvestigationState


class InvestigationError(Exception):
    """Base of all errors of the SDK; `investigation_id` is None where no investigation is concerned."""

    def __init__(self, message: str = "", *, investigation_id: str | None = None) -> None:
        super().__init__(message)
        self.investigation_id = investigation_id


class ConfigurationError(InvestigationError, ValueError):
    """The SDK was set up wrongly: an unknown URL scheme or option, a driver that is not installed."""


class InvalidStateTransition(InvestigationError):
    """The state machine does not allow what was asked. Nothing was recorded."""

    def __init__(
        self,
        message: str = "",
        *,
        current: InvestigationState | None = None,
        requested: InvestigationState | None = None,
        allowed: Sequence[InvestigationState] = (),
        investigation_id: str | None = None,
    ) -> None:
        super().__init__(message, investigation_id=investigation_id)
        if current is not None:
            self.current: InvestigationState = current
        if requested is not None:
            self.requested: InvestigationState = requested
        self.allowed: Sequence[InvestigationState] = tuple(allowed)


class PhaseError(InvestigationError, ValueError):
    """A phase cannot be entered: another of that name is open, or it was completed in this attempt."""

    def __init__(self, message: str = "", *, phase_name: str = "", investigation_id: str | None = None) -> None:
        super().__init__(message, investigation_id=investigation_id)
        self.phase_name = phase_name


class InvestigationNotFound(InvestigationError, LookupError):
    """There is no investigation (or call) with that id in this store."""


class InvestigationFinished(InvestigationError):
    """A new call inside an investigation that is finished, or ``on_finished="error"``."""

    def __init__(self, message: str = "", *, result: Any = None, investigation_id: str | None = None) -> None:
        super().__init__(message, investigation_id=investigation_id)
        self.result = result


class InvestigationUnfinished(InvestigationError):
    """The key names an investigation that exists and is not finished; the message says how to go on."""


class VersionConflict(InvestigationError):
    """Somebody else kept changing the investigation while this was decided; nothing was recorded."""


class AccessDenied(InvestigationError, PermissionError):
    """The principal's roles do not allow it."""


class BackendUnavailable(InvestigationError, ConnectionError):
    """The store does not answer, or cannot be written (disk full, read-only)."""


class NotRecorded(BackendUnavailable):
    """The tool ran, its record is not durable: `value` is what it returned.

    The record stays queued and is written when the store answers; until then, later calls are refused
    before their bodies.
    """

    def __init__(
        self, message: str = "", *, value: Any = None, call_id: str = "", investigation_id: str | None = None
    ) -> None:
        super().__init__(message, investigation_id=investigation_id)
        self.value = value
        self.call_id = call_id


class SchemaMismatch(InvestigationError):
    """The store's schema is older or newer than this version of the SDK, or is not the SDK's at all."""


class PayloadTooLarge(InvestigationError, ValueError):
    """A value is larger than what may be stored with an event."""


class InvestigationPaused(InvestigationError):
    """The investigation is paused; resume it with ``sdk.service.resume(id)``."""


class InvestigationCancelled(InvestigationError):
    """The investigation was cancelled."""


class LeaseLost(InvestigationError):
    """Another owner drives the investigation now; what this one commands is refused."""


class InvestigationBusy(InvestigationError):
    """Another live owner drives the investigation."""

    def __init__(
        self,
        message: str = "",
        *,
        owner: str = "",
        expires_at: datetime | None = None,
        investigation_id: str | None = None,
    ) -> None:
        super().__init__(message, investigation_id=investigation_id)
        self.owner = owner
        if expires_at is not None:
            self.expires_at: datetime = expires_at


class InvestigationInterrupt(BaseException):
    """How the errors that stop user code travel inside an investigation's block.

    A ``BaseException``, so that no ``except Exception`` of an agent framework feeds it to the model. The
    block's exit unpacks it, also out of exception groups, and raises `error` itself, as
    :func:`asyncio.timeout` does.
    """

    def __init__(self, error: InvestigationError) -> None:
        super().__init__(str(error))
        self.error = error
