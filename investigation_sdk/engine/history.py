"""Past runs as estimates need them: two bounded queries for a type, kept for a while."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, cast

from investigation_sdk.domain.activity import activity_of, marks_of
from investigation_sdk.domain.estimate import History, PastRun, Span
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.engine.sound import readable
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import Query, Where

MAX_RUNS: Final = 50
"""Past runs that are asked, the newest."""

KEPT_SECONDS: Final = 60.0
"""For so long they are not read again."""

_KEPT: Final = 256
_MAX_PHASES: Final = 1000
_MAX_SIZES: Final = 12
_LONG: Final = 4096
"""Characters of JSON beyond which it is not searched for sizes."""

_SMALLEST: Final = 1e-9
_LARGEST: Final = 1e18
_UNINTERRUPTED: Final = 0.95
"""A run counts if it was running for at least that part of the time from its beginning to its end."""


class Histories:
    """Past runs by type. On the I/O thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], tuple[float, asyncio.Task[History]]] = OrderedDict()

    async def of(self, backend: Backend, tenant: str, investigation_type: str) -> History:
        """Those of one tenant and type. Whoever asks while they are read waits for the same reading."""
        key = (tenant, investigation_type)
        found = self._known.get(key)
        if found is None or found[0] < time.monotonic() or not _usable(found[1]):
            task = asyncio.create_task(read(backend, tenant, investigation_type), name="investigation-history")
            found = self._known[key] = (time.monotonic() + KEPT_SECONDS, task)
            self._known.move_to_end(key)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return await asyncio.shield(found[1])


def _usable(task: asyncio.Task[History]) -> bool:
    """Whether it has, or will have, a result on this loop."""
    if not task.done():
        return task.get_loop() is asyncio.get_running_loop()
    return not task.cancelled() and task.exception() is None


async def read(backend: Backend, tenant: str, investigation_type: str) -> History:
    """The newest runs that were completed at the first attempt, without long pauses."""
    wheres = (
        Where("investigation_type", "=", investigation_type),
        Where("tenant_id", "=", tenant),
        Where("status", "=", InvestigationState.COMPLETED.value),
        Where("attempt", "=", 1),
    )
    found = await backend.find(Query("investigation", wheres, descending=True, limit=MAX_RUNS))
    rows = {row.id: row for row in found if isinstance(row, InvestigationRow) and _whole(row)}
    if not rows:
        return History(())
    of_these = (Where("investigation_id", "in", tuple(rows)),)
    phases = await backend.find(Query("phase", of_these, "investigation_id", descending=True, limit=_MAX_PHASES + 1))
    gone: dict[str, list[PhaseRow]] = {id: [] for id in rows}
    for phase in phases:
        if isinstance(phase, PhaseRow) and phase.started_at is not None and phase.completed_at is not None:
            gone[phase.investigation_id].append(phase)
    if len(phases) > _MAX_PHASES:  # of the run where the page ends, only some are there
        last = phases[-1]
        for id in [id for id in gone if isinstance(last, PhaseRow) and id <= last.investigation_id]:
            del gone[id]
    return History(past_run(rows[id], gone[id]) for id in gone)


def past_run(row: InvestigationRow, phases: Sequence[PhaseRow]) -> PastRun:
    """A completed run, as estimates see it, by its row and those of the phases that it went through."""
    began = row.started_at or 0
    spans = {phase.phase_name: span(phase, began) for phase in phases}
    return PastRun(_duration(row), spans, {**sizes(row), **sizes_of_phases(phases)})


def _duration(row: InvestigationRow) -> int:
    return max(0, (row.completed_at or 0) - (row.started_at or 0))


def sizes(row: InvestigationRow) -> dict[str, float]:
    """How much a run was given: the numbers, and the lengths of the lists, in its configuration and metadata. Some of
    them, where there are many."""
    found: dict[str, float] = {}
    _add_sizes(found, "configuration", row.configuration)
    _add_sizes(found, "metadata", row.metadata)
    return found


def sizes_of_phases(phases: Sequence[PhaseRow]) -> dict[str, float]:
    """How much it was given or found: the same in the input of each phase, and in the output of each that was left."""
    found: dict[str, float] = {}
    for phase in sorted(phases, key=lambda phase: phase.phase_order):
        _add_sizes(found, f"{phase.phase_name} input", phase.input_data)
        if phase.completed_at is not None:
            _add_sizes(found, f"{phase.phase_name} output", phase.output_data)
    return found


def _add_sizes(found: dict[str, float], where: str, text: str | None) -> None:
    if text is None or len(text) > _LONG or len(found) >= _MAX_SIZES:
        return
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return
    for name, value in cast("dict[str, Any]", said).items() if isinstance(said, dict) else ():
        size = len(cast("Sequence[Any]", value)) if isinstance(value, list) else value
        number = isinstance(size, int | float) and not isinstance(size, bool)
        if number and _SMALLEST < size < _LARGEST and len(found) < _MAX_SIZES:
            found[f"{where} {name}"] = float(size)


def _whole(row: InvestigationRow) -> bool:
    if row.started_at is None or row.completed_at is None:
        return False
    try:
        active = activity_of(json.loads(row.activity)).active
    except (ValueError, TypeError, AttributeError):
        return False
    return active >= _UNINTERRUPTED * _duration(row)


def span(phase: PhaseRow, began: int) -> Span:
    """When a phase that was left was gone through, in a run that began then (µs)."""
    with readable(phase.investigation_id):
        said = json.loads(phase.activity)
        marks, reported = marks_of(said), said.get("reported") is not None
    return Span(max(0, (phase.started_at or 0) - began), max(0, (phase.completed_at or 0) - began), marks, reported)


def newest(phases: Sequence[PhaseRow]) -> PhaseRow | None:
    """The phase that was left last."""
    left = [phase for phase in phases if phase.completed_at is not None]
    return max(left, key=lambda phase: phase.completed_at or 0, default=None)
