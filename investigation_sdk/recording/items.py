"""What a generator gave: kept up to a limit, then only counted."""

from __future__ import annotations

from typing import Any, Final, Self

from investigation_sdk.domain.events import Blob
from investigation_sdk.errors import PayloadTooLarge
from investigation_sdk.storage.codec import Json, digest, encode
from investigation_sdk.storage.payloads import is_rebuildable, pack_or_note

_MEMBER: Final = 48
"""Bytes that the digest of what was sent takes in the record, with its place."""


def digest_of_sent(value: Any) -> str | None:
    """What two values have in common that make a generator do the same; None for none at all.

    Empty where nobody can tell, which is like nothing else.
    """
    if value is None:
        return None
    try:
        return digest(value) if is_rebuildable(value) else ""
    except PayloadTooLarge:
        return ""


class Items:
    """Collects the items of one generator.

    Args:
        limit: Bytes of JSON up to which items are kept.

    Attributes:
        count: Of all items.
        warnings: What could not be recorded as it was, each kind once.
        blobs: What :meth:`text` refers to.
    """

    __slots__ = ("_exhausted", "_kept", "_limit", "_room", "_sent", "_value", "blobs", "count", "warnings")

    def __init__(self, limit: int) -> None:
        self._limit = self._room = limit
        self._kept: list[str] = []
        self._exhausted = False
        self._sent: dict[int, str] | None = {}
        self._value: Json | None = None
        self.blobs: tuple[Blob, ...] = ()
        self.count: int = 0
        self.warnings: dict[str, None] = {}

    def add(self, item: Any) -> None:
        """One more item."""
        self.count += 1
        if self._room <= 0:
            return
        try:
            encoded = encode(item, max_bytes=self._room)
        except PayloadTooLarge:
            self._room = 0
            return
        self._room -= len(encoded.text.encode())
        self._kept.append(encoded.text)
        self.warnings.update(dict.fromkeys(encoded.warnings))

    def hear(self, how: str, value: Any) -> None:
        """Behind its last item a value was sent into it, or an exception thrown."""
        if value is None or self._sent is None:
            return
        sent = digest_of_sent(value) if how == "send" else ""
        self._room -= _MEMBER
        if sent and self._room >= 0:
            self._sent[self.count - 1] = sent
        else:
            self._sent = None

    def end(self, value: Any = None, *, exhausted: bool) -> Self:
        """It gives no more: because it has no more, and returned `value`, or because nobody wants more."""
        self._exhausted = exhausted
        if value is not None:
            self._value, _, warnings, self.blobs = pack_or_note(value, self._limit)
            self.warnings.update(dict.fromkeys(warnings))
        return self

    def text(self) -> Json:
        """``{"count", "exhausted", "items"}``, with ``value`` where the generator returned one, and where values were
        sent into it, with ``sent``: their digests by place, null where they cannot be compared."""
        more = "" if self._value is None else f',"value":{self._value}'
        if self._sent is None:
            more = f',"sent":null{more}'
        elif self._sent:
            sent = ",".join(f'"{at}":"{digest}"' for at, digest in self._sent.items())
            more = f',"sent":{{{sent}}}{more}'
        items = ",".join(self._kept)
        end = "true" if self._exhausted else "false"
        return Json(f'{{"count":{self.count},"exhausted":{end},"items":[{items}]{more}}}')
