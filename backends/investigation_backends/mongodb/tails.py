"""What of the log is behind the rows.

The row of an investigation is written behind all others: its version says that the rows of all commits up to there are
written. The next commit, if there is one, stands on that version: its place is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .link import Link
from .names import MADE, Document, slot

AT_ONCE: Final = 20
_LOOK: Final[Document] = {"investigation_id": 1, "expected_version": 1, "version": 1, MADE: 1, "deleted": 1}


async def written(link: Link, ids: Iterable[str]) -> dict[str, int]:
    """The versions up to which rows are written, by investigation; 0 where there are none."""
    versions = dict.fromkeys(ids, 0)
    if versions:
        for row in await link.rows("investigation").find({"_id": {"$in": list(versions)}}, fields={"version": 1}):
            versions[row["_id"]] = row["version"]
    return versions


async def following(link: Link, versions: Mapping[str, int]) -> list[Document]:
    """The places, contents aside, of the commits that stand on these versions; of tombstones too."""
    if not versions:
        return []
    places = [slot(id, version) for id, version in versions.items()]
    return await link.commits.find({"_id": {"$in": places}}, fields=_LOOK)


async def tail(
    link: Link, id: str, version: int, fields: Mapping[str, Any] | None = None, *, limit: int = 0
) -> list[Document]:
    """The commits of an investigation behind a version, in order; with a tombstone at the end where it is deleted."""
    where = {"investigation_id": id, "version": {"$gt": version}}
    return await link.commits.find(where, fields=fields, sort=[("version", 1)], limit=limit)


async def behind(link: Link, ids: Iterable[str], *, older_than: int = 0) -> dict[str, int]:
    """Of these investigations, those with commits whose rows are not written, and the version that these stand on.

    With `older_than`, those whose first such commit was made before that time, µs.
    """
    versions = await written(link, ids)
    begun = [
        one["investigation_id"]
        for one in await following(link, versions)
        if "deleted" not in one and (not older_than or one.get(MADE, 0) < older_than)
    ]
    return {id: versions[id] for id in begun}


async def tails(
    link: Link, versions: Mapping[str, int], fields: Mapping[str, Any], *, limit: int = 0
) -> dict[str, list[Document]]:
    """The commits of each investigation behind a version, `limit` at most; none of one that is deleted."""
    wanted = {**fields, "version": 1, "deleted": 1}
    ids = list(versions)
    found: dict[str, list[Document]] = {}
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        pages = await asyncio.gather(*(tail(link, id, versions[id], wanted, limit=limit) for id in some))
        alive = {id: page for id, page in zip(some, pages, strict=True) if not any("deleted" in one for one in page)}
        found.update(alive)
    return found
