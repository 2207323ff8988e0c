"""Lingering: what nobody waits for leaves with the next commit, or after 5 ms.

The start of a call is queued without waking anybody. A tick on the I/O loop sees to those that are still queued;
it runs only while there is something to do.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from typing import Final

from investigation_sdk.engine.session import Session

LINGER: Final = 0.005
"""Seconds after which a queued start of a call leaves on its own."""

_IDLE_TICKS: Final = 40


class Linger:
    """Commits sessions that were given to it, soon.

    Args:
        commit: Commits what a session has queued.
        watch: Called with each tick; whether ticking must go on.
    """

    def __init__(self, commit: Callable[[Session], None], watch: Callable[[], bool]) -> None:
        self._commit = commit
        self._watch = watch
        self._sessions: deque[Session] = deque()
        self._ticking = False
        self._idle = 0

    def add(self, session: Session, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that what `session` has queued is committed soon. From any thread."""
        if session.lingering:
            return
        session.lingering = True
        self._sessions.append(session)
        self.wake(loop)

    def wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to tick, if it does not. From any thread."""
        if not self._ticking:
            self._ticking = True
            loop.call_soon_threadsafe(self._start, loop, context=contextvars.Context())  # not kept alive by the ticks

    def stop(self) -> None:
        """The loop ends, and its timers with it. On the loop."""
        self._ticking = False
        for session in self._take():
            session.lingering = False

    def _take(self) -> list[Session]:
        return [self._sessions.popleft() for _ in range(len(self._sessions))]

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._idle = 0
        loop.call_later(LINGER, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        sessions = self._take()
        for session in sessions:
            session.lingering = False
            if session.queue or session.deferred:
                self._commit(session)
        busy = self._watch()
        self._idle = 0 if sessions or busy else self._idle + 1
        if self._idle < _IDLE_TICKS:
            loop.call_later(LINGER, self._tick, loop)
            return
        self._ticking = False
        if self._sessions:
            self.wake(loop)
