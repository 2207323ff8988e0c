"""What users pass in, checked in one way: a value that a method does not take raises an error that names the argument,
shows the value and says what would do. Never on the path of a call of a tool."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from investigation_sdk.errors import ConfigurationError, InvalidArgument

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


class Kind(NamedTuple):
    """What an argument may be."""

    accepts: Callable[[Any], bool]
    wants: str
    """The end of a sentence that begins with: it is not."""


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _words(value: Any) -> bool:
    return isinstance(value, str)


def _mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _names(value: Any) -> bool:
    return isinstance(value, Sequence) and all(isinstance(name, str) for name in cast("Any", value))


def _list(value: Any) -> bool:
    return _names(value) or (
        isinstance(value, set | frozenset) and all(isinstance(name, str) for name in cast("Any", value))
    )


def _list_or_flag(value: Any) -> bool:
    return _flag(value) or _list(value)


def _list_or_function(value: Any) -> bool:
    return callable(value) or _list(value)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _counts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and _whole(count) and count > 0 for name, count in cast("Any", value).items()
    )


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _seconds(value: Any) -> bool:
    return _number(value) and value >= 0


def _duration(value: Any) -> bool:
    return isinstance(value, timedelta) and value >= timedelta(0)


def _aware(value: Any) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None


def _moment(value: Any) -> bool:
    return isinstance(value, timedelta) or _aware(value)


def _limit(value: Any) -> bool:
    return _whole(value) and 1 <= value <= MAX_LIMIT


def _position(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdigit() and len(value) < 20 and int(value) < 2**63
    return _whole(value) and 0 <= value < 2**63


def _id(value: Any) -> bool:
    return isinstance(value, UUID) or (isinstance(value, str) and bool(_UUID.fullmatch(value)))


def _where_cached(value: Any) -> bool:
    return _flag(value) or value == "redis"


def _exceptions(value: Any) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(cls, type) and issubclass(cls, BaseException) for cls in cast("Any", value)
    )


def _name_or_function(value: Any) -> bool:
    return isinstance(value, str) or callable(value)


def _optional(kind: Kind) -> Kind:
    def accepts(value: Any) -> bool:
        return value is None or kind.accepts(value)

    return Kind(accepts, kind.wants)


MAX_LIMIT: Final = 1000
"""Most items of one page."""

_ZONE: Final = "a datetime with a time zone, such as datetime.now(timezone.utc)"

TEXT: Final = Kind(_text, "text with something in it")
TEXT_OR_NONE: Final = _optional(TEXT)
WORDS: Final = Kind(_words, "text")
WORDS_OR_NONE: Final = _optional(WORDS)
MAPPING: Final = Kind(_mapping, "a mapping, such as {'region': 'eu'}")
MAPPING_OR_NONE: Final = _optional(MAPPING)
NAMES_OR_NONE: Final = _optional(Kind(_names, "a text or a list of texts"))
LIST: Final = Kind(_list, "a list of names")
LIST_OR_FLAG: Final = Kind(_list_or_flag, "True, False or a list of names")
LIST_OR_FUNCTION_OR_NONE: Final = _optional(Kind(_list_or_function, "a function or a list of names"))
FLAG: Final = Kind(_flag, "True or False")
WHERE_CACHED: Final = Kind(_where_cached, "True, False or 'redis'")
COUNTS_OR_NONE: Final = _optional(Kind(_counts, "whole numbers from 1 by name, such as {'phishing': 5}"))
COUNT: Final = Kind(_whole, "a whole number")
NUMBER: Final = Kind(_number, "a finite number")
NUMBER_OR_NONE: Final = _optional(NUMBER)
SECONDS_OR_NONE: Final = _optional(Kind(_seconds, "a number of seconds, 0 or more"))
DURATION: Final = Kind(_duration, "a duration of 0 or more, such as timedelta(seconds=30)")
DURATION_OR_NONE: Final = _optional(DURATION)
TIME_OR_NONE: Final = _optional(Kind(_aware, _ZONE))
MOMENT_OR_NONE: Final = _optional(Kind(_moment, f"{_ZONE}, or how long ago it is, such as timedelta(days=7)"))
LIMIT: Final = Kind(_limit, f"from 1 to {MAX_LIMIT}; go on with after=page.next for more")
POSITION: Final = Kind(_position, "the sequence of an event, 0 for the beginning, or `next` of the page before")
PAGE_OR_NONE: Final = _optional(Kind(_id, "an id; pass `next` of the page before"))
CALLABLE: Final = Kind(callable, "a function, or another callable")
CALLABLE_OR_NONE: Final = _optional(CALLABLE)
EXCEPTIONS: Final = Kind(_exceptions, "a tuple of exception classes, such as (ConnectionRefusedError,)")
NAME_OR_FUNCTION: Final = Kind(_name_or_function, "a name or a decorated function")


def one_of(kind: type[StrEnum] | Sequence[str]) -> Kind:
    """One of these texts."""
    allowed = [str(value) for value in kind]

    def accepts(value: Any) -> bool:
        return isinstance(value, str) and value in allowed

    return Kind(accepts, f"one of {', '.join(map(repr, allowed))}")


def check(**arguments: tuple[Any, Kind]) -> None:
    """Check arguments, by name: each a value, and what it may be.

    Raises:
        InvalidArgument: one is something else.
    """
    for name, (value, kind) in arguments.items():
        if not kind.accepts(value):
            raise InvalidArgument(f"{name}={_shown(value)} is not {kind.wants}", argument=name)


def check_options(**options: tuple[Any, Kind]) -> None:
    """As :func:`check`, of what an SDK is set up with.

    Raises:
        ConfigurationError: one is something else.
    """
    for name, (value, kind) in options.items():
        if not kind.accepts(value):
            raise ConfigurationError(f"{name}={_shown(value)} is not {kind.wants}")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # of a user's class
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 100 else f"{text[:100]}…"
