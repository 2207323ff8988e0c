"""Rows that were made again from the log: written over what is not newer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pymongo import UpdateOne

from investigation_sdk.domain.rows import InvestigationRow, Row
from investigation_sdk.storage.commit import Advance

from .deleting import forget_rows
from .documents import UNENCODABLE
from .driver import Write
from .link import Link
from .names import WRITTEN_BY, Document, kind_of, row_document, slot
from .project import catch_up, deleted

_KINDS: Final = ("phase", "tool", "investigation")  # the last says that the others are written


async def put_rows(link: Link, rows: Sequence[Row]) -> None:
    """Write them; what commits say has to be written before.

    Raises:
        ValueError: a value cannot be stored.
    """
    named = {_investigation(row) for row in rows}
    named |= {row.parent_investigation_id or "" for row in rows if isinstance(row, InvestigationRow)}
    await catch_up(link, {_investigation(row) for row in rows})
    firsts = {slot(id, 0): id for id in named}
    found = await link.commits.find({"_id": {"$in": list(firsts)}}, fields={"deleted": 1})
    there = {firsts[one["_id"]] for one in found if "deleted" not in one}
    try:
        for kind in _KINDS:
            mine = [row for row in rows if kind_of(row) == kind and _investigation(row) in there]
            await _write(link, kind, [_document(row, there) for row in mine])
    except UNENCODABLE as error:
        raise ValueError(f"rows cannot be stored: {error}") from error
    for id in await deleted(link, there):
        await forget_rows(link, id)


async def advance(link: Link, advances: Sequence[Advance]) -> None:
    """Write progress over what is less, where it is of the same attempt."""
    for kind in ("investigation", "phase"):
        writes: list[Write] = [
            UpdateOne(
                {"_id": one.id, "attempt": one.attempt, "progress_percentage": {"$lt": one.percent}},
                {"$set": {"progress_percentage": one.percent}},
            )
            for one in advances
            if one.kind == kind
        ]
        await link.rows(kind).write(writes)


def _investigation(row: Row) -> str:
    return row.id if isinstance(row, InvestigationRow) else row.investigation_id


def _document(row: Row, there: set[str]) -> Document:
    document = row_document(row)
    if isinstance(row, InvestigationRow) and row.parent_investigation_id not in there:
        document["parent_investigation_id"] = None  # deleted since
    return document


async def _write(link: Link, kind: str, documents: Sequence[Document]) -> None:
    age = "version" if kind == "investigation" else "sequence"
    writes: list[Write] = []
    for document in documents:
        older = {"_id": document["_id"], age: {"$lte": document[age]}}
        writes.append(UpdateOne(older, _change(document, kind), upsert=True))
    refused = (await link.rows(kind).write(writes)).refused
    again: list[Write] = []
    for place in refused:
        document = documents[place]
        older = {"_id": document["_id"], age: {"$lte": document[age]}}
        again.append(UpdateOne(older, _change(document, kind)))
    await link.rows(kind).write(again)


def _change(document: Mapping[str, object], kind: str) -> Document:
    columns = {name: value for name, value in document.items() if name != "_id"}
    change: Document = {"$set": columns}
    if kind != "investigation":
        change["$setOnInsert"] = {WRITTEN_BY: document["sequence"]}
    return change
