"""States in Redis: what one process has read is found by all others on the same store, for some seconds."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

from pydantic import TypeAdapter

from investigation_sdk.domain.rows import InvestigationRow, PhaseRow
from investigation_sdk.engine.parts import Called, Change, Parts
from investigation_sdk.engine.sound import sound
from investigation_sdk.errors import RecordUnreadable
from investigation_sdk.realtime.hub import Hub
from investigation_sdk.realtime.redis_cache import RedisCache
from investigation_sdk.realtime.states import OLDEST_SECONDS, Kept, States

V = TypeVar("V")

MOST_CHARACTERS: Final = 262_144
"""What is longer is not shared."""

_FIELDS = repr([kind._fields for kind in (InvestigationRow, PhaseRow, Called, Change, Parts)])
_FORMAT: Final = hashlib.sha256(_FIELDS.encode()).hexdigest()[:8]


class Spelling(NamedTuple, Generic[V]):
    """How a value is written, as what JSON can hold, and made again; that raises where it cannot be one."""

    kind: str
    written: Callable[[V], Any]
    read: Callable[[Any, str], V]
    """Given the id of its investigation."""


class RedisStates(Generic[V]):
    """See :class:`investigation_sdk.realtime.states.Shared`.

    When something was asked for is kept with it, by the server's clock: it is the same for all who find it. Processes
    of another version of the SDK, whose rows have other columns, find nothing of ours.
    """

    def __init__(self, cache: RedisCache, spelling: Spelling[V]) -> None:
        self._cache = cache
        self._spelling = spelling

    def _key(self, id: str) -> str:
        return self._cache.key(self._spelling.kind, f"{_FORMAT}:{id}")

    async def find(self, id: str) -> tuple[Kept[V] | None, int | None]:
        """See there."""
        began = time.monotonic()
        found = await self._cache.find_timed(self._key(id))
        if found is None:
            return None, None
        if found.text is None:
            return None, found.now
        try:
            said: Mapping[str, Any] = json.loads(found.text)
            version, asked = int(said["version"]), int(said["asked"])
            value = self._spelling.read(said["value"], id)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, RecordUnreadable):  # not ours
            return None, found.now
        # no later than it was: the server's answer is of a time behind `began`
        return Kept(version, began - max(0, found.now - asked) / 1e6, value), found.now

    def keep(self, id: str, kept: Kept[V], now: int) -> None:
        """See there."""
        said = {"version": kept.version, "asked": now, "value": self._spelling.written(kept.value)}
        text = json.dumps(said, separators=(",", ":"))
        if len(text) <= MOST_CHARACTERS:
            self._cache.keep(self._key(id), text, OLDEST_SECONDS)


def states_of(hub: Hub, cache: RedisCache | None) -> States:
    """States that are kept in this process, and where there is a cache, for others in it."""
    if cache is None:
        return States(hub)
    return States(hub, RedisStates(cache, ROWS), (RedisStates(cache, SHORT), RedisStates(cache, FULL)))


def _row_written(row: InvestigationRow) -> Any:
    return {**row._asdict(), "head": row.head.hex()}


def _row_read(said: Any, id: str) -> InvestigationRow:
    row = sound(InvestigationRow(**said)._replace(head=bytes.fromhex(said["head"])))
    if row.id != id:
        raise ValueError(id)
    return row


def _parts_read(said: Any, id: str) -> Parts:
    parts = _parts().validate_python(said)
    if any(phase.investigation_id != id for phase in parts.phases):
        raise ValueError(id)
    return parts


@functools.cache
def _parts() -> TypeAdapter[Parts]:
    return TypeAdapter(Parts)


ROWS: Final = Spelling[InvestigationRow]("state", _row_written, _row_read)
SHORT: Final = Spelling[Parts]("progress", list, _parts_read)
FULL: Final = Spelling[Parts]("progress-full", list, _parts_read)
