"""Projecting: the rows that an investigation's log adds up to, from its events alone, a page of them at a time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

from investigation_sdk.domain.events import Event
from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.project import investigation_row, phase_row, tool_row
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, ToolRow
from investigation_sdk.engine.reading import to_event
from investigation_sdk.engine.sound import readable, sound, unreadable
from investigation_sdk.engine.texts import json_text
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.chain import link
from investigation_sdk.storage.commit import GENESIS, StoredEvent

_PAGE: Final = 500
_CLOSING: Final = frozenset({"tool.completed", "tool.failed", "tool.interrupted", "tool.resolved"})

Calls = Callable[[Sequence[ToolRow]], Awaitable[None]]
"""Takes the rows of calls, each call once, in the order of their ends."""


class Projected(NamedTuple):
    """What a whole log adds up to. Its calls went to whoever asked for them."""

    row: InvestigationRow
    phases: list[PhaseRow]
    calls: int
    """How many there are."""
    hash_at: bytes | None
    """The hash of the event that was asked for; None where the log has none of that sequence."""


async def project_log(
    backend: Backend,
    investigation_id: str,
    calls: Calls,
    *,
    version: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Projected:
    """Fold a log from its first event on, its chain checked. What is kept grows with phases, with the calls that are
    open, and with those that were closed more than once.

    Args:
        backend: Where it is.
        investigation_id: Whose log.
        calls: Gets the rows of calls.
        version: The hash of which event to give.
        progress: Called now and then with the number of events that were folded.

    Raises:
        RecordUnreadable: an event is missing, was changed, or is not what the SDK writes.
        SchemaMismatch: an event needs a newer version of the SDK.
    """
    last = await _closed_again(backend, investigation_id)
    return await _Log(backend, investigation_id, calls, last).project(version, progress)


async def _closed_again(backend: Backend, id: str) -> dict[str, int]:
    """The sequence of the last closing event of each call that has more than one."""
    open_calls: set[str] = set()
    again: dict[str, int] = {}
    after = 0
    types = ("tool.started", *sorted(_CLOSING))
    while True:
        page = await backend.read_events(id, after=after, limit=_PAGE, event_type=types)
        for stored in page:
            if stored.event_type == "tool.started":
                open_calls.add(stored.id)
                continue
            with readable(id, stored.sequence):
                call: str = json.loads(stored.event_data)["call"]
            if call in open_calls:
                open_calls.remove(call)
            else:
                again[call] = stored.sequence
        if len(page) < _PAGE:
            return again
        after = page[-1].sequence


class _Log:
    def __init__(self, backend: Backend, id: str, calls: Calls, again: dict[str, int]) -> None:
        self._backend = backend
        self._id = id
        self._calls = calls
        self._again = again
        self._kept: dict[str, Event] = {}
        self._fold = Fold(id)
        self._fold.touched = {}
        self._head = GENESIS
        self._count = 0

    async def project(self, version: int, progress: Callable[[int], object] | None) -> Projected:
        fold, hash_at = self._fold, None
        while True:
            page = await self._backend.read_events(self._id, after=fold.version, limit=_PAGE)
            for stored in page:
                self._apply(stored)
                if stored.sequence == version:
                    hash_at = stored.hash
            rows = self._ended()
            self._count += len(rows)
            if rows:
                await self._calls(rows)
            if progress is not None:
                progress(fold.version)
            if len(page) < _PAGE:
                break
        if fold.status is None:
            raise unreadable(self._id, None, "its log does not begin with its creation")
        still = [tool_row(fold.id, fold.tenant, call, None, json_text) for call in fold.calls.values()]
        if still:
            await self._calls(still)
        return Projected(
            investigation_row(fold, fold.version, self._head, json_text),
            [phase_row(fold.id, phase, json_text) for phase in fold.phases.values()],
            self._count + len(still),
            hash_at,
        )

    def _apply(self, stored: StoredEvent) -> None:
        fold = self._fold
        sound(stored)
        if stored.sequence != fold.version + 1:
            raise unreadable(self._id, fold.version + 1, "it is missing")
        with readable(self._id, stored.sequence):
            if link(self._head, stored.header, stored.event_data) != stored.hash:
                raise unreadable(self._id, stored.sequence, "it is not what was written there: its hash is another")
            header: dict[str, Any] = json.loads(stored.header)
            event = to_event(stored)
            if stored.sequence == 1:
                fold.tenant = header.get("tenant") or ""
            if event.type == "tool.started" and event.id in self._again:
                self._kept[event.id] = event
            elif event.type in _CLOSING:
                event.started = self._kept.get(event.data["call"])
            fold.apply(event)
        self._head = stored.hash

    def _ended(self) -> list[ToolRow]:
        """The rows of calls that ended, for the last time, since this was last asked."""
        fold = self._fold
        touched, fold.touched = fold.touched or {}, {}
        rows: list[ToolRow] = []
        for id, item in touched.items():
            started, closing = item if isinstance(item, tuple) else (None, None)
            if started is None or closing is None:
                continue
            if self._again.get(id, closing.sequence) == closing.sequence:
                self._kept.pop(id, None)
                rows.append(tool_row(fold.id, fold.tenant, started, closing, json_text))
        return rows
