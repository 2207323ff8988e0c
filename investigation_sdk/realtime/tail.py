"""The tail of a log: all events behind a sequence, in order, each once, and then those that come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

from investigation_sdk.domain.records import InvestigationEvent
from investigation_sdk.domain.states import ENDED, InvestigationState
from investigation_sdk.engine import queries
from investigation_sdk.engine.reading import get_row
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.sight import Sight
from investigation_sdk.errors import BackendUnavailable, InvalidArgument
from investigation_sdk.realtime.hub import Hub
from investigation_sdk.storage.commit import StoredEvent

T = TypeVar("T")

PATIENCE: Final = 60.0
"""Seconds for which a store that does not answer is tried."""

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


class Tail:
    """Reads one log from a place on, and waits at its end. To be used on the I/O thread.

    The cursor is the sequence of an event, and sequences have no gaps: so whatever the hints say, or do not say,
    nothing is missed and nothing comes twice.

    Args:
        sight: Whose it must be.
        after: The sequence of the last event that is known; 0 for all.
        page: Events at most that :meth:`next` gives.

    Attributes:
        after: The sequence of the last event that was given out.
    """

    def __init__(self, hub: Hub, investigation_id: str, sight: Sight, after: int, *, page: int = 500) -> None:
        self.id = investigation_id
        self.after: int = after
        self.recorder: Recorder = hub.recorder
        self._hub = hub
        self._sight = sight
        self._page = page
        self._state: InvestigationState | None = None

    @property
    def state(self) -> InvestigationState | None:
        """As far as it was looked at: at the end, in which state that is."""
        return self._state

    async def next(self) -> Sequence[StoredEvent]:
        """The next events, at least one; none at the end: it is completed, failed or cancelled, and no event of its
        log is left.

        Raises:
            InvestigationNotFound: there is none of that id, or it was deleted meanwhile.
            InvalidArgument: `after` is behind the end of the log.
            BackendUnavailable: the store has not answered for a minute.
        """
        self._hub.start()
        while True:
            page = await self._patiently(self._read)
            if page:
                return page
            if self._state in ENDED:
                return []
            await self._hub.news(self.id, self.after)

    async def _read(self) -> Sequence[StoredEvent]:
        """What is there behind the cursor. The row is looked at where that is nothing: it may be deleted, or over."""
        if self._state is None:
            await self._look()
        page = await self.recorder.backend.read_events(self.id, after=self.after, limit=self._page)
        if not page and await self._look():  # since then
            page = await self.recorder.backend.read_events(self.id, after=self.after, limit=self._page)
        for event in page:
            self.after = event.sequence
        return page

    async def _look(self) -> bool:
        """Whether there is more than is known."""
        row = await get_row(self.recorder.backend, self.id, self._sight)
        if row.version < self.after:
            raise InvalidArgument(
                f"after={self.after} is behind the end of investigation {self.id}, whose last event is {row.version}: "
                "it is another log's, or the store was restored from an older copy; begin again with after=0",
                argument="after",
            )
        self._state = InvestigationState(row.status)
        return row.version > self.after

    async def _patiently(self, read: Callable[[], Awaitable[T]]) -> T:
        until = time.monotonic() + PATIENCE
        pause = _FIRST_PAUSE
        while True:
            try:
                return await read()
            except BackendUnavailable:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE, 2 * pause)


async def events_of(tail: Tail) -> AsyncIterator[InvestigationEvent]:
    """The records of a tail, for whatever loop and host: each look is made on the I/O thread."""
    recorder = tail.recorder
    while page := await recorder.acall(tail.next()):
        for stored in page:
            yield queries.event(stored)
