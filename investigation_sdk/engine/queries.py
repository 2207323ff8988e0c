"""The reading side: rows and stored events become records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import groupby
from typing import Any, Final, TypeAlias, TypeVar, cast

from investigation_sdk.arguments import MOMENT_OR_NONE, check, one_of
from investigation_sdk.clock import from_datetime, to_datetime
from investigation_sdk.domain.events import SCHEMA_VERSIONS
from investigation_sdk.domain.records import (
    Investigation,
    InvestigationEvent,
    InvestigationPhase,
    InvestigationSnapshot,
    Page,
    Source,
    ToolExecution,
    ToolTotals,
    Usage,
)
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, SnapshotRow, ToolRow
from investigation_sdk.domain.states import Effect, InvestigationState, PhaseState, ToolState
from investigation_sdk.engine.reading import get_row, has_large, known_data, payload, row_and_phases, whole
from investigation_sdk.engine.sight import Sight, equals
from investigation_sdk.engine.sound import readable, sound
from investigation_sdk.ids import lower_bound
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.codec import decode
from investigation_sdk.storage.commit import Aggregate, Measure, Query, StoredEvent, Where
from investigation_sdk.storage.spelling import to_json

When: TypeAlias = datetime | timedelta
"""A moment, or how long ago."""

_PAGE: Final = 1000

T = TypeVar("T")


def created_between(since: When | None, until: When | None) -> list[Where]:
    """Conditions on ids: UUIDv7s sort by the time of their creation."""
    check(since=(since, MOMENT_OR_NONE), until=(until, MOMENT_OR_NONE))
    wheres: list[Where] = []
    if since is not None:
        wheres.append(Where("id", ">=", lower_bound(_moment(since))))
    if until is not None:
        wheres.append(Where("id", "<", lower_bound(_moment(until))))
    return wheres


def _moment(when: When) -> int:
    return from_datetime(datetime.now(UTC) - when if isinstance(when, timedelta) else when)


def in_states(field: str, kind: type[StrEnum], value: str | Sequence[str] | None) -> list[Where]:
    """A condition on a field whose values are those of an enumeration.

    Raises:
        InvalidArgument: it has no such value.
    """
    if value is None:
        return []
    known = one_of(kind)
    for given in value if isinstance(value, list | tuple | set | frozenset) else [value]:
        check(**{field: (given, known)})
    return equals(field, value)


def investigation(row: InvestigationRow) -> Investigation:
    """The record of a row.

    Raises:
        RecordUnreadable: the row holds what the SDK does not write there; also :func:`phase` and :func:`tool`.
    """
    with readable(row.id):
        return _investigation(sound(row))


def _investigation(row: InvestigationRow) -> Investigation:
    return Investigation(
        id=row.id,
        user_id=row.user_id,
        subject=row.subject,
        investigation_type=row.investigation_type,
        key=row.key,
        status=InvestigationState(row.status),
        current_phase=row.current_phase,
        progress_percentage=row.progress_percentage,
        created_at=to_datetime(row.created_at),
        started_at=_time(row.started_at),
        completed_at=_time(row.completed_at),
        failed_at=_time(row.failed_at),
        updated_at=to_datetime(row.updated_at),
        retry_count=row.retry_count,
        error_message=row.error_message,
        failure_kind=row.failure_kind,
        parent_investigation_id=row.parent_investigation_id,
        result=_value(row.result),
        metadata=_object(_value(row.metadata) or {}),
        configuration=_object(_value(row.configuration) or {}),
        usage=Usage(
            tokens_used=row.tokens_used,
            api_calls_made=row.api_calls_made,
            cost_estimate=Decimal(row.cost_estimate),
        ),
        version=row.version,
        tenant_id=row.tenant_id or None,
    )


async def phase(backend: Backend, row: PhaseRow) -> InvestigationPhase:
    """The record of a row; payloads that are not in it come from their events."""
    with readable(row.investigation_id):
        return await _phase(backend, sound(row))


async def _phase(backend: Backend, row: PhaseRow) -> InvestigationPhase:
    return InvestigationPhase(
        id=row.id,
        investigation_id=row.investigation_id,
        phase_name=row.phase_name,
        phase_order=row.phase_order,
        status=PhaseState(row.status),
        progress_percentage=row.progress_percentage,
        started_at=_time(row.started_at),
        completed_at=_time(row.completed_at),
        duration_ms=row.duration_ms,
        input_data=await payload(backend, row.investigation_id, row.input_data, row.input_sequence, "input"),
        output_data=await payload(backend, row.investigation_id, row.output_data, row.output_sequence, "output"),
        error_details=_value(row.error_details),
    )


async def tool(backend: Backend, row: ToolRow) -> ToolExecution:
    """The record of a row; payloads that are not in it come from their events."""
    with readable(row.investigation_id):
        return await _tool(backend, sound(row))


async def _tool(backend: Backend, row: ToolRow) -> ToolExecution:
    id = row.investigation_id
    parameters = await payload(backend, id, row.input_parameters, row.input_sequence, "input")
    return ToolExecution(
        id=row.id,
        investigation_id=id,
        phase_id=row.phase_id,
        agent_name=row.agent_name,
        tool_name=row.tool_name,
        tool_version=row.tool_version,
        started_at=to_datetime(row.started_at),
        completed_at=_time(row.completed_at),
        duration_ms=row.duration_ms,
        status=ToolState(row.status),
        input_parameters=_object(parameters),
        output_result=await payload(backend, id, row.output_result, row.output_sequence, "output"),
        error_message=row.error_message,
        tokens_used=row.tokens_used,
        api_calls_made=row.api_calls_made,
        cost_estimate=None if row.cost_estimate is None else Decimal(row.cost_estimate),
        effect=None if row.effect is None else Effect(row.effect),
        source=cast("Source", row.source),
        attempt=row.attempt,
        result_summary=row.result_summary,
    )


def _object(value: Any) -> dict[Any, Any]:
    """What stands where an object is expected, and may be a mask or a note of its size instead."""
    return cast("Any", value) if isinstance(value, dict) else {"": value}


def event(stored: StoredEvent) -> InvestigationEvent:
    """The record of a stored event. What its data says comes back decoded; user classes as inert notes.

    Raises:
        RecordUnreadable: it is not what the SDK writes.
    """
    with readable(stored.investigation_id, stored.sequence):
        return _event(sound(stored))


def _event(stored: StoredEvent) -> InvestigationEvent:
    text = stored.event_data
    if SCHEMA_VERSIONS.get(stored.event_type, 1) > 1:  # there are older versions of it
        text = to_json(known_data(stored)).decode()
    data = decode(text)
    return InvestigationEvent(
        id=stored.id,
        investigation_id=stored.investigation_id,
        sequence=stored.sequence,
        event_type=stored.event_type,
        event_timestamp=to_datetime(stored.event_timestamp),
        actor=stored.actor,
        previous_state=None if stored.previous_state is None else InvestigationState(stored.previous_state),
        new_state=None if stored.new_state is None else InvestigationState(stored.new_state),
        event_data=_object(data),
        metadata=_value(stored.metadata) or {},
        hash=stored.hash.hex(),
    )


Look: TypeAlias = "Callable[[Backend, str, Sight], Awaitable[InvestigationRow]]"
"""Finds the row of an investigation, as :func:`~investigation_sdk.engine.reading.get_row` does."""


async def whole_investigation(
    backend: Backend, investigation_id: str, sight: Sight, *, look: Look = get_row
) -> Investigation:
    """One investigation; what of it stands in blobs is read."""
    row = await look(backend, investigation_id, sight)
    record = investigation(row)
    large = {name: value for name in _LARGE if has_large(value := getattr(record, name))}
    return record.model_copy(update={name: await whole(backend, row.id, value) for name, value in large.items()})


_LARGE: Final = ("result", "metadata", "configuration")


async def whole_value(backend: Backend, investigation_id: str, sight: Sight, value: Any) -> Any:
    """A part of a record of this investigation; what of it stands in blobs is read."""
    await get_row(backend, investigation_id, sight)
    return await whole(backend, investigation_id, value)


async def find(
    backend: Backend, key: str, investigation_type: str, of_these: Sequence[Where]
) -> InvestigationRow | None:
    """The newest generation of a key, of those that conditions leave."""
    wheres = (
        *of_these,
        Where("investigation_type", "=", investigation_type),
        Where("key", "=", key),
    )
    rows = await backend.find(Query("investigation", wheres, sort="generation", descending=True, limit=1))
    return sound(rows[0]) if rows and isinstance(rows[0], InvestigationRow) else None


async def list_investigations(
    backend: Backend, wheres: Sequence[Where], after: str | None, limit: int
) -> Page[Investigation]:
    """A page of investigations, newest first."""
    rows, following = await _page(backend, Query("investigation", tuple(wheres), "id", True, _after(after), limit))
    return Page([investigation(row) for row in rows if isinstance(row, InvestigationRow)], following)


async def list_tools(
    backend: Backend, wheres: Sequence[Where], after: str | None, limit: int, *, newest_first: bool
) -> Page[ToolExecution]:
    """A page of calls, in the order of their start."""
    rows, following = await _page(backend, Query("tool", tuple(wheres), "id", newest_first, _after(after), limit))
    records = await asyncio.gather(*(tool(backend, row) for row in rows if isinstance(row, ToolRow)))
    return Page(list(records), following)


async def list_snapshots(
    backend: Backend, investigation_id: str, sight: Sight, after: str | None, limit: int
) -> Page[InvestigationSnapshot]:
    """Snapshots, the newest first."""
    await get_row(backend, investigation_id, sight)
    where = (Where("investigation_id", "=", investigation_id),)
    rows, following = await _page(backend, Query("snapshot", where, descending=True, after=_after(after), limit=limit))
    with readable(investigation_id):
        return Page([_snapshot(row) for row in rows], following)


def _snapshot(row: SnapshotRow) -> InvestigationSnapshot:
    return InvestigationSnapshot(
        id=row.id,
        investigation_id=row.investigation_id,
        snapshot_timestamp=to_datetime(row.snapshot_timestamp),
        snapshot_type=row.snapshot_type,
        state_data=decode(row.state_data),
        phase_states=decode(row.phase_states),
        tool_states=decode(row.tool_states),
    )


async def tool_totals(backend: Backend, investigation_id: str, sight: Sight) -> list[ToolTotals]:
    """What an investigation's calls add up to, in the order of phases' ids, agents and tools."""
    await get_row(backend, investigation_id, sight)
    groups = ("phase_id", "agent_name", "tool_name", "status")
    wheres = (Where("investigation_id", "=", investigation_id),)
    found = await backend.aggregate(
        Aggregate("tool", wheres, groups, (Measure("count"), Measure("sum", "duration_ms")))
    )
    totals: list[ToolTotals] = []
    with readable(investigation_id):
        for named, of_states in groupby(found, lambda row: row[:3]):
            states = list(of_states)
            totals.append(
                ToolTotals(
                    phase_id=named[0],
                    agent_name=named[1],
                    tool_name=named[2],
                    calls=sum(count for *_, count, _ in states),
                    by_status={ToolState(status): count for *_, status, count, _ in states},
                    duration_ms=sum(int(ms) for *_, ms in states),
                )
            )
    return totals


async def phase_named(backend: Backend, investigation_id: str, name: str) -> str | None:
    """The id of a phase by its name."""
    wheres = (Where("investigation_id", "=", investigation_id), Where("phase_name", "=", name))
    rows = await backend.find(Query("phase", wheres, limit=1))
    return rows[0].id if rows else None


async def list_phases(backend: Backend, investigation_id: str, sight: Sight) -> list[InvestigationPhase]:
    """All phases, in order."""
    _, phases = await row_and_phases(backend, investigation_id, sight)
    return list(await asyncio.gather(*(phase(backend, row) for row in phases)))


def _after(after: str | None) -> tuple[Any, str] | None:
    return None if after is None else (after, after)


async def _page(backend: Backend, query: Query) -> tuple[list[Any], str | None]:
    """Rows of a page, and where the next begins: None where this is the last. One row more is asked for."""
    limit = query.limit
    more = Query(query.kind, query.where, query.sort, query.descending, query.after, limit + 1)
    rows = list(await backend.find(more))
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


async def read_events(
    backend: Backend,
    investigation_id: str,
    sight: Sight,
    types: Sequence[str] | None,
    actor: str | None,
    after: int,
    limit: int,
) -> Page[InvestigationEvent]:
    """A page of events, in order."""
    await get_row(backend, investigation_id, sight)
    found: list[StoredEvent] = []
    position = after
    while len(found) <= limit:
        page = await backend.read_events(investigation_id, after=position, limit=_PAGE, event_type=types)
        found += [e for e in page if actor is None or e.actor == actor]
        if len(page) < _PAGE:
            break
        position = page[-1].sequence
    following = str(found[limit - 1].sequence) if len(found) > limit else None
    return Page([event(e) for e in found[:limit]], following)


async def iterate_events(
    backend: Backend, investigation_id: str, sight: Sight, types: Sequence[str] | None, after: int
) -> AsyncIterator[Sequence[InvestigationEvent]]:
    """All events behind `after`, in order, a chunk at a time."""
    await get_row(backend, investigation_id, sight)
    while True:
        page = await backend.read_events(investigation_id, after=after, limit=_PAGE, event_type=types)
        if page:
            yield [event(stored) for stored in page]
        if len(page) < _PAGE:
            return
        after = page[-1].sequence


def _time(time_us: int | None) -> datetime | None:
    return None if time_us is None else to_datetime(time_us)


def _value(text: str | None) -> Any:
    return None if text is None else decode(text)


async def next_or_none(chunks: AsyncIterator[T]) -> T | None:
    """The next one, None after the last."""
    return await anext(chunks, None)
