"""What must not be quoted: the sensitive values of a call, as far as the text of an exception could give them away."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final, cast

_PIECE: Final = 4
"""Characters of a value that are enough to say that a text quotes it."""

_LONG: Final = 2 * _PIECE
"""Shorter values are not looked for: they could stand in any text by chance, and in pieces that nobody would notice."""

_MOST_VALUES: Final = 1_000
_MOST_CHARACTERS: Final = 65_536
_LONGEST_TEXT: Final = 1_048_576


class Confidential:
    """Texts of sensitive values; None where they cannot be looked for, so that every text is taken to quote them.

    It has no repr that tells, and a pickled one comes back as None.
    """

    __slots__ = ("_texts",)

    def __init__(self, texts: frozenset[str] | None = None) -> None:
        self._texts = texts

    def __reduce__(self) -> tuple[Any, ...]:
        return Confidential, ()

    def __or__(self, other: Confidential) -> Confidential:
        if self._texts is None or other._texts is None:
            return EVERYTHING
        both = self._texts | other._texts
        return Confidential(both) if sum(map(len, both)) <= _MOST_CHARACTERS else EVERYTHING

    def quoted_in(self, text: str) -> bool:
        """Whether a text has a piece of one of the values in it: as it is, or in Base64 or hexadecimal digits."""
        if self._texts is None or len(text) > _LONGEST_TEXT:
            return True
        text = text.casefold()
        for size, pieces in self._pieces():
            if any(text[at : at + size] in pieces for at in range(len(text) - size + 1)):
                return True
        return False

    def spelled_out_in(self, text: str) -> bool:
        """Whether one of the values stands in a text as a whole, as a literal in source code does."""
        return self._texts is None or any(value in text for value in self._texts)

    def _pieces(self) -> Iterable[tuple[int, frozenset[str]]]:
        """Pieces of the values to look for, by their size."""
        texts = self._texts or frozenset[str]()
        yield _PIECE, _cut((value.casefold() for value in texts), _PIECE)
        raw = [value.encode("utf-8", "backslashreplace") for value in texts]
        encoded = [_base64(value, shift).casefold() for value in raw for shift in (0, 1, 2)]
        yield 2 * _PIECE, _cut([*encoded, *(value.hex() for value in raw)], 2 * _PIECE)


EVERYTHING: Final = Confidential()
"""Any text may quote it."""


def _base64(value: bytes, shift: int) -> str:
    """How a value looks in Base64 where it begins at that place in a group of three bytes; whole groups only."""
    groups = base64.b64encode(b"\0" * shift + value).decode()
    return groups[4 if shift else 0 : (shift + len(value)) // 3 * 4]


def _cut(texts: Iterable[str], size: int) -> frozenset[str]:
    return frozenset(text[at : at + size] for text in texts for at in range(len(text) - size + 1))


def confidential(values: Iterable[Any]) -> Confidential:
    """What of some values must not be quoted: each text and number in them, however deep, and keys too."""
    try:
        texts = _texts_in(list(values))
    except Exception:  # of a user's class
        texts = None
    return EVERYTHING if texts is None else Confidential(texts)


def _texts_in(left: list[Any]) -> frozenset[str] | None:
    """The texts of some values; None where they are too short, or too many."""
    texts: set[str] = set()
    seen: dict[int, Any] = {}
    length = 0
    while left:
        value = left.pop()
        if value is None or id(value) in seen:
            continue
        seen[id(value)] = value  # kept, or its id could become another's
        left += _inside(value)
        for text in _own_texts(value):
            if 0 < len(text) < _LONG:
                return None
            length += len(text)
            texts.add(text)
        if len(seen) + len(left) > _MOST_VALUES or length > _MOST_CHARACTERS:
            return None
    return frozenset(texts - {""})


_CLOSED: Final = (str, bytes, bytearray, memoryview, int, float, complex, type)
_CONTAINERS: Final = (list, tuple, set, frozenset)
_PLAIN: Final = (object.__str__, object.__repr__)  # which say nothing of what the object holds


def _inside(value: Any) -> list[Any]:
    """What a container or an object holds."""
    if isinstance(value, _CLOSED):
        return []
    if isinstance(value, Mapping):
        return _pairs(cast("Any", value))
    if isinstance(value, _CONTAINERS):
        return list(islice(cast("Iterable[Any]", value), _MOST_VALUES + 1))
    held = list(getattr(value, "__dict__", {}).values())
    slots = (name for cls in type(value).__mro__ for name in _slots(cls) if not name.startswith("__"))
    return [*held, *(getattr(value, name, None) for name in slots)]


def _pairs(mapping: Mapping[Any, Any]) -> list[Any]:
    return [part for pair in islice(mapping.items(), _MOST_VALUES) for part in pair]


def _slots(cls: type) -> Iterable[str]:
    slots: Any = cls.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else slots


def _own_texts(value: Any) -> tuple[str, ...]:
    """How a value that is no container is written."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, bytes | bytearray | memoryview):
        raw = bytes(cast("bytes", value)[: _MOST_CHARACTERS + 1])
        return raw.decode("utf-8", "replace"), repr(raw)[2:-1]
    cls = cast("Any", type(value))
    if isinstance(value, (Mapping, *_CONTAINERS)) or (cls.__str__, cls.__repr__) == _PLAIN:
        return ()
    return (str(value),)
