"""What a generator gave: kept up to a limit, then only counted."""

from __future__ import annotations

from typing import Any

from investigation_sdk.storage.codec import Json, encode


class Items:
    """Collects the items of one generator.

    Args:
        limit: Bytes of JSON up to which items are kept.
    """

    __slots__ = ("_kept", "_room", "count")

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._kept: list[str] = []
        self.count = 0

    def add(self, item: Any) -> None:
        """One more item."""
        self.count += 1
        if self._room <= 0:
            return
        text = encode(item).text
        self._room -= len(text)
        if self._room > 0:
            self._kept.append(text)
        else:
            self._room = 0

    def text(self, value: Any, *, exhausted: bool) -> Json:
        """``{"count", "exhausted", "items"}``, with ``value`` where the generator returned one."""
        more = "" if value is None else f',"value":{encode(value).text}'
        items = ",".join(self._kept)
        end = "true" if exhausted else "false"
        return Json(f'{{"count":{self.count},"exhausted":{end},"items":[{items}]{more}}}')
