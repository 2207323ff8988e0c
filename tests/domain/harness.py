"""One investigation without engine and store: decide, number, fold, seal; rows kept as a store would keep them."""

from __future__ import annotations

from collections import deque
from typing import Any

from investigation_sdk.domain.commands import (
    Ask,
    Claim,
    Create,
    Fact,
    Fail,
    Finish,
    Release,
    StartPhase,
    Submission,
    Transition,
)
from investigation_sdk.domain.decide import decide
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.phase import Phase
from investigation_sdk.domain.project import investigation_row, shorten, tool_row, touched_rows
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, Row, ToolRow
from investigation_sdk.domain.states import ALLOWED_TRANSITIONS, InvestigationState, Verb
from investigation_sdk.domain.unproject import fold_from_rows
from investigation_sdk.engine.reading import to_event
from investigation_sdk.engine.texts import event_text, json_text
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.chain import seal
from investigation_sdk.storage.codec import Json
from investigation_sdk.storage.commit import GENESIS, StoredEvent

START = 1_764_000_000_000_000
ERROR = {"type": "ValueError", "message": "no such device", "traceback": "Traceback …"}


class World:
    """The fold is kept event by event, as a session keeps it; `stored` and `rows` are what a store would have."""

    def __init__(self, tenant: str = "") -> None:
        self.fold = Fold(uuid7(), tenant)
        self.fold.touched = {}
        self.stored: list[StoredEvent] = []
        self.rows: dict[str, Row] = {}
        self.pending: list[Event] = []
        self.time = START

    @classmethod
    def in_state(cls, state: InvestigationState) -> World:
        """Led there by hand, by the shortest way; never driven."""
        world = cls()
        world.create(queue=False)
        for new in way_to(state):
            world.transition(new)
        return world

    # ---- as the session does it

    def submit(self, submission: Submission) -> list[Event]:
        """Decide and number it; raises where it is refused."""
        events = decide(self.fold, submission)
        for event in events:
            event.sequence = self.fold.version + 1
            event.at = max(event.time, self.fold.at)
            if not event.attempt:
                event.attempt = self.fold.attempt
            self.fold.apply(event)
            self.pending.append(event)
        return events

    def commit(self) -> None:
        """Seal what is pending, and write the rows."""
        head = self.head
        for event in self.pending:
            if event.text is None:
                event.text = event_text(event)
            sealed = seal(self.fold.id, self.fold.tenant, event, event.text, head)
            head = sealed.hash
            self.stored.append(sealed)
        if self.pending:
            row = investigation_row(self.fold, self.fold.version, head, json_text)
            for changed in (row, *touched_rows(self.fold, json_text)):
                self.rows[changed.id] = changed
        self.pending = []

    @property
    def head(self) -> bytes:
        return self.stored[-1].hash if self.stored else GENESIS

    # ---- from what is stored

    def reread(self) -> tuple[Fold, dict[str, Row]]:
        """The fold of the stored bytes, and all rows that it stands for."""
        fold = Fold(self.fold.id, self.fold.tenant)
        fold.touched, fold.history = {}, {}
        for stored in self.stored:
            fold.apply(to_event(stored))
        rows = {row.id: row for row in touched_rows(fold, json_text)}
        rows[fold.id] = investigation_row(fold, fold.version, self.head, json_text)
        return fold, rows

    def from_rows(self) -> Fold:
        """The fold that is made from rows alone."""
        row = self.rows[self.fold.id]
        assert isinstance(row, InvestigationRow)
        phases = [r for r in self.rows.values() if isinstance(r, PhaseRow)]
        open_calls = [r for r in self.rows.values() if isinstance(r, ToolRow) and r.status == "running"]
        return fold_from_rows(row, phases[::-1], open_calls[::-1], Json)

    # ---- shorthand

    def create(self, *, queue: bool = True, **data: Any) -> list[Event]:
        data = {
            "subject": "account 42 taken over",
            "investigation_type": "fraud",
            "configuration": Json("{}"),
            "metadata": Json("{}"),
            **data,
        }
        return self.submit(Create(time=self.time, data=data, queue=queue))

    def claim(self) -> list[Event]:
        return self.submit(Claim(time=self.time, id=uuid7(), owner=f"host/{self.fold.attempt + 1}"))

    def ask(self, verb: Verb, reason: str | None = None) -> list[Event]:
        return self.submit(Ask(time=self.time, verb=verb, reason=reason))

    def transition(self, state: InvestigationState) -> list[Event]:
        return self.submit(Transition(time=self.time, new_state=state))

    def start_phase(self, name: str, token: str | None, **data: Any) -> list[Event]:
        event = Event(
            uuid7(), "phase.started", {"id": uuid7(), "name": name, "started_at": self.time, **data}, self.time
        )
        return self.submit(StartPhase(time=self.time, token=token, event=event))

    def fact(self, type: str, data: dict[str, Any], token: str | None, started: Event | None = None) -> Event:
        event = Event(uuid7(), type, data, self.time, started=started)
        (same,) = self.submit(Fact(event, token))
        assert same is event
        return event

    def start_tool(self, token: str | None, **data: Any) -> Event:
        data = {"tool": "whois", "agent": "main", "started_at": self.time, "input": Json('{"a":1}'), **data}
        return self.fact("tool.started", data, token)

    def finish(self, token: str | None, result: Any = None) -> list[Event]:
        return self.submit(Finish(time=self.time, token=token, result=result))

    def fail(self, token: str | None) -> list[Event]:
        return self.submit(Fail(time=self.time, token=token, kind="error", error=dict(ERROR)))

    def release(self, token: str | None) -> list[Event]:
        return self.submit(Release(time=self.time, token=token))


def way_to(state: InvestigationState) -> list[InvestigationState]:
    """The shortest way there from created."""
    ways = deque([[InvestigationState.CREATED]])
    while ways[0][-1] is not state:
        way = ways.popleft()
        ways += [[*way, new] for new in ALLOWED_TRANSITIONS[way[-1]] if new not in way]
    return ways[0][1:]


def states_passed(events: list[Event]) -> list[InvestigationState]:
    return [event.new_state for event in events if event.new_state is not None]


# ---- folds as plain values, to compare

_PAYLOADS = ("configuration", "metadata", "result", "last_checkpoint", "input", "output", "error")


def plain(fold: Fold, *, from_rows: bool = False) -> dict[str, Any]:
    """All that a fold says, as values that can be compared, whether payloads are text already or not.

    With `from_rows` only what a fold from rows can know: long payloads of phases and long error messages stand
    in the events alone, and of an open call only what its row has.
    """
    values = {name: _value(name, getattr(fold, name)) for name in Fold.__slots__ if name not in _NOT_COMPARED}
    values["phases"] = [_phase(phase, from_rows) for phase in fold.phases.values()]
    if from_rows:
        values["error_message"] = None if fold.error_message is None else shorten(fold.error_message)
        values["calls"] = [tool_row(fold.id, fold.tenant, call, None, json_text) for call in fold.calls.values()]
    else:
        values["calls"] = [_event(call) for call in fold.calls.values()]
    return values


_NOT_COMPARED = ("counts", "fixed", "history", "touched", "phases", "calls")


def _value(name: str, value: Any) -> Any:
    return json_text(value) if name in _PAYLOADS and value is not None else value


def _phase(phase: Phase, from_rows: bool) -> dict[str, Any]:
    values = {name: _value(name, getattr(phase, name)) for name in Phase.__slots__}
    if from_rows:
        for name in ("input", "output"):
            if values[name] is not None and len(values[name]) > 512:
                values[name] = None
    return values


def _event(event: Event) -> tuple[Any, ...]:
    text = event_text(event) if event.text is None else event.text
    return event.id, event.sequence, event.at, event.attempt, event.parent_call, event.metadata, text
