"""Repair: bring a session up to what the store has, after a conflict or when others have written."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TypeVar

from investigation_sdk.clock import now_us
from investigation_sdk.domain.commands import Fact
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, ToolRow
from investigation_sdk.domain.states import TERMINAL
from investigation_sdk.domain.unproject import fold_from_rows
from investigation_sdk.engine.entries import Woken
from investigation_sdk.engine.kept import KeptSession
from investigation_sdk.engine.outcomes import on_found, on_gone, on_reloaded
from investigation_sdk.engine.reading import get_row, to_event
from investigation_sdk.engine.rebuilding import rebuild
from investigation_sdk.engine.session import Session
from investigation_sdk.engine.sight import Sight
from investigation_sdk.engine.snapshots import Base, count_calls, read_base
from investigation_sdk.engine.sound import readable, sound, sound_json, unreadable
from investigation_sdk.engine.texts import clean
from investigation_sdk.errors import InvestigationNotFound, RecordUnreadable, VersionConflict
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.chain import link
from investigation_sdk.storage.commit import Kind, Query, StoredEvent, Where

_log = logging.getLogger("investigation_sdk.engine")

RowT = TypeVar("RowT", PhaseRow, ToolRow)

_PAGE = 256
_TRIES = 50
_LONG_AGO = -(10**12)
"""Of the last snapshot, so that the next commit has one, however many events lie between two."""


async def read_after(backend: Backend, investigation_id: str, after: int) -> list[StoredEvent]:
    """All events behind `after`."""
    events: list[StoredEvent] = []
    while True:
        page = await backend.read_events(investigation_id, after=after, limit=_PAGE)
        events += page
        if len(page) < _PAGE:
            return events
        after = page[-1].sequence


async def repair(session: Session, backend: Backend) -> Woken:
    """Fold what others have written, decide again what is queued; whom to wake.

    Raises:
        BackendUnavailable: the store does not answer; nothing was changed.
        RecordUnreadable: what others have written cannot be read; nothing was changed.
    """
    if session.acked_torn:
        return await _reload(session, backend)
    version = session.acked.version
    found = await read_after(backend, session.id, version)
    if not found:
        row = await backend.get("investigation", session.id)
        if isinstance(row, InvestigationRow):
            if (row.version, row.head) == (version, session.head):
                return on_found(session, (), to_event)
            if row.version > version:  # somebody wrote between the two reads
                found = await read_after(backend, session.id, version)
    if found and link(session.head, found[0].header, found[0].event_data) == found[0].hash:
        events = {stored.sequence: to_event(sound(stored)) for stored in found}
        return on_found(session, found, lambda stored: events[stored.sequence])
    return on_gone(
        session,
        f"Investigation {session.id} in the store is not the one that was written here: event "
        f"{session.acked.version} is gone or another. It was deleted, or the store was set back to a backup.",
    )


async def _reload(session: Session, backend: Backend) -> Woken:
    """After an exception in the middle of folding: take what is acknowledged from the store."""
    try:
        read = await load(backend, session.id, session.acked.tenant, snapshots=session.snapshot_every > 0)
    except InvestigationNotFound as error:
        return on_gone(session, error.args[0])
    flight = session.in_flight
    applied = False
    if flight is not None:
        first = await backend.read_events(session.id, after=flight.commit.expected_version, limit=1)
        applied = bool(first) and first[0].id == flight.commit.id
    return on_reloaded(session, read, applied=applied)


async def load(
    backend: Backend, investigation_id: str, tenant: str, *, snapshots: bool = True, count: bool = True
) -> Session:
    """A session for an investigation that is in the store, made from its rows of one version; with `snapshots`, also
    from its latest one, so that it can make the next. Without `count`, that waits until it is told how often each tool
    was called: by whoever reads the calls anyway.

    Rows that cannot be read, or do not fit together, are made again from the events, and a warning event says so.

    Raises:
        InvestigationNotFound: there is none of that id, or it is another tenant's.
        RecordUnreadable: its rows are not what the SDK writes, and cannot be made again: the log is damaged as well, or
            is not the one that its row is of.
        VersionConflict: it changes all the time.
    """
    try:
        return await _load(backend, investigation_id, tenant, snapshots=snapshots, count=count)
    except RecordUnreadable as damaged:
        await rebuild(backend, investigation_id, Sight(tenant))
        session = await _load(backend, investigation_id, tenant, snapshots=snapshots, count=count)
        _warn(session, "rows", f"Rows could not be used, and were made again from the events: {damaged.reason}")
        return session


async def _load(backend: Backend, investigation_id: str, tenant: str, *, snapshots: bool, count: bool) -> Session:
    for _ in range(_TRIES):
        row = await get_row(backend, investigation_id, Sight(tenant))
        phases = await _all(backend, "phase", investigation_id, PhaseRow)
        calls = await _all(backend, "tool", investigation_id, ToolRow, Where("status", "=", "running"))
        again = await backend.get("investigation", investigation_id)
        if isinstance(again, InvestigationRow) and again.version == row.version:
            with readable(investigation_id):
                fold = fold_from_rows(row, phases, calls, sound_json)
                if row.version < 1:
                    raise ValueError(f"version is {row.version}")
            await _check_end(backend, row)
            session = KeptSession(fold, row.head)
            if snapshots:
                session.uncounted_to = row.version
                base = await read_base(backend, investigation_id, row.version)
                if count or base.unusable is not None:  # the next commit has a snapshot in its place
                    session.counted(await count_calls(backend, investigation_id, base.fold, row.version))
                _with_base(session, base)
            return session
    raise VersionConflict(
        f"Investigation {investigation_id} changed every time that it was read, {_TRIES} times.",
        investigation_id=investigation_id,
    )


async def _check_end(backend: Backend, row: InvestigationRow) -> None:
    """What is appended stands on what the row says of the log's end: behind a wrong one it would be lost, or a gap.

    Raises:
        RecordUnreadable: it is wrong.
    """
    at = await backend.read_events(row.id, after=row.version - 1, limit=2)
    if [(one.sequence, one.hash) for one in at] == [(row.version, row.head)]:
        return
    now = await backend.get("investigation", row.id)
    if isinstance(now, InvestigationRow) and (now.version, now.head) == (row.version, row.head):
        raise unreadable(row.id, None, f"its row says that its log ends at event {row.version}, and it does not")


def _with_base(session: Session, base: Base) -> None:
    """Tell a session of the latest snapshot. Of one that is not used, a warning event says so, and the commit of
    that event has a new one in its place."""
    if base.fold is not None:
        session.snapshot_at = base.fold.version
    elif base.unusable is not None:
        session.snapshot_at = _LONG_AGO
        session.replaces = base.unusable.id
        message = f"The snapshot {base.unusable.id} was not used, but the events were: {base.reason}"
        _warn(session, "snapshot", message, snapshot=base.unusable.id)


def _warn(session: Session, kind: str, message: str, **more: str) -> None:
    """In the log, and unless it is over, also by an event."""
    _log.warning(message, extra={"investigation_id": session.id})
    if session.acked.status not in TERMINAL:
        data = {"kind": kind, **more, "message": clean(message)}
        session.submit(Fact(Event(uuid7(), "recorder.warning", data, now_us()), None), lazy=True)


async def _all(backend: Backend, kind: Kind, investigation_id: str, of: type[RowT], *where: Where) -> list[RowT]:
    rows: list[RowT] = []
    query = Query(kind, (Where("investigation_id", "=", investigation_id), *where), limit=_PAGE)
    while True:
        page = [sound(row) for row in await backend.find(query) if isinstance(row, of)]
        rows += page
        if len(page) < _PAGE:
            return rows
        query = replace(query, after=(page[-1].id, page[-1].id))


def empty(investigation_id: str, tenant: str) -> Session:
    """A session for an investigation that is about to be created."""
    return KeptSession(Fold(investigation_id, tenant))
