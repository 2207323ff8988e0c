"""What a generator gave: kept up to a limit, then only counted."""

from __future__ import annotations

from typing import Any, Self

from investigation_sdk.domain.events import Blob
from investigation_sdk.errors import PayloadTooLarge
from investigation_sdk.storage.codec import Json, encode
from investigation_sdk.storage.payloads import pack_or_note


class Items:
    """Collects the items of one generator.

    Args:
        limit: Bytes of JSON up to which items are kept.

    Attributes:
        count: Of all items.
        warnings: What could not be recorded as it was, each kind once.
        blobs: What :meth:`text` refers to.
    """

    __slots__ = ("_exhausted", "_kept", "_limit", "_room", "_value", "blobs", "count", "warnings")

    def __init__(self, limit: int) -> None:
        self._limit = self._room = limit
        self._kept: list[str] = []
        self._exhausted = False
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

    def end(self, value: Any = None, *, exhausted: bool) -> Self:
        """It gives no more: because it has no more, and returned `value`, or because nobody wants more."""
        self._exhausted = exhausted
        if value is not None:
            self._value, _, warnings, self.blobs = pack_or_note(value, self._limit)
            self.warnings.update(dict.fromkeys(warnings))
        return self

    def text(self) -> Json:
        """``{"count", "exhausted", "items"}``, with ``value`` where the generator returned one."""
        more = "" if self._value is None else f',"value":{self._value}'
        items = ",".join(self._kept)
        end = "true" if self._exhausted else "false"
        return Json(f'{{"count":{self.count},"exhausted":{end},"items":[{items}]{more}}}')
