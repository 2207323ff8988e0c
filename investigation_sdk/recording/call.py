"""A call: what is known of it while it runs, and what is said where it cannot be recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from investigation_sdk.clock import monotonic_ns, now_us
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import ToolState
from investigation_sdk.engine.tracing import Span, Trace
from investigation_sdk.errors import BackendUnavailable, InvestigationError, NotRecorded
from investigation_sdk.ids import uuid7
from investigation_sdk.recording.capture import ToolSpec
from investigation_sdk.recording.confidential import Confidential
from investigation_sdk.recording.frames import CallFrame, Frame, current_frame


class Call(CallFrame):
    """One recorded call in flight."""

    __slots__ = ("begun", "cache_key", "confidential", "span", "spec", "started", "warnings")

    def __init__(self, around: Frame, spec: ToolSpec, started: Event, warnings: Sequence[str]) -> None:
        super().__init__(around, started.id, started.attempt)
        self.spec: ToolSpec = spec
        self.confidential: Confidential | None = None
        self.started: Event = started
        self.warnings: Sequence[str] = warnings
        self.begun: int = 0
        self.cache_key: str | None = None
        self.span: Span | None = None

    def begin(self, trace: Trace | None) -> None:
        """Its body is about to run."""
        if trace is not None:
            self.span = trace.call(self.started)
        self.begun = monotonic_ns()

    def enter(self) -> None:
        """What runs next in this context is its body."""
        current_frame.set(self)
        if self.span is not None:
            self.span.enter()

    def leave(self, around: Frame | None) -> None:
        """What runs next in this context is not its body; `around` was the frame before."""
        if self.span is not None:
            self.span.leave()
        current_frame.set(around)

    def runs_again(self, root: str, *, repeated: bool) -> None:
        """It is a call that an earlier attempt began: `root` is what it was called then, at first. It is `repeated`
        where that finished, and could not be given back."""
        self.repeated = repeated
        self.root = root
        self.started.data["again"] = root
        self.started.text = None


def not_started(started: Event) -> Event:
    """Of a call whose start was submitted, but whose body never ran."""
    data = {"call": started.id, "kind": "not_started", "state": ToolState.INTERRUPTED.value}
    return Event(uuid7(), "tool.interrupted", data, now_us(), parent_call=started.parent_call, started=started)


def refused_while_down(investigation_id: str, down: BackendUnavailable) -> NotRecorded:
    """The error of a call that is not started, because nothing can be recorded."""
    return NotRecorded(
        f"Not started, because the store of investigation {investigation_id} takes no records: {down}",
        investigation_id=investigation_id,
    )


def not_recorded(
    call: Call, investigation_id: str, error: InvestigationError, value: Any, raised: BaseException | None
) -> NotRecorded:
    """The error of a call whose body returned `value`, or raised, and whose record is not durable."""
    outcome = "`value` is what it returned" if raised is None else "what it raised is the cause of this"
    queued = isinstance(error, BackendUnavailable)
    state = "is not durable yet" if queued else "could not be stored"
    later = "The record stays queued; " if queued else "It will not be written; "
    return NotRecorded(
        f"{call.spec.name} ran, but its record {state}: {error} {later}{outcome}.",
        value=value,
        call_id=call.started.id,
        investigation_id=investigation_id,
    )
