"""One client that follows many investigations: which of them it enters, from where, and what may be forgotten."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from investigation_sdk.domain.event_types import EventType
from investigation_sdk.domain.records import Investigation
from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.domain.states import ENDED, InvestigationState
from investigation_sdk.engine import queries
from investigation_sdk.realtime.clients import BAD_CURSORS, UNAVAILABLE
from investigation_sdk.realtime.cursors import Cursors
from investigation_sdk.realtime.directory import News
from investigation_sdk.realtime.ending import ended
from investigation_sdk.realtime.rooms import Rooms
from investigation_sdk.realtime.selecting import Selection
from investigation_sdk.realtime.watching import Watch

ENTERING: Final = 16
"""Investigations that one client enters at once, of many that it follows."""

_CHANGES: Final = 200
"""Changes of state, the last ones, among which it is looked for when one was taken up again."""


class Following:
    """Belongs to one loop.

    Args:
        watch: The client.
        selection: What it follows.
        cursors: Where it is.
        rooms: Where it follows.
        allowed: Whether it may watch one.
    """

    def __init__(
        self,
        watch: Watch,
        selection: Selection,
        cursors: Cursors,
        rooms: Rooms,
        allowed: Callable[[Watch, Investigation], Awaitable[bool]],
    ) -> None:
        self._watch = watch
        self._client = watch.client
        self._selection = selection
        self._cursors = cursors
        self._rooms = rooms
        self._allowed = allowed
        self._inbox: asyncio.Queue[News | None] = asyncio.Queue()
        self._entering: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(ENTERING)
        self._followed: set[str] = set()
        self._again: dict[str, InvestigationRow] = {}
        self._since: str | None = None

    async def run(self, guarded: Callable[[Awaitable[None]], Awaitable[None]]) -> None:
        """Follow until it is cancelled, or the store is closed.

        Args:
            guarded: Awaits the entering of one; what it raises closes the client.
        """
        self._guarded = guarded
        client, directory, loop = self._client, self._rooms.directory, asyncio.get_running_loop()
        named = self._cursors.sequences
        client.since = self._cursors.since
        client.sent |= named  # from here it would go on, should the store not answer

        def tell(news: News | None) -> None:
            with contextlib.suppress(RuntimeError):  # that loop has ended
                loop.call_soon_threadsafe(self._inbox.put_nowait, news)

        try:
            first = await self._rooms.recorder.acall(directory.join(self._selection, self._cursors, tell))
            client.sent = {row.id: named[row.id] for row in first.rows if row.id in named}
            self._take(first)
            while client.closing is None:
                news = await self._inbox.get()
                if news is None:
                    client.resync(UNAVAILABLE)
                    return
                self._take(news)
        finally:
            self._rooms.hub.soon(directory.leave, self._selection, tell)
            await ended(self._entering)

    def _take(self, news: News) -> None:
        for row in news.rows:
            self._consider(row)
        self._since = news.since or self._since
        self._settle()

    def _settle(self) -> None:
        """What was begun before a look is followed or over, once all is entered that was found by then."""
        if self._since is not None and not self._entering and self._client.closing is None:
            self._client.knows_since(self._since)

    def _consider(self, row: InvestigationRow) -> None:
        client, over = self._client, row.status in ENDED
        if row.id in self._followed:
            again = self._again.get(row.id)
            if again is None or row.version > again.version:
                self._again[row.id] = row
            return
        known = client.known(row.id)
        if known is None:
            if client.since is None or row.id >= client.since:
                known = 0
            elif over:
                return
        elif over and known == row.version:
            client.over(row.id, known, row.status)
            return
        elif client.is_over(row.id) and row.version <= known:
            return
        self._followed.add(row.id)
        task = asyncio.create_task(self._run_guarded(row, known))
        self._entering.add(task)
        task.add_done_callback(self._entered)

    def _entered(self, task: asyncio.Task[None]) -> None:
        self._entering.discard(task)
        if not task.cancelled():
            self._settle()

    async def _run_guarded(self, row: InvestigationRow, known: int | None) -> None:
        await self._guarded(self._enter(queries.investigation(row), known))

    async def _enter(self, record: Investigation, known: int | None) -> None:
        async with self._places:
            if not await self._allowed(self._watch, record):
                self._followed.discard(record.id)
                return
            if known is None:
                after = await self._taken_up(record.id)
                # it may have been taken up since it was found
                record = await self._rooms.record(record.id, record.tenant_id or "")
            elif known > record.version:  # as the client named it
                self._client.close(BAD_CURSORS)
                return
            else:
                after = known
            self._client.goes_on(record.id)
            await self._rooms.follow(self._client, record, after, self._over)

    async def _taken_up(self, id: str) -> int:
        """Behind which event one goes on that is not known any more, and so was over: 0 where it never was."""
        backend = self._rooms.recorder.backend
        kinds = (EventType.STATE_TRANSITION.value,)
        changes = backend.read_events(id, limit=_CHANGES, event_type=kinds, reverse=True)
        for event in await self._rooms.recorder.acall(changes):
            if event.new_state == InvestigationState.RETRYING:
                return event.sequence - 1
        return 0

    def _over(self, id: str, state: str | None) -> None:
        # what is queued counts: a client that is behind has not been sent it yet
        self._followed.discard(id)
        self._watch.records.pop(id, None)
        known = self._client.cursors[id]
        self._client.over(id, known, state)
        again = self._again.pop(id, None)
        if again is not None and again.version > known:  # else it was told twice, and is no news
            self._consider(again)
