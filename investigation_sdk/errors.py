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
    """Base of all errors of the SDK.

    Attributes:
        investigation_id: The investigation concerned; None where there is none.
    """

    def __init__(self, message: str = "", *, investigation_id: str | None = None) -> None:
        super().__init__(message)
        self.investigation_id = investigation_id


class ConfigurationError(InvestigationError, ValueError):
    """The SDK was set up wrongly: an unknown URL scheme or option, a driver that is not installed.

    The message names what is known, and the nearest. Mend the URL, the option, or install the extra it names.
    """


class InvalidArgument(InvestigationError, ValueError):
    """A value that the method does not take: the message says which argument, and what would do. Nothing was recorded.

    `argument` is its name; empty where a part of it is meant.
    """

    def __init__(self, message: str = "", *, argument: str = "", investigation_id: str | None = None) -> None:
        super().__init__(message, investigation_id=investigation_id)
        self.argument = argument


class InvalidStateTransition(InvestigationError):
    """The state machine does not allow what was asked. Nothing was recorded.

    Read the state again: somebody else may have changed it since.

    Attributes:
        current: The state it is in.
        requested: The state that was asked for.
        allowed: The states that can follow `current`.
    """

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
    """A phase cannot be entered: another of that name is open, or it was completed in this attempt.

    Give the second one another name, or leave the first before.

    Attributes:
        phase_name: The name that was asked for.
    """

    def __init__(self, message: str = "", *, phase_name: str = "", investigation_id: str | None = None) -> None:
        super().__init__(message, investigation_id=investigation_id)
        self.phase_name = phase_name


class InvestigationNotFound(InvestigationError, LookupError):
    """There is no investigation (or call) with that id in this store, or for this tenant.

    Check the id, the store's URL and `tenant_id`; `sdk.find(key=…)` finds one by your own name for it.
    """


class AmbiguousReference(InvestigationError, LookupError):
    """Several investigations are meant by a prefix of ids, or by a key of several types: `candidates` are their ids.

    There may be more of them than are listed.
    """

    def __init__(self, message: str = "", *, candidates: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.candidates: Sequence[str] = tuple(candidates)


class InvestigationFinished(InvestigationError):
    """A new call inside an investigation that is finished, or ``on_finished="error"``.

    Ask `.finished` before, use `.result`, or begin anew with ``on_finished="new"``.

    Attributes:
        result: What the finished one ended with.
    """

    def __init__(self, message: str = "", *, result: Any = None, investigation_id: str | None = None) -> None:
        super().__init__(message, investigation_id=investigation_id)
        self.result = result


class InvestigationUnfinished(InvestigationError):
    """The key names an investigation that exists and is not finished.

    Go on with it by ``sdk.attach(error.investigation_id)``, or cancel it and begin anew.
    """


class InvestigationTimeout(InvestigationError, TimeoutError):
    """A handler ran longer than its ``timeout=``: its investigation failed, of the kind ``timeout``.

    Give it longer, or let it do less in one investigation. ``sdk.service.retry(id)`` has it tried once more.
    """


class WorkerStopped(InvestigationError):
    """The worker that runs a handler is stopping, and its patience with what runs is over.

    The investigation stays as it is, nobody drives it, and the next worker takes it up where it was.
    """


class VersionConflict(InvestigationError):
    """Somebody else kept changing the investigation while this was decided; nothing was recorded.

    Try again: it is safe.
    """


class AccessDenied(InvestigationError, PermissionError):
    """The principal's roles do not allow it. Ask for a role that does.

    Attributes:
        action: What was refused.
        principal_id: To whom.
    """

    def __init__(
        self, message: str = "", *, action: str = "", principal_id: str = "", investigation_id: str | None = None
    ) -> None:
        super().__init__(message, investigation_id=investigation_id)
        self.action = action
        self.principal_id = principal_id


class BackendUnavailable(InvestigationError, ConnectionError):
    """The store does not answer, or cannot be written (disk full, read-only).

    The message says what the store said. What was queued is written when it answers again.
    """


class NotRecorded(BackendUnavailable):
    """The tool ran, and its record is not durable.

    The record stays queued and is written when the store answers; until then, later calls are refused
    before their bodies. Use `value` rather than running the tool again.

    Attributes:
        value: What the tool returned.
        call_id: Which call it was.
    """

    def __init__(
        self, message: str = "", *, value: Any = None, call_id: str = "", investigation_id: str | None = None
    ) -> None:
        super().__init__(message, investigation_id=investigation_id)
        self.value = value
        self.call_id = call_id


class SchemaMismatch(InvestigationError):
    """The store's schema is older or newer than this version of the SDK, or is not the SDK's at all.

    Older: open it once with ``auto_migrate=True``. Newer: upgrade the SDK. Not the SDK's: name another store.
    """


class RecordUnreadable(InvestigationError):
    """What the store holds of an investigation is not what the SDK writes there: look at ``sdk.verify(id)``.

    `sequence` is that of the event that cannot be read; None where it is another part of the record. `reason` says in
    a few words what is odd about it.
    """

    def __init__(
        self,
        message: str = "",
        *,
        sequence: int | None = None,
        reason: str = "",
        investigation_id: str | None = None,
    ) -> None:
        super().__init__(message, investigation_id=investigation_id)
        self.sequence = sequence
        self.reason = reason


class PayloadTooLarge(InvestigationError, ValueError):
    """A value is larger than what may be stored with an event.

    Raise `max_inline_bytes`, or hand over a reference to it.
    """


class InvestigationPaused(InvestigationError):
    """The investigation is paused.

    ``sdk.service.resume(id)`` asks for it to go on, ``sdk.attach(id)`` goes on.
    """


class UnknownOutcome(InvestigationPaused):
    """A call of an unsafe tool was cut off or raised in an earlier attempt, and nobody can tell what it did.

    Find out, say so with ``sdk.service.resolve(error.call_id, Resolution(...))``, then ``sdk.service.resume(id)``.

    Attributes:
        call_id: Of the call in question.
        tool_name: Of its tool.
    """

    def __init__(
        self, message: str = "", *, call_id: str = "", tool_name: str = "", investigation_id: str | None = None
    ) -> None:
        super().__init__(message, investigation_id=investigation_id)
        self.call_id = call_id
        self.tool_name = tool_name


class ResumeDivergence(InvestigationPaused):
    """An unsafe call matches none that was recorded, while a recorded one of the same tool is left over.

    Compare the two. Say what became of the recorded one with ``sdk.service.resolve(error.call_id, ...)``, then
    ``sdk.service.resume(id)``: the new one runs then.

    Attributes:
        call_id: Of the recorded call.
        tool_name: Of their tool.
    """

    def __init__(
        self, message: str = "", *, call_id: str = "", tool_name: str = "", investigation_id: str | None = None
    ) -> None:
        super().__init__(message, investigation_id=investigation_id)
        self.call_id = call_id
        self.tool_name = tool_name


class InvestigationCancelled(InvestigationError):
    """The investigation was cancelled. That is final: begin another one."""


class LeaseLost(InvestigationError):
    """Another owner drives the investigation now; what this one commands is refused.

    What its calls had done is recorded. Stop here, and let the other one go on.
    """


class InvestigationBusy(InvestigationError):
    """Another live owner drives the investigation.

    Wait until it is done or its lease ends, or give ``attach`` a longer ``wait=``.

    Attributes:
        owner: Which machine and process drives it.
        expires_at: When its lease ends, if it is not renewed.
    """

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
    :func:`asyncio.timeout` does. Do not catch it.

    Attributes:
        error: What the block will raise.
    """

    def __init__(self, error: InvestigationError) -> None:
        super().__init__(str(error))
        self.error = error
