"""JSON bytes that are spelled the same by every version of pydantic that is allowed: digests are over them, and what
is read back from the log is compared with what was written."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pydantic_core

_TEXT_OR_EXPONENT: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[0-9]e(?=[0-9])')


def with_plus(data: bytes) -> bytes:
    """JSON with ``1e+22`` for ``1e22``, as pydantic writes large floats since 2.13; texts stay as they are."""
    return _TEXT_OR_EXPONENT.sub(lambda found: found[0] if found[0][:1] == b'"' else found[0] + b"+", data)


def _older(value: Any) -> bytes:
    return with_plus(pydantic_core.to_json(value))


to_json: Final[Callable[[Any], bytes]] = pydantic_core.to_json if pydantic_core.to_json(1e22) == b"1e+22" else _older
"""A value of plain JSON as compact JSON in UTF-8."""
