"""One phase, as the events have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from investigation_sdk.domain.progress import MAX_TOOLS, RANKS, STEP, of_phase
from investigation_sdk.domain.states import PhaseState


class Phase:
    """One phase, as folded.

    Attributes:
        begun: For how many µs the investigation had been running when it was entered.
        marks: When it first was so far: percent, a mark each :data:`STEP` at most, and µs of running since it was
            entered. What its block says counts, as soon as it says something, in place of what its tools tell.
        reported: Percent that its block said it is at; None where it did not, and its tools tell.
        called: The tools that were called in it, in this attempt, in the order of their first calls: ``open`` until
            a call ends, then ``failed`` until one completes, then ``completed``. Never changed, only replaced.
    """

    __slots__: ClassVar[tuple[str, ...]] = (
        "attempt", "begun", "called", "completed_at", "duration_ms", "error", "id", "input", "input_sequence",
        "marks", "name", "order", "output", "output_sequence", "progress", "reported", "sequence", "started_at",
        "status", "tools", "weight",
    )  # fmt: skip

    def __init__(self, id: str, name: str, order: int, weight: float, tools: tuple[str, ...], sequence: int) -> None:
        self.id: str = id
        self.name: str = name
        self.order: int = order
        self.weight: float = weight
        self.tools: tuple[str, ...] = tools
        self.sequence: int = sequence
        self.status: PhaseState = PhaseState.PENDING
        self.progress: int = 0
        self.attempt: int = 0
        self.started_at: int | None = None
        self.completed_at: int | None = None
        self.duration_ms: int | None = None
        self.input: Any = None
        self.output: Any = None
        self.error: Any = None
        self.input_sequence: int | None = None
        self.output_sequence: int | None = None
        self.begun: int = 0
        self.reported: int | None = None
        self.marks: tuple[tuple[int, int], ...] = ()
        self.called: Mapping[str, str] = {}

    def copy(self) -> Phase:
        """An independent phase of the same events."""
        other = Phase(self.id, self.name, self.order, self.weight, self.tools, self.sequence)
        for name in Phase.__slots__:
            setattr(other, name, getattr(self, name))
        return other

    def call(self, tool: str, state: str) -> bool:
        """What is known of a tool that was called in it; whether that is news."""
        before = self.called.get(tool)
        if RANKS[state] <= RANKS[before] or (before is None and len(self.called) >= MAX_TOOLS):
            return False
        self.called = {**self.called, tool: state}
        return True

    def advance(self, running: Mapping[str, int], active: int) -> bool:
        """Count how far it is, if it runs; whether it is further than before. It never goes back.

        Args:
            running: Percent that calls of it that are open report, by the name of their tool.
            active: For how many µs the investigation has been running.
        """
        if self.status is not PhaseState.RUNNING:
            return False
        percent = of_phase(self.tools, self.called, running) if self.reported is None else min(99, self.reported)
        before, self.progress = self.progress, max(self.progress, percent)
        known = self.progress if self.reported is None else self.reported
        if known // STEP > (self.marks[-1][0] // STEP if self.marks else 0):
            self.marks = (*self.marks, (known, max(0, active - self.begun)))
        return self.progress > before
