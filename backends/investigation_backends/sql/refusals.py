"""What is said where the tables of a database are not this version's, the same of every SQL store."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from investigation_sdk.errors import SchemaMismatch

from .names import REVISIONS

_A_REVISION: Final = re.compile("[0-9]{4}")


def unknown_revision(place: str, table: str, found: str, way_out: str) -> SchemaMismatch:
    """The error for a revision that this version does not know: a newer version's, or nobody's.

    Args:
        place: Of the store.
        table: The name of the table that has it.
        found: The revision.
        way_out: How to keep ours apart from somebody else's.
    """
    if _A_REVISION.fullmatch(found):
        return SchemaMismatch(
            f"{place} has schema {found}, which is newer than this version's {REVISIONS[-1]}; upgrade investigation-sdk"
        )
    return foreign_version(place, table, f"no version of the SDK wrote {found[:50]!r}", way_out)


def foreign_version(place: str, table: str, why: str, way_out: str) -> SchemaMismatch:
    """The error for a table of the name of our table of versions which is not ours."""
    return SchemaMismatch(f"{place} has a table named {table} that is somebody else's: {why}. {way_out}")


def dropped(place: str, tables: Iterable[str]) -> SchemaMismatch:
    """The error for tables that are not there, though the revision says that they were made."""
    return SchemaMismatch(
        f"{place} has schema {REVISIONS[-1]}, but not its tables {', '.join(tables)}: they were dropped, renamed or "
        "moved. Bring them back, from a backup if need be; 'investigate db check' says what else is different"
    )
