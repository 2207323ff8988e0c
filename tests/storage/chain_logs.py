"""Logs to tamper with, and what is found in them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.storage.chain import seal
from investigation_sdk.storage.checking import ChainProblem, Checker
from investigation_sdk.storage.commit import GENESIS, StoredEvent

ID = "019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b7e"
S = InvestigationState
Log = list[StoredEvent]
First = tuple[int | None, str]


def log_of(count: int, seed: int = 1) -> Log:
    """A valid log of that many events, with all that an event may have."""
    chance = random.Random(seed)
    events: Log = []
    head = GENESIS
    for sequence in range(1, count + 1):
        actor = chance.choice([None, "anna", 'größe "1"\n'])
        event = Event(f"019a1f3e-7c1c-7000-8000-{sequence:012x}", chance.choice(TYPES), {}, 0, actor=actor)
        event.sequence, event.at, event.attempt = sequence, 1_764_000_000_000_000 + sequence // 3, chance.randint(0, 3)
        event.metadata = chance.choice([None, {"late": True}, {"stale": True, "late": True}])
        event.parent_call = chance.choice([None, ID])
        if chance.random() < 0.3:
            event.previous_state, event.new_state = chance.choice([(None, S.CREATED), (S.RUNNING, S.PAUSED)])
        data = chance.choice(["{}", '{"a":1}', '{"n":' + str(sequence) + ',"text":"Zürich 🚲"}'])
        events.append(seal(ID, "acme", event, data, head))
        head = events[-1].hash
    return events


TYPES = ["tool.started", "note.recorded", "my.own"]


def check(events: Sequence[StoredEvent], version: int, head: bytes) -> list[ChainProblem]:
    checker = Checker(ID)
    checker.add(events)
    assert checker.checked == len(events)
    return checker.finish(version, head)


def first(events: Sequence[StoredEvent], was: Log) -> First:
    """Where and what the first problem is, with the row of the investigation as it was."""
    problems = check(events, len(was), was[-1].hash)
    assert problems, "nothing was noticed"
    assert problems[0].message
    return problems[0].sequence, problems[0].kind


COLUMNS: dict[str, Any] = {
    "investigation_id": "019a1f3e-0000-7000-8000-000000000000",
    "id": "019a1f3e-0000-7000-8000-000000000000",
    "event_type": "tool.completed",
    "event_timestamp": 1_764_000_000_000_999,
    "actor": "mallory",
    "previous_state": "failed",
    "new_state": "completed",
    "metadata": '{"late":false}',
}
