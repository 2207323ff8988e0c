"""Standing: how an investigation stands, and what of that follows from the rest: its clock, and how far it is.

It knows of no event types; :mod:`~investigation_sdk.domain.fold` says what each does to it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from investigation_sdk.domain.events import Event
from investigation_sdk.domain.phase import Phase
from investigation_sdk.domain.progress import MAX_TOOLS, overall
from investigation_sdk.domain.states import InvestigationState, PhaseState

_S = InvestigationState


class Standing:
    """See the module. What it keeps grows with phases and with calls in flight only.

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

    def count(self, tool: str, times: int = 1) -> None:
        """A tool was called so many times more."""
        counts = self.counts
        if tool in counts or len(counts) < MAX_TOOLS:
            counts[tool] = counts.get(tool, 0) + times

    def phase_by_id(self, id: str) -> Phase | None:
        """The phase of that id, if there is one."""
        return next((p for p in self.phases.values() if p.id == id), None)

    def enter(self, state: InvestigationState, time: int) -> None:
        """It is in another state from that time (µs) on."""
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
        self.count_progress()

    def stop_clock(self, time: int) -> None:
        """It runs no more, from that time (µs) on."""
        if self.since is not None:
            self.active += max(0, time - self.since)
            self.since = None

    def report(self, id: str, percent: int, time: int) -> bool:
        """A phase that runs, or a call that is open, says at a time (µs) how far it is; whether that is news."""
        call = self.calls.get(id)
        phase = self.phase_of(call) if call is not None else self.phase_by_id(id)
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
            self.advance(phase, time)
            if self.touched is not None:
                self.touched[phase.id] = phase
        return True

    def phase_of(self, call: Event) -> Phase | None:
        """The phase in which a call was started, by its started event."""
        id = call.data.get("phase")
        if id is None:
            return None
        current = None if self.current_phase is None else self.phases.get(self.current_phase)
        return current if current is not None and current.id == id else self.phase_by_id(id)

    def active_at(self, time: int) -> int:
        """For how many µs it was running before that time (µs)."""
        return self.active + (0 if self.since is None else max(0, time - self.since))

    def advance(self, phase: Phase, time: int) -> None:
        """How far a phase is may be another since that time (µs)."""
        running: dict[str, int] = {}
        for id, percent in self.reported.items():
            call = self.calls[id].data
            name = str(call.get("tool"))
            if call.get("phase") == phase.id:
                running[name] = max(percent, running.get(name, 0))
        if phase.advance(running, self.active_at(time)):
            self.count_progress()

    def count_progress(self, least: int | None = None) -> None:
        """Within an attempt it never goes back: `least` is where it was."""
        if self.status is not None:
            least = self.progress if least is None else least
            self.progress = max(least, overall(self.status, self.phases.values(), planned=self.planned))

    def touch(self, phase: Phase, event: Event) -> None:
        """The row of a phase is another since that event."""
        phase.sequence = event.sequence
        if self.touched is not None:
            self.touched[phase.id] = phase
