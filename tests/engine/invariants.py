"""What must be true of a store, whatever happened on the way: of its log alone, and of its rows against its log."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

from investigation_backends.memory_store import MemoryStore
from investigation_sdk.domain.commands import Append, Claim, Fact, Fail, Finish, Release, StartPhase, Submission
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.phase import Phase
from investigation_sdk.domain.project import investigation_row, phase_row, tool_row
from investigation_sdk.domain.rows import Row, ToolRow
from investigation_sdk.domain.states import ALLOWED_TRANSITIONS, TERMINAL, InvestigationState
from investigation_sdk.engine.reading import to_event
from investigation_sdk.engine.texts import json_text
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.checking import Checker
from investigation_sdk.storage.commit import GENESIS, Kind, Query, StoredEvent, Where


def require(condition: object, message: str) -> None:
    """An assertion that says what is wrong, also where pytest does not rewrite."""
    if not condition:
        raise AssertionError(message)


class Before(NamedTuple):
    """How things stood before an event."""

    token: str | None
    owner: str | None
    status: InvestigationState | None
    calls: frozenset[str]


class Log:
    """The log of one investigation, checked event by event as it is folded."""

    def __init__(self, id: str, stored: list[StoredEvent]) -> None:
        self.id = id
        self.stored = stored
        self.version = len(stored)
        self.head = stored[-1].hash if stored else GENESIS
        self.fold = Fold(id)
        self.fold.touched = {}
        self.fold.history = {}
        self.positions = {event.id: number for number, event in enumerate(stored, 1)}
        self.actors = Counter(event.actor for event in stored)
        self.before: dict[str, Before] = {}
        self.events: dict[str, Event] = {}
        for event in stored:
            self._one(to_event(event))

    def _one(self, event: Event) -> None:
        fold = self.fold
        self.before[event.id] = Before(fold.token, fold.owner, fold.status, frozenset(fold.calls))
        self.events[event.id] = event
        if event.new_state is not None:
            require(event.previous_state is fold.status, f"{event} leaves a state that it is not in")
            allowed = (InvestigationState.CREATED,) if fold.status is None else ALLOWED_TRANSITIONS[fold.status]
            require(event.new_state in allowed, f"{event}: {fold.status} -> {event.new_state} is not legal")
        if event.type == "investigation.completed":
            require(fold.status is InvestigationState.COMPLETING, "completed out of order")
        fold.apply(event)

    def check_absent(self, submission: Submission) -> None:
        """Nothing of a refused submission is in the log."""
        if isinstance(submission, Fact | Append | StartPhase):
            require(submission.event.id not in self.positions, f"the refused {submission.event} is in the log")
        elif submission.actor is not None:
            require(not self.actors[submission.actor], f"the refused {submission} is in the log")

    def check_present(self, submission: Submission, ids: list[str], after: int, owner: str) -> int:
        """An acknowledged submission is in the log once, whole, behind the ones before; where it ends.

        `owner` is who it is from: as whom that block claimed.
        """
        for id in ids:
            position = self.positions.get(id)
            require(position is not None, f"an acknowledged event of {submission} is not in the log")
            assert position is not None
            require(position > after, f"{submission} is in the log before what was submitted before it")
            after = position
        if isinstance(submission, Fact):
            require(len(ids) == 1, "a fact is one event")
            self._check_fact(submission)
        elif submission.actor is not None:
            written = sum(self.events[id].actor == submission.actor for id in ids)
            require(self.actors[submission.actor] == written, f"{submission} is in the log twice")
        if isinstance(submission, Append | StartPhase | Finish) and ids:
            before = self.before[ids[0]]
            late = isinstance(submission, Finish) and before.status is InvestigationState.CANCELLED
            driving = before.token == submission.token and before.owner == owner
            require(late or driving, f"a stale owner's {submission} was carried out")
        elif isinstance(submission, Claim):
            require(submission.id in self.positions, f"{submission} is not in the log as itself")
        elif isinstance(submission, Finish | Fail | Release):
            require(self.fold.token != submission.token, f"{submission} did not end the ownership")
        return after

    def _check_fact(self, fact: Fact) -> None:
        event = self.events[fact.event.id]
        token, _, status, calls = self.before[event.id]
        metadata = event.metadata or {}
        stale = fact.token is not None and token is not None and fact.token != token
        require(bool(metadata.get("stale")) is stale, f"{event} is marked {metadata}, stale is {stale}")
        call = fact.event.data.get("call") if fact.event.started is not None else None
        over = fact.token != token or (call is not None and call not in calls)
        late = status in TERMINAL or (fact.token is not None and over)
        require(bool(metadata.get("late")) is late, f"{event} is marked {metadata}, late is {late}")


def check_log(store: MemoryStore, id: str) -> Log:
    """The log of an investigation in memory: one unbroken chain, numbered without gaps, time never backwards."""
    file = store.files[id]
    return check_events(id, [StoredEvent._make(event) for event in file.events], file.row.version, file.row.head)


def check_events(id: str, stored: list[StoredEvent], version: int, head: bytes) -> Log:
    """The same, of events from anywhere."""
    checker = Checker(id)
    checker.add(stored)
    problems = checker.finish(version, head)
    require(not problems, f"the chain is broken: {problems[:3]}")
    require([event.sequence for event in stored] == list(range(1, len(stored) + 1)), "sequences have gaps")
    times = [event.event_timestamp for event in stored]
    require(times == sorted(times), "time runs backwards")
    require(len({event.id for event in stored}) == len(stored), "an event is in the log twice")
    return Log(id, stored)


def expected_rows(log: Log) -> dict[str, Row]:
    """The rows that follow from the log alone, by id."""
    fold = log.fold
    rows: dict[str, Row] = {fold.id: investigation_row(fold, log.version, log.head, json_text)}
    assert fold.touched is not None
    for item in fold.touched.values():
        if isinstance(item, Phase):
            rows[item.id] = phase_row(fold.id, item, json_text)
        else:
            rows[item[0].id] = tool_row(fold.id, fold.tenant, item[0], item[1], json_text)
    return rows


def compare_rows(stored: dict[str, Any], expected: dict[str, Row]) -> None:
    require(stored.keys() == expected.keys(), "other rows are stored than follow from the log")
    for id, row in expected.items():
        found = stored[id]
        differing = [name for name in row._fields if getattr(row, name) != getattr(found, name)]
        require(
            not differing,
            f"{type(row).__name__}: "
            + ", ".join(f"{n} is {getattr(found, n)!r}, the log says {getattr(row, n)!r}" for n in differing),
        )


def check_rows(store: MemoryStore, log: Log) -> None:
    """The rows in memory are those that follow from the log."""
    file = store.files[log.id]
    tools = {id: ToolRow._make(row) for id, row in file.tools.items()}
    compare_rows({file.row.id: file.row, **file.phases, **tools}, expected_rows(log))


async def check_backend(backend: Backend, id: str) -> Log:
    """All of it, of one investigation in any open store."""
    row: Any = await backend.get("investigation", id)
    events: list[StoredEvent] = []
    while more := await backend.read_events(id, after=len(events), limit=1000):
        events += more
    log = check_events(id, events, row.version, row.head)
    stored: dict[str, Any] = {row.id: row}
    kinds: tuple[Kind, ...] = ("phase", "tool")
    for kind in kinds:
        query = Query(kind, (Where("investigation_id", "=", id),), limit=1000)
        while page := await backend.find(query):
            stored |= {found.id: found for found in page}
            query = replace(query, after=(page[-1].id, page[-1].id))
    compare_rows(stored, expected_rows(log))
    return log
