"""Hooks of users on changes of state: after the commit, never on the I/O thread, never in the way of the record."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from investigation_sdk.domain.records import Investigation, InvestigationEvent
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.engine import queries
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.session import Session
from investigation_sdk.storage.commit import StoredEvent

Hook = Callable[[Investigation, InvestigationEvent], Any]

_log = logging.getLogger("investigation_sdk.hooks")
MAX_WAITING: Final = 10_000
"""Hook calls that may wait; beyond it the oldest are dropped, and that is logged."""


class StateHooks:
    """Calls hooks on their own daemon thread, in the order of the events, one after another."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._hooks: list[tuple[frozenset[InvestigationState], Hook]] = []
        self._waiting: deque[tuple[str, StoredEvent]] = deque(maxlen=MAX_WAITING)
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False

    def add(self, states: Sequence[InvestigationState], hook: Hook) -> None:
        """Call `hook` when an investigation enters one of `states` (none: any)."""
        self._hooks.append((frozenset(states or InvestigationState), hook))
        if self._thread is None:
            self._recorder.observe(self._committed)
            self._thread = threading.Thread(target=self._run, name="investigation-hooks", daemon=True)
            self._thread.start()

    def use(self, recorder: Recorder) -> None:
        """Listen to another recorder from now on."""
        self._recorder = recorder
        if self._thread is not None:
            recorder.observe(self._committed)

    def _committed(self, session: Session, events: Sequence[StoredEvent]) -> None:
        changes = [(session.id, event) for event in events if event.new_state is not None]
        if changes:
            with self._wake:
                if len(self._waiting) + len(changes) > MAX_WAITING:
                    _log.warning("Hooks are slower than the changes of state; the oldest calls are dropped.")
                self._waiting.extend(changes)
                self._wake.notify_all()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                while not self._waiting:
                    self._wake.wait()
                self._busy = True
                investigation_id, stored = self._waiting.popleft()
            try:
                self._call(investigation_id, stored)
            except Exception:
                _log.exception("The hooks of investigation %s could not be called.", investigation_id)

    def _call(self, investigation_id: str, stored: StoredEvent) -> None:
        assert stored.new_state is not None
        state = InvestigationState(stored.new_state)
        hooks = [hook for states, hook in self._hooks if state in states]
        if not hooks:
            return
        row = self._recorder.call(queries.get_row(self._recorder.backend, investigation_id))
        record, event = queries.investigation(row), queries.event(stored)
        for hook in hooks:
            try:
                answer = hook(record, event)
                if inspect.isawaitable(answer):
                    asyncio.run(_await(answer))
            except Exception:
                _log.exception("A hook on %s failed.", state.value)

    def drain(self, timeout: float = 5.0) -> bool:
        """Wait until all hooks that are due have run; whether that is so."""
        with self._wake:
            return self._wake.wait_for(lambda: not self._waiting and not self._busy, timeout)


async def _await(answer: Any) -> Any:
    return await answer
