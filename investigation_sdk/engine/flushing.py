"""Flushing: all sessions of a recorder are committed until nothing is queued, or the time for that is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from investigation_sdk.engine.session import Session
from investigation_sdk.engine.sessions import Sessions
from investigation_sdk.engine.waiting import Waiter
from investigation_sdk.errors import InvestigationError

Commit = Callable[[Session], None]
"""Sees to it that what a session has queued is committed."""

_log = logging.getLogger("investigation_sdk.engine")
_AGAIN: Final = 0.02


def flush(sessions: Sessions, commit: Commit, timeout: float | None) -> None:
    """A store that does not answer is tried for `timeout` seconds; without one, until its patience is over."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        for session in sessions.behind():
            commit(session)
            waiter = _last(session, blocking=True)
            if waiter is not None:
                with contextlib.suppress(InvestigationError):
                    waiter.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if not sessions.queued or deadline is None or time.monotonic() >= deadline:
            return
        time.sleep(_AGAIN)


async def aflush(sessions: Sessions, commit: Commit, timeout: float | None) -> None:
    """As :func:`flush`, for tasks on the I/O thread."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            while behind := sessions.behind():
                for session in behind:
                    commit(session)
                    waiter = _last(session, blocking=False)
                    if waiter is not None:
                        with contextlib.suppress(InvestigationError):
                            await waiter.wait_async()
                if timeout is None:
                    break
                await asyncio.sleep(_AGAIN if sessions.behind() else 0)


def _last(session: Session, *, blocking: bool) -> Waiter | None:
    """A waiter for the last of what is not durable yet."""
    with session.lock:
        entries = session.queue or (session.in_flight.entries if session.in_flight else [])
        try:
            return session.waiter(entries[-1], blocking=blocking) if entries else None
        except InvestigationError:
            return None


def report(left: int, end: str) -> None:
    """Log how many events are lost, where any are."""
    if left:
        _log.error("%d events could not be written before %s.", left, end)
