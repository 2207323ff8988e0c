"""Submitting: put an investigation into the queue, and wait for its end."""

from __future__ import annotations

import asyncio
from datetime import datetime

from investigation_sdk.clock import from_datetime
from investigation_sdk.domain.records import Investigation
from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.domain.states import ENDED, InvestigationState
from investigation_sdk.engine import keys, opening, queries, reading
from investigation_sdk.engine.creation import Creation
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.refused import KeyTaken
from investigation_sdk.engine.sight import Sight
from investigation_sdk.engine.tracing import Trace
from investigation_sdk.errors import InvalidArgument
from investigation_sdk.realtime.hub import Hub

MAX_PRIORITY = 2**31 - 1


def with_priority(creation: Creation, priority: int) -> Creation:
    """A creation that says how urgent it is.

    Raises:
        InvalidArgument: no number of 32 bits.
    """
    if not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
        raise InvalidArgument(f"priority={priority} is not a whole number of 32 bits", argument="priority")
    return creation._replace(data={**creation.data, "priority": priority}) if priority else creation


async def submit(
    recorder: Recorder,
    creation: Creation,
    *,
    tenant: str,
    actor: str | None,
    not_before: datetime | None,
    trace: Trace | None,
) -> InvestigationRow:
    """Create it, queued; or, where its key names one, that. On the I/O thread."""
    backend = recorder.backend
    try:
        session = await opening.create(
            recorder,
            creation,
            tenant=tenant,
            actor=actor,
            not_before=None if not_before is None else from_datetime(not_before),
            trace=trace,
        )
    except KeyTaken:
        data = creation.data
        found = await keys.newest(recorder, data, recorder.tenant or tenant)
        if found is None:
            raise
        return found
    return await reading.get_row(backend, session.id, recorder.sight)


async def ended(hub: Hub, investigation_id: str, sight: Sight) -> Investigation:
    """Wait until it is completed, failed or cancelled. On the I/O thread."""
    backend = hub.recorder.backend
    while True:
        row = await reading.get_row(backend, investigation_id, sight)
        if InvestigationState(row.status) in ENDED:
            return await queries.whole_investigation(backend, investigation_id, sight)
        await hub.news(investigation_id, row.version)


async def wait(hub: Hub, investigation_id: str, sight: Sight, timeout: float | None) -> Investigation:
    """As :func:`ended`, for so many seconds.

    Raises:
        TimeoutError: it has not ended by then.
    """
    try:
        async with asyncio.timeout(timeout):
            return await ended(hub, investigation_id, sight)
    except TimeoutError:
        message = f"Investigation {investigation_id} has not ended within {timeout:g} s; it goes on."
        raise TimeoutError(message) from None
