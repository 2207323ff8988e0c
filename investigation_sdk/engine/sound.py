"""Sound: what the store gives back is what the SDK writes there; else an error says which investigation it is about."""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Generator
from typing import Any, Final, TypeVar

from pydantic_core import from_json

from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, Row, ToolRow
from investigation_sdk.errors import InvestigationError, RecordUnreadable
from investigation_sdk.storage.codec import Json, decode
from investigation_sdk.storage.commit import StoredEvent

RowT = TypeVar("RowT", InvestigationRow, PhaseRow, ToolRow, StoredEvent)


class Reading:
    """What is being read.

    Attributes:
        sequence: Of an event.
    """

    __slots__ = ("sequence",)

    def __init__(self, sequence: int | None) -> None:
        self.sequence: int | None = sequence


@contextlib.contextmanager
def readable(investigation_id: str, sequence: int | None = None) -> Generator[Reading]:
    """Where what is stored is made into something else: what is odd about it becomes an error that names it.

    Raises:
        RecordUnreadable: it is not what the SDK writes there.
    """
    at = Reading(sequence)
    try:
        yield at
    except InvestigationError:
        raise
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]  # of pydantic's, the further lines quote the values
        raise unreadable(investigation_id, at.sequence, reason) from error


def unreadable(investigation_id: str, sequence: int | None, reason: str) -> RecordUnreadable:
    """The error for what cannot be read."""
    what = "" if sequence is None else f"event {sequence} of "
    return RecordUnreadable(
        f"What the store holds of {what}investigation {investigation_id} cannot be read ({reason}). It was changed by "
        f"something else, or written by another version; check its log with sdk.verify({investigation_id!r}).",
        sequence=sequence,
        reason=reason,
        investigation_id=investigation_id,
    )


def stored_value(investigation_id: str, text: str) -> Any:
    """The value that a stored text stands for.

    Raises:
        RecordUnreadable: it is not the text of a value.
    """
    with readable(investigation_id):
        return decode(text)


def sound_json(text: str) -> Json:
    """Text that is stored as JSON, and is JSON.

    Raises:
        ValueError, TypeError: it is something else.
    """
    from_json(text)
    return Json(text)


_known: Final[set[tuple[type, ...]]] = set()
"""Types of rows that were found to be right, so that each combination is looked at once."""

_HINTS: Final[dict[type, dict[str, Any]]] = {}


def sound(row: RowT) -> RowT:
    """A row or a stored event, each of whose columns has a value of its type.

    Raises:
        RecordUnreadable: one has not.
    """
    odd = oddity(row)
    if odd is not None:
        raise unreadable(*_place(row), odd)
    return row


def _place(row: Row | StoredEvent) -> tuple[str, int | None]:
    """The investigation that it belongs to, and the sequence of an event."""
    if isinstance(row, StoredEvent):
        return row.investigation_id, row.sequence
    return (row.id if isinstance(row, InvestigationRow) else row.investigation_id), None


def oddity(row: Row | StoredEvent) -> str | None:
    """What is wrong with the types of a row's values, None for nothing."""
    types = (type(row), *map(type, row))
    if types in _known:
        return None
    hints = _HINTS.get(types[0]) or _HINTS.setdefault(types[0], typing.get_type_hints(types[0]))
    for (name, hint), found in zip(hints.items(), types[1:], strict=True):
        allowed = typing.get_args(hint) or ((int, float) if hint is float else (hint,))
        if not issubclass(found, allowed):
            return f"{name} is {_NAMES.get(found, found.__name__)}"
    _known.add(types)
    return None


_NAMES: Final = {
    str: "text",
    bytes: "bytes",
    type(None): "NULL",
    int: "a whole number",
    float: "a number with a fraction",
}
