"""Rows out of commits: written behind, the latest of each, never backwards. Safe for any number at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pymongo import UpdateOne

from .deleting import finish, forget_rows
from .driver import Write
from .link import Link
from .names import BEHIND, KEPT_FROM, PART_OF, WRITTEN_BY, Document, slot

_OWNED: Final = ("phase", "tool", "snapshot")
_DONE: Final[Document] = {"$unset": {BEHIND: "", **dict.fromkeys(PART_OF.values(), "")}}

_Place = tuple[str, int]


def parts(document: Mapping[str, Any]) -> Document:
    """What of a commit's document is needed here."""
    names = ("_id", "investigation_id", "expected_version", "version", "blobs", "deleted", *PART_OF.values())
    return {name: document[name] for name in names if name in document}


PARTS: Final[Document] = dict.fromkeys(
    ("investigation_id", "expected_version", "version", "blobs", "deleted", *PART_OF.values()), 1
)


class _Changes:
    """The latest rows of some commits, by id."""

    def __init__(self, commits: Iterable[Mapping[str, Any]]) -> None:
        self.investigations: dict[str, Document] = {}
        self.whole: set[str] = set()
        """Investigations whose first commit is among these."""
        self.rows: dict[str, dict[str, Document]] = {kind: {} for kind in _OWNED}
        self.blobs: list[str] = []
        for commit in sorted(commits, key=_order):
            self._add(commit)

    def _add(self, commit: Mapping[str, Any]) -> None:
        id = commit["investigation_id"]
        self.blobs += commit.get("blobs", ())
        change = commit.get("investigation")
        if change is not None:
            self.investigations.setdefault(id, {}).update(change)
            if not commit["expected_version"]:
                self.whole.add(id)
        for kind in _OWNED:
            for row in commit.get(PART_OF[kind], ()):
                self.rows[kind][row["_id"]] = {**row, WRITTEN_BY: commit["version"]}


def _order(commit: Mapping[str, Any]) -> _Place:
    return commit["investigation_id"], commit["expected_version"]


async def project(link: Link, commits: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Write the rows of these commits, and mark them as done; answer those that have to wait for an earlier one."""
    deletions = [commit for commit in commits if "deleted" in commit]
    commits = [commit for commit in commits if "deleted" not in commit]
    waiting: list[Mapping[str, Any]] = []
    if commits:
        changes = _Changes(commits)
        missing = await _write(link, changes)
        await _forget_parents(link, changes)
        if changes.blobs:
            await link.blobs.update({"blob": {"$in": changes.blobs}}, {"$unset": {"pending": ""}})
        waiting = [commit for commit in commits if commit["investigation_id"] in missing]
        await _mark(link, [commit for commit in commits if commit["investigation_id"] not in missing])
    for deletion in deletions:
        await finish(link, deletion["investigation_id"], deletion["expected_version"])
    return waiting


async def _write(link: Link, changes: _Changes) -> set[str]:
    """Write; answer the investigations that have no row which is new enough: their first commit is not here."""
    older = {id: {"_id": id, "version": {"$lt": row["version"]}} for id, row in changes.investigations.items()}
    await asyncio.gather(
        _put(link, "investigation", [(older[id], changes.investigations[id]) for id in changes.whole]),
        link.rows("investigation").write(
            [
                UpdateOne(older[id], {"$set": change})
                for id, change in changes.investigations.items()
                if id not in changes.whole
            ]
        ),
        *(_put(link, kind, _older(changes.rows[kind])) for kind in _OWNED),
    )
    for id in {row["investigation_id"] for row in changes.rows["snapshot"].values()}:
        await _forget_snapshots(link, id)
    wanted = {id: change["version"] for id, change in changes.investigations.items() if id not in changes.whole}
    if not wanted:
        return set()
    found = await link.rows("investigation").find({"_id": {"$in": list(wanted)}}, fields={"version": 1})
    there = {row["_id"]: row["version"] for row in found}
    return {id for id, version in wanted.items() if there.get(id, 0) < version}


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


async def _forget_parents(link: Link, changes: _Changes) -> None:
    """A child whose parent was deleted meanwhile has none."""
    parents: dict[str, list[str]] = {}
    for id in changes.whole:
        parent = changes.investigations[id].get("parent_investigation_id")
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


async def _mark(link: Link, commits: Sequence[Mapping[str, Any]]) -> None:
    """Mark commits as done. One that is not marked any more was done by another, or its investigation is deleted."""
    if not commits:
        return
    ids = [commit["_id"] for commit in commits]
    if await link.commits.update({"_id": {"$in": ids}}, _DONE) < len(ids):
        for id in await deleted(link, {commit["investigation_id"] for commit in commits}):
            await forget_rows(link, id)
