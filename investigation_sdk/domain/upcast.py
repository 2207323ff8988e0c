"""Upcast: events of older schema versions become what is known today. The stored bytes stay as they are.

An upcaster takes the data of one version of a type, as the JSON that it is, and gives that of the next. It may change
what it is given, and asks nothing else: no clock, no store, no other event. Whoever reads data of an event goes
through :func:`upcast`, the fold and those who look a payload up alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from investigation_sdk.domain.events import SCHEMA_VERSIONS
from investigation_sdk.errors import SchemaMismatch

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

UPCASTERS: Final[Mapping[tuple[str, int], Upcaster]] = {}
"""From (type, version) to a function that gives the data of the next version."""


def upcast(event_type: str, version: int, data: dict[str, Any]) -> dict[str, Any]:
    """The data as the newest known version of its type has it; that of a type that is not known as it is.

    Raises:
        SchemaMismatch: it is of a version that only a newer SDK knows.
    """
    newest = SCHEMA_VERSIONS.get(event_type, version)
    if version > newest:
        raise SchemaMismatch(
            f"An event {event_type} of schema {version} was written by a newer version of the SDK, and this one knows "
            f"schemas up to {newest}: upgrade investigation-sdk."
        )
    while version < newest:
        data = UPCASTERS[event_type, version](data)
        version += 1
    return data
