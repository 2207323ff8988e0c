"""Keys: what the key of an investigation names, and opening that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple, TypeVar

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.domain.states import TERMINAL, InvestigationState
from investigation_sdk.engine import opening, queries, reading
from investigation_sdk.engine.creation import Creation
from investigation_sdk.engine.recorded import Recorded
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.refused import KeyTaken
from investigation_sdk.engine.session import Session
from investigation_sdk.engine.sight import Sight
from investigation_sdk.engine.sound import stored_value
from investigation_sdk.engine.tracing import Trace
from investigation_sdk.errors import (
    InvestigationCancelled,
    InvestigationError,
    InvestigationFinished,
    InvestigationUnfinished,
    RecordUnreadable,
)

T = TypeVar("T")


class Opened(NamedTuple):
    """An investigation that was opened by its key."""

    session: Session
    recorded: Recorded | None = None
    """What earlier attempts recorded; None for a first one."""
    is_new: bool = False
    finished: bool = False
    """It was finished before, and is not driven."""


async def open_by_key(
    recorder: Recorder,
    creation: Creation,
    *,
    tenant: str,
    actor: str | None,
    on_finished: Literal["return", "new", "error"],
    wait: float | None,
    around: str | None,
    trace: Trace | None,
) -> Opened:
    """Create one and drive it. Where its key names one that is not finished, drive that; where that is finished, do
    what `on_finished` says. `around` is the investigation in whose block this is: to wait for it would be for ever.

    Raises:
        InvestigationBusy: somebody else drives it.
        InvestigationFinished: it is finished, and that is an error here.
        InvestigationCancelled: it was cancelled.
    """
    data = creation.data
    generation = 1
    while True:
        session = await _seen(recorder, data, tenant) if generation == 1 else None
        if session is None:
            made = creation._replace(data={**data, "generation": generation})
            try:
                session = await opening.create(recorder, made, tenant=tenant, actor=actor, drive=True, trace=trace)
                return Opened(session, is_new=True)
            except KeyTaken as taken:
                session = await _newest_of(recorder, taken.existing_id, data, tenant)
        status = session.acked.status
        if status in TERMINAL:
            if on_finished == "new":
                generation = session.acked.generation + 1
                continue
            if on_finished == "return" and status is InvestigationState.COMPLETED:
                return Opened(session, finished=True)
            raise await existing(recorder, session.id, data["key"])
        try:
            waited = 0 if around == session.id else wait
            return Opened(
                *await opening.take_up(recorder, session.id, wait=waited, actor=actor, trace=trace, session=session)
            )
        except (InvestigationFinished, InvestigationCancelled):
            continue  # by its owner, while it was waited for


async def _seen(recorder: Recorder, data: dict[str, Any], tenant: str) -> Session | None:
    """The session of the newest investigation of a key, where to look for one costs next to nothing; None where that is
    to be found out by creating one."""
    if "key" not in data or not getattr(recorder.backend, "near", False):
        return None
    row = await newest(recorder, data, tenant)
    return None if row is None else await recorder.session(row.id, count=False)


async def _newest_of(recorder: Recorder, existing_id: str, data: dict[str, Any], tenant: str) -> Session:
    """The session of the newest investigation of a key: only one that is over can have one behind it."""
    session = await recorder.session(existing_id, count=False)
    if session.acked.status in TERMINAL:
        row = await newest(recorder, data, tenant)
        if row is not None and row.id != existing_id:
            return await recorder.session(row.id, count=False)
    return session


async def mended(recorder: Recorder, read: Callable[[], Awaitable[T]]) -> T:
    """What `read` reads. Where that is a row that cannot be read, the investigation is loaded first: that makes its
    rows again.

    Raises:
        RecordUnreadable: they cannot be made again.
    """
    try:
        return await read()
    except RecordUnreadable as damaged:
        if damaged.investigation_id is None:
            raise
        await recorder.session(damaged.investigation_id)
        return await read()


async def newest(recorder: Recorder, data: dict[str, Any], tenant: str) -> InvestigationRow | None:
    """The newest investigation of the key that a creation names.

    Raises:
        RecordUnreadable: its rows cannot be made again.
    """
    backend, key, of_type = recorder.backend, data["key"], data["investigation_type"]
    return await mended(recorder, lambda: queries.find(backend, key, of_type, Sight(tenant).keys()))


async def existing(recorder: Recorder, investigation_id: str, key: str) -> InvestigationError:
    """The error for a key that names an investigation already: finished or not, with its id."""
    row = await mended(recorder, lambda: reading.get_row(recorder.backend, investigation_id, recorder.sight))
    if row.status == InvestigationState.COMPLETED.value:
        stored = None if row.result is None else stored_value(row.id, row.result)
        result = await reading.whole(recorder.backend, row.id, stored)
        return InvestigationFinished(
            f"Key {key!r} names investigation {row.id}, which is completed.", result=result, investigation_id=row.id
        )
    if row.status == InvestigationState.CANCELLED.value:
        return InvestigationCancelled(
            f"Key {key!r} names investigation {row.id}, which was cancelled. Use another key, or on_finished='new'.",
            investigation_id=row.id,
        )
    return InvestigationUnfinished(
        f"Key {key!r} names investigation {row.id}, which is {row.status} and not finished. Drive it with "
        f"sdk.attach({row.id!r}), cancel it with sdk.service.cancel({row.id!r}), or use another key.",
        investigation_id=row.id,
    )
