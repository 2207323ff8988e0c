"""From what people write down to the one investigation that they mean: an id, a key, or the beginning of an id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.engine.sight import Sight, equals
from investigation_sdk.engine.texts import clean
from investigation_sdk.errors import AmbiguousReference, InvestigationNotFound
from investigation_sdk.ids import prefix_bounds
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import Aggregate, Measure, Query, Where

_LISTED: Final = 10
"""So many candidates are named."""


async def lookup(backend: Backend, reference: str, investigation_type: str | None, sight: Sight) -> InvestigationRow:
    """The investigation of that id; else the newest of that key; else the one whose id begins so.

    A key is found among all that are seen, as ids are.

    Raises:
        InvestigationNotFound: there is none.
        AmbiguousReference: there are several.
    """
    conditions = [*sight.investigations(), *equals("investigation_type", investigation_type)]
    bounds = prefix_bounds(reference)
    if bounds is not None and bounds[0] == bounds[1]:
        row = await backend.get("investigation", bounds[0])
        if isinstance(row, InvestigationRow) and all(getattr(row, w.field) == w.value for w in conditions):
            return row
    found = await _by_key(backend, clean(reference), conditions)
    if len(found) > 1:
        raise AmbiguousReference(
            f"{_shown(reference)} is the key of several investigations, of different types (or tenants): "
            f"{_listed(found)}. Give the type too, or an id.",
            candidates=[row.id for row in found],
        )
    if not found and bounds is not None:
        found = await _by_prefix(backend, bounds, conditions)
        if len(found) > 1:
            raise AmbiguousReference(
                f"{_shown(reference)} begins the ids of several investigations: {_listed(found)}. Give more of the id.",
                candidates=[row.id for row in found],
            )
    if not found:
        of_type = "" if investigation_type is None else f" of type {_shown(investigation_type)}"
        raise InvestigationNotFound(f"There is no investigation{of_type} with the id or key {_shown(reference)}.")
    return found[0]


async def _by_key(backend: Backend, key: str, conditions: Sequence[Where]) -> list[InvestigationRow]:
    # The figures stand in the index of keys, and name few rows; asked for rows, stores would read all of them.
    wheres = (*conditions, Where("key", "=", key))
    groups = await backend.aggregate(
        Aggregate("investigation", wheres, ("tenant_id", "investigation_type"), (Measure("max", "generation"),))
    )
    found: list[InvestigationRow] = []
    for tenant, its_type, generation in groups[:_LISTED]:
        named = (
            Where("tenant_id", "=", tenant),
            Where("investigation_type", "=", its_type),
            Where("key", "=", key),
            Where("generation", "=", generation),
        )
        rows = await backend.find(Query("investigation", named, limit=1))
        found += [row for row in rows if isinstance(row, InvestigationRow)]
    return found


async def _by_prefix(backend: Backend, bounds: tuple[str, str], conditions: Sequence[Where]) -> list[InvestigationRow]:
    wheres = (Where("id", ">=", bounds[0]), Where("id", "<=", bounds[1]), *conditions)
    rows = await backend.find(Query("investigation", wheres, descending=True, limit=_LISTED))
    return [row for row in rows if isinstance(row, InvestigationRow)]


def _listed(rows: Sequence[InvestigationRow]) -> str:
    return ", ".join(row.id for row in rows) + (", …" if len(rows) == _LISTED else "")


def _shown(text: str) -> str:
    return repr(text[:100])
