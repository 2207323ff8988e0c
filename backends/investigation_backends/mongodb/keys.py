"""Keys: one document each, made before the commit that creates an investigation with it.

Who has a key is who its document names, if that investigation is there and has it. Where it is not there, its creation
is on its way, or a crash has left the key behind. Both look the same, so whoever wants the key waits for a moment, and
then takes the place of that creation: from then on it cannot come any more, and the key is free.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from .link import Link
from .names import Document, slot

_PATIENCE: Final = 1.0
"""Seconds for which a creation that is on its way is waited for."""
_LOOKS: Final = 40
_AT_ONCE: Final = 20
LOST: Final = "key_lost"
"""In what takes the place of a creation that has lost its key."""


async def take(link: Link, wanted: Mapping[str, str], now: int) -> tuple[dict[str, str], set[str]]:
    """Take keys for investigations that are about to be created; all are waited for together.

    Args:
        link: The store.
        wanted: Who wants it, by key.
        now: The time, µs.

    Returns:
        Who has them, by key, where that is another; and those that were taken by this call.
    """
    taken = await _insert(link, wanted, now)
    others: dict[str, str] = {}
    undecided = wanted.keys() - taken
    looks: Counter[tuple[str, str]] = Counter()
    while undecided:
        holders = await _holders(link, undecided)
        taken |= await _insert(link, {key: wanted[key] for key in undecided - holders.keys()}, now)
        held = {key: holder for key, holder in holders.items() if holder != wanted[key]}
        created = await _created(link, held.values())
        others |= {key: holder for key, holder in held.items() if created.get(holder) == key}
        free = {key: holder for key, holder in held.items() if created.get(holder, key) != key}
        awaited = {key: holder for key, holder in held.items() if holder not in created}
        looks.update(awaited.items())
        lapsed = {key: holder for key, holder in awaited.items() if looks[key, holder] >= _LOOKS}
        free |= await _block(link, lapsed, now)
        taken |= await _take_over(link, wanted, free)
        undecided = held.keys() | (undecided - holders.keys())
        undecided -= taken | others.keys()
        if len(lapsed) < len(awaited):
            await asyncio.sleep(_PATIENCE / _LOOKS)
    return others, taken


async def _insert(link: Link, wanted: Mapping[str, str], now: int) -> set[str]:
    """Make documents for keys; those that had none."""
    keys = list(wanted)
    documents: list[Document] = [{"_id": key, "investigation_id": wanted[key], "at": now} for key in keys]
    return set(keys) - {keys[place] for place in await link.keys.insert_new(documents)}


async def _holders(link: Link, keys: Iterable[str]) -> dict[str, str]:
    """Whom the documents of keys name."""
    found = await link.keys.find({"_id": {"$in": list(keys)}}, fields={"investigation_id": 1})
    return {one["_id"]: one["investigation_id"] for one in found}


async def _created(link: Link, ids: Iterable[str]) -> dict[str, str | None]:
    """The keys of those investigations that are created, or whose place is taken."""
    first = {slot(id, 0): id for id in ids}
    found = await link.commits.find({"_id": {"$in": list(first)}}, fields={"key": 1}) if first else ()
    return {first[one["_id"]]: one.get("key") for one in found}


async def _block(link: Link, lapsed: Mapping[str, str], now: int) -> dict[str, str]:
    """Take the places of creations that did not come; the keys that are free by that, and their holders."""
    keys = list(lapsed)
    blocked: list[Document] = [
        {
            "_id": slot(lapsed[key], 0),
            "investigation_id": lapsed[key],
            "expected_version": 0,
            "version": 1,
            "deleted": now,
            LOST: True,
        }
        for key in keys
    ]
    refused = await link.commits.insert_new(blocked)
    free = {key: lapsed[key] for place, key in enumerate(keys) if place not in refused}
    for holder in free.values():
        link.heads.forget(holder)
    return free


async def _take_over(link: Link, wanted: Mapping[str, str], free: Mapping[str, str]) -> set[str]:
    """Take keys from holders that do not have them; those that nobody else was faster with."""

    async def change(key: str) -> bool:
        where = {"_id": key, "investigation_id": free[key]}
        return bool(await link.keys.update(where, {"$set": {"investigation_id": wanted[key]}}))

    keys = list(free)
    taken: set[str] = set()
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        done = await asyncio.gather(*map(change, some))
        taken |= {key for key, is_mine in zip(some, done, strict=True) if is_mine}
    return taken


async def successor(link: Link, key: str, id: str) -> str | None:
    """Who has taken a key, and the place of `id` for it, which is written a moment before; None: nobody has."""
    for _ in range(_LOOKS):
        found = await link.keys.one({"_id": key})
        if found is not None and found["investigation_id"] != id:
            holder: str = found["investigation_id"]
            return holder
        await asyncio.sleep(_PATIENCE / _LOOKS)
    return None


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
