"""The heartbeat: renews the leases of what this process drives, and looks at what its owners wait for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from investigation_sdk.engine.session import Session
from investigation_sdk.engine.waiting import Waiter
from investigation_sdk.errors import InvestigationError
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import Lease

_log = logging.getLogger("investigation_sdk.engine")
_WATCH_SECONDS: Final = 0.2


class Heartbeat:
    """See the module.

    Args:
        ttl_us: How long a lease lasts, µs; it is renewed three times in that.
        refresh: Folds into a session what others have written.

    Attributes:
        driven: The sessions that this process drives, by investigation.
    """

    def __init__(self, backend: Backend, *, ttl_us: int, refresh: Callable[[Session], Awaitable[None]]) -> None:
        self.driven: dict[str, Session] = {}
        self._backend = backend
        self._ttl_us = ttl_us
        self._refresh = refresh
        self._watched: dict[str, Session] = {}
        self._heard: dict[str, Session] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._nudge = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to beat on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._nudge = asyncio.Event()
        self._task = asyncio.create_task(self._beat(), name="investigation-heartbeat")

    async def stop(self) -> None:
        """End at once."""
        task, self._task, self._loop = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def watch(self, session: Session, *, blocking: bool) -> Waiter | None:
        """A waiter for the next change of what stops `session`; None if nothing stops it. From any thread."""
        with session.lock:
            if session.stop is None:
                return None
            waiter = Waiter(blocking=blocking)
            session.changed.append(waiter)
        self._watched[session.id] = session
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._nudge.set)
        return waiter

    def heard(self, investigation_id: str, version: int) -> None:
        """The log of an investigation is so long, somebody says; if this process drives it, it is looked at soon."""
        session = self.driven.get(investigation_id)
        if session is not None and version > session.decided.version:
            self._heard[investigation_id] = session
            self._nudge.set()

    async def _beat(self) -> None:
        period = self._ttl_us / 3e6
        renew_at = time.monotonic() + period
        while True:
            pause = _WATCH_SECONDS if self._watched else max(0.01, renew_at - time.monotonic())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nudge.wait(), min(pause, period))
            self._nudge.clear()
            try:
                if time.monotonic() >= renew_at:
                    renew_at = time.monotonic() + period
                    await self._renew()
                await self._look_at_heard()
                await self._look_at_watched()
            except InvestigationError as error:
                _log.warning("The heartbeat did not reach the store: %s", error)
            except Exception:
                _log.exception("The heartbeat failed; it goes on.")
            if self._watched:
                await asyncio.sleep(min(_WATCH_SECONDS, max(0.0, renew_at - time.monotonic())))

    async def _look_at_heard(self) -> None:
        heard, self._heard = self._heard, {}
        for session in heard.values():
            await self._refresh(session)

    async def _look_at_watched(self) -> None:
        for session in list(self._watched.values()):
            if session.changed:
                await self._refresh(session)
            if not session.changed:
                self._watched.pop(session.id, None)
                if session.changed:  # since then, on another thread
                    self._watched[session.id] = session

    async def _renew(self) -> None:
        held = [(session, session.lease) for session in list(self.driven.values()) if session.lease is not None]
        if not held:
            return
        renewed = await self._backend.renew([lease for _, lease in held], ttl=self._ttl_us)
        for (session, held_lease), lease in zip(held, renewed, strict=True):
            if lease is None or (lease.version or 0) > session.decided.version:
                await self._refresh(session)
            if lease is None and session.token is not None and session.decided.token == session.token:
                await self._claim_again(session, held_lease)

    async def _claim_again(self, session: Session, lost: Lease) -> None:
        """The lease is gone, but nobody made use of that: the claim in the record still stands."""
        lease = await self._backend.claim(session.id, lost.owner, ttl=self._ttl_us)
        if lease is None:
            return  # whoever has it is about to claim; or it is tried again with the next beat
        if session.lease is lost:
            session.lease = lease
        else:  # given up meanwhile
            await self._backend.release(lease)
