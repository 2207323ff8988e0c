"""From values to short text, and back: pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from investigation_sdk.engine.shell import visible

_UNITS: Final[Mapping[str, str]] = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO: Final = re.compile(r"([0-9]{1,9})\s*([smhdw])")


def duration(ms: float | None) -> str:
    """A duration given in ms, in at most seven characters; ``""`` for None."""
    if ms is None:
        return ""
    if ms < 1000:
        return f"{ms:.0f}ms"
    seconds = ms / 1000
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, second = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{second:02}s"
    hours, minute = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minute:02}m"
    return f"{hours // 24}d{hours % 24:02}h"


def ago(moment: datetime, now: datetime) -> str:
    """How long ago, in its largest unit: ``12d``."""
    seconds = max(0, int((now - moment).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def iso(moment: datetime | None) -> str:
    """A time in UTC, to the millisecond: ``2026-11-25T10:18:53.071Z``; ``""`` for None."""
    if moment is None:
        return ""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def spoken(moment: datetime) -> str:
    """A time for people: ``2026-11-25 10:18:53 UTC``."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def moment(text: str, now: datetime) -> datetime:
    """A moment as people give it: ``7d`` ago, or a date or time in ISO 8601, in UTC where it names no zone.

    Raises:
        ValueError: it is none of these.
    """
    if ago := _AGO.fullmatch(text.strip()):
        try:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)
    try:
        given = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is no time: write 90s, 30m, 12h, 7d or 2w for so long ago, or 2026-11-25 or 2026-11-25T10:00Z"
        ) from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def in_a_line(value: Any) -> str:
    """A payload as JSON-like text in one line; ``""`` for None."""
    if value is None:
        return ""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, (dict, list, int, float)):
        return visible(json.dumps(value, ensure_ascii=False, default=_other))
    return visible(_other(value))


def _other(value: Any) -> str:
    """What JSON has no form for, to be read by people; :mod:`.shapes` gives its form in the log."""
    from investigation_sdk.storage.tags import NOT_ALL, LargePayload, Tagged

    if isinstance(value, LargePayload):
        return f"({value.bytes:,} bytes; in full: --json)"
    if not isinstance(value, Tagged):
        return str(value)
    if value.type in NOT_ALL:  # masked, too large: there is nothing to show
        return f"({value.type.replace('_', ' ')})"
    return f"{value.name or value.type}({in_a_line(value.value)})"


def arguments(value: Mapping[str, Any]) -> str:
    """Arguments of a call as one writes them: ``ip='10.0.0.1', tries=3``."""
    return visible(
        ", ".join(
            f"{name}={given!r}" if isinstance(given, str) else f"{name}={in_a_line(given)}"
            for name, given in value.items()
        )
    )


def error_text(error: Any) -> str:
    """An error as an event has it (``type``, ``message``), in a line."""
    if isinstance(error, Mapping):
        members = cast("Mapping[str, Any]", error)
        return visible(": ".join(str(members[name]) for name in ("type", "message") if members.get(name)))
    return in_a_line(error)


def json_line(value: Any) -> str:
    """JSON in one line, in ASCII: no character of it does anything to a terminal."""
    return json.dumps(value, allow_nan=False).replace("\x7f", "\\u007f")
