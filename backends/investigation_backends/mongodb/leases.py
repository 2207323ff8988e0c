"""Leases: one document each, changed by the server alone, by its own clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pymongo import UpdateOne

from investigation_sdk.storage.commit import Lease, Wanted

from .link import Link
from .names import Document
from .tails import following, written

_NOW: Final[Document] = {"$multiply": [{"$toLong": "$$NOW"}, 1000]}


def _taking(owner: str, ttl: int) -> list[Document]:
    """The change that takes a lease where it is free, expired or the owner's own, and else leaves it as it is."""
    mine = {"$literal": owner}
    free = {"$or": [{"$eq": ["$owner", mine]}, {"$lte": [{"$ifNull": ["$expires_at", 0]}, _NOW]}]}
    until = {"$add": [_NOW, ttl]}
    change = {
        "owner": {"$cond": [free, mine, "$owner"]},
        "expires_at": {"$cond": [free, until, "$expires_at"]},
    }
    return [{"$set": change}]


async def claim(link: Link, resource: str, owner: str, ttl: int) -> Lease | None:
    """Take it; None where somebody else holds it."""
    found = await link.leases.change_one({"_id": resource}, _taking(owner, ttl), make=True)
    if found is None or found["owner"] != owner:
        return None
    return Lease(resource, owner, found["expires_at"], (await versions(link, [resource])).get(resource))


_PAGE: Final = 100


async def claim_next(link: Link, wanted: Wanted, owners: Sequence[str], ttl: int) -> list[Lease]:
    """Take leases on what is queued or left, page by page, until each owner has one."""
    free = list(owners)
    leases: list[Lease] = []
    last: Document | None = None
    while free:
        found = await link.rows("investigation").find(
            _of(wanted, last), fields={"priority": 1}, sort=[("priority", -1), ("_id", 1)], limit=_PAGE
        )
        ids = [one["_id"] for one in found]
        held = {one["_id"] for one in await link.leases.find({"_id": {"$in": ids}, "$expr": _LIVES}) if ids}
        for id in ids:
            if free and id not in held and (lease := await claim(link, id, free[0], ttl)) is not None:
                leases.append(lease)
                free.pop(0)
        if len(found) < _PAGE:
            break
        last = found[-1]
    return leases


_LIVES: Final[Document] = {"$gt": ["$expires_at", _NOW]}


def _of(wanted: Wanted, last: Document | None) -> Document:
    where: Document = {"investigation_type": {"$in": list(wanted.types)}}
    if wanted.tenant_id is not None:
        where["tenant_id"] = wanted.tenant_id
    if wanted.left_in:
        where |= {"token": {"$ne": None}, "status": {"$in": list(wanted.left_in)}}
    else:
        where |= {"claimable_at": {"$gte": 0}, "$expr": {"$lte": ["$claimable_at", _NOW]}}
    if last is not None:
        place = [{"priority": {"$lt": last["priority"]}}, {"priority": last["priority"], "_id": {"$gt": last["_id"]}}]
        where["$or"] = place
    return where


async def take(link: Link, wanted: Sequence[tuple[int, Lease]]) -> dict[int, Lease]:
    """Take leases whose `expires_at` is a duration; answer those that nobody held, also no longer."""
    writes = [
        UpdateOne({"_id": lease.resource}, _taking(lease.owner, lease.expires_at), upsert=True) for _, lease in wanted
    ]
    made = (await link.leases.write(writes)).made
    return {n: lease for place, (n, lease) in enumerate(wanted) if place in made}


async def give_back(link: Link, lease: Lease) -> bool:
    """End a lease that its owner still holds."""
    return await link.leases.delete({"_id": lease.resource, "owner": lease.owner}) == 1


async def holder(link: Link, resource: str) -> Lease | None:
    """Who has it, or had it last."""
    found = await link.leases.one({"_id": resource})
    if found is None:
        return None
    return Lease(resource, found["owner"], found["expires_at"], (await versions(link, [resource])).get(resource))


async def renew(link: Link, leases: Sequence[Lease], ttl: int) -> list[Lease | None]:
    """Extend those that their owners still hold."""
    resources = [lease.resource for lease in leases]
    held: Document = {"$or": [{"_id": lease.resource, "owner": lease.owner} for lease in leases]}
    await link.leases.update(held, [{"$set": {"expires_at": {"$add": [_NOW, ttl]}}}])
    found = {one["_id"]: one for one in await link.leases.find({"_id": {"$in": resources}})}
    known = await versions(link, resources)
    return [
        Lease(lease.resource, lease.owner, one["expires_at"], known.get(lease.resource))
        if (one := found.get(lease.resource)) is not None and one["owner"] == lease.owner
        else None
        for lease in leases
    ]


async def versions(link: Link, ids: Sequence[str]) -> dict[str, int]:
    """The current versions of investigations, as far as there are some of these ids."""
    found = await written(link, ids)
    for one in await following(link, found):  # few: most rows are written
        id = one["investigation_id"]
        where = {"investigation_id": id}
        (last,) = await link.commits.find(where, fields=_LAST, sort=[("version", -1)], limit=1)
        found[id] = 0 if "deleted" in last else last["version"]
    return {id: version for id, version in found.items() if version}


_LAST: Final[Document] = {"version": 1, "deleted": 1}
