"""What progress is worked out from beside the row of an investigation: of payloads some numbers, and no times that go
on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, ToolRow
from investigation_sdk.engine.history import sizes_of_phases
from investigation_sdk.engine.reading import get_row, phases_of, row_and_phases
from investigation_sdk.engine.sight import Sight
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import Aggregate, Query, Where

MAX_CALLS: Final = 100
"""Calls in the full form, the newest; `many` says how many there are."""

_PAGE: Final = 1000
_CHANGES: Final = (
    "state.transition",
    "investigation.completed",
    "investigation.failed",
    "investigation.cancelled",
)


class Called(NamedTuple):
    """What is told of a call."""

    tool: str
    agent: str
    status: str
    started_at: int
    duration_ms: int | None
    result_summary: str | None


class Change(NamedTuple):
    """A change of state, and when (µs)."""

    before: str
    after: str
    at: int


class Parts(NamedTuple):
    """Of one investigation, at its version or later."""

    phases: Sequence[PhaseRow]
    """Without their payloads."""
    calls: Sequence[Called] = ()
    many: int | None = None
    """How many calls there are; None in the summary form."""
    changes: Sequence[Change] = ()
    sizes: Mapping[str, float] = {}
    """Of its phases; see :func:`investigation_sdk.engine.history.sizes_of_phases`."""


class Source(Protocol):
    """Where progress is worked out from. On the I/O thread."""

    async def get_row(self, backend: Backend, investigation_id: str, sight: Sight) -> InvestigationRow:
        """See :func:`investigation_sdk.engine.reading.get_row`."""
        ...

    async def parts(self, backend: Backend, row: InvestigationRow, *, with_tools: bool) -> Parts:
        """Those that show at least what the row shows."""
        ...

    async def both(
        self, backend: Backend, id: str, sight: Sight, *, with_tools: bool
    ) -> tuple[InvestigationRow, Parts]:
        """The row and the parts."""
        ...


class Stored:
    """The store, asked each time; see :class:`Source`."""

    async def get_row(self, backend: Backend, investigation_id: str, sight: Sight) -> InvestigationRow:
        """See there."""
        return await get_row(backend, investigation_id, sight)

    async def parts(self, backend: Backend, row: InvestigationRow, *, with_tools: bool) -> Parts:
        """See there."""
        return await read_parts(backend, row.id, with_tools=with_tools)

    async def both(
        self, backend: Backend, id: str, sight: Sight, *, with_tools: bool
    ) -> tuple[InvestigationRow, Parts]:
        """See there; at the same time."""
        if not with_tools:
            row, phases = await row_and_phases(backend, id, sight)
            return row, parts_of(phases)
        (row, phases), calls, many, changes = await asyncio.gather(
            row_and_phases(backend, id, sight),
            _newest_calls(backend, id),
            _count_calls(backend, id),
            _changes(backend, id),
        )
        return row, parts_of(phases)._replace(calls=calls, many=many, changes=changes)


async def read_parts(backend: Backend, id: str, *, with_tools: bool) -> Parts:
    """All of it, from the store."""
    if not with_tools:
        return parts_of(await phases_of(backend, id))
    phases, calls, many, changes = await asyncio.gather(
        phases_of(backend, id), _newest_calls(backend, id), _count_calls(backend, id), _changes(backend, id)
    )
    return parts_of(phases)._replace(calls=calls, many=many, changes=changes)


def parts_of(phases: Sequence[PhaseRow]) -> Parts:
    """The summary form, by the rows of the phases."""
    bare = [phase._replace(input_data=None, output_data=None, error_details=None) for phase in phases]
    return Parts(bare, sizes=sizes_of_phases(phases))


async def _newest_calls(backend: Backend, id: str) -> list[Called]:
    query = Query("tool", (Where("investigation_id", "=", id),), descending=True, limit=MAX_CALLS)
    return [_called(row) for row in reversed(await backend.find(query)) if isinstance(row, ToolRow)]


def _called(row: ToolRow) -> Called:
    return Called(row.tool_name, row.agent_name, row.status, row.started_at, row.duration_ms, row.result_summary)


async def _count_calls(backend: Backend, id: str) -> int:
    ((count,),) = await backend.aggregate(Aggregate("tool", (Where("investigation_id", "=", id),)))
    return int(count)


async def _changes(backend: Backend, id: str) -> list[Change]:
    changes: list[Change] = []
    after = 0
    while True:
        events = await backend.read_events(id, after=after, event_type=_CHANGES, limit=_PAGE)
        changes += [
            Change(event.previous_state, event.new_state, event.event_timestamp)
            for event in events
            if event.previous_state is not None and event.new_state is not None
        ]
        if len(events) < _PAGE:
            return changes
        after = events[-1].sequence
