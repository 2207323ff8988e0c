"""States that are kept while the process hears of every change: asked again, they cost no look at the store.

What is kept is of a version. It is given out only where nothing newer was heard of, by a process that has listened
since before it was read: then it missed nothing. So it does not matter who has read it, this process or another one.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.domain.states import ENDED
from investigation_sdk.engine.parts import Parts, read_parts
from investigation_sdk.engine.reading import get_row
from investigation_sdk.engine.sight import Sight
from investigation_sdk.errors import InvestigationError
from investigation_sdk.realtime.hub import Hub
from investigation_sdk.storage.backend import Backend

V = TypeVar("V")

OLDEST_SECONDS: Final = 5.0
"""A hint may be lost: nothing older is given, however quiet it is."""

SETTLED_SECONDS: Final = 1.0
"""Progress that is reported between two events is told first, and then written: what was read meanwhile is not kept."""

_MOST: Final = 1000


class Kept(NamedTuple, Generic[V]):
    """Something as of a version."""

    version: int
    """It shows all events up to there, at the least."""
    asked: float
    """When the store was asked for it, by the monotonic clock of this process."""
    value: V


class Shared(Protocol[V]):
    """Where other processes find what this one has read, and the other way round. On the I/O thread."""

    async def find(self, id: str) -> tuple[Kept[V] | None, int | None]:
        """What is kept there, and the time of that place, by which :meth:`keep` is told when it was asked."""
        ...

    def keep(self, id: str, kept: Kept[V], now: int) -> None:
        """Keep it there, asked at the time `now` of that place; without waiting."""
        ...


class Shelf(Generic[V]):
    """What is kept of one kind, by investigation, and whoever reads it: all who ask meanwhile wait for that one."""

    def __init__(self, hub: Hub, shared: Shared[V] | None) -> None:
        self._hub = hub
        self._shared = shared
        self._kept: OrderedDict[str, Kept[V]] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[Kept[V]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def get(self, id: str, at_least: int, read: Callable[[], Awaitable[tuple[int, V, bool]]]) -> V:
        """What is kept, if it shows all events up to `at_least` and all that were heard of; or else what is read.

        Args:
            id: Of the investigation.
            at_least: A version.
            read: Gives the version, the value, and whether that is to be kept.
        """
        if not self._hub.hears:
            return (await read())[1]
        self._arrive()
        kept, asked = self._kept.get(id), time.monotonic()
        if kept is not None and self._is_good(id, kept, at_least):
            return kept.value
        while True:
            task = self._under_way.get(id)
            mine = task is None
            if task is None:
                task = self._under_way[id] = asyncio.create_task(self._fetch(id, at_least, read))
                task.add_done_callback(lambda done: self._over(id, done))
            try:
                kept = await asyncio.shield(task)
            except InvestigationError:
                if mine:
                    raise
                continue  # it may have been asked for before it was there
            if kept.asked >= asked or self._is_good(id, kept, at_least):
                return kept.value

    def _arrive(self) -> None:
        """What is under way on another loop is not waited for."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._under_way = loop, {}

    def _over(self, id: str, task: asyncio.Task[Kept[V]]) -> None:
        if self._under_way.get(id) is task:
            del self._under_way[id]
        if not task.cancelled():
            task.exception()  # or it is logged as never looked at, where nobody waits any more

    def _is_good(self, id: str, kept: Kept[V], at_least: int) -> bool:
        hub = self._hub
        known = hub.version_of(id)
        moved = hub.moved_at(id)
        since = max(
            hub.heard_since,
            0.0 if known else hub.forgot_at,
            moved + SETTLED_SECONDS if moved else 0.0,
            time.monotonic() - OLDEST_SECONDS,
        )
        return hub.hears and kept.version >= max(known, at_least) and kept.asked > since

    async def _fetch(self, id: str, at_least: int, read: Callable[[], Awaitable[tuple[int, V, bool]]]) -> Kept[V]:
        now: int | None = None
        if self._shared is not None:
            found, now = await self._shared.find(id)
            if found is not None and self._is_good(id, found, at_least):
                self._keep(id, found)
                return found
        asked = time.monotonic()
        version, value, lasts = await read()
        kept = Kept(version, asked, value)
        self._kept.pop(id, None)
        if lasts:
            self._keep(id, kept)
            if self._shared is not None and now is not None:
                self._shared.keep(id, kept, now)
        return kept

    def _keep(self, id: str, kept: Kept[V]) -> None:
        self._kept[id] = kept
        self._kept.move_to_end(id)
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)


class States:
    """Rows of investigations that are under way, and what progress is worked out from. To be used on the I/O thread.

    Args:
        rows: Where rows are shared with other processes; None: they are not.
        parts: The same of what progress is worked out from, with and without calls.
    """

    def __init__(
        self,
        hub: Hub,
        rows: Shared[InvestigationRow] | None = None,
        parts: tuple[Shared[Parts], Shared[Parts]] | None = None,
    ) -> None:
        self._hub = hub
        self._rows = Shelf(hub, rows)
        short, full = parts or (None, None)
        self._parts = {False: Shelf(hub, short), True: Shelf(hub, full)}

    async def get_row(self, backend: Backend, investigation_id: str, sight: Sight) -> InvestigationRow:
        """See :func:`investigation_sdk.engine.reading.get_row`."""

        async def read() -> tuple[int, InvestigationRow, bool]:
            row = await get_row(backend, investigation_id, Sight())
            return row.version, row, row.status not in ENDED

        self._hub.start()
        return sight.admit(await self._rows.get(investigation_id, 0, read), investigation_id)

    async def parts(self, backend: Backend, row: InvestigationRow, *, with_tools: bool) -> Parts:
        """See :func:`investigation_sdk.engine.parts.read_parts`."""

        async def read() -> tuple[int, Parts, bool]:
            found = await read_parts(backend, row.id, with_tools=with_tools)
            return row.version, found, row.status not in ENDED

        self._hub.start()
        return await self._parts[with_tools].get(row.id, row.version, read)

    async def both(
        self, backend: Backend, id: str, sight: Sight, *, with_tools: bool
    ) -> tuple[InvestigationRow, Parts]:
        """Of the parts, nothing is older than the row."""
        row = await self.get_row(backend, id, sight)
        return row, await self.parts(backend, row, with_tools=with_tools)
