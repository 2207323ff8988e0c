"""Names that the SQL stores share: known without SQLAlchemy, so that opening a store need not import it."""

from typing import Final

from investigation_sdk.domain.rows import ROW_TYPES
from investigation_sdk.ids import is_canonical

EVENTS: Final = "investigation_events"
BLOBS: Final = "investigation_blobs"
LEASES: Final = "investigation_leases"
TOMBSTONES: Final = "investigation_tombstones"
TABLE_OF: Final = {
    "investigation": "investigations",
    "phase": "investigation_phases",
    "tool": "tool_executions",
    "snapshot": "investigation_snapshots",
}
"""Table by kind of row."""

ALL_TABLES: Final = (*TABLE_OF.values(), EVENTS, BLOBS, LEASES, TOMBSTONES)

VERSION_TABLE: Final = "investigation_alembic_version"
REVISIONS: Final = ("0001", "0002", "0003", "0004")
"""Every revision that was ever released, oldest first. A test compares it with the migrations."""

_FIRST_MUTABLE: Final = {"investigation": "status", "phase": "status", "tool": "completed_at"}


def fields(kind: str) -> tuple[str, ...]:
    """All columns of a kind, in order."""
    return ROW_TYPES[kind]._fields


def mutable(kind: str) -> tuple[str, ...]:
    """The columns that change after the first write: the last ones of the row type."""
    names = fields(kind)
    return names[names.index(_FIRST_MUTABLE[kind]) :]


def uuid_or_none(text: str | None) -> str | None:
    """The text, if it is a UUID as we write them: nothing else can be the id of anything."""
    return text if text is not None and is_canonical(text) else None
