"""Opening a database: can it be reached, is it one that can be used, is it ours, is it of this version."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from investigation_sdk.errors import BackendUnavailable, SchemaMismatch

from .driver import Client
from .errors import DRIVER_ERRORS, unavailable
from .migrations import MIGRATIONS, REVISIONS, differences
from .names import ALL_COLLECTIONS, SCHEMA, SCHEMA_ID

_A_REVISION: Final = re.compile("[0-9]{4}")
_OLDEST_WIRE: Final = 9  # MongoDB 4.4


class Found(NamedTuple):
    """What a database holds of ours."""

    marked: bool
    """It is ours."""
    revision: str | None
    collections: tuple[str, ...]
    """Collections of our names."""


async def look(client: Client, place: str, *, read_only: bool = False) -> Found:
    """Look at the server, and for our collections.

    Raises:
        BackendUnavailable: it cannot be reached, read or used.
    """
    try:
        hello = await client.hello()
        if hello.get("maxWireVersion", 0) < _OLDEST_WIRE:
            raise BackendUnavailable(f"{place} is older than MongoDB 4.4; upgrade the server")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            raise BackendUnavailable(
                f"{place} is a standalone server, whose acknowledged writes no majority holds. Start it with "
                "--replSet and run rs.initiate() once (a set of one member is enough), or name a replica set"
            )
        writable = hello.get("isWritablePrimary", hello.get("ismaster", False)) and not hello.get("readOnly")
        if not writable and not read_only:
            raise BackendUnavailable(
                f"{place} takes no writes: it is read-only, or a secondary. Connect to the replica set "
                "(without directConnection), so that its primary is found"
            )
        marker = await client[SCHEMA].one({"_id": SCHEMA_ID})
        names = set(await client.names())
    except DRIVER_ERRORS as error:
        raise unavailable(error, place) from error
    ours = tuple(sorted(names.intersection(ALL_COLLECTIONS)))
    return Found(marker is not None, None if marker is None else marker.get("revision"), ours)


def refuse(found: Found, place: str, url: str) -> None:
    """Refuse what is not of this version.

    Raises:
        SchemaMismatch: as said, with what to do.
    """
    head = REVISIONS[-1]
    command = f"investigate db upgrade --db '{url}'"
    refuse_mixture(found, place)
    if found.revision is None:
        raise SchemaMismatch(
            f"{place} has no collections of the SDK yet; run: {command} (or pass auto_migrate=True, which makes them "
            "on opening)"
        )
    if found.revision != head:
        raise SchemaMismatch(
            f"{place} has schema {found.revision}, and this version works with {head}; run: {command} (or pass "
            "auto_migrate=True)"
        )


def refuse_mixture(found: Found, place: str) -> None:
    """Refuse collections of our names that are not ours, and a schema that nobody here knows.

    Raises:
        SchemaMismatch: as said.
    """
    if not found.marked and found.collections:
        raise SchemaMismatch(
            f"{place} has collections named {', '.join(found.collections)}, but no revision of the SDK's schema: they "
            "are somebody else's. Name another database"
        )
    if found.revision is not None and found.revision not in REVISIONS:
        if not _A_REVISION.fullmatch(str(found.revision)):
            raise SchemaMismatch(
                f"{place} has a collection named {SCHEMA} in which no version of the SDK wrote "
                f"{str(found.revision)[:50]!r}: it is somebody else's. Name another database"
            )
        raise SchemaMismatch(
            f"{place} has schema {found.revision}, which is newer than this version's {REVISIONS[-1]}; "
            "upgrade investigation-sdk"
        )


async def check_privileges(client: Client, place: str) -> None:
    """See that this user may write: by a change of nothing.

    Raises:
        BackendUnavailable: it may not; with what to grant.
    """
    try:
        await client[SCHEMA].update({"_id": "nothing"}, {"$set": {"revision": None}})
    except DRIVER_ERRORS as error:
        raise unavailable(error, place) from error


async def upgrade(client: Client, place: str) -> None:
    """Bring a database to this version's schema; safe in any number of processes at the same time.

    Raises:
        SchemaMismatch: it is newer, or a collection of ours is there that is not ours.
        BackendUnavailable: it cannot be reached, or this user may not.
    """
    found = await look(client, place)
    refuse_mixture(found, place)
    revision = found.revision
    try:
        # before anything is made, so that what a crash leaves half made is known as ours
        await client[SCHEMA].put({"_id": SCHEMA_ID}, {"$setOnInsert": {"revision": None}})
        for name in REVISIONS[0 if revision is None else REVISIONS.index(revision) + 1 :]:
            await MIGRATIONS[name](client)
            older = {"$or": [{"revision": None}, {"revision": {"$lt": name}}]}
            await client[SCHEMA].update({"_id": SCHEMA_ID, **older}, {"$set": {"revision": name}})
    except DRIVER_ERRORS as error:
        raise unavailable(error, place) from error


async def check(client: Client, place: str) -> list[str]:
    """What is different from this version's schema, a sentence each.

    Raises:
        SchemaMismatch: it is newer, or not ours.
        BackendUnavailable: it cannot be reached or read.
    """
    found = await look(client, place, read_only=True)
    refuse_mixture(found, place)
    if found.revision != REVISIONS[-1]:
        return [f"the schema is {found.revision or 'not there'}, this version works with {REVISIONS[-1]}"]
    try:
        return await differences(client)
    except DRIVER_ERRORS as error:
        raise unavailable(error, place) from error
