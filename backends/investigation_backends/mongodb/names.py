"""Collections, their fields, and how rows become documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from bson.int64 import Int64

from investigation_sdk.domain.rows import ROW_TYPES, InvestigationRow, PhaseRow, Row, SnapshotRow, ToolRow

Document: TypeAlias = dict[str, Any]

COMMITS: Final = "investigation_events"
"""The log: one document per commit, with the events in it."""
BLOBS: Final = "investigation_blobs"
LEASES: Final = "investigation_leases"
KEYS: Final = "investigation_keys"
"""Who has which key; see :mod:`.keys`."""
MARKS: Final = "investigation_unwritten"
"""Which investigations may have commits whose rows are not written; see :mod:`.marks`."""
DELETIONS: Final = "investigation_deletions"
"""Deletions that are not finished, and those whose places are not free yet; by the place of the tombstone."""
SCHEMA: Final = "investigation_schema"
"""One document, :data:`SCHEMA_ID`: which revision this database has."""
SCHEMA_ID: Final = "investigation_sdk"
COLLECTION_OF: Final = {
    "investigation": "investigations",
    "phase": "investigation_phases",
    "tool": "tool_executions",
    "snapshot": "investigation_snapshots",
}
"""Collection by kind of row."""

ALL_COLLECTIONS: Final = (*COLLECTION_OF.values(), COMMITS, BLOBS, LEASES, KEYS, MARKS, DELETIONS)

WRITTEN_BY: Final = "commit_version"
"""In phases, calls and snapshots: the version of the commit that wrote the document."""

KEPT_FROM: Final = "kept_from"
"""In a snapshot: those of its investigation with a lower sequence are gone."""

MADE: Final = "made"
"""In a commit: when, µs by its writer's clock."""

BEHIND: Final = "behind"
"""In a commit of revision 0002 and before whose rows are not written yet: when it was made."""

FIRST_MUTABLE: Final = InvestigationRow._fields.index("status")
MUTABLE: Final = InvestigationRow._fields[FIRST_MUTABLE:]
"""What of an investigation's row a commit that does not create it carries."""

PART_OF: Final = {"investigation": "investigation", "phase": "phases", "tool": "tools", "snapshot": "snapshot"}
"""Where a commit's document has the rows of a kind."""


def slot(investigation_id: str, version: int) -> str:
    """The `_id` of the commit that was made on top of a version: what two writers compete for."""
    return f"{investigation_id}/{version}"


def kind_of(row: Row | SnapshotRow) -> str:
    """The kind of a row."""
    if isinstance(row, ToolRow):
        return "tool"
    if isinstance(row, PhaseRow):
        return "phase"
    return "investigation" if isinstance(row, InvestigationRow) else "snapshot"


def row_document(row: Row | SnapshotRow) -> Document:
    """A row by its columns; its id is `_id`."""
    document: Document = dict(zip(row._fields, row, strict=True))
    return {"_id": document.pop("id"), **document}


def row_of(kind: str, document: Mapping[str, Any]) -> Row | SnapshotRow:
    """The row that a document holds. One that was written when there were fewer columns has the others' defaults."""
    row_type: Any = ROW_TYPES[kind]
    values = [plain(document.get(name)) for name in row_type._fields[1:]]
    row = row_type(document["_id"], *values)
    missing = {name: value for name, value in row_type._field_defaults.items() if name not in document}
    made: Row | SnapshotRow = row._replace(**missing) if missing else row
    return made


def plain(value: Any) -> Any:
    """A value as other stores give it: the driver makes large numbers instances of a class of its own."""
    return int(value) if type(value) is Int64 else value


def column(name: str) -> str:
    """The field that has a column."""
    return "_id" if name == "id" else name


def key_of(tenant_id: str, investigation_type: str, key: str, generation: int) -> str:
    """What a unique index compares: the parts, each with its length in front, so that no two of them run together."""
    return "".join(f"{len(part)}:{part}" for part in (tenant_id, investigation_type, key, str(generation)))
