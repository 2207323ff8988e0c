"""Past runs as estimates need them: two bounded queries for a type, kept for a while."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

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
    spans: dict[str, dict[str, Span]] = {id: {} for id in rows}
    for phase in phases:
        if isinstance(phase, PhaseRow) and phase.started_at is not None and phase.completed_at is not None:
            began = rows[phase.investigation_id].started_at or 0
            spans[phase.investigation_id][phase.phase_name] = span(phase, began)
    if len(phases) > _MAX_PHASES:  # of the run where the page ends, only some are there
        last = phases[-1]
        for id in [id for id in spans if isinstance(last, PhaseRow) and id <= last.investigation_id]:
            del spans[id]
    return History(PastRun(_duration(rows[id]), spans[id]) for id in spans)


def _duration(row: InvestigationRow) -> int:
    return max(0, (row.completed_at or 0) - (row.started_at or 0))


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
        marks = marks_of(json.loads(phase.activity))
    return Span(max(0, (phase.started_at or 0) - began), max(0, (phase.completed_at or 0) - began), marks)


def newest(phases: Sequence[PhaseRow]) -> PhaseRow | None:
    """The phase that was left last."""
    left = [phase for phase in phases if phase.completed_at is not None]
    return max(left, key=lambda phase: phase.completed_at or 0, default=None)
