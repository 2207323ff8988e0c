"""Hints: what processes tell each other about an investigation. A hint says where to look; the store is the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

MAX_BYTES: Final = 1024
"""Of one hint: a broker that carries little is never the reason why a listener is cut off."""


class Hint(NamedTuple):
    """What one message says."""

    investigation_id: str
    sequence: int
    """Of its last event, at the least; 0 where it says nothing of that."""
    progress: Mapping[str, Any] | None = None
    """What is reported and not recorded; the newest replaces those before."""
    ping: str = ""
    """Set in what a listener sends to itself."""


def written(hint: Hint) -> str | None:
    """The message; None where it is too large: progress is advisory, and left out then."""
    if hint.ping:
        return json.dumps({"ping": hint.ping})
    if hint.progress is None:  # one for each investigation that moved, a hundred times a second: dumps takes longer
        text = f'{{"id":{json.dumps(hint.investigation_id)},"seq":{hint.sequence}}}'
    else:
        said = {"id": hint.investigation_id, "seq": hint.sequence, "progress": hint.progress}
        text = json.dumps(said, ensure_ascii=True, separators=(",", ":"), default=str)
    return text if len(text) <= MAX_BYTES else None


def read(message: str | bytes) -> Hint | None:
    """What a message says; None for what is no hint: anybody may write to a channel."""
    if len(message) > MAX_BYTES:
        return None
    try:
        said: Any = json.loads(message)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    said = cast("dict[str, Any]", said)
    ping, id, sequence, progress = (said.get(name) for name in ("ping", "id", "seq", "progress"))
    if isinstance(ping, str):
        return Hint("", 0, ping=ping)
    if not isinstance(id, str) or type(sequence) is not int:
        return None
    return Hint(id, sequence, cast("Any", progress) if isinstance(progress, dict) else None)
