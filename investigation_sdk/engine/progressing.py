"""Progressing: what is reported while something runs goes out a few times a second, whatever the rate of reports.

It is advisory: written into rows between two commits, told to whoever watches, and never into the log, where only the
next event of the investigation says it. It may be lost, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from investigation_sdk.domain.states import PhaseState
from investigation_sdk.engine.session import Session
from investigation_sdk.errors import InvestigationError
from investigation_sdk.storage.backend import AdvancingBackend, Backend
from investigation_sdk.storage.commit import Advance

_log = logging.getLogger("investigation_sdk.engine")

Told = Callable[[str, Mapping[str, Any]], object]
"""Called with an investigation's id and how far it is."""

INTERVAL: Final = 0.25
"""Seconds between two times of writing and telling."""

_SHOWN: Final = 5
_PHASES: Final = 20


class Progressing:
    """Collects sessions that have something to say, and says it. One task writes, for all of them."""

    def __init__(self, backend: Backend) -> None:
        self.observers: list[Told] = []
        self._backend = backend if isinstance(backend, AdvancingBackend) else None
        self._sessions: deque[Session] = deque()
        self._unwritten: list[Session] = []
        self._scheduled = False
        self._last = float("-inf")
        self._writing: asyncio.Task[None] | None = None

    def add(self, session: Session, loop: asyncio.AbstractEventLoop) -> None:
        """`session` has something to say. From any thread."""
        if not session.progressing:
            session.progressing = True
            self._sessions.append(session)
            if not self._scheduled:
                self._scheduled = True
                loop.call_soon_threadsafe(self._schedule, loop, context=contextvars.Context())

    async def stop(self) -> None:
        """The loop ends. On the loop."""
        task, self._writing = self._writing, None
        if task is not None:
            await asyncio.wait([task])
        self._scheduled = False
        self._unwritten = []
        while self._sessions:
            self._sessions.popleft().progressing = False

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_at(max(loop.time(), self._last + INTERVAL), self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._last = loop.time()
        self._scheduled = False
        sessions = [self._sessions.popleft() for _ in range(len(self._sessions))]
        for session in sessions:
            session.progressing = False
            self._tell(session)
        if self._backend is not None:
            self._write_soon(sessions, self._backend)
        if (self._unwritten or self._sessions) and not self._scheduled:
            self._scheduled = True
            self._schedule(loop)

    def _tell(self, session: Session) -> None:
        data = said(session)
        if data is None:
            return
        for observer in self.observers:
            try:
                observer(session.id, data)
            except Exception:
                _log.exception("An observer of progress failed.", extra={"investigation_id": session.id})

    def _write_soon(self, sessions: list[Session], backend: AdvancingBackend) -> None:
        """Write what no commit is about to write: a commit that is under way may say less, and must not come later."""
        waiting = list(dict.fromkeys([*self._unwritten, *sessions]))
        if self._writing is not None:
            self._unwritten = waiting
            return
        self._unwritten = [session for session in waiting if session.in_flight is not None]
        # what is queued is sealed later than now, and says what is to be said
        ready = [session for session in waiting if session.in_flight is None and not session.queue]
        advances = [advance for session in ready for advance in advances_of(session)]
        if advances:
            self._writing = asyncio.create_task(self._write(backend, advances), name="investigation-progress")

    async def _write(self, backend: AdvancingBackend, advances: list[Advance]) -> None:
        try:
            await backend.advance(advances)
        except InvestigationError as error:
            _log.debug("Progress was not written; the next event says it: %s", error)
        except Exception:
            _log.exception("Progress was not written; the next event says it.")
        finally:
            self._writing = None


def said(session: Session) -> dict[str, Any] | None:
    """What is new since it was last asked: the data of ``progress.update``."""
    with session.lock:
        news, session.news = session.news, {}
        fold = session.decided
        phases = [p for p in fold.phases.values() if p.status is PhaseState.RUNNING]
        calls = [(fold.calls[id].data.get("tool"), percent) for id, percent in news.items() if id in fold.calls]
        if not news:
            return None
        data: dict[str, Any] = {
            "overall_progress": fold.progress,
            "current_phase": fold.current_phase,
            "phases": [{"name": p.name, "progress": p.progress} for p in phases[-_SHOWN:]],
        }
        if calls:
            data["tools"] = [{"tool": tool, "progress": percent} for tool, percent in calls[-_SHOWN:]]
        return data


def advances_of(session: Session) -> list[Advance]:
    """What rows are to say."""
    with session.lock:
        fold = session.decided
        running = [phase for phase in fold.phases.values() if phase.status is PhaseState.RUNNING]
        advances = [Advance("phase", phase.id, phase.attempt, phase.progress) for phase in running[-_PHASES:]]
        return [Advance("investigation", fold.id, fold.attempt, fold.progress), *advances]
