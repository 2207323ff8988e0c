"""ETags of progress: weak ones, as the clocks of what runs are in the body and not in the tag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_FORMAT: Final = "1"
"""Another one where the same state is shown in another way."""


ANY: Final = "*"
"""In an ``If-None-Match``: whatever it is now."""


def etag(tag: str, form: str) -> str:
    """The header for a tag of the SDK, and what was asked for."""
    return f'W/"{_FORMAT}.{form}.{tag}"'


def tags_known(lines: Iterable[str], form: str) -> list[str]:
    """The tags of that form in the lines of an ``If-None-Match``; ``*`` for any; what else stands there is not ours."""
    given = ",".join(lines)  # several lines are one list, by RFC 9110, section 5.3
    if given.strip() == ANY:
        return [ANY]
    before = f'"{_FORMAT}.{form}.'
    named = (one.strip().removeprefix("W/") for one in given.split(","))
    return [one[len(before) : -1] for one in named if one.startswith(before) and one.endswith('"')]
