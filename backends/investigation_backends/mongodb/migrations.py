"""The schema: its revisions in order, each a coroutine that makes them of what was there before.

Each can be run again on what it has already done, also by several processes at the same time: a revision is noted
when it is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from pymongo.errors import CollectionInvalid, OperationFailure

from .deleting import PURGE, UNFINISHED
from .documents import reference
from .driver import Client, Collection, Sort
from .keys import take
from .link import Link
from .names import ALL_COLLECTIONS, BEHIND, BLOBS, COLLECTION_OF, COMMITS, DELETIONS, PART_OF, Document
from .project import PARTS, project

_EXISTS: Final = 48


class Index(NamedTuple):
    """An index that this version needs."""

    name: str
    keys: Sort
    options: Mapping[str, Any] = {}


def _by(*fields: str) -> Sort:
    return [(field, 1) for field in fields]


def _partial(field: str, *others: str) -> Index:
    """An index of the documents alone in which a number stands in `field`."""
    return Index(field, _by(field, *others), {"partialFilterExpression": {field: {"$gt": 0}}})


QUEUE: Final = Index(
    "queue", [("priority", -1), ("_id", 1)], {"partialFilterExpression": {"claimable_at": {"$gte": 0}}}
)

INDEXES: Final[Mapping[str, tuple[Index, ...]]] = {
    COMMITS: (Index("log", _by("investigation_id", "version", "expected_version")),),
    DELETIONS: (_partial(UNFINISHED), _partial(PURGE)),
    BLOBS: (Index("blob", _by("blob")), Index("investigation", _by("investigation_id")), _partial("pending")),
    COLLECTION_OF["investigation"]: (
        QUEUE,
        Index("status", _by("status", "_id")),
        Index("type", _by("investigation_type", "_id")),
        Index("user", _by("user_id", "_id")),
        Index("parent", _by("parent_investigation_id", "_id")),
        Index("key", _by("key")),
    ),
    COLLECTION_OF["phase"]: (Index("investigation", _by("investigation_id", "_id")),),
    COLLECTION_OF["tool"]: (
        Index("investigation", _by("investigation_id", "_id")),
        Index("status", _by("status", "_id")),
    ),
    COLLECTION_OF["snapshot"]: (Index("investigation", _by("investigation_id", "sequence")),),
}
"""All indexes by collection, but for those on `_id`."""


async def _first_collections(client: Client) -> None:
    """All collections and their indexes."""
    there = set(await client.names())
    for name in ALL_COLLECTIONS:
        if name not in there:
            try:
                await client.make_collection(name)
            except CollectionInvalid:  # another process was first
                pass
            except OperationFailure as error:
                if error.code != _EXISTS:
                    raise
        for index in INDEXES.get(name, ()):
            await client[name].make_index(index.keys, index.name, **index.options)


async def _queue(client: Client) -> None:
    """What a worker may take up, in its order; of what is there already too.

    Also in commits whose rows are not written yet: these are written over the rows later.
    """
    investigations = client[COLLECTION_OF["investigation"]]
    part = PART_OF["investigation"]
    await _fill_queue(client[COMMITS], {BEHIND: {"$gt": 0}, part: {"$exists": True}}, f"{part}.")
    await _fill_queue(investigations, {}, "")
    await investigations.make_index(QUEUE.keys, QUEUE.name, **QUEUE.options)


async def _fill_queue(documents: Collection, where: Document, prefix: str) -> None:
    """Set the two fields where an older version wrote a row without them."""
    older: Document = {**where, f"{prefix}priority": None}
    free: Document = {
        f"{prefix}token": None,
        "$or": [{f"{prefix}resume_requested": 1}, {f"{prefix}status": {"$in": list(_FREE)}}],
    }
    for which, claimable_at in ((free, 0), ({}, None)):
        change = {f"{prefix}priority": 0, f"{prefix}claimable_at": claimable_at}
        await documents.update({**older, **which}, {"$set": change})


_FREE: Final = ("queued", "retrying", "initializing", "running", "completing")


async def _rows_tell(client: Client) -> None:
    """No commit says of itself any more whether its rows are written, the row of its investigation does.

    That is not so where rows were written in another order than commits, so all are written first. A revision that
    was left half done goes on with the commits that still say so.
    """
    await _first_collections(client)
    link = Link(client, "")
    commits, deletions = client[COMMITS], client[DELETIONS]
    fields = {**PARTS, "deleted": 1, PURGE: 1}
    for field in (BEHIND, PURGE):
        while found := await commits.find({field: {"$gt": 0}}, fields={**fields, field: 1}, limit=500):
            for one in found:
                if "deleted" in one:
                    to_do = {UNFINISHED if field == BEHIND else PURGE: one[field]}
                    names = {name: one[name] for name in ("investigation_id", "expected_version")}
                    await deletions.put({"_id": one["_id"]}, {"$setOnInsert": names, "$set": to_do})
            await project(link, [one for one in found if "deleted" not in one])
            await commits.update({"_id": {"$in": [one["_id"] for one in found]}}, {"$unset": {field: ""}})
        await commits.drop_index(field)


async def _keys_and_blobs(client: Client) -> None:
    """Keys stand in documents of their own, and a piece of a blob names the commits that it was written for."""
    await _first_collections(client)
    link = Link(client, "")
    commits, blobs = link.commits, link.blobs
    last = ""
    while found := await commits.find({"key": {"$gt": last}}, fields=_KEY, sort=[("key", 1)], limit=500):
        last = found[-1]["key"]
        # a first try that was interrupted may have left the key of one that is deleted by now
        await take(link, {one["key"]: one["investigation_id"] for one in found}, 0)
    last = ""
    while found := await blobs.find({"_id": {"$gt": last}}, fields={"blob": 1}, sort=[("_id", 1)], limit=500):
        last = found[-1]["_id"]
        for blob in {one["blob"] for one in found}:
            of = await commits.find({"blobs": blob}, fields={"commit_id": 1})
            by = [reference(one["_id"], one["commit_id"]) for one in of]
            await blobs.update({"blob": blob}, {"$addToSet": {"by": {"$each": by}}})
    for index in ("key", "blobs"):
        await commits.drop_index(index)


_KEY: Final[Document] = {"key": 1, "investigation_id": 1}

MIGRATIONS: Final[Mapping[str, Callable[[Client], Awaitable[None]]]] = {
    "0001": _first_collections,
    "0002": _queue,
    "0003": _rows_tell,
    "0004": _keys_and_blobs,
}
"""Every revision that was ever released, oldest first, and what makes it of the one before."""

REVISIONS: Final = tuple(MIGRATIONS)


async def differences(client: Client) -> list[str]:
    """What is different from the newest revision, a sentence each."""
    there = set(await client.names())
    found: list[str] = []
    for name in ALL_COLLECTIONS:
        if name not in there:
            found.append(f"collection {name} is missing")
            continue
        indexes = await client[name].indexes()
        for index in INDEXES.get(name, ()):
            stored = indexes.get(index.name)
            if stored is None:
                found.append(f"index {name}.{index.name} is missing")
            elif [tuple(key) for key in stored["key"]] != list(index.keys) or any(
                stored.get(option) != value for option, value in index.options.items()
            ):
                found.append(f"index {name}.{index.name} has other keys or options")
    return found
