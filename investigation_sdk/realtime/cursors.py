"""Cursors, as clients name them: whatever a query or a header holds, it is a sequence or it is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from investigation_sdk.arguments import POSITION
from investigation_sdk.errors import InvestigationNotFound
from investigation_sdk.ids import canonical


def position(given: object) -> int | None:
    """The sequence that a number or its text names; nothing given is 0. None where it cannot be one."""
    if given is None or given == "":
        return 0
    return int(cast("int | str", given)) if POSITION.accepts(given) else None


def positions(given: Mapping[str, int] | str | None) -> dict[str, int] | None:
    """The sequences by investigation that a mapping, or its JSON, names. None where they cannot be some."""
    if not given:
        return {}
    try:
        named: Any = json.loads(given) if isinstance(given, str) else given
        found = {canonical(id): position(sequence) for id, sequence in cast("Mapping[str, Any]", named).items()}
    except (ValueError, RecursionError, AttributeError, InvestigationNotFound):
        return None
    return None if None in found.values() else cast("dict[str, int]", found)
