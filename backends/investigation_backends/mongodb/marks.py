"""Marks: which investigations may have commits whose rows are not written.

A handle says so in the store before it commits, and takes it back when the rows are written and the investigation has
rested. So whoever reads lists, or comes after a crash, need not look at all investigations; and nothing of it is
written with each commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection as Group
from collections.abc import Iterable
from typing import Final, NamedTuple

from investigation_sdk.ids import uuid7

from .driver import Collection
from .link import clock
from .names import Document

_REST: Final = 30.0
"""Seconds without a commit after which an investigation's mark is taken back."""
_TRUSTED: Final = 300.0
"""Seconds for which a handle takes its mark to be there."""
STALLED: Final = 600.0
"""Seconds between mark and commit after which the mark is made once more, behind the commit."""
EXPIRED: Final = 1_800_000_000
"""µs after which anybody may take a mark away."""


class _Mark(NamedTuple):
    """One that this handle has made."""

    id: str
    made: float


class Marks:
    """The marks of one handle.

    Each has an id of its own, so that taking back an old one never takes a new one.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._held: dict[str, _Mark] = {}
        self._used: dict[str, float] = {}
        self._committing: Counter[str] = Counter()
        self._over: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._held or self._over)

    async def put(self, ids: Iterable[str], now: int, *, again: bool = False) -> None:
        """See that each of these investigations has a mark of this handle; `again`: a new one in any case."""
        looked = clock()
        new: dict[str, Document] = {}
        for id in ids:
            held = self._held.get(id)
            if again or held is None or looked - held.made > _TRUSTED:
                new[id] = {"_id": uuid7(), "investigation_id": id, "at": now}
        if new:
            await self._collection.insert_new(list(new.values()))
        for id, document in new.items():
            if (old := self._held.get(id)) is not None:
                self._over.append(old.id)
            self._held[id] = _Mark(document["_id"], looked)

    def begin(self, ids: Iterable[str]) -> None:
        """Commits on these are on their way: their marks stay."""
        self._committing.update(ids)

    def end(self, ids: Iterable[str], *, known: bool) -> None:
        """They are answered; or, not `known`, may be in the log or come into it later.

        In that case the marks are left in the store, where everybody finds them, this handle too.
        """
        looked = clock()
        for id in ids:
            self._committing[id] -= 1
            if not self._committing[id]:
                del self._committing[id]
            if known:
                self._used[id] = looked
            else:
                self._held.pop(id, None)

    async def take_back(self, busy: Group[str], *, rested: float = _REST) -> None:
        """Take back those of investigations that have rested, apart from `busy` ones: these wait for rows."""
        before = clock() - rested
        for id in [id for id, used in self._used.items() if used <= before]:
            if id in busy or id in self._committing:
                continue
            del self._used[id]
            if (mark := self._held.pop(id, None)) is not None:
                self._over.append(mark.id)
        over, self._over = self._over, []
        if over:
            try:
                await self._collection.delete({"_id": {"$in": over}})
            except BaseException:
                self._over += over
                raise

    async def others(self, *, older_than: int = 0) -> dict[str, list[str]]:
        """Investigations with marks that this handle does not hold, and these; made before a time (µs; 0: any)."""
        mine = {mark.id for mark in self._held.values()}.union(self._over)
        where: Document = {"at": {"$lt": older_than}} if older_than else {}
        found: dict[str, list[str]] = {}
        for one in await self._collection.find(where, fields={"investigation_id": 1}):
            if one["_id"] not in mine:
                found.setdefault(one["investigation_id"], []).append(one["_id"])
        return found

    async def forget(self, ids: Iterable[str]) -> None:
        """Take away marks of anybody that are so old that nobody relies on them, when all rows are written."""
        await self._collection.delete({"_id": {"$in": list(ids)}})
