"""Progress: arithmetic over phases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol

from investigation_sdk.domain.states import InvestigationState, PhaseState

MAX_WEIGHT: Final = 1e9
"""So large may a phase's weight be."""


def valid_weight(weight: Any) -> bool:
    """Whether it is a number that shares can be computed with: greater than 0, and at most :data:`MAX_WEIGHT`."""
    return isinstance(weight, int | float) and 0 < weight <= MAX_WEIGHT


class _Weighted(Protocol):
    @property
    def status(self) -> PhaseState: ...
    @property
    def weight(self) -> float: ...


def overall(status: InvestigationState, phases: Iterable[_Weighted]) -> int:
    """Percent of the planned weight that is done: 0 to 99, and 100 exactly when the investigation completed."""
    if status is InvestigationState.COMPLETED:
        return 100
    total = done = 0.0
    for phase in phases:
        total += phase.weight
        if phase.status in (PhaseState.COMPLETED, PhaseState.SKIPPED):
            done += phase.weight
    return min(99, int(100 * done / total)) if total else 0
