"""Upcast: events of older schema versions become what the fold knows today. The stored bytes stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from investigation_sdk.domain.events import SCHEMA_VERSIONS

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

UPCASTERS: Final[Mapping[tuple[str, int], Upcaster]] = MappingProxyType({})
"""From (type, version) to a function that gives the data of the next version."""


def upcast(event_type: str, version: int, data: dict[str, Any]) -> dict[str, Any]:
    """The data as the newest known version of its type has it; unknown types and newer versions as they are."""
    newest = SCHEMA_VERSIONS.get(event_type, version)
    while version < newest:
        data = UPCASTERS[event_type, version](data)
        version += 1
    return data
