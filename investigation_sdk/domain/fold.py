"""Fold: the state that a sequence of events adds up to. It never refuses an event."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar, Final, cast

from investigation_sdk.domain.events import Event, EventType
from investigation_sdk.domain.phase import Phase
from investigation_sdk.domain.progress import COMPLETED, FAILED, OPEN, valid_weight
from investigation_sdk.domain.standing import Standing
from investigation_sdk.domain.states import PhaseState
from investigation_sdk.domain.usage import add_counts, add_exactly


class Fold(Standing):
    """An investigation as its events have it."""

    __slots__: ClassVar[tuple[str, ...]] = ()

    def copy(self) -> Fold:
        """An independent fold of the same events."""
        other = Fold(self.id)
        for name in Standing.__slots__:
            setattr(other, name, getattr(self, name))
        other.phases = {name: phase.copy() for name, phase in self.phases.items()}
        other.calls = dict(self.calls)
        other.counts = dict(self.counts)
        other.reported = dict(self.reported)
        other.touched = None if self.touched is None else {}
        other.history = None if self.history is None else dict(self.history)
        return other

    def apply(self, event: Event) -> None:
        """Fold one event in. Types that are not known change nothing but the version."""
        self.version = event.sequence
        if event.metadata is not None and "progress" in event.metadata:
            self._take_reported(event, event.metadata["progress"])
        handler = _HANDLERS.get(event.type)
        if handler is not None:
            handler(self, event)
        if event.new_state is not None:
            # of an owner that died, the last word is the last that is known of it
            self.stop_clock(self.at if self.failure_kind == "crashed" else event.at)
            self.enter(event.new_state, event.at)
        self.at = event.at

    def _take_reported(self, event: Event, said: Any) -> None:
        """What was reported before this event. Nothing else in the log says it, and nothing depends on it."""
        for id, percent in cast("dict[str, Any]", said).items() if isinstance(said, dict) else ():
            if type(percent) is int and 0 <= percent <= 100:
                self.report(id, percent, event.at)
            call = self.calls.get(id)
            phase = self.phase_of(call) if call is not None else self.phase_by_id(id)
            if phase is not None:
                self.touch(phase, event)


def _created(fold: Fold, event: Event) -> None:
    data = event.data
    fold.fixed = None
    fold.subject = data["subject"]
    fold.investigation_type = data["investigation_type"]
    fold.user_id = data.get("user_id")
    fold.key = data.get("key")
    fold.generation = data.get("generation", 1)
    fold.parent = data.get("parent")
    fold.priority = data.get("priority", 0)
    fold.metadata = data.get("metadata")
    fold.configuration = data.get("configuration")
    fold.created_at = event.at
    _planned(fold, event)


def _planned(fold: Fold, event: Event) -> None:
    for planned in event.data.get("phases", ()):
        fold.planned = True
        _phase(fold, planned, event)
    fold.count_progress()


def _phase(fold: Fold, data: dict[str, Any], event: Event) -> Phase:
    """The phase that an event names, made where the plan did not have it."""
    phase = fold.phases.get(data["name"])
    if phase is None:
        tools = tuple(data.get("tools", ()))
        phase = Phase(data["id"], data["name"], len(fold.phases) + 1, _weight(data), tools, event.sequence)
        fold.phases[phase.name] = phase
        fold.touch(phase, event)
    return phase


def _weight(data: dict[str, Any]) -> float:
    weight: Any = data.get("weight", 1)
    return weight if valid_weight(weight) else 1


def _claimed(fold: Fold, event: Event) -> None:
    fold.token = event.id
    fold.owner = event.data["owner"]
    fold.attempt += 1
    fold.resume_requested = False
    fold.count_progress(least=0)


def _released(fold: Fold, event: Event) -> None:
    if event.data["token"] == fold.token:
        fold.token = fold.owner = None
        fold.stop_clock(event.at)


def _started(fold: Fold, event: Event) -> None:
    if fold.started_at is None:
        fold.started_at = event.at


def _completed(fold: Fold, event: Event) -> None:
    fold.completed_at = event.at
    fold.result = event.data.get("result")


def _failed(fold: Fold, event: Event) -> None:
    fold.failed_at = event.at
    fold.failure_kind = event.data["kind"]
    fold.error_message = event.data.get("message")


def _transition(fold: Fold, event: Event) -> None:
    if event.data.get("voids") is not None:
        fold.token = fold.owner = None
    fold.not_before = event.data.get("not_before")


def _resume_requested(fold: Fold, event: Event) -> None:
    fold.resume_requested = True


def _phase_started(fold: Fold, event: Event) -> None:
    phase = _phase(fold, event.data, event)
    if event.late:
        return
    phase.status = PhaseState.RUNNING
    if phase.attempt != event.attempt:
        phase.progress = 0
        phase.reported = None
        phase.called = {}
        phase.marks = ()
        phase.begun = fold.active_at(event.at)
    phase.attempt = event.attempt
    phase.started_at = event.data["started_at"]
    phase.completed_at = phase.duration_ms = phase.error = None
    if "weight" in event.data:
        phase.weight = _weight(event.data)
    if "tools" in event.data:
        phase.tools = tuple(event.data["tools"])
    if "input" in event.data:
        phase.input = event.data["input"]
        phase.input_sequence = event.sequence
    fold.current_phase = phase.name
    fold.count_progress()
    fold.touch(phase, event)


def _phase_left(
    status: PhaseState, before: tuple[PhaseState, ...] = (PhaseState.RUNNING,)
) -> Callable[[Fold, Event], None]:
    def handler(fold: Fold, event: Event) -> None:
        data = event.data
        phase = fold.phases.get(data["name"])
        if phase is None or event.late or phase.status not in before:
            return
        phase.status = status
        phase.completed_at = data.get("completed_at")
        duration = data.get("duration_ms")
        phase.duration_ms = None if duration is None else round(duration)
        phase.progress = 100 if status is PhaseState.COMPLETED else phase.progress
        if "output" in data:
            phase.output = data["output"]
            phase.output_sequence = event.sequence
        phase.error = data.get("error")
        fold.touch(phase, event)
        if fold.current_phase == phase.name:
            running = [p.name for p in fold.phases.values() if p.status is PhaseState.RUNNING]
            fold.current_phase = running[-1] if running else None
        fold.count_progress()

    return handler


def _phase_skipped(fold: Fold, event: Event) -> None:
    _phase(fold, event.data, event)
    _skipped(fold, event)


_skipped: Final = _phase_left(PhaseState.SKIPPED, (PhaseState.PENDING, PhaseState.FAILED))


def _tool_started(fold: Fold, event: Event) -> None:
    fold.calls[event.id] = event
    fold.count(str(event.data.get("tool")))
    if fold.touched is not None:
        fold.touched[event.id] = (event, None)
    if fold.history is not None:
        fold.history[event.id] = event
    phase = fold.phase_of(event)
    if phase is not None:
        _called(fold, phase, event, event, OPEN)


def _called(fold: Fold, phase: Phase, started: Event, event: Event, state: str) -> None:
    if phase.call(str(started.data.get("tool")), state):
        fold.advance(phase, event.at)
        fold.touch(phase, event)


def _tool_ended(state: str) -> Callable[[Fold, Event], None]:
    """A body returned or raised: its tool counts as done."""

    def handler(fold: Fold, event: Event) -> None:
        started = _tool_closed(fold, event)
        if started is None or event.late:
            return
        phase = fold.phase_of(started)
        if phase is not None and phase.attempt == started.attempt:
            _called(fold, phase, started, event, state)

    return handler


def _tool_closed(fold: Fold, event: Event) -> Event | None:
    data = event.data
    call_id: str = data["call"]
    started = fold.calls.pop(call_id, None) or event.started
    if started is None and fold.history is not None:
        started = fold.history.get(call_id)
    if started is not None and fold.touched is not None:
        fold.touched[call_id] = (started, event)
    fold.reported.pop(call_id, None)
    if "usage" in data:
        _usage(fold, event)
    return started


def _usage(fold: Fold, event: Event) -> None:
    usage = event.data["usage"]
    fold.tokens_used = add_counts(fold.tokens_used, usage.get("tokens_used", 0))
    fold.api_calls_made = add_counts(fold.api_calls_made, usage.get("api_calls_made", 0))
    cost = usage.get("cost_estimate")
    if cost is not None:
        fold.cost_estimate = add_exactly(fold.cost_estimate, Decimal(cost))


def _checkpoint(fold: Fold, event: Event) -> None:
    if not event.late:
        fold.last_checkpoint = event.data["data"]


_T = EventType
_HANDLERS: Final[dict[str, Callable[[Fold, Event], Any]]] = {
    _T.INVESTIGATION_CREATED: _created,
    _T.INVESTIGATION_CLAIMED: _claimed,
    _T.INVESTIGATION_RELEASED: _released,
    _T.INVESTIGATION_STARTED: _started,
    _T.INVESTIGATION_COMPLETED: _completed,
    _T.INVESTIGATION_FAILED: _failed,
    _T.STATE_TRANSITION: _transition,
    _T.RESUME_REQUESTED: _resume_requested,
    _T.PHASE_PLANNED: _planned,
    _T.PHASE_STARTED: _phase_started,
    _T.PHASE_COMPLETED: _phase_left(PhaseState.COMPLETED),
    _T.PHASE_FAILED: _phase_left(PhaseState.FAILED),
    _T.PHASE_INTERRUPTED: _phase_left(PhaseState.PENDING),
    _T.PHASE_SKIPPED: _phase_skipped,
    _T.TOOL_STARTED: _tool_started,
    _T.TOOL_COMPLETED: _tool_ended(COMPLETED),
    _T.TOOL_FAILED: _tool_ended(FAILED),
    _T.TOOL_INTERRUPTED: _tool_closed,
    _T.TOOL_RESOLVED: _tool_closed,
    _T.USAGE_REPORTED: _usage,
    _T.CHECKPOINT_SAVED: _checkpoint,
}
