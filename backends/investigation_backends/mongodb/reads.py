"""Reads of one thing: exact, whatever of the rows is not written yet."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any, Final, cast

from investigation_sdk.domain.rows import Row, SnapshotRow
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.commit import Kind, StoredEvent

from .documents import blob_name, events_of, storable
from .link import Link
from .names import KEPT_FROM, PART_OF, WRITTEN_BY, Document, row_of
from .tails import behind, tail, tails, written

_LOG: Final = {"investigation_id": 1, "version": 1, "expected_version": 1, "head": 1, "events": 1, "deleted": 1}
_HEADS: Final = {"version": 1, "expected_version": 1, "head": 1, "investigation": 1, "deleted": 1}
_TRIES: Final = 20


async def events(
    link: Link, id: str, after: int, limit: int, event_type: Sequence[str] | None, *, reverse: bool
) -> list[StoredEvent]:
    """A page of the log."""
    types = None if event_type is None else [one for one in event_type if storable(one)]
    if limit < 1 or types == [] or not storable(id):
        return []
    where: Document = {"investigation_id": id}
    if reverse:
        if after:
            where["expected_version"] = {"$lt": after - 1}
    else:
        where["version"] = {"$gt": after}
    if types is not None:
        where["events.event_type"] = {"$in": types}
    # each has an event at least; the first one or two may have none on this side of `after`
    found = await link.commits.find(where, fields=_LOG, sort=[("version", -1 if reverse else 1)], limit=limit + 2)
    if any("deleted" in one for one in found):
        return []
    if types is None:
        _remember(link, id, found)
    wanted = None if types is None else frozenset(types)
    page = [
        event
        for one in found
        for event in (reversed(list(events_of([one]))) if reverse else events_of([one]))
        if (wanted is None or event.event_type in wanted)
        and (not after or (event.sequence < after if reverse else event.sequence > after))
    ]
    return list(islice(page, limit))


def _remember(link: Link, id: str, found: Sequence[Mapping[str, Any]]) -> None:
    """Heads that were read need not be looked up before a commit."""
    if found:
        last = max(found, key=lambda one: cast("int", one["version"]))
        link.heads.seen(id, last["version"], last["head"])


async def investigation(link: Link, id: str) -> Row | None:
    """The row of an investigation, with the commits behind it folded in."""
    for n in range(_TRIES):
        stored = await link.rows("investigation").one({"_id": id})
        version = 0 if stored is None else stored["version"]
        later = await tail(link, id, version, _HEADS)
        if any("deleted" in one for one in later):
            return None
        if not later:
            return None if stored is None else cast("Row", row_of("investigation", stored))
        _remember(link, id, later)
        changes = [one.get("investigation") for one in later]
        if changes[-1] is None or (stored is None and changes[0] is None):
            # of revision 0002 and before, which wrote the row: that it is older, or gone, is somebody's doing
            return None if stored is None else cast("Row", row_of("investigation", stored))
        if stored is not None or not later[0]["expected_version"]:
            merged: Document = dict(stored or {})
            for change in changes:
                merged.update(change or {})
            if "subject" in merged:
                return cast("Row", row_of("investigation", merged))
        await asyncio.sleep(0.001 * n)  # its row was written between the two looks: look again
    raise BackendUnavailable(f"{link.place}: the row of investigation {id} is not written, though its commits say so")


async def row(link: Link, kind: Kind, id: str) -> Row | SnapshotRow | None:
    """A row by id, as of the last applied commit."""
    if not storable(id):
        return None
    if kind == "investigation":
        return await investigation(link, id)
    part = PART_OF[kind]
    fields = {"version": 1, part: 1}
    stored = await link.rows(kind).one({"_id": id})
    if stored is None:  # it may be in any commit whose rows are not written
        marked = {one["investigation_id"] for one in await link.marks.find({}, fields={"investigation_id": 1})}
        pages = await tails(link, await behind(link, marked), fields)
        pending: list[Document] | None = [commit for page in pages.values() for commit in page]
    else:
        pending = await _pending(link, stored["investigation_id"], fields)
    # once more: what was written since then is not pending any more
    stored = await link.rows(kind).one({"_id": id})
    newest = stored
    for commit in pending or ():
        for one in commit.get(part, ()):
            if one["_id"] == id and (newest is None or commit["version"] > newest[WRITTEN_BY]):
                newest = {**one, WRITTEN_BY: commit["version"]}
    if newest is None or pending is None:
        return None
    if kind == "snapshot":
        latest = await _latest_snapshot(link, newest["investigation_id"])
        if latest is None or newest["sequence"] < latest.get(KEPT_FROM, 0):
            return None
    return row_of(kind, newest)


async def _pending(link: Link, id: str, fields: Document) -> list[Document] | None:
    """The commits of an investigation whose rows are not written; None where it is deleted."""
    versions = await written(link, [id])
    found = await tail(link, id, versions[id], {**fields, "deleted": 1})
    return None if any("deleted" in one for one in found) else found


async def snapshot(link: Link, id: str) -> SnapshotRow | None:
    """The latest snapshot of an investigation."""
    latest = await _latest_snapshot(link, id) if storable(id) else None
    return None if latest is None else cast("SnapshotRow", row_of("snapshot", latest))


async def _latest_snapshot(link: Link, id: str) -> Document | None:
    pending = await _pending(link, id, {"snapshot": 1})
    if pending is None:
        return None
    found = [one for commit in pending for one in commit.get("snapshot", ())]
    found += await link.rows("snapshot").find({"investigation_id": id}, sort=[("sequence", -1)], limit=1)
    return max(found, key=lambda one: cast("int", one["sequence"]), default=None)


async def has_blob(link: Link, investigation_id: str, digest: str) -> bool:
    """Whether a commit has this blob."""
    if not storable(investigation_id, digest):
        return False
    first = f"{blob_name(investigation_id, digest)}/0"
    found = await link.blobs.one({"_id": first}, fields={"by": 1})
    return found is not None and await is_committed(link, found.get("by", ()))


async def is_committed(link: Link, by: Collection[Mapping[str, str]]) -> bool:
    """Whether one of the commits that a blob was written for is in the log."""
    places = {one["place"] for one in by}
    found = await link.commits.find({"_id": {"$in": list(places)}}, fields={"commit_id": 1}) if places else ()
    return any({"place": one["_id"], "commit": one.get("commit_id")} in by for one in found)


async def piece(link: Link, investigation_id: str, digest: str, position: int) -> bytes | None:
    """One piece of a blob, None behind the last."""
    found = await link.blobs.one({"_id": f"{blob_name(investigation_id, digest)}/{position}"}, fields={"data": 1})
    return None if found is None else bytes(found["data"])
