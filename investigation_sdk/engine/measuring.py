"""Metrics as a query over the store, for those without a collector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any, Final

from investigation_sdk.domain.metrics import Change, Metrics, MetricsReport
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow
from investigation_sdk.domain.states import PhaseState
from investigation_sdk.engine.reading import known_data
from investigation_sdk.engine.sound import readable
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import Aggregate, Query, StoredEvent, Where

_AT_ONCE: Final = 500
_LOGS_AT_ONCE: Final = 8
_CHANGES: Final = (
    "investigation.created",
    "state.transition",
    "investigation.completed",
    "investigation.failed",
    "investigation.cancelled",
)
_LEFT: Final = (PhaseState.COMPLETED.value, PhaseState.FAILED.value)


async def measure(backend: Backend, wheres: Sequence[Where]) -> MetricsReport:
    """What the investigations that match add up to.

    The memory it takes does not grow with their number; the time does: three queries for 500 of them, and one for the
    changes of state of each.
    """
    metrics = Metrics()
    async for rows in _pages(backend, wheres):
        for row in rows:
            with readable(row.id):
                cost = Decimal(row.cost_estimate)
            metrics.investigation(row.status, row.tokens_used, row.api_calls_made, cost)
        ids = tuple(row.id for row in rows)
        await _phases(backend, ids, metrics)
        of_tools = Aggregate("tool", (Where("investigation_id", "in", ids),), ("tool_name", "status"))
        for name, status, calls in await backend.aggregate(of_tools):
            metrics.tool(name, status, calls)
        for start in range(0, len(ids), _LOGS_AT_ONCE):
            logs = await asyncio.gather(*(_changes(backend, id) for id in ids[start : start + _LOGS_AT_ONCE]))
            for changes in logs:
                metrics.changes(changes)
    return metrics.report()


async def _pages(backend: Backend, wheres: Sequence[Where]) -> AsyncIterator[Sequence[InvestigationRow]]:
    after: tuple[Any, str] | None = None
    while True:
        found = await backend.find(Query("investigation", tuple(wheres), after=after, limit=_AT_ONCE))
        rows = [row for row in found if isinstance(row, InvestigationRow)]
        if rows:
            yield rows
        if len(rows) < _AT_ONCE:
            return
        after = (rows[-1].id, rows[-1].id)


async def _phases(backend: Backend, ids: tuple[str, ...], metrics: Metrics) -> None:
    wheres = (Where("investigation_id", "in", ids), Where("status", "in", _LEFT))
    after: tuple[Any, str] | None = None
    while True:
        rows = await backend.find(Query("phase", wheres, after=after, limit=_AT_ONCE))
        for row in rows:
            if isinstance(row, PhaseRow) and row.duration_ms is not None:
                metrics.phase(row.phase_name, row.duration_ms)
        if len(rows) < _AT_ONCE:
            return
        after = (rows[-1].id, rows[-1].id)


async def _changes(backend: Backend, investigation_id: str) -> list[Change]:
    changes: list[Change] = []
    after = 0
    while True:
        found = await backend.read_events(investigation_id, after=after, event_type=_CHANGES, limit=1000)
        changes += [_change(event) for event in found if event.new_state is not None]
        if len(found) < 1000:
            return changes
        after = found[-1].sequence


def _change(event: StoredEvent) -> Change:
    data = known_data(event)
    reason, kind = data.get("reason"), data.get("kind")
    return Change(
        event.event_timestamp,
        event.previous_state,
        event.new_state or "",
        event.actor,
        None if reason is None else str(reason),
        str(kind) if event.event_type == "investigation.failed" and kind is not None else None,
    )
