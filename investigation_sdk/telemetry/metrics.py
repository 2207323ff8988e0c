"""Metrics: instruments of OpenTelemetry, fed by what runs here and by what this process makes durable.

No attribute is an id: the number of series stays that of types, phases, tools and states.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from investigation_sdk.domain.states import ALLOWED_TRANSITIONS, InvestigationState
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.session import Session
from investigation_sdk.storage.commit import StoredEvent
from investigation_sdk.telemetry import conventions as names
from investigation_sdk.telemetry.dropped import dropped

_PHASE_ENDS: Final = ("phase.completed", "phase.failed")
_BEFORE_FAILED: Final = tuple(
    before.value for before, ways in ALLOWED_TRANSITIONS.items() if InvestigationState.FAILED in ways
)
_SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400)
_BATCH: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


_KINDS: Final = (
    "input", "output", "data", "result", "checkpoint", "creation", "not_rebuildable", "not_stored", "left_out",
    "phase_left_open", "nested_phase", "subject_changed",
)  # fmt: skip
"""Of ``recorder.warning``."""

_WATCHED: Final = (
    (None, "created"),
    *((before, "failed") for before in _BEFORE_FAILED),
    ("failed", "retrying"),
    ("completing", "completed"),
)
"""Changes of state that tell that something is wrong, or what that is a share of."""


class Metrics:
    """The instruments of one meter provider; one of these for each, see :func:`metrics_of`."""

    def __init__(self, provider: MeterProvider | None) -> None:
        meter = get_meter(*names.SCOPE, meter_provider=provider, schema_url=names.SCHEMA_URL)
        self._recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._oldest: weakref.WeakKeyDictionary[object, float] = weakref.WeakKeyDictionary()

        def seconds(name: str, unit: str, description: str) -> Any:
            return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=_SECONDS)

        self._tool = seconds(*names.TOOL_DURATION)
        self._workflow = seconds(*names.WORKFLOW_DURATION)
        self._phase = seconds(*names.PHASE_DURATION)
        self._commit = seconds(*names.COMMIT_DURATION)
        self._batch = meter.create_histogram(*names.COMMIT_SIZE, explicit_bucket_boundaries_advisory=_BATCH)
        self._active = meter.create_up_down_counter(*names.ACTIVE)
        self._transitions = meter.create_counter(*names.TRANSITIONS)
        self._failures = meter.create_counter(*names.FAILURES)
        self._retries = meter.create_counter(*names.TOOL_RETRIES)
        self._dropped = meter.create_counter(*names.DROPPED)
        self._lost = meter.create_counter(*names.LEASE_LOST)
        name, unit, description = names.QUEUE
        meter.create_observable_gauge(name, [self._queued], unit, description)
        name, unit, description = names.OLDEST
        meter.create_observable_gauge(name, [self._oldest_of_all], unit, description)

    def watch(self, recorder: Recorder) -> None:
        """Measure what a recorder makes durable."""
        if recorder not in self._recorders:
            self._recorders.add(recorder)
            recorder.measure(self)
            recorder.sessions.observe(self._durable)
            try:
                for kind in _KINDS:
                    self._dropped.add(0, {names.WARNING_KIND: kind})
            except Exception as failed:  # else nothing at all would be reported
                dropped("what is counted from 0", failed)

    def expect(self, investigation_types: Iterable[str]) -> None:
        """Count from 0 what may go wrong with investigations of these types: who asks how much a counter has grown does
        not see its first value."""
        try:
            for investigation_type in investigation_types:
                if investigation_type not in self._known:
                    self._known.add(investigation_type)
                    of = {names.INVESTIGATION_TYPE: investigation_type}
                    self._lost.add(0, of)
                    for before, after in _WATCHED:
                        self._transitions.add(0, {**of, **_changed(before, after)})
        except Exception as failed:
            dropped("what is counted from 0", failed)

    def _queued(self, options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(sum(recorder.sessions.queued for recorder in list(self._recorders)))]

    def _durable(self, session: Session, events: Sequence[StoredEvent]) -> None:
        for event in events:
            kind = event.event_type
            if event.new_state is not None:
                self._transition(session, event)
            elif kind in _PHASE_ENDS:
                self._phase_ended(session, event)
            elif kind == "recorder.warning":
                self._dropped.add(1, {names.WARNING_KIND: _data(event).get("kind", "")})

    def _transition(self, session: Session, event: StoredEvent) -> None:
        of = {names.INVESTIGATION_TYPE: session.decided.investigation_type}
        self.expect(of.values())
        self._transitions.add(1, {**of, **_changed(event.previous_state, event.new_state or "")})
        if event.event_type == "investigation.failed":
            self._failures.add(1, {**of, names.FAILURE_KIND: _data(event).get("kind", "")})

    def _phase_ended(self, session: Session, event: StoredEvent) -> None:
        data = _data(event)
        attributes = {
            names.INVESTIGATION_TYPE: session.decided.investigation_type,
            names.PHASE_NAME: data["name"],
            names.OUTCOME: event.event_type.rpartition(".")[2],
        }
        self._phase.record(data["duration_ms"] / 1000, attributes)

    # ---- told by spans

    def entered(self, investigation_type: str) -> None:
        """A block is entered."""
        self.expect((investigation_type,))
        self._active.add(1, {names.INVESTIGATION_TYPE: investigation_type})

    def left(self, investigation_type: str, seconds: float, event_type: str, kind: str | None) -> None:
        """A block is left: with the type of the event that says so, and that of the exception."""
        self._active.add(-1, {names.INVESTIGATION_TYPE: investigation_type})
        attributes = {names.WORKFLOW_NAME: investigation_type, names.OUTCOME: event_type.rpartition(".")[2]}
        if kind is not None:
            attributes[names.ERROR_TYPE] = kind
        self._workflow.record(seconds, attributes)

    def lost(self, investigation_type: str) -> None:
        """A block ended because another owner took its investigation."""
        self._lost.add(1, {names.INVESTIGATION_TYPE: investigation_type})

    def called(self, tool: str, data: Mapping[str, Any], outcome: str, kind: str | None) -> None:
        """A body has ended: completed, failed or interrupted, and with that type of exception."""
        attributes = {names.TOOL_NAME: tool, names.OUTCOME: outcome}
        if kind is not None:
            attributes[names.ERROR_TYPE] = kind
        self._tool.record(data["duration_ms"] / 1000, attributes)

    def retried(self, tool: str) -> None:
        """A call of an earlier attempt runs again."""
        self._retries.add(1, {names.TOOL_NAME: tool})

    # ---- told by monitors

    def oldest(self, monitor: object, seconds: float | None) -> None:
        """What one monitor found in its last round: how long ago the oldest of the finished investigations ended.
        None: nothing is finished, or another process looks."""
        with self._lock:
            self._oldest.pop(monitor, None)
            if seconds is not None:
                self._oldest[monitor] = seconds

    def _oldest_of_all(self, options: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            ages = list(self._oldest.values())
        return [Observation(max(ages))] if ages else []

    # ---- told by the writer

    def committed(self, seconds: float, events: int, *, failed: bool) -> None:
        """A batch was answered by the store, or failed."""
        attributes = {names.OUTCOME: "failed" if failed else "answered"}
        try:
            self._commit.record(seconds, attributes)
            self._batch.record(events, attributes)
        except Exception as error:  # the writer waits for nobody's instruments, and dies of none
            dropped("a metric of commits", error)


def _changed(before: str | None, after: str) -> dict[str, str]:
    return {names.NEW_STATE: after} if before is None else {names.PREVIOUS_STATE: before, names.NEW_STATE: after}


def _data(event: StoredEvent) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(event.event_data)
    return data


_global: list[Metrics] = []
_of: weakref.WeakKeyDictionary[MeterProvider, Metrics] = weakref.WeakKeyDictionary()


def metrics_of(provider: MeterProvider | None) -> Metrics:
    """The instruments of a provider, None being the global one; made once, as each exists once in a provider.

    Not to be called by two threads at a time, nor :meth:`Metrics.watch`.
    """
    if provider is None:
        if not _global:
            _global.append(Metrics(None))
        return _global[0]
    known = _of.get(provider)
    if known is None:
        known = _of[provider] = Metrics(provider)
    return known
