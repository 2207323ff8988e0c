"""ETags of progress: weak ones, as the clocks of what runs are in the body and not in the tag."""

from __future__ import annotations

from typing import Final

_FORMAT: Final = "1"
"""Another one where the same state is shown in another way."""


ANY: Final = "*"
"""In an ``If-None-Match``: whatever it is now."""


def etag(tag: str, form: str) -> str:
    """The header for a tag of the SDK, and what was asked for."""
    return f'W/"{_FORMAT}.{form}.{tag}"'


def tags_known(if_none_match: str | None, form: str) -> list[str]:
    """The tags of that form in an ``If-None-Match``; ``*`` for any; what else stands there is none of ours."""
    if (if_none_match or "").strip() == ANY:
        return [ANY]
    before = f'"{_FORMAT}.{form}.'
    named = (one.strip().removeprefix("W/") for one in (if_none_match or "").split(","))
    return [one[len(before) : -1] for one in named if one.startswith(before) and one.endswith('"')]
