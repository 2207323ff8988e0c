"""Hooks of users on changes of state: after the commit, never on the I/O thread, never in the way of the record."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from investigation_sdk.domain.records import Investigation, InvestigationEvent
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.engine import queries, reading
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.session import Session
from investigation_sdk.storage.commit import StoredEvent

Hook = Callable[[Investigation, InvestigationEvent], Any]

_log = logging.getLogger("investigation_sdk.hooks")
MAX_WAITING: Final = 10_000
"""Hook calls that may wait; beyond it the oldest are dropped, and that is logged."""

_Due = tuple[Recorder, str, StoredEvent, Sequence[Hook]]


class StateHooks:
    """Calls hooks on their own daemon thread, in the order of the events, one after another."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._observed: weakref.WeakSet[Recorder] = weakref.WeakSet()
        self._hooks: list[tuple[frozenset[InvestigationState], Hook]] = []
        self._waiting: deque[_Due] = deque(maxlen=MAX_WAITING)
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False
        _all.add(self)

    def forked(self) -> None:
        """In a forked child: what waited is the parent's to call."""
        self._waiting.clear()
        self._wake = threading.Condition()
        self._thread = None
        self._busy = False

    def add(self, states: Sequence[InvestigationState], hook: Hook) -> None:
        """Call `hook` when an investigation enters one of `states` (none: any).

        Raises:
            ValueError: one of them is not a state.
        """
        self._hooks.append((frozenset(InvestigationState(s) for s in states or InvestigationState), hook))
        self.use(self._recorder)

    def use(self, recorder: Recorder) -> None:
        """Listen to this recorder from now on."""
        self._recorder = recorder
        if self._hooks and recorder not in self._observed:
            self._observed.add(recorder)
            recorder.sessions.observe(functools.partial(self._committed, weakref.ref(recorder)))

    def _committed(self, reference: weakref.ref[Recorder], session: Session, events: Sequence[StoredEvent]) -> None:
        recorder = reference()
        due: list[_Due] = []
        for event in events:
            hooks = [hook for states, hook in self._hooks if event.new_state in states]
            if hooks and recorder is not None:
                due.append((recorder, session.id, event, hooks))
        if not due:
            return
        with self._wake:
            if len(self._waiting) + len(due) > MAX_WAITING:
                _log.warning("Hooks are slower than the changes of state; the oldest calls are dropped.")
            self._waiting.extend(due)
            if self._thread is None or not self._thread.is_alive():  # not yet, or not in this forked process
                self._thread = threading.Thread(target=self._run, name="investigation-hooks", daemon=True)
                self._thread.start()
            self._wake.notify_all()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                while not self._waiting:
                    self._wake.wait()
                self._busy = True
                due = self._waiting.popleft()
            try:
                self._call(*due)
            except Exception:
                _log.exception(
                    "The hooks of investigation %s could not be called.", due[1], extra={"investigation_id": due[1]}
                )
            del due

    @staticmethod
    def _call(recorder: Recorder, investigation_id: str, stored: StoredEvent, hooks: Sequence[Hook]) -> None:
        row = recorder.call(reading.get_row(recorder.backend, investigation_id, recorder.sight))
        record, event = queries.investigation(row), queries.event(stored)
        for hook in hooks:
            try:
                answer = hook(record, event)
                if inspect.isawaitable(answer):
                    asyncio.run(_await(answer))
            except BaseException:  # SystemExit too: it would end this thread, and all later hooks with it
                _log.exception("A hook on %s failed.", stored.new_state, extra={"investigation_id": investigation_id})

    def drain(self, timeout: float = 5.0) -> bool:
        """Wait until all hooks that are due have run; whether that is so. For a hook itself there is no wait."""
        if threading.current_thread() is self._thread:
            return False
        with self._wake:
            return self._wake.wait_for(lambda: not self._waiting and not self._busy, timeout)

    async def adrain(self) -> None:
        """As :meth:`drain`, for tasks."""
        if (self._waiting or self._busy) and threading.current_thread() is not self._thread:
            await self._recorder.io.acall(asyncio.to_thread(self.drain))


_all: weakref.WeakSet[StateHooks] = weakref.WeakSet()


def _after_fork() -> None:
    for hooks in list(_all):
        hooks.forked()


os.register_at_fork(after_in_child=_after_fork)


async def _await(answer: Any) -> Any:
    return await answer
