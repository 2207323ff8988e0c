"""What is acknowledged and not yet among the rows: written a moment later, many commits together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .deleting import finish_all
from .errors import DRIVER_ERRORS, explain
from .link import Link, clock
from .marks import Marks
from .names import Document
from .project import catch_up, parts, project

_log = logging.getLogger("investigation_sdk.mongo")

_LINGER: Final = 0.05
"""Seconds in which more commits may come, whose rows are then written together."""
_SHARE: Final = 3
"""Writing rows is followed by a pause of so many times what it took: the log goes first."""
_LONGEST_LINGER: Final = 1.0
_CHUNK: Final = 4_000
"""So many commits have their rows written together: the more, the fewer changes of an investigation's row."""
_MOST: Final = 2_000
"""So many commits may wait; the next ones are answered when their rows are written."""
_LONGEST_PAUSE: Final = 5.0
_LOOK_AT_MARKS: Final = 1.0
MOST_SETTLED: Final = 4_000
"""So many commits of others are brought up to date before a list is read."""


class Behind:
    """The rows of this handle's own commits, on their way."""

    def __init__(self, link: Link, marks: Marks) -> None:
        self._link = link
        self.marks: Marks = marks
        self._queue: list[Mapping[str, Any]] = []
        self._one_at_a_time = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def add(self, applied: Sequence[Document]) -> None:
        """Write their rows soon; wait while there are too many."""
        self._queue += [parts(document) for document in applied]
        if len(self._queue) > _MOST:
            try:
                await self.flush()
            except DRIVER_ERRORS as error:  # they are committed: others may have to wait, these need not fail
                _log.warning("%s; rows wait for being written", explain(error, self._link.place))

    def wake(self) -> None:
        """See to rows and marks until there is nothing left to do."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def flush(self) -> None:
        """Write all that is queued, now."""
        async with self._one_at_a_time:
            for _ in range(1 + len(self._queue) // _CHUNK):
                if not self._queue:
                    return
                batch, self._queue = self._queue[:_CHUNK], self._queue[_CHUNK:]
                try:
                    await project(self._link, batch)
                except BaseException:
                    self._queue = [*batch, *self._queue]
                    raise

    async def _run(self) -> None:
        pause = _LINGER
        while self._queue or self.marks:
            await asyncio.sleep(pause if self._queue else _LOOK_AT_MARKS)
            begun = clock()
            try:
                await self.flush()
                await self.marks.take_back({one["investigation_id"] for one in self._queue})
                pause = min(max(_LINGER, _SHARE * (clock() - begun)), _LONGEST_LINGER)
            except DRIVER_ERRORS as error:
                _log.warning("%s; rows wait for being written", explain(error, self._link.place))
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def close(self, timeout: float) -> None:
        """Write what is queued, for so many seconds; the rest is found and written by others."""
        try:
            async with asyncio.timeout(timeout):
                await self.flush()
                await self.marks.take_back((), rested=0)
        except (*DRIVER_ERRORS, TimeoutError) as error:
            _log.warning("%s; rows are left to be written by others", explain(error, self._link.place))
        if self._task is not None:
            self._task.cancel()

    async def settle(self) -> None:
        """Bring rows up to date with all commits that were acknowledged before, unless these are very many."""
        await self.flush()
        await finish_all(self._link)
        await catch_up(self._link, await self.marks.others(), most=MOST_SETTLED)
