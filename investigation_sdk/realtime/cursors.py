"""Cursors, as clients name them: whatever a query, a header or a message holds, it is a sequence or it is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from investigation_sdk.arguments import POSITION
from investigation_sdk.errors import InvestigationNotFound
from investigation_sdk.ids import canonical

IN_MESSAGE: Final = "message"
"""Instead of cursors: they are the client's first message, for they may be too long for a URL."""

LONGEST: Final = 8_388_608
"""Characters of cursors at most."""

_SINCE: Final = "since"


class Cursors(NamedTuple):
    """Where one is who follows many."""

    sequences: Mapping[str, int]
    """Of the last event that is known, by investigation."""
    since: str | None = None
    """Of what was begun before this id and is not named, all is known that there was when it was over."""


def position(given: object) -> int | None:
    """The sequence that a number or its text names; nothing given is 0. None where it cannot be one."""
    if given is None or given == "":
        return 0
    return int(cast("int | str", given)) if POSITION.accepts(given) else None


def positions(given: Mapping[str, Any] | str | None) -> Cursors | None:
    """The cursors that a mapping, or its JSON, names. None where they cannot be some."""
    if not given:
        return Cursors({})
    if isinstance(given, str) and len(given) > LONGEST:
        return None
    try:
        named: Any = json.loads(given) if isinstance(given, str) else dict(given)
        since = named.pop(_SINCE, None)
        found = {canonical(id): position(sequence) for id, sequence in named.items()}
        if since is not None:
            since = canonical(since)
    except (ValueError, TypeError, RecursionError, AttributeError, InvestigationNotFound):
        return None
    return None if None in found.values() else Cursors(cast("dict[str, int]", found), since)


def told(sequences: Mapping[str, int], since: str | None) -> dict[str, Any]:
    """Cursors as a client is told them, and gives them back."""
    return dict(sequences) if since is None else {_SINCE: since, **sequences}
