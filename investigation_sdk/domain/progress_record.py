"""How far an investigation is, as it is read: the record that :class:`ProgressTracker` gives out."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict

from investigation_sdk.domain.records import Usage
from investigation_sdk.domain.states import InvestigationState

Described = dict[str, Any]
"""One object of the JSON. What is not known, or does not apply, is left out."""


KEPT_MS: Final = 5000
"""So long an answer may be taken for the newest, in the time that an investigation runs, where no more is recorded."""


class Estimate(BaseModel):
    """When an investigation is likely to be done, and what that is based on.

    Attributes:
        earliest: Of ten past runs that were as far as this one, about one took less long from there.
        likely: Half of them took less, half more.
        latest: About one took longer.
        runs: How many past runs that is based on.
        basis: The same in words: ``"12 past runs of account_takeover"``.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    earliest: datetime
    likely: datetime
    latest: datetime
    runs: int
    basis: str


class InvestigationProgress(BaseModel):
    """How far an investigation is, what runs now, and when it may be done. ``model_dump(mode="json")`` is the JSON.

    Attributes:
        investigation_id: Which one.
        status: Its state.
        overall_progress: Percent, by the weights of the phases: 0 to 99, and 100 exactly when it is completed. It
            never goes back within an attempt.
        current_phase: The phase entered last that is still open: ``name``, ``progress`` (percent), ``status``,
            ``elapsed_ms``: for how long it has been running, pauses not counted. None where no phase is open.
        phases: Each in its order: ``name``, ``status``, ``progress``; once it was left, ``duration_ms``; while it
            runs, ``elapsed_ms`` and ``active_tool``, the tool whose call began last and is open. Where it has tools,
            ``tools_used`` (those that were called), ``tools_completed`` (of them, those of which a call ended well),
            and, until it is left, ``tools_pending`` (those that were declared and not called).
        tool_executions: Calls in the order of their start, the newest 100 at most: ``tool``, ``agent``, ``status``,
            ``duration_ms``, ``result_summary``; ``elapsed_ms`` of one that is open. Empty in the summary form.
        tool_calls: How many calls there are; None in the summary form.
        running: Calls that are open, the newest 20 at most: ``tool``, ``agent``, ``phase``, ``started_at``,
            ``elapsed_ms``, and ``progress`` (percent) where the call reported it.
        running_calls: How many calls are open.
        estimated_completion: When it is likely to be done, by past runs of its type; None: unknown.
        estimate: The interval around that, and its basis; None: unknown.
        elapsed_ms: For how long it has been running, pauses not counted.
        state_transitions: Each change of state: ``from``, ``to``, ``timestamp``. Empty in the summary form.
        usage: Sums of what was reported.
        attempt: How many times it has been driven.
        version: The sequence of its last event. What is reported and not recorded yet does not change it.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, defer_build=True)

    investigation_id: str
    status: InvestigationState
    overall_progress: int
    current_phase: Described | None
    phases: list[Described]
    tool_executions: list[Described]
    estimated_completion: datetime | None
    state_transitions: list[Described]
    tool_calls: int | None
    running: list[Described]
    running_calls: int
    estimate: Estimate | None
    elapsed_ms: int
    usage: Usage
    attempt: int
    version: int

    @property
    def tag(self) -> str:
        """Names this answer, for :meth:`InvestigationSDK.changed_progress`: the same while nothing changed that is
        recorded, or shows in `overall_progress`, and for 5 s at most while it runs."""
        return tag_of(self.version, self.status, self.overall_progress, self.elapsed_ms)


def tag_of(version: int, status: str, percent: int, elapsed_ms: int) -> str:
    """See :attr:`InvestigationProgress.tag`."""
    return f"{version}-{status}-{percent}-{elapsed_ms // KEPT_MS}"
