"""Opening: create an investigation and drive it, or take over one that exists."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from typing import Any, Final, cast

from investigation_sdk.clock import now_us, to_datetime
from investigation_sdk.domain.commands import Claim, Command, Create, Release
from investigation_sdk.domain.owners import describe
from investigation_sdk.engine import reading
from investigation_sdk.engine.creation import Creation
from investigation_sdk.engine.entries import Entry
from investigation_sdk.engine.io_thread import undo_with
from investigation_sdk.engine.ownership import new_owner, provably_dead, retire
from investigation_sdk.engine.recorded import Recorded
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.records import FEW, RecordReader
from investigation_sdk.engine.refused import KeyTaken
from investigation_sdk.engine.repair import empty
from investigation_sdk.engine.session import Session
from investigation_sdk.engine.tracing import Trace
from investigation_sdk.errors import (
    BackendUnavailable,
    InvestigationBusy,
    InvestigationError,
)
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.commit import Lease

_log = logging.getLogger("investigation_sdk.engine")
_POLL: Final = 0.2


async def durable(session: Session, entry: Entry) -> None:
    """Wait on the I/O loop until an entry is durable.

    Raises:
        InvestigationError: it is refused.
    """
    waiter = session.waiter(entry, blocking=False)
    if waiter is not None:
        await waiter.wait_async()


async def command(recorder: Recorder, investigation_id: str, what: Command) -> Session:
    """Give a command from outside to an investigation that exists, and wait until it is durable.

    Raises:
        InvestigationError: it is refused.
    """
    session = await recorder.session(investigation_id)
    await durable(session, recorder.submit(session, what))
    return session


async def create(
    recorder: Recorder,
    creation: Creation,
    *,
    tenant: str,
    actor: str | None,
    queue: bool = True,
    not_before: int | None = None,
    drive: bool = False,
    trace: Trace | None = None,
) -> Session:
    """Create an investigation; with `drive` also claim it, in the same commit.

    Raises:
        KeyTaken: its key names one that exists.
        InvestigationNotFound: its parent is not there.
    """
    data = creation.data
    if recorder.tenant and "parent" in data:  # that there is one, the store sees to
        await reading.get_row(recorder.backend, data["parent"], recorder.sight)
    session = recorder.sessions.add(empty(uuid7(), tenant))
    time_us = now_us()
    token = uuid7()
    lease = session.lease = Lease(session.id, new_owner(), recorder.ttl_us) if drive else None
    made = Create(time=time_us, actor=actor, data=data, blobs=creation.blobs, queue=queue, not_before=not_before)
    made.metadata = None if trace is None else _noted(trace.carrier())
    try:
        with session.lock:
            entry = session.submit(made)
            if lease is not None:
                claim = Claim(time=time_us, actor=actor, id=token, owner=lease.owner)
                if trace is not None:
                    claim.metadata = _noted(trace.begin(session.id, data["investigation_type"], 1, {}))
                entry = session.submit(claim)
        recorder.commit(session)
        await durable(session, entry)
    except KeyTaken:  # nothing was written, and no lease was taken
        if lease is not None:
            retire(lease.owner)
        raise
    except BaseException:
        if lease is not None:
            _back_out(recorder, session, token, lease)
        raise
    if lease is not None:
        _drive(recorder, session, token, lease)
    return session


def _noted(trace: dict[str, str] | None) -> dict[str, Any] | None:
    return None if trace is None else {"trace": trace}


async def _begin(recorder: Recorder, trace: Trace, session: Session) -> dict[str, Any] | None:
    """Begin to trace an attempt at one that exists: what to note of that."""
    id, attempt = session.id, session.decided.attempt
    if attempt:
        found = await recorder.backend.read_events(id, event_type=("investigation.started",), reverse=True, limit=1)
    else:
        found = await recorder.backend.read_events(id, limit=1)
    noted = (reading.to_event(found[0]).metadata or {}) if found else {}
    earlier = noted.get("trace")
    known = cast("dict[str, Any]", earlier) if isinstance(earlier, dict) else {}
    return _noted(trace.begin(id, session.decided.investigation_type, attempt + 1, known))


async def take_up(
    recorder: Recorder,
    investigation_id: str,
    *,
    wait: float | None,
    actor: str | None,
    trace: Trace | None = None,
    lease: Lease | None = None,
    session: Session | None = None,
) -> tuple[Session, Recorded | None]:
    """Drive one that exists: get its lease, then append the claim. The session, and what earlier attempts recorded;
    None for a first attempt.

    An owner that is provably dead on this machine is succeeded at once; else `wait` seconds are spent (None:
    one lease's life) on its lease running out. With `lease` a worker has it already, and takes up what waits for one.
    `session` is its session, as it was a moment ago.

    Raises:
        InvestigationBusy: somebody else drives it and is not known to be dead.
        InvestigationError: it cannot be driven in its state.
    """
    queued = lease is not None
    if lease is None:
        session = session or await recorder.session(investigation_id, count=False)
        lease, waited = await leased(recorder, investigation_id, recorder.ttl_us / 1e6 if wait is None else wait)
        if waited:
            session = None
    token = uuid7()
    try:
        session = session or await recorder.session(investigation_id, count=False)
    except BaseException:
        await recorder.give_up(lease)
        raise
    claim = Claim(time=now_us(), actor=actor, id=token, owner=lease.owner, queued=queued)
    try:
        if trace is not None:
            claim.metadata = await _begin(recorder, trace, session)
        found = await _claimed(recorder, session, claim)
    except InvestigationError:
        await _backed_out(recorder, session, token, lease)
        raise
    except BaseException:
        _back_out(recorder, session, token, lease)
        raise
    _drive(recorder, session, token, lease)
    return session, found if session.decided.attempt > 1 or len(found) else None


async def _claimed(recorder: Recorder, session: Session, claim: Claim) -> Recorded:
    """Append the claim, and read what earlier attempts recorded: while the store writes, and then what others wrote
    meanwhile. Logs only grow, so that is all that was there before the claim."""
    known = session.acked.version
    reader = RecordReader(recorder.backend, session.id, count_to=session.uncounted_to)
    entry = recorder.submit(session, claim)
    reading = asyncio.create_task(reader.read_on())
    reading.add_done_callback(lambda done: done.cancelled() or done.exception())  # looked at, also where nobody waits
    try:
        await durable(session, entry)
        await reading
    finally:
        reading.cancel()
    if entry.events[0].sequence > known + 1:
        await reader.read_on(FEW)
    session.counted(reader.counts)
    return Recorded(session.id, reader.records())


def _drive(recorder: Recorder, session: Session, token: str, lease: Lease) -> None:
    recorder.drive(session, token, lease)
    undo_with(functools.partial(_back_out, recorder, session, token, lease))


_backing_out: Final[set[asyncio.Task[None]]] = set()


def _back_out(recorder: Recorder, session: Session, token: str, lease: Lease) -> None:
    """Nobody enters the block: let go of it, and record that, should the claim be recorded."""
    retire(lease.owner)
    task = asyncio.get_running_loop().create_task(_backed_out(recorder, session, token, lease))
    _backing_out.add(task)
    task.add_done_callback(_backing_out.discard)


async def _backed_out(recorder: Recorder, session: Session, token: str, lease: Lease) -> None:
    try:
        with contextlib.suppress(InvestigationError):
            await durable(session, recorder.submit(session, Release(time=now_us(), token=token)))
    finally:
        await recorder.let_go(session, token)
        await recorder.give_up(lease)


async def leased(recorder: Recorder, resource: str, wait: float) -> tuple[Lease, bool]:
    """The lease on an investigation, waited for so many seconds; and whether somebody else had it before.

    Raises:
        InvestigationBusy: somebody else has it and is not known to be dead.
    """
    owner = new_owner()
    deadline = time.monotonic() + wait
    said = waited = False
    try:
        while True:
            lease = await recorder.backend.claim(resource, owner, ttl=recorder.ttl_us)
            if lease is not None:
                return lease, waited
            waited = True
            holder = await recorder.backend.holder(resource)
            if holder is None:
                continue
            if provably_dead(holder.owner):
                with contextlib.suppress(BackendUnavailable):  # it may be done though its answer was lost
                    await recorder.backend.release(holder)
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                raise _busy(resource, holder)
            if not said:
                said = True
                _log.warning(
                    "Investigation %s is driven by %s; waiting up to %.0f s for it to end.",
                    resource,
                    describe(holder.owner),
                    left,
                    extra={"investigation_id": resource},
                )
            await asyncio.sleep(min(_POLL, left))
    except BaseException:
        retire(owner)
        raise


def _busy(investigation_id: str, holder: Lease) -> InvestigationError:
    until = to_datetime(holder.expires_at)
    return InvestigationBusy(
        f"Investigation {investigation_id} is driven by {describe(holder.owner)}, whose lease lasts until "
        f"{until:%H:%M:%S} UTC. Wait longer with wait=, or stop that process.",
        owner=holder.owner,
        expires_at=until,
        investigation_id=investigation_id,
    )
