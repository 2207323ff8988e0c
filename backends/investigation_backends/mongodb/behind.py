"""What is acknowledged and not yet among the rows: written a moment later, many commits together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .errors import DRIVER_ERRORS, explain
from .link import Link
from .names import BEHIND, Document
from .project import PARTS, parts, project

_log = logging.getLogger("investigation_sdk.mongo")

_LINGER: Final = 0.05
"""Seconds in which more commits may come, whose rows are then written together."""
_CHUNK: Final = 500
_MOST: Final = 4 * _CHUNK
"""So many commits may wait; the next ones are answered when they are fewer."""
_LONGEST_PAUSE: Final = 5.0
MOST_SETTLED: Final = 8 * _CHUNK
"""So many commits of others are brought up to date before a list is read."""


class Behind:
    """The rows of this handle's own commits, on their way."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._queue: list[Mapping[str, Any]] = []
        self._one_at_a_time = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def add(self, applied: Sequence[Document]) -> None:
        """Write their rows soon; wait while there are too many."""
        self._queue += [parts(document) for document in applied]
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        if len(self._queue) > _MOST:
            try:
                await self.flush()
            except DRIVER_ERRORS as error:  # they are committed: others may have to wait, these need not fail
                _log.warning("%s; rows wait for being written", explain(error, self._link.place))

    async def flush(self) -> None:
        """Write all that is queued, now."""
        async with self._one_at_a_time:
            for _ in range(1 + len(self._queue) // _CHUNK):
                if not self._queue:
                    return
                batch, self._queue = self._queue[:_CHUNK], self._queue[_CHUNK:]
                try:
                    batch = await project(self._link, batch)
                finally:  # also what has to wait for the first commit of its investigation, made elsewhere
                    self._queue = [*batch, *self._queue]

    async def _run(self) -> None:
        pause = _LINGER
        while self._queue:
            await asyncio.sleep(pause)
            before = len(self._queue)
            try:
                await self.flush()
                pause = _LINGER if len(self._queue) < before else min(2 * pause, _LONGEST_PAUSE)
            except DRIVER_ERRORS as error:
                _log.warning("%s; rows wait for being written", explain(error, self._link.place))
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def close(self, timeout: float) -> None:
        """Write what is queued, for so many seconds; the rest is found and written by others."""
        try:
            async with asyncio.timeout(timeout):
                await self.flush()
        except (*DRIVER_ERRORS, TimeoutError) as error:
            _log.warning("%s; rows are left to be written by others", explain(error, self._link.place))
        if self._task is not None:
            self._task.cancel()

    async def settle(self) -> None:
        """Bring rows up to date with all commits that were acknowledged before, unless these are very many."""
        await self.flush()
        await mend(self._link, 0, MOST_SETTLED)


async def mend(link: Link, older_than: int, most: int) -> int:
    """Write the rows of commits that nobody has written, made before a time (µs; 0: any); how many."""
    done = 0
    where: Document = {BEHIND: {"$gt": 0, "$lt": older_than} if older_than else {"$gt": 0}}
    while done < most:
        pending = await link.commits.find(where, fields=PARTS, sort=[(BEHIND, 1)], limit=_CHUNK, hint=BEHIND)
        left = await project(link, pending)
        done += len(pending) - len(left)
        if len(pending) < _CHUNK or len(left) == len(pending):
            break
    return done
