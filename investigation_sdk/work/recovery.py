"""Recovery: how often an investigation was taken over in vain, and how long to wait before the next time."""

from __future__ import annotations

import hashlib
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
_STARTED, _COMPLETED, _PHASE, _SAVED = "tool.started", "tool.completed", "phase.completed", "checkpoint.saved"
_TELLING: Final = (_CLAIMED, _FAILED, _STARTED, _COMPLETED, _PHASE, _SAVED)


class Tries(NamedTuple):
    """What was tried since anything new was last completed in an investigation, or it ended."""

    begun: int = 0
    """How often somebody began to drive it."""
    taken_over: int = 0
    """How often from an owner that had stopped without a word."""


class _Progress:
    """What was completed so far. An attempt that goes the way of an earlier one completes its phases, saves its
    checkpoints, and runs what cannot be given back once more: none of that brings it further."""

    def __init__(self) -> None:
        self._roots: dict[str, str] = {}
        self._done: set[tuple[str, object]] = set()

    def is_made_by(self, stored: StoredEvent, data: dict[str, Any]) -> bool:
        """Whether this event completes what was not complete."""
        what: object
        if stored.event_type == _STARTED:
            if "again" in data:
                self._roots[stored.id] = data["again"]
            return False
        if stored.event_type == _COMPLETED:
            what = self._roots.pop(data["call"], data["call"])
        elif stored.event_type == _PHASE:
            what = data["name"]
        else:
            what = hashlib.sha256(stored.event_data.encode()).digest()
        before = len(self._done)
        self._done.add((stored.event_type, what))
        return len(self._done) > before


async def tries(backend: Backend, investigation_id: str) -> Tries:
    """What was tried in vain at the end of the log; all of it is read, as only that tells what is new."""
    begun = taken_over = after = 0
    progress = _Progress()
    while True:
        page = await backend.read_events(investigation_id, after=after, limit=_PAGE, event_type=_TELLING)
        for stored in page:
            data = _data(stored)
            if stored.event_type == _CLAIMED:
                begun += 1
                taken_over += "from" in data
            elif stored.event_type == _FAILED:
                if data.get("kind") != _CRASHED:
                    begun = taken_over = 0
            elif progress.is_made_by(stored, data):
                begun = taken_over = 0
        if len(page) < _PAGE:
            return Tries(begun, taken_over)
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
    return reading.to_event(stored).data


def pause(times: int) -> float:
    """Seconds before the next try, after so many in vain: twice as long each time, and never the same, so that those
    that failed together do not try again together."""
    longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(times - 1, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
