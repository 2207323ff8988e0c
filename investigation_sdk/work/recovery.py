"""Recovery: how often an investigation was taken over in vain, and how long to wait before the next time."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from investigation_sdk.engine import reading
from investigation_sdk.engine.sound import readable
from investigation_sdk.errors import InvestigationError
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import StoredEvent

_log = logging.getLogger("investigation_sdk.work")

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 300.0
"""Seconds."""
_PAGE: Final = 100
_CLAIMED, _FAILED, _CRASHED = "investigation.claimed", "investigation.failed", "crashed"
_COMPLETED, _PHASE, _SAVED = "tool.completed", "phase.completed", "checkpoint.saved"
_TELLING: Final = (_CLAIMED, _FAILED, _COMPLETED, _PHASE, _SAVED)


class Tries(NamedTuple):
    """What was tried since anything new was last completed in an investigation, or it ended."""

    begun: int = 0
    """How often somebody began to drive it."""
    taken_over: int = 0
    """How often from an owner that had stopped without a word."""


async def tries(backend: Backend, investigation_id: str) -> Tries:
    """What was tried in vain at the end of the log, which is read from its end, as far as that goes.

    What brings an investigation further is a call or a phase that was not completed before. Where it has neither, that
    is a checkpoint that says something new; where it has, checkpoints do not count: they often say what time it is.
    """
    begun = taken_over = before = 0
    log = _Log(backend, investigation_id)
    while True:
        page = await backend.read_events(investigation_id, after=before, limit=_PAGE, event_type=_TELLING, reverse=True)
        for stored in page:
            data = _data(stored)
            if stored.event_type == _CLAIMED:
                begun += 1
                taken_over += "from" in data
            elif await log.is_new(stored, data):
                return Tries(begun, taken_over)
        if len(page) < _PAGE:
            return Tries(begun, taken_over)
        before = page[-1].sequence


class _Log:
    """What one investigation's log says of its events."""

    def __init__(self, backend: Backend, id: str) -> None:
        self._backend = backend
        self._id = id
        self._has_steps: bool | None = None

    async def is_new(self, stored: StoredEvent, data: dict[str, Any]) -> bool:
        """Whether the investigation got further by this event, or ended by it."""
        if stored.event_type == _FAILED:
            return data.get("kind") != _CRASHED
        if stored.event_type == _COMPLETED:
            return bool(data) and not data.get("repeated")
        if stored.event_type == _PHASE:
            name = data.get("name")
            return not await self._before(stored, lambda earlier: _data(earlier).get("name") == name)
        if self._has_steps is None:  # asked once: there may be thousands of checkpoints
            steps = await self._backend.read_events(self._id, limit=1, event_type=(_COMPLETED, _PHASE))
            self._has_steps = bool(steps)
        if self._has_steps:
            return False
        return not await self._before(stored, lambda earlier: earlier.event_data == stored.event_data)

    async def _before(self, stored: StoredEvent, same: Callable[[StoredEvent], bool]) -> bool:
        """Whether there is such an event of the same type before."""
        after = 0
        while True:
            page = await self._backend.read_events(self._id, after=after, limit=_PAGE, event_type=(stored.event_type,))
            for earlier in page:
                if earlier.sequence >= stored.sequence:
                    return False
                if same(earlier):
                    return True
            if len(page) < _PAGE:
                return False
            after = page[-1].sequence


async def failures(backend: Backend, investigation_id: str, most: int) -> int:
    """How often its handler has failed; counted up to `most`."""
    count, before = 0, 0
    while count < most:
        page = await backend.read_events(
            investigation_id, after=before, limit=_PAGE, event_type=(_FAILED,), reverse=True
        )
        count += sum(_data(stored).get("kind") != _CRASHED for stored in page)
        if len(page) < _PAGE:
            break
        before = page[-1].sequence
    return count


def _data(stored: StoredEvent) -> dict[str, Any]:
    """What an event says; nothing where that cannot be read: whoever goes on with the investigation is told."""
    try:
        with readable(stored.investigation_id, stored.sequence):
            return reading.to_event(stored).data
    except InvestigationError as error:
        extra = {"investigation_id": stored.investigation_id}
        _log.warning("How often it was tried is counted without an event that cannot be read: %s", error, extra=extra)
        return {}


def pause(times: int) -> float:
    """Seconds before the next try, after so many in vain: twice as long each time, and never the same, so that those
    that failed together do not try again together."""
    longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(times - 1, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
