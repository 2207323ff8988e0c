"""Recovery: how often an investigation was taken over in vain, and how long to wait before the next time."""

from __future__ import annotations

import random
from typing import Any, Final, NamedTuple

from investigation_sdk.engine import reading
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import StoredEvent

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 300.0
"""Seconds."""
_PAGE: Final = 200
_CLAIMED, _FAILED, _CRASHED = "investigation.claimed", "investigation.failed", "crashed"
_TELLING: Final = (_CLAIMED, _FAILED, "tool.completed", "phase.completed", "checkpoint.saved")


class Tries(NamedTuple):
    """What was tried since anything was last completed in an investigation, or it ended."""

    begun: int = 0
    """How often somebody began to drive it."""
    taken_over: int = 0
    """How often from an owner that had stopped without a word."""


async def tries(backend: Backend, investigation_id: str) -> Tries:
    """What was tried in vain, from the end of the log back."""
    begun = taken_over = before = 0
    while True:
        page = await backend.read_events(investigation_id, after=before, limit=_PAGE, event_type=_TELLING, reverse=True)
        for stored in page:
            data = _data(stored)
            if stored.event_type == _CLAIMED:
                begun += 1
                taken_over += "from" in data
            elif stored.event_type != _FAILED or data.get("kind") != _CRASHED:
                return Tries(begun, taken_over)
        if len(page) < _PAGE:
            return Tries(begun, taken_over)
        before = page[-1].sequence


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
    return reading.to_event(stored).data


def pause(times: int) -> float:
    """Seconds before the next try, after so many in vain: twice as long each time, and never the same, so that those
    that failed together do not try again together."""
    longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(times - 1, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
