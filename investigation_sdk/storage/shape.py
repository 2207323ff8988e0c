"""Whether a value is plain JSON, found out without copying it: what nearly every argument and result is."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Values of any type: what pyright narrows from Any it calls unknown.

from __future__ import annotations

from typing import Any, Final

MAX_DEPTH: Final = 180
"""Levels of containers in the text of one value. JSON readers stop somewhere (pydantic's at 200), and a value is
put into an event that has levels of its own."""
MAX_NODES: Final = 1_000_000
"""Values inside one value, a shared one counted as often as it is reached."""
NO_LIMIT: Final = 1 << 62
"""More characters than any value has."""


def shape(value: Any, limit: int) -> int:
    """0 for a plain value without containers inside, 1 for one with some, -1 for what goes the careful way."""
    kind = type(value)
    deeper: list[Any] = []
    try:
        container = value if kind is dict or kind is list else (value,)
        size = _scan(container, deeper)
        if size < 0 or size > limit or len(container) > MAX_NODES:
            return -1
        if not deeper:
            return 0
        return 1 if _scan_levels(deeper, limit - size, len(container)) else -1
    except RuntimeError:  # a dict that another thread is changing
        return -1


def _scan(container: Any, deeper: list[Any]) -> int:
    """How many characters are in the strings directly inside, or -1 if something there is not plain.

    Lists and dicts inside are appended to `deeper`.
    """
    size = 0
    if type(container) is dict:
        for key in container:
            if type(key) is not str:
                return -1
            size += len(key)
        container = container.values()
    for item in container:
        kind = type(item)
        if kind is str:
            size += len(item)
        elif kind is int:
            if not -9007199254740992 <= item <= 9007199254740992:
                return -1
        elif kind is float:
            if item - item != 0.0:
                return -1
        elif kind is dict or kind is list:
            deeper.append(item)
        elif item is not None and kind is not bool:
            return -1
    return size


def _scan_levels(level: list[Any], limit: int, nodes: int) -> bool:
    """Whether all that is inside these containers is plain, within the limits of depth, number and size.

    Level by level rather than by recursion: containers that are shared, or contain themselves, end at a limit.
    """
    for _ in range(MAX_DEPTH - 1):
        deeper: list[Any] = []
        for container in level:
            size = _scan(container, deeper)
            limit -= size
            nodes += len(container)
            if size < 0 or limit < 0 or nodes > MAX_NODES:
                return False
        if not deeper:
            return True
        level = deeper
    return False
