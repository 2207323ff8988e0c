"""Fold: the state that a sequence of events adds up to. It never refuses an event."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar, Final, cast

from investigation_sdk.domain.event_types import EventType
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.phase import Phase
from investigation_sdk.domain.progress import COMPLETED, FAILED, MAX_TOOLS, OPEN, overall, valid_weight
from investigation_sdk.domain.states import InvestigationState, PhaseState
from investigation_sdk.domain.usage import add_counts, add_exactly

_S = InvestigationState


class Fold:
    """An investigation as its events have it. What it keeps grows with phases and with calls in flight only.

    Attributes:
        status: None before the first event.
        token: Id of the claim of whoever drives it; None when nobody does.
        phases: By name, in order.
        counts: How often each tool was called, by its name; of more than a bound of names, the others are left out.
        calls: The ``tool.started`` event of each call that is open, by the call's id.
        active: For how many µs it was running before `since`. Pauses, and when nobody drove it, do not count.
        since: Time (µs) from which on it is running; None where it is not.
        reported: Percent that calls which are open said they are at, by the call's id.
        planned: Phases were declared before they were entered.
        fixed: What the rows' author keeps here of what never changes after the creation.
        not_before: While it is queued: from when on a worker may take it up, µs; None for at once.
        touched: Where set, what has changed since it was last emptied: phases by id, and calls by id as
            ``(started, closing event or None)``. For whoever writes rows.
        history: Where set, the started event of every call ever seen, for rebuilding rows from a whole log.
    """

    __slots__: ClassVar[tuple[str, ...]] = (
        "active", "api_calls_made", "at", "attempt", "calls", "completed_at", "configuration", "cost_estimate",
        "counts", "created_at", "current_phase", "error_message", "failed_at", "failure_kind", "fixed", "generation",
        "history", "id", "investigation_type", "key", "last_checkpoint", "metadata", "not_before", "owner", "parent",
        "phases", "planned", "priority", "progress", "reported", "result", "resume_requested", "retry_count", "since",
        "started_at", "status", "subject", "tenant", "token", "tokens_used", "touched", "user_id", "version",
    )  # fmt: skip

    def __init__(self, id: str, tenant: str = "") -> None:
        self.id: str = id
        self.tenant: str = tenant
        self.version: int = 0
        self.at: int = 0
        self.status: InvestigationState | None = None
        self.subject: str = ""
        self.investigation_type: str = ""
        self.user_id: str | None = None
        self.key: str | None = None
        self.generation: int = 1
        self.parent: str | None = None
        self.metadata: Any = None
        self.configuration: Any = None
        self.created_at: int = 0
        self.started_at: int | None = None
        self.completed_at: int | None = None
        self.failed_at: int | None = None
        self.token: str | None = None
        self.owner: str | None = None
        self.attempt: int = 0
        self.retry_count: int = 0
        self.resume_requested: bool = False
        self.priority: int = 0
        self.not_before: int | None = None
        self.error_message: str | None = None
        self.failure_kind: str | None = None
        self.result: Any = None
        self.last_checkpoint: Any = None
        self.current_phase: str | None = None
        self.progress: int = 0
        self.tokens_used: int = 0
        self.api_calls_made: int = 0
        self.cost_estimate: Decimal = Decimal(0)
        self.phases: dict[str, Phase] = {}
        self.calls: dict[str, Event] = {}
        self.counts: dict[str, int] = {}
        self.reported: dict[str, int] = {}
        self.planned: bool = False
        self.active: int = 0
        self.since: int | None = None
        self.fixed: tuple[Any, ...] | None = None
        self.touched: dict[str, Phase | tuple[Event, Event | None]] | None = None
        self.history: dict[str, Event] | None = None

    def copy(self) -> Fold:
        """An independent fold of the same events."""
        other = Fold(self.id)
        for name in Fold.__slots__:
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
            self._stop_clock(self.at if self.failure_kind == "crashed" else event.at)
            self._enter(event.new_state, event.at)
        self.at = event.at

    def count(self, tool: str, times: int = 1) -> None:
        """A tool was called so many times more."""
        counts = self.counts
        if tool in counts or len(counts) < MAX_TOOLS:
            counts[tool] = counts.get(tool, 0) + times

    def phase_by_id(self, id: str) -> Phase | None:
        """The phase of that id, if there is one."""
        return next((p for p in self.phases.values() if p.id == id), None)

    def _enter(self, state: InvestigationState, time: int) -> None:
        self.status = state
        self.since = time if state is _S.RUNNING else None
        self.resume_requested = False
        if state not in (_S.QUEUED, _S.RETRYING):
            self.not_before = None
        if state in (_S.COMPLETED, _S.CANCELLED, _S.FAILED):
            self.token = self.owner = None
        if state is _S.RETRYING:
            self.retry_count += 1
            self.failed_at = self.error_message = self.failure_kind = None
        self._count_progress()

    def _stop_clock(self, time: int) -> None:
        if self.since is not None:
            self.active += max(0, time - self.since)
            self.since = None

    def report(self, id: str, percent: int, time: int) -> bool:
        """A phase that runs, or a call that is open, says at a time (µs) how far it is; whether that is news."""
        call = self.calls.get(id)
        phase = self._phase_of(call) if call is not None else self.phase_by_id(id)
        if call is not None:
            if percent <= self.reported.get(id, -1):
                return False
            self.reported[id] = percent
        elif phase is None or phase.status is not PhaseState.RUNNING or percent <= (phase.reported or -1):
            return False
        else:
            if phase.reported is None:
                phase.marks = ()
            phase.reported = percent
        if phase is not None:
            self._advance(phase, time)
            if self.touched is not None:
                self.touched[phase.id] = phase
        return True

    def _take_reported(self, event: Event, said: Any) -> None:
        """What was reported before this event. Nothing else in the log says it, and nothing depends on it."""
        for id, percent in cast("dict[str, Any]", said).items() if isinstance(said, dict) else ():
            if type(percent) is int and 0 <= percent <= 100:
                self.report(id, percent, event.at)
            call = self.calls.get(id)
            phase = self._phase_of(call) if call is not None else self.phase_by_id(id)
            if phase is not None:
                self._touch(phase, event)

    def _phase_of(self, call: Event) -> Phase | None:
        id = call.data.get("phase")
        if id is None:
            return None
        current = None if self.current_phase is None else self.phases.get(self.current_phase)
        return current if current is not None and current.id == id else self.phase_by_id(id)

    def _active_at(self, time: int) -> int:
        return self.active + (0 if self.since is None else max(0, time - self.since))

    def _advance(self, phase: Phase, time: int) -> None:
        running: dict[str, int] = {}
        for id, percent in self.reported.items():
            call = self.calls[id].data
            name = str(call.get("tool"))
            if call.get("phase") == phase.id:
                running[name] = max(percent, running.get(name, 0))
        if phase.advance(running, self._active_at(time)):
            self._count_progress()

    def _count_progress(self, least: int | None = None) -> None:
        """Within an attempt it never goes back: `least` is where it was."""
        if self.status is not None:
            least = self.progress if least is None else least
            self.progress = max(least, overall(self.status, self.phases.values(), planned=self.planned))

    def _touch(self, phase: Phase, event: Event) -> None:
        phase.sequence = event.sequence
        if self.touched is not None:
            self.touched[phase.id] = phase


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
    fold._count_progress()  # pyright: ignore[reportPrivateUsage]


def _phase(fold: Fold, data: dict[str, Any], event: Event) -> Phase:
    """The phase that an event names, made where the plan did not have it."""
    phase = fold.phases.get(data["name"])
    if phase is None:
        tools = tuple(data.get("tools", ()))
        phase = Phase(data["id"], data["name"], len(fold.phases) + 1, _weight(data), tools, event.sequence)
        fold.phases[phase.name] = phase
        fold._touch(phase, event)  # pyright: ignore[reportPrivateUsage]
    return phase


def _weight(data: dict[str, Any]) -> float:
    weight: Any = data.get("weight", 1)
    return weight if valid_weight(weight) else 1


def _claimed(fold: Fold, event: Event) -> None:
    fold.token = event.id
    fold.owner = event.data["owner"]
    fold.attempt += 1
    fold.resume_requested = False
    fold._count_progress(least=0)  # pyright: ignore[reportPrivateUsage]


def _released(fold: Fold, event: Event) -> None:
    if event.data["token"] == fold.token:
        fold.token = fold.owner = None
        fold._stop_clock(event.at)  # pyright: ignore[reportPrivateUsage]


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
        phase.begun = fold._active_at(event.at)  # pyright: ignore[reportPrivateUsage]
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
    fold._count_progress()  # pyright: ignore[reportPrivateUsage]
    fold._touch(phase, event)  # pyright: ignore[reportPrivateUsage]


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
        fold._touch(phase, event)  # pyright: ignore[reportPrivateUsage]
        if fold.current_phase == phase.name:
            running = [p.name for p in fold.phases.values() if p.status is PhaseState.RUNNING]
            fold.current_phase = running[-1] if running else None
        fold._count_progress()  # pyright: ignore[reportPrivateUsage]

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
    phase = fold._phase_of(event)  # pyright: ignore[reportPrivateUsage]
    if phase is not None:
        _called(fold, phase, event, event, OPEN)


def _called(fold: Fold, phase: Phase, started: Event, event: Event, state: str) -> None:
    if phase.call(str(started.data.get("tool")), state):
        fold._advance(phase, event.at)  # pyright: ignore[reportPrivateUsage]
        fold._touch(phase, event)  # pyright: ignore[reportPrivateUsage]


def _tool_ended(state: str) -> Callable[[Fold, Event], None]:
    """A body returned or raised: its tool counts as done."""

    def handler(fold: Fold, event: Event) -> None:
        started = _tool_closed(fold, event)
        if started is None or event.late:
            return
        phase = fold._phase_of(started)  # pyright: ignore[reportPrivateUsage]
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
