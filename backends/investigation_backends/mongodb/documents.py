"""A commit as a document, and events and rows out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import bson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.storage.commit import Commit, CommitResult, CommitStatus, StoredEvent

from .errors import too_large
from .names import (
    FIRST_MUTABLE,
    KEPT_FROM,
    MADE,
    MUTABLE,
    PART_OF,
    Document,
    key_of,
    kind_of,
    plain,
    row_document,
    slot,
)

_EVENT: Final = StoredEvent._fields[1:]

UNENCODABLE: Final = (BSONError, UnicodeError, OverflowError)
"""What a value raises that no document can hold: half a character, a number beyond 64 bits."""

CONTENT: Final = (
    *("events", "head", "expected_head", "version", "expected_version", "commit_id", "key", "blobs", MADE),
    *PART_OF.values(),
)
"""What deletion takes out of a commit's document: all but its place."""


def commit_document(commit: Commit, now: int) -> Document:
    """The document of a commit. Nothing in it is a name that a user gave: payloads are text."""
    id, version = commit.investigation_id, commit.expected_version
    row = commit.rows[0]
    assert isinstance(row, InvestigationRow)
    document: Document = {
        "_id": slot(id, version),
        "investigation_id": id,
        "commit_id": commit.id,
        "expected_version": version,
        "version": row.version,
        "expected_head": commit.expected_head,
        "head": row.head,
        MADE: now,
        "events": [_event_document(event) for event in commit.events],
        "investigation": dict(zip(MUTABLE, row[FIRST_MUTABLE:], strict=True)) if version else row_document(row),
    }
    for row_ in commit.rows[1:]:
        document.setdefault(PART_OF[kind_of(row_)], []).append(row_document(row_))
    if not version and row.key is not None:
        document["key"] = key_of(row.tenant_id, row.investigation_type, row.key, row.generation)
    if commit.blobs:
        document["blobs"] = sorted({blob_name(id, digest) for digest, _ in commit.blobs})
    if commit.snapshot is not None:
        document["snapshot"] = [{**row_document(commit.snapshot), KEPT_FROM: commit.snapshots_from}]
    return document


def _event_document(event: StoredEvent) -> Document:
    return {name: value for name, value in zip(_EVENT, event[1:], strict=True) if value is not None}


def encoded(document: Document, limit: int) -> RawBSONDocument | CommitResult:
    """The document as it goes to the server; or the answer, where it cannot."""
    try:
        data = bson.encode(document)
    except UNENCODABLE as error:
        return CommitResult(CommitStatus.DATA, None, f"{type(error).__name__}: {error}")
    return too_large(len(data), limit) if len(data) > limit else RawBSONDocument(data)


def events_of(documents: Iterable[Mapping[str, Any]]) -> Iterable[StoredEvent]:
    """The events of commits, in order."""
    for document in documents:
        id = document["investigation_id"]
        for event in document.get("events", ()):
            yield StoredEvent(id, *(plain(event.get(name)) for name in _EVENT))


def blob_name(investigation_id: str, digest: str) -> str:
    """How a commit names a blob, and its pieces begin."""
    return f"{investigation_id}/{digest}"


def reference(place: str, commit_id: str) -> Document:
    """How a piece of a blob names the commit that it was written for."""
    return {"place": place, "commit": commit_id}


def storable(*texts: str) -> bool:
    """Whether a store can have these texts at all."""
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError:
        return False
    return True
