"""What an investigation is created with, checked before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from investigation_sdk.arguments import MAPPING_OR_NONE, TEXT, TEXT_OR_NONE, WORDS_OR_NONE, check
from investigation_sdk.domain.events import Blob
from investigation_sdk.domain.project import shorten
from investigation_sdk.domain.records import PhasePlan
from investigation_sdk.engine.texts import clean
from investigation_sdk.errors import InvalidArgument
from investigation_sdk.ids import HasId, Id, canonical, uuid7
from investigation_sdk.storage.payloads import pack_members


class Creation(NamedTuple):
    """What an investigation is created with."""

    data: dict[str, Any]
    """That of ``investigation.created``."""
    warnings: Sequence[str]
    """What of it could not be recorded as it was."""
    blobs: tuple[Blob, ...] = ()
    """What `data` refers to."""


def creation_data(
    *,
    subject: str,
    investigation_type: str,
    user_id: str | None,
    key: str | None,
    configuration: Mapping[str, Any] | None,
    metadata: Mapping[str, Any] | None,
    phases: Sequence[str | PhasePlan],
    parent: Id | HasId | None,
    inline: int,
) -> Creation:
    """What ``investigation.created`` is to say. Of `configuration` and `metadata`, up to `inline` bytes stand in it.

    Raises:
        InvalidArgument: an empty subject, type or key; two planned phases of one name; a parent that is not an id.
        PayloadTooLarge: configuration or metadata.
    """
    check(
        subject=(subject, TEXT),
        investigation_type=(investigation_type, TEXT),
        key=(key, TEXT_OR_NONE),
        user_id=(user_id, WORDS_OR_NONE),
        configuration=(configuration, MAPPING_OR_NONE),
        metadata=(metadata, MAPPING_OR_NONE),
    )
    data: dict[str, Any] = {"subject": shorten(clean(subject)), "investigation_type": clean(investigation_type)}
    if user_id is not None:
        data["user_id"] = clean(user_id)
    if key is not None:
        data["key"] = clean(key)
    if parent is not None:
        data["parent"] = canonical(parent if isinstance(parent, str | UUID) else getattr(parent, "id", parent))
    warnings: list[str] = []
    blobs: list[Blob] = []
    for name, given in (("configuration", configuration), ("metadata", metadata)):
        packed = pack_members(dict(given or {}), inline)
        data[name] = packed.text
        blobs += packed.blobs
        warnings += (f"{name}: {warning}" for warning in packed.warnings)
    planned = plan_data(phases)
    if planned:
        data["phases"] = planned
    return Creation(data, warnings, tuple(blobs))


def plan_data(phases: Sequence[str | PhasePlan]) -> list[dict[str, Any]]:
    """Planned phases as an event has them.

    Raises:
        InvalidArgument: two of one name.
    """
    if isinstance(phases, str):
        raise InvalidArgument(f"phases={phases!r} is one text; give a list of names: phases=[{phases!r}]")
    if not isinstance(phases, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(f"phases={phases!r} is not a list of names and PhasePlan", argument="phases")
    planned: list[dict[str, Any]] = []
    seen: set[str] = set()
    for item in phases:
        plan = item if isinstance(item, PhasePlan) else PhasePlan(item)
        name = clean(plan.name)
        if name in seen:
            raise InvalidArgument(f"two planned phases are called {plan.name!r}; give each its own name")
        seen.add(name)
        data: dict[str, Any] = {"id": uuid7(), "name": name}
        if plan.weight != 1:
            data["weight"] = plan.weight
        if plan.tools:
            data["tools"] = [clean(tool) for tool in plan.tools]
        planned.append(data)
    return planned
