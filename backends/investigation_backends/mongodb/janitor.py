"""Mends what a crash left: rows that nobody wrote, deletions that nobody finished, pieces of blobs without a commit."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final, NamedTuple

from .deleting import finish_all, purge
from .errors import DRIVER_ERRORS, explain
from .link import Link, clock
from .marks import EXPIRED, Marks
from .project import catch_up
from .reads import is_committed

_log = logging.getLogger("investigation_sdk.mongo")

_SECOND: Final = 1_000_000
GRACE: Final = 24 * 3600 * _SECOND
"""How long what may still be wanted is left alone, µs."""
OVERDUE: Final = 10 * _SECOND
"""Rows that are not written for so long are not being written by anybody, µs."""
_BETWEEN_SWEEPS: Final = 3600.0


class Swept(NamedTuple):
    """What one round of the janitor mended."""

    commits: int
    """Commits whose rows were written, deletions that were finished."""
    blobs: int
    """Pieces of blobs that no commit has."""
    places: int
    """Deleted investigations of which only the tombstone is left now."""


async def sweep(link: Link, marks: Marks, *, overdue: int = OVERDUE, grace: int = GRACE) -> Swept:
    """One round, with the rare parts."""
    now = await link.server_now()
    commits = await mend(link, marks, now - overdue, before=now - grace)
    return Swept(commits, await _sweep_blobs(link, now - grace), await purge(link, now - grace))


async def mend(link: Link, marks: Marks, older_than: int, *, before: int = 0) -> int:
    """Write the rows of commits that nobody has written, made before a time (µs), and finish deletions; how many."""
    done = await finish_all(link, before=before)
    done += await catch_up(link, await marks.others(older_than=older_than), older_than=older_than)
    expired = await marks.others(older_than=await link.server_now() - EXPIRED)
    if expired:
        done += await catch_up(link, expired)
        await marks.forget(id for ids in expired.values() for id in ids)
    return done


async def _sweep_blobs(link: Link, before: int) -> int:
    """Take away pieces that were written before a time, and whose commit never came."""
    where = {"pending": {"$gt": 0, "$lt": before}}
    swept = 0
    while True:
        found = await link.blobs.find(where, fields={"blob": 1, "by": 1}, limit=1000)
        for blob, by in {one["blob"]: one.get("by", ()) for one in found}.items():
            if await is_committed(link, by):
                await link.blobs.update({"blob": blob}, {"$unset": {"pending": ""}})
            else:
                # whoever is about to commit them has just touched them, and so they stay
                swept += await link.blobs.delete({"blob": blob, **where})
        if len(found) < 1000:
            return swept


class Janitor:
    """Does its rounds while the backend is open."""

    def __init__(self, link: Link, marks: Marks, every: float) -> None:
        self._link = link
        self._marks = marks
        self._every = every
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        swept = clock()
        while True:
            # apart from other processes' rounds
            await asyncio.sleep(self._every * random.uniform(0.5, 1.0))  # noqa: S311
            try:
                if clock() - swept > _BETWEEN_SWEEPS:
                    swept = clock()
                    await sweep(self._link, self._marks)
                else:
                    await mend(self._link, self._marks, await self._link.server_now() - OVERDUE)
            except DRIVER_ERRORS as error:
                _log.warning("%s; what a crash may have left is looked for later", explain(error, self._link.place))

    def stop(self) -> None:
        """No more rounds."""
        self._task.cancel()
