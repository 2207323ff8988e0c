"""Deletion: a tombstone takes the place of the next commit; what it leaves is taken away then, or by who finds it."""

from __future__ import annotations

from typing import Final

from . import keys
from .documents import CONTENT
from .link import Link
from .names import Document, slot

UNFINISHED: Final = "unfinished"
"""In a deletion that may have to be finished: since when, µs."""
PURGE: Final = "purge"
"""In one of which the places are not free yet: since when, µs."""
_BARE: Final[Document] = {"$unset": dict.fromkeys(CONTENT, "")}


async def delete(link: Link, id: str, version: int) -> bool:
    """Delete an investigation that is still at the given version; whether it was."""
    if version <= 0 or not await _bury(link, id, version):
        return False
    await finish(link, id, version)
    return True


async def _bury(link: Link, id: str, version: int) -> bool:
    """Compete for the place of the next commit."""
    if await link.commits.one({"investigation_id": id, "version": version}, fields={"_id": 1}) is None:
        return False
    now = await link.server_now()
    place = slot(id, version)
    tombstone = {
        "_id": place,
        "investigation_id": id,
        "expected_version": version,
        "version": version + 1,
        "deleted": now,
    }
    # before the tombstone, so that whatever a crash leaves is found
    intended: Document = {"investigation_id": id, "expected_version": version, UNFINISHED: now}
    await link.deletions.put({"_id": place}, {"$setOnInsert": intended})
    link.heads.forget(id)
    return await link.commits.insert_one(tombstone)


async def finish_all(link: Link, *, before: int = 0) -> int:
    """Finish deletions that a crash has left; how many. Of those begun before a time (µs), some came to nothing."""
    done = 0
    for one in await link.deletions.find({UNFINISHED: {"$gt": 0}}, limit=1000):
        taken = await link.commits.one({"_id": one["_id"]}, fields={"deleted": 1})
        if taken is not None and "deleted" in taken:
            await finish(link, one["investigation_id"], one["expected_version"])
            done += 1
        elif taken is not None or one[UNFINISHED] < before:
            await link.deletions.delete({"_id": one["_id"], UNFINISHED: one[UNFINISHED]})
    return done


async def finish(link: Link, id: str, version: int) -> None:
    """Take away what the tombstone at `version` left. Idempotent: whoever finds one that is not finished does it.

    The places stay taken for a day, bare, so that no commit that is on its way finds one free; the first stays for
    good.
    """
    now = await link.server_now()
    first, tombstone = slot(id, 0), slot(id, version)
    await keys.free(link, id)
    await link.commits.update({"_id": first}, {**_BARE, "$set": {"deleted": now}})
    await link.commits.update({"investigation_id": id, "_id": {"$nin": [first, tombstone]}}, _BARE)
    await link.rows("investigation").update(
        {"parent_investigation_id": id}, {"$set": {"parent_investigation_id": None}}
    )
    await forget_rows(link, id)
    await link.blobs.delete({"investigation_id": id})
    await link.leases.delete({"_id": id})
    await link.deletions.update({"_id": tombstone}, {"$unset": {UNFINISHED: ""}, "$set": {PURGE: now}})
    link.heads.forget(id)


async def forget_rows(link: Link, id: str) -> None:
    """Take away the rows of an investigation that is deleted."""
    await link.rows("investigation").delete({"_id": id})
    for kind in ("phase", "tool", "snapshot"):
        await link.rows(kind).delete({"investigation_id": id})


async def purge(link: Link, before: int) -> int:
    """Free the places of investigations that were deleted before a time (µs), all but the first; how many."""
    found = await link.deletions.find({PURGE: {"$gt": 0, "$lt": before}}, limit=1000)
    for one in found:
        id = one["investigation_id"]
        await forget_rows(link, id)
        await link.commits.delete({"investigation_id": id, "_id": {"$nin": [slot(id, 0), one["_id"]]}})
        await link.commits.delete({"_id": one["_id"]})
        await link.deletions.delete({"_id": one["_id"]})
    return len(found)
