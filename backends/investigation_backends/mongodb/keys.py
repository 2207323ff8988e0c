"""Keys: one document each, made before the commit that creates an investigation with it.

Who has a key is who its document names, if that investigation is there and has it. Where it is not there, its creation
is on its way, or a crash has left the key behind. Both look the same, so whoever wants the key waits for a moment, and
then takes the place of that creation: from then on it cannot come any more, and the key is free.
"""

from __future__ import annotations

import asyncio
from typing import Final

from .link import Link
from .names import Document, slot

_PATIENCE: Final = 1.0
"""Seconds for which a creation that is on its way is waited for."""
_LOOKS: Final = 40
LOST: Final = "key_lost"
"""In what takes the place of a creation that has lost its key."""


async def take(link: Link, wanted: dict[str, str], now: int) -> tuple[dict[str, str], set[str]]:
    """Take keys for investigations that are about to be created.

    Args:
        link: The store.
        wanted: Who wants it, by key.
        now: The time, µs.

    Returns:
        Who has them, by key, where that is another; and those that were taken by this call.
    """
    keys = list(wanted)
    documents: list[Document] = [{"_id": key, "investigation_id": wanted[key], "at": now} for key in keys]
    there = {keys[place] for place in await link.keys.insert_new(documents)}
    taken = set(wanted) - there
    others: dict[str, str] = {}
    for key in there:
        holder, is_new = await _holder(link, key, wanted[key], now)
        if holder != wanted[key]:
            others[key] = holder
        elif is_new:
            taken.add(key)
    return others, taken


async def _holder(link: Link, key: str, id: str, now: int) -> tuple[str, bool]:
    """Who has a key, `id` perhaps; and whether that is so by this call."""
    looks = 0
    while True:
        found = await link.keys.one({"_id": key})
        if found is None:
            if await link.keys.insert_one({"_id": key, "investigation_id": id, "at": now}):
                return id, True
            continue
        holder: str = found["investigation_id"]
        if holder == id:
            return id, False
        place = slot(holder, 0)
        created = await link.commits.one({"_id": place}, fields={"key": 1})
        if created is not None and created.get("key") == key:
            return holder, False
        if created is None:
            looks += 1
            if looks < _LOOKS:
                await asyncio.sleep(_PATIENCE / _LOOKS)
                continue
            blocked = {"_id": place, "investigation_id": holder, "expected_version": 0, "version": 1}
            if not await link.commits.insert_one({**blocked, "deleted": now, LOST: True}):
                continue
            link.heads.forget(holder)
        if await link.keys.update({"_id": key, "investigation_id": holder}, {"$set": {"investigation_id": id}}):
            return id, True


async def give_back(link: Link, key: str, id: str) -> None:
    """Free a key that was taken for a creation which was refused, unless the same one has come by another way."""
    created = await link.commits.one({"_id": slot(id, 0)}, fields={"key": 1})
    if created is None or created.get("key") != key:
        await link.keys.delete({"_id": key, "investigation_id": id})


async def free(link: Link, id: str) -> None:
    """Free the key of an investigation that is being deleted, before its creation forgets it."""
    created = await link.commits.one({"_id": slot(id, 0)}, fields={"key": 1})
    if created is not None and "key" in created:
        await link.keys.delete({"_id": created["key"], "investigation_id": id})
