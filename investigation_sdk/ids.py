"""Identifiers: UUIDv7 (RFC 9562, section 5.7) made by the client, as canonical lower-case text.

The 12 bits of ``rand_a`` carry the fraction of the millisecond (method 3 of section 6.2), so the ids
that one process makes sort in the order in which they were made.
"""

import os
import re
import time
import uuid
from itertools import pairwise
from typing import Protocol, TypeAlias

from investigation_sdk.errors import InvestigationNotFound

Id: TypeAlias = str | uuid.UUID
"""Ids as users may give them."""


class HasId(Protocol):
    """Whatever carries an id: a live investigation, a record."""

    @property
    def id(self) -> str:
        """Canonical text."""
        ...


_noise: list[str] = []
"""64 random bits each, in hexadecimal, for ids to come. Taking one out is atomic, so no two threads get the same."""

os.register_at_fork(after_in_child=_noise.clear)
_last = 0
_begin = (-1, "")
"""A millisecond, and the beginning of its ids."""

_CANONICAL = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62


def uuid7() -> str:
    """A new UUIDv7 such as ``'019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b7e'``, later than all that this thread has made."""
    global _last, _begin
    stamp = time.time_ns() * 4096 // 1_000_000
    if stamp <= _last:
        stamp = _last + 1
    _last = stamp
    try:
        noise = _noise.pop()
    except IndexError:
        noise = _more_noise()
    milliseconds = stamp >> 12
    begin = _begin  # one reference, so that another thread's millisecond never comes with this one's beginning
    if begin[0] != milliseconds:
        h = f"{milliseconds:012x}"
        begin = _begin = milliseconds, f"{h[:8]}-{h[8:]}-7"
    return f"{begin[1]}{stamp & 4095:03x}-8{noise[:3]}-{noise[3:15]}"


def _more_noise() -> str:
    _noise.extend(os.urandom(8 * 128).hex("-", 8).split("-"))
    return _noise.pop()


def time_of(id: str) -> int:
    """The Unix time in milliseconds that a UUIDv7 carries."""
    return int(id[:8] + id[9:13], 16)


def lower_bound(time_us: int) -> str:
    """The smallest UUIDv7 of that Unix time (µs): for ranges over ids instead of over times."""
    h = f"{max(0, time_us // 1000) << 80 | _VERSION | _VARIANT:032x}"
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def prefix_bounds(prefix: str) -> tuple[str, str] | None:
    """The smallest and the largest UUID that begin so, as canonical text; None where none can.

    Hyphens may be left out, and are in their places where they are not: ``'019A1F3E7c1b'``, ``'019a1f3e-7c'``.
    """
    plain = prefix.lower()
    digits = plain.replace("-", "")
    if not 0 < len(digits) <= 32 or not _HEX.issuperset(digits):
        return None
    if plain != digits and not _hyphenated(digits).startswith(plain):
        return None
    return _hyphenated(digits.ljust(32, "0")), _hyphenated(digits.ljust(32, "f"))


_HEX = frozenset("0123456789abcdef")


def _hyphenated(digits: str) -> str:
    at = (0, 8, 12, 16, 20, 32)
    return "-".join(digits[start:end] for start, end in pairwise(at))


def is_canonical(text: str) -> bool:
    """Whether it is an id as they are stored: nothing else can be the id of anything there."""
    return _CANONICAL.fullmatch(text) is not None


def canonical(id: object) -> str:
    """The canonical text of an id given as text or :class:`uuid.UUID`.

    Raises:
        InvestigationNotFound: it is not a UUID, so it is nothing's id.
    """
    if isinstance(id, str) and is_canonical(id):
        return str(id)
    try:
        return str(uuid.UUID(str(id)))
    except ValueError:
        shown = repr(id)[:100]
        raise InvestigationNotFound(
            f"{shown} is not an id of an investigation, a phase or a call: those are UUIDs, such as "
            f"'019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b7e'. For a key, use sdk.find(key={shown})."
        ) from None
