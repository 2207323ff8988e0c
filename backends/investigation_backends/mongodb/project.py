"""Rows out of commits: written behind, the latest of each, never backwards. Safe for any number at the same time.

The row of an investigation comes last, and only onto one that the first of these commits stands on, or a later one: so
its version says that all rows up to there are written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pymongo import UpdateOne

from .deleting import forget_rows
from .driver import Write
from .link import Link
from .names import KEPT_FROM, PART_OF, WRITTEN_BY, Document, slot
from .tails import AT_ONCE, behind, tails, written

_OWNED: Final = ("phase", "tool", "snapshot")
_TRIES: Final = 20
_PAGE: Final = 500
"""So many commits of an investigation are read at once."""


def parts(document: Mapping[str, Any]) -> Document:
    """What of a commit's document is needed here."""
    names = ("investigation_id", "expected_version", "version", "blobs", *PART_OF.values())
    return {name: document[name] for name in names if name in document}


PARTS: Final[Document] = dict.fromkeys(
    ("investigation_id", "expected_version", "version", "blobs", *PART_OF.values()), 1
)


class _Changes:
    """The latest rows of some commits, by id."""

    def __init__(self, commits: Iterable[Mapping[str, Any]]) -> None:
        self.investigations: dict[str, Document] = {}
        self.base: dict[str, int] = {}
        """The version that the first commit of each investigation stands on."""
        self.ends: dict[str, int] = {}
        """The version of the last commit of each."""
        self.gaps: set[str] = set()
        """Investigations of which commits in between are not among these."""
        self.rows: dict[str, dict[str, Document]] = {kind: {} for kind in _OWNED}
        self.blobs: list[str] = []
        for commit in sorted(commits, key=_order):
            self._add(commit)
        # those of revision 0002 and before, whose rows it wrote, do not have them any more: a row that says that it is
        # older was changed by somebody
        for id, end in self.ends.items():
            if self.investigations[id].get("version") != end:
                del self.investigations[id], self.base[id]
                self.gaps.discard(id)

    def _add(self, commit: Mapping[str, Any]) -> None:
        id, stands_on = commit["investigation_id"], commit["expected_version"]
        self.blobs += commit.get("blobs", ())
        if self.ends.get(id, stands_on) < stands_on:
            self.gaps.add(id)
        self.ends[id] = commit["version"]
        self.base.setdefault(id, stands_on)
        self.investigations.setdefault(id, {}).update(commit.get("investigation", ()))
        for kind in _OWNED:
            for row in commit.get(PART_OF[kind], ()):
                self.rows[kind][row["_id"]] = {**row, WRITTEN_BY: commit["version"]}


def _order(commit: Mapping[str, Any]) -> tuple[str, int]:
    return commit["investigation_id"], commit["expected_version"]


async def project(link: Link, commits: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of these commits, and of those before them that nobody has written."""
    for _ in range(_TRIES):
        if not commits:
            return
        changes = _Changes(commits)
        await asyncio.gather(*(_put(link, kind, _older(changes.rows[kind])) for kind in _OWNED))
        for id in {row["investigation_id"] for row in changes.rows["snapshot"].values()}:
            await _forget_snapshots(link, id)
        if changes.blobs:
            await link.blobs.update({"blob": {"$in": changes.blobs}}, {"$unset": {"pending": ""}})
        missing = await _write(link, changes)
        await _forget_deleted(link, changes, missing)
        pages = await tails(link, await behind(link, missing), PARTS)
        commits = [commit for page in pages.values() for commit in page]


async def catch_up(link: Link, ids: Iterable[str], *, older_than: int = 0, most: int = 0) -> int:
    """Write the rows of these investigations that nobody has written; of how many commits.

    Args:
        link: The store.
        ids: Of investigations.
        older_than: Only where the first such commit was made before this, µs; 0: all.
        most: Stop when there were so many; 0: never.
    """
    missing = list((await behind(link, ids, older_than=older_than)).items())
    done = 0
    for start in range(0, len(missing), AT_ONCE):
        versions = dict(missing[start : start + AT_ONCE])
        while versions and (not most or done < most):
            pages = await tails(link, versions, PARTS, limit=_PAGE)
            await project(link, [commit for page in pages.values() for commit in page])
            done += sum(map(len, pages.values()))
            versions = {id: page[-1]["version"] for id, page in pages.items() if len(page) == _PAGE}
    return done


async def _write(link: Link, changes: _Changes) -> set[str]:
    """Write rows of investigations; answer those that have none which is new enough."""
    rows = changes.investigations
    # the creation may be of revision 0002, and have no row any more
    whole = [id for id, row in rows.items() if not changes.base[id] and "_id" in row and id not in changes.gaps]
    later = list(rows.keys() - changes.gaps - set(whole))
    newer = {id: {"_id": id, "version": {"$lt": row["version"]}} for id, row in rows.items()}
    await _put(link, "investigation", [(newer[id], rows[id]) for id in whole])
    await _forget_parents(link, {id: rows[id] for id in whole})
    onto = {id: {"_id": id, "version": {"$gte": changes.base[id], "$lt": rows[id]["version"]}} for id in later}
    result = await link.rows("investigation").write([UpdateOne(onto[id], {"$set": rows[id]}) for id in later])
    if result.matched == len(later) and not changes.gaps:
        return set()
    there = await written(link, [*later, *changes.gaps])
    more = changes.gaps.union(id for id in later if changes.base[id])  # no others have commits before these
    return {id for id, version in there.items() if version < rows[id]["version"] and id in more}


async def _forget_deleted(link: Link, changes: _Changes, missing: Iterable[str]) -> None:
    """Take away what was written of investigations that were deleted meanwhile: those without a row before."""
    new = {id for id, base in changes.base.items() if not base}
    for id in await deleted(link, new.union(missing)):
        await forget_rows(link, id)


async def _forget_snapshots(link: Link, id: str) -> None:
    """Take away those that the latest one says are gone: one of an older commit may have been written behind it."""
    latest = await link.rows("snapshot").find({"investigation_id": id}, sort=[("sequence", -1)], limit=1)
    gone = latest[0].get(KEPT_FROM, 0) if latest else 0
    if gone:
        await link.rows("snapshot").delete({"investigation_id": id, "sequence": {"$lt": gone}})


def _older(rows: Mapping[str, Document]) -> list[tuple[Document, Document]]:
    return [({"_id": id, WRITTEN_BY: {"$lt": row[WRITTEN_BY]}}, row) for id, row in rows.items()]


async def _put(link: Link, kind: str, rows: Sequence[tuple[Document, Document]]) -> None:
    """Insert what is not there, then bring up to date what is there and older: most rows are written once."""
    there = await link.rows(kind).insert_new([row for _, row in rows])
    await link.rows(kind).write([_set(*rows[place]) for place in sorted(there)])


def _set(older: Document, row: Document) -> Write:
    return UpdateOne(older, {"$set": {name: value for name, value in row.items() if name != "_id"}})


async def _forget_parents(link: Link, rows: Mapping[str, Document]) -> None:
    """A child whose parent was deleted meanwhile has none."""
    parents: dict[str, list[str]] = {}
    for id, row in rows.items():
        parent = row.get("parent_investigation_id")
        if parent is not None:
            parents.setdefault(parent, []).append(id)
    for parent in await deleted(link, parents):
        where = {"_id": {"$in": parents[parent]}, "parent_investigation_id": parent}
        await link.rows("investigation").update(where, {"$set": {"parent_investigation_id": None}})


async def deleted(link: Link, ids: Iterable[str]) -> set[str]:
    """Which of these investigations are deleted."""
    first = {slot(id, 0): id for id in ids}
    if not first:
        return set()
    found = await link.commits.find({"_id": {"$in": list(first)}, "deleted": {"$gt": 0}}, fields={"_id": 1})
    return {first[one["_id"]] for one in found}
