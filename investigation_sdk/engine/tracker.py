"""Progress as it is read: arithmetic over the rows of one investigation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from pydantic_core import from_json

from investigation_sdk.arguments import FLAG, check
from investigation_sdk.clock import now_us, to_datetime
from investigation_sdk.domain.activity import Activity, Running, activity_of, marks_of
from investigation_sdk.domain.estimate import History, Place
from investigation_sdk.domain.progress import COMPLETED
from investigation_sdk.domain.progress_record import Described, Estimate, InvestigationProgress, tag_of
from investigation_sdk.domain.records import Usage
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow
from investigation_sdk.domain.states import InvestigationState, PhaseState, ToolState
from investigation_sdk.engine.history import Histories, newest, sizes
from investigation_sdk.engine.parts import Called, Change, Parts, Source, Stored
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.sight import Sight
from investigation_sdk.engine.sound import readable
from investigation_sdk.ids import Id, canonical
from investigation_sdk.storage.backend import Backend


class ProgressTracker:
    """How far investigations are: what :meth:`InvestigationSDK.progress` asks."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._histories = Histories()
        self._source: Source = Stored()

    def _use(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._histories = Histories()

    def _ask(self, source: Source) -> None:
        self._source = source

    async def calculate_progress(self, investigation_id: Id, *, include_tools: bool = True) -> InvestigationProgress:
        """How far an investigation is, what runs now, and when it may be done.

        Args:
            investigation_id: Which one; whoever drives it, in whatever process.
            include_tools: False: the summary form, without the list of calls and of changes of state. It takes the
                same few reads however many calls there were.

        Raises:
            InvestigationNotFound: there is none of that id.
        """
        check(include_tools=(include_tools, FLAG))
        recorder = self._recorder
        at = self.at(recorder.backend, canonical(investigation_id), recorder.sight, with_tools=include_tools)
        return await recorder.acall(at)

    async def at(self, backend: Backend, id: str, sight: Sight, *, with_tools: bool) -> InvestigationProgress:
        """As :meth:`calculate_progress`, for who sees what `sight` says. On the I/O thread."""
        return await self._of(backend, *await self._source.both(backend, id, sight, with_tools=with_tools))

    async def at_unless(
        self, backend: Backend, id: str, sight: Sight, known: Sequence[str], *, with_tools: bool
    ) -> InvestigationProgress | None:
        """As :meth:`at`; None where its tag is known. On the I/O thread."""
        if not known:
            return await self.at(backend, id, sight, with_tools=with_tools)
        row = await self._source.get_row(backend, id, sight)
        with readable(id):
            elapsed = activity_of(from_json(row.activity)).active_at(now_us()) // 1000
        if tag_of(row.version, row.status, row.progress_percentage, elapsed) in known:
            return None
        return await self._of(backend, row, await self._source.parts(backend, row, with_tools=with_tools))

    async def _of(self, backend: Backend, row: InvestigationRow, parts: Parts) -> InvestigationProgress:
        id = row.id
        with readable(id):
            progress = progress_of(row, parts, now_us())
        if row.status != InvestigationState.RUNNING:
            return progress
        history = await self._histories.of(backend, row.tenant_id, row.investigation_type)
        with readable(id):
            return with_estimate(progress, row, parts, history, now_us())


def progress_of(row: InvestigationRow, parts: Parts, now: int) -> InvestigationProgress:
    """The record of these rows, as of the time `now` (µs).

    Raises:
        ValueError, TypeError: a row holds what the SDK does not write there.
    """
    activity = activity_of(from_json(row.activity))
    active = activity.active_at(now)
    names = {phase.id: phase.phase_name for phase in parts.phases}
    described = [_phase(phase, activity, active) for phase in parts.phases]
    current = next((one for one in described if one["name"] == row.current_phase), None)
    return InvestigationProgress(
        investigation_id=row.id,
        status=InvestigationState(row.status),
        overall_progress=row.progress_percentage,
        current_phase=None if current is None else {name: current[name] for name in _CURRENT if name in current},
        phases=described,
        tool_executions=[_call(call, now) for call in parts.calls],
        estimated_completion=None,
        state_transitions=[_change(change) for change in parts.changes],
        tool_calls=parts.many,
        running=[_open(call, names, now) for call in activity.running],
        running_calls=activity.open,
        estimate=None,
        elapsed_ms=active // 1000,
        usage=Usage(
            tokens_used=row.tokens_used,
            api_calls_made=row.api_calls_made,
            cost_estimate=Decimal(row.cost_estimate),
        ),
        attempt=row.attempt,
        version=row.version,
    )


def with_estimate(
    progress: InvestigationProgress,
    row: InvestigationRow,
    parts: Parts,
    history: History,
    now: int,
) -> InvestigationProgress:
    """The same, with when it is likely to be done at the time `now` (µs), as far as past runs tell."""
    place = _place(row, parts.phases, now)
    if history.sized:
        place = replace(place, sizes={**sizes(row), **parts.sizes})
    remaining = history.remaining(place)
    if remaining is None:
        return progress
    what = f"{remaining.runs} past runs of {row.investigation_type}"
    estimate = Estimate(
        earliest=to_datetime(now + int(remaining.low)),
        likely=to_datetime(now + int(remaining.likely)),
        latest=to_datetime(now + int(remaining.high)),
        runs=remaining.runs,
        basis=what,
    )
    return progress.model_copy(update={"estimate": estimate, "estimated_completion": estimate.likely})


def _place(row: InvestigationRow, phases: Sequence[PhaseRow], now: int) -> Place:
    elapsed = activity_of(from_json(row.activity)).active_at(now)
    inside = next((p for p in phases if p.phase_name == row.current_phase and p.status == PhaseState.RUNNING), None)
    if inside is not None:
        said: dict[str, Any] = from_json(inside.activity)
        since = float(said.get("begun", elapsed))
        reported = said.get("reported")
        percent = inside.progress_percentage if reported is None else int(reported)
        marks = marks_of(said)
        return Place(elapsed, inside.phase_name, since, percent=percent, marks=marks, reported=reported is not None)
    left = newest([phase for phase in phases if phase.attempt == row.attempt])
    if left is None or left.completed_at is None:
        return Place(elapsed)
    return Place(elapsed, left.phase_name, max(0.0, elapsed - (now - left.completed_at)), inside=False)


_CURRENT: Final = ("name", "progress", "status", "elapsed_ms")


def _phase(phase: PhaseRow, activity: Activity, active: int) -> Described:
    said: dict[str, Any] = from_json(phase.activity)
    called: Mapping[str, str] = said.get("called", {})
    declared: list[str] = from_json(phase.tools)
    one: Described = {"name": phase.phase_name, "status": phase.status, "progress": phase.progress_percentage}
    if phase.duration_ms is not None:
        one["duration_ms"] = phase.duration_ms
    if phase.status == PhaseState.RUNNING:
        one["elapsed_ms"] = max(0, active - int(said.get("begun", active))) // 1000
        newest = [call.tool for call in activity.running if call.phase == phase.id]
        if newest:
            one["active_tool"] = newest[-1]
    if called or declared:
        one["tools_used"] = list(called)
        one["tools_completed"] = [name for name, state in called.items() if state == COMPLETED]
        if phase.status in (PhaseState.RUNNING, PhaseState.PENDING):
            one["tools_pending"] = [name for name in dict.fromkeys(declared) if name not in called]
    return one


def _open(call: Running, phases: Mapping[str, str], now: int) -> Described:
    one: Described = {
        "tool": call.tool,
        "agent": call.agent,
        "phase": None if call.phase is None else phases.get(call.phase),
        "started_at": to_datetime(call.started_at),
        "elapsed_ms": max(0, now - call.started_at) // 1000,
    }
    return one if call.progress is None else {**one, "progress": call.progress}


def _change(change: Change) -> Described:
    return {"from": change.before, "to": change.after, "timestamp": to_datetime(change.at)}


def _call(call: Called, now: int) -> Described:
    one: Described = {
        "tool": call.tool,
        "agent": call.agent,
        "status": call.status,
        "duration_ms": call.duration_ms,
        "result_summary": call.result_summary,
    }
    if call.status == ToolState.RUNNING:
        one["elapsed_ms"] = max(0, now - call.started_at) // 1000
    return one
