"""Progress: arithmetic over phases and their tools. How much is done of what is known, not how long it takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Protocol

from investigation_sdk.domain.states import InvestigationState, PhaseState

MAX_WEIGHT: Final = 1e9
"""So large may a phase's weight be."""

MAX_TOOLS: Final = 256
"""So many names of tools count in one phase: names that are made up while it runs must not fill the memory."""

STEP: Final = 5
"""Percent between two marks of when a phase was how far: what estimates go by."""

_DONE: Final = (PhaseState.COMPLETED, PhaseState.SKIPPED)


def valid_weight(weight: Any) -> bool:
    """Whether it is a number that shares can be computed with: greater than 0, and at most :data:`MAX_WEIGHT`."""
    return isinstance(weight, int | float) and 0 < weight <= MAX_WEIGHT


class Weighted(Protocol):
    """A phase, as far as it counts."""

    @property
    def status(self) -> PhaseState:
        """Completed and skipped ones are done."""
        ...

    @property
    def weight(self) -> float:
        """Its share, relative to the others'."""
        ...

    @property
    def progress(self) -> int:
        """Percent of it, while it is not done."""
        ...


def overall(status: InvestigationState, phases: Iterable[Weighted], *, planned: bool = True) -> int:
    """Percent of the weight of all phases that is done: 0 to 99, and 100 exactly when the investigation completed.

    Where nothing was `planned`, one more phase of average weight is taken to come: what is over is then never taken
    for all there is.
    """
    if status is InvestigationState.COMPLETED:
        return 100
    total = done = 0.0
    count = 0
    for phase in phases:
        count += 1
        total += phase.weight
        done += phase.weight if phase.status in _DONE else phase.weight * phase.progress / 100
    if not count:
        return 0
    if not planned:
        total += total / count
    return min(99, int(100 * done / total + _ROUNDING))


_ROUNDING: Final = 1e-9
"""1/3 + 2/3 is to be 1."""


OPEN: Final = "open"
FAILED: Final = "failed"
COMPLETED: Final = "completed"
RANKS: Final[Mapping[str | None, int]] = {None: 0, OPEN: 1, FAILED: 2, COMPLETED: 3}
"""What is known of a tool in a phase: a call of it began, ended in an error, ended well. It only rises."""


def of_phase(declared: Collection[str], called: Mapping[str, str], running: Mapping[str, int]) -> int:
    """Percent of a running phase by its tools: 0 to 99.

    Each tool that was declared or called counts the same, however often it is called. Where none was declared, one
    more is taken to come.

    Args:
        declared: Names of the tools that the phase is expected to call.
        called: Those that were called, each with its state.
        running: Percent that calls report, by the name of their tool.
    """
    known = {*declared, *called}
    if not known:
        return 0
    done = sum(100 if state != OPEN else running.get(name, 0) for name, state in called.items())
    return min(99, int(done / (len(known) + (not declared)) + _ROUNDING))


def percent(fraction: float) -> int:
    """A fraction that was reported, 0 to 1, as percent."""
    return int(100 * min(1.0, max(0.0, fraction)) + _ROUNDING)
