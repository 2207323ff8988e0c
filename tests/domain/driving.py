"""Gives one investigation whatever commands and facts one likes, and checks after each what must hold."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from investigation_sdk.domain.commands import (
    Append,
    Ask,
    Claim,
    Fact,
    Fail,
    Finish,
    Release,
    StartPhase,
    Submission,
    Transition,
)
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import (
    ALLOWED_TRANSITIONS,
    TERMINAL,
    WAYS,
    InvestigationState,
    PhaseState,
    Verb,
    Way,
)
from investigation_sdk.errors import (
    InvalidStateTransition,
    InvestigationCancelled,
    InvestigationError,
    InvestigationFinished,
    InvestigationPaused,
    LeaseLost,
    PhaseError,
)
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.codec import encode
from tests.domain.harness import ERROR, plain, states_passed, way_to
from tests.domain.holding import Holding

S = InvestigationState

CREATED: dict[str, Any] = {"configuration": encode({"a": 1e22}).text, "key": "case-1", "generation": 3, "user_id": "u"}


class Checked(Holding):
    """Who gives a command or fact: the "owner", a "stale" one before it, "nobody", or one with a "forged" token."""

    def create(self, state: S, driven: bool, planned: list[tuple[str, Any]]) -> None:
        """Created, and led to where it starts."""
        queue = state not in (S.CREATED, S.CANCELLED)
        phases = [{"id": uuid7(), "name": name, "weight": weight, "tools": ["whois"]} for name, weight in planned]
        events = self.world.create(queue=queue, phases=phases, **CREATED)
        self.log += events
        assert states_passed(events) == ([S.CREATED, S.QUEUED] if queue else [S.CREATED])
        for new in way_to(state)[1 if queue else 0 :]:
            self.transition(new, None, 0)
        if driven:
            self.claim(0)

    def _token(self, who: str) -> str | None:
        if who == "owner":
            return self.fold.token
        if who == "stale":
            stale = [token for token in self.tokens if token != self.fold.token]
            return stale[-1] if stale else None
        return None if who == "nobody" else uuid7()

    def _step(self, seconds: int) -> int:
        """The clock goes on, or back."""
        self.world.time += seconds * 1_000_000
        return self.world.time

    def _submit(self, submission: Submission, *, refused_by: tuple[type[InvestigationError], ...] = ()) -> list[Event]:
        """Submit; [] where it is refused. Checks what holds of every submission."""
        before = plain(self.fold)
        status, token, drives = self.fold.status, submission.token, self._drives(submission.token)
        assert status is not None
        try:
            events = self.world.submit(submission)
        except refused_by:
            assert not isinstance(submission, Fact)
            assert plain(self.fold) == before, "what is refused changed something"
            return []
        if isinstance(submission, Fact):
            (event,) = events
            assert event is submission.event
            assert event.late or drives or (token is None and status not in TERMINAL)
            stale = token is not None and self.fold.token is not None and not drives
            assert bool((event.metadata or {}).get("stale")) == stale
        elif isinstance(submission, Claim | Ask | Transition):
            assert {e.actor for e in events if e.type.startswith(("investigation.", "state."))} <= {submission.actor}
        assert not any(event.late and event.new_state is not None for event in events)
        if status in TERMINAL:
            assert states_passed(events) == []
            assert self.fold.status is status
            assert self._moved(before) <= {"calls", *self.used}, "what has ended changed"
        self.log += events
        return events

    def _moved(self, before: dict[str, Any]) -> set[str]:
        after = plain(self.fold)
        return {name for name in after if after[name] != before[name]} - {"version", "at"}

    def _drives(self, token: str | None) -> bool:
        return token is not None and token == self.fold.token

    def _walks(self, submission: Submission, way: Way, *refused_by: type[InvestigationError]) -> list[Event]:
        """Submit what the table of ways decides: it passes exactly those states, or is refused."""
        errors = refused_by or (InvalidStateTransition,)
        version = self.fold.version
        events = self._submit(submission, refused_by=errors)
        if way is None:
            assert self.fold.version == version, f"{submission} should have been refused"
            return []
        assert states_passed(events) == list(way)
        return events

    # ---- commands

    def claim(self, seconds: int) -> None:
        status = self.fold.status
        assert status is not None
        way = WAYS[status][Verb.OPEN]
        if status is S.PAUSED and self.fold.resume_requested:
            way = (S.RUNNING,)
        token, owner, before = uuid7(), self.fold.owner, self.fold.attempt
        claim = Claim(time=self._step(seconds), actor="ops", id=token, owner=f"host/{before + 1}")
        events = self._walks(claim, way, InvestigationFinished, InvestigationCancelled)
        if way is None:
            assert status in TERMINAL
            return
        self.tokens[token] = self.fold.attempt
        assert (self.fold.token, self.fold.owner, self.fold.attempt) == (token, claim.owner, before + 1)
        claimed = next(e for e in events if e.type == "investigation.claimed")
        assert (claimed.id, claimed.attempt, claimed.data.get("from")) == (token, before + 1, owner)
        assert events[-1].type == "investigation.started"
        assert not self.fold.calls, "calls of the owner before stay open"

    def ask(self, verb: Verb, reason: str | None, seconds: int) -> None:
        status = self.fold.status
        assert status is not None
        way, requests = WAYS[status][verb], False
        if verb is Verb.RESUME and status is S.PAUSED and self.fold.token is None:
            way, requests = (), True
        events = self._walks(Ask(time=self._step(seconds), actor="ops", verb=verb, reason=reason), way)
        if requests:
            assert self.fold.resume_requested
        elif not way:
            assert not events
        assert all(e.data.get("reason") == reason for e in events if e.new_state is not None)

    def transition(self, new: S, reason: str | None, seconds: int) -> None:
        status, token = self.fold.status, self.fold.token
        assert status is not None
        way = (new,) if new in ALLOWED_TRANSITIONS[status] else None
        self._walks(Transition(time=self._step(seconds), actor="ops", new_state=new, reason=reason), way)
        if way is not None and status is S.RUNNING:
            assert self.fold.token == (token if new is S.PAUSED else None)

    def start_phase(self, who: str, name: str, weight: Any, payload: str, seconds: int) -> None:
        token, known = self._token(who), self.fold.phases.get(name)
        may = self._drives(token) and self.fold.status is S.RUNNING
        if known is not None and (
            known.status is PhaseState.RUNNING
            or (known.status is PhaseState.COMPLETED and known.attempt == self.fold.attempt)
        ):
            may = False
        time = self._step(seconds)
        data = {"id": uuid7(), "name": name, "started_at": time, "weight": weight, "input": payload}
        event = Event(uuid7(), "phase.started", data, time)
        events = self._submit(
            StartPhase(time=time, token=token, event=event),
            refused_by=(LeaseLost, InvestigationCancelled, InvestigationPaused, PhaseError),
        )
        assert bool(events) == may
        if may:
            phase = self.fold.phases[name]
            assert (phase.status, phase.attempt, phase.id) == (PhaseState.RUNNING, self.fold.attempt, data["id"])
            assert known is None or known.id == phase.id
            assert self.fold.current_phase == name
            assert (phase.completed_at, phase.duration_ms, phase.error) == (None, None, None)
            assert phase.input_sequence == event.sequence

    def append(self, who: str, kind: str, name: str, payload: str, seconds: int) -> None:
        token, time = self._token(who), self._step(seconds)
        known = self.fold.phases.get(name)
        datas: dict[str, dict[str, Any]] = {
            "phase.skipped": {"id": uuid7(), "name": name, "reason": "not needed"},
            "phase.planned": {"phases": [{"id": uuid7(), "name": name}, {"id": uuid7(), "name": "last", "weight": 2}]},
            "checkpoint.saved": {"data": payload},
            "tool.started": {"tool": "wire", "agent": "main", "started_at": time, "effect": "unsafe", "input": payload},
        }
        event = Event(uuid7(), kind, datas[kind], time)
        running = kind == "tool.started"
        may = self._drives(token) and (not running or self.fold.status is S.RUNNING)
        if kind == "phase.skipped" and known is not None:
            may = may and known.status in (PhaseState.PENDING, PhaseState.FAILED)
        events = self._submit(
            Append(time=time, token=token, event=event, needs_running=running),
            refused_by=(LeaseLost, InvestigationCancelled, InvestigationPaused, PhaseError),
        )
        assert bool(events) == may
        if events and kind == "tool.started":
            self.calls.append(event)
        if events and kind == "phase.skipped":
            assert self.fold.phases[name].status is PhaseState.SKIPPED
            assert self.fold.phases[name].id == event.data["id"]

    def finish(self, who: str, payload: str | None, seconds: int) -> None:
        status, token = self.fold.status, self._token(who)
        assert status is not None
        command = Finish(time=self._step(seconds), token=token, result=payload)
        if status is S.CANCELLED:
            events = self._walks(command, ())
            assert (events[-1].type, events[-1].late) == ("note.recorded", True)
            return
        drives = self._drives(token)
        way = WAYS[status][Verb.END_WELL] if drives else None
        events = self._walks(command, way, InvalidStateTransition if drives else LeaseLost)
        if way is not None:
            assert self.fold.status is S.COMPLETED
            assert self.fold.result == payload
            self._left(events)

    def fail(self, who: str, seconds: int) -> None:
        status, token = self.fold.status, self._token(who)
        assert status is not None
        way = (WAYS[status][Verb.END_WITH_ERROR] or ()) if self._drives(token) else ()
        command = Fail(time=self._step(seconds), token=token, kind="timeout", error=dict(ERROR))
        events = self._walks(command, way)  # it happened, so it is never refused
        if way:
            assert (self.fold.failure_kind, self.fold.error_message) == ("timeout", "ValueError: no such device")
            self._left(events)
        else:
            assert (events[-1].type, events[-1].late) == ("error.occurred", True)

    def release(self, who: str, seconds: int) -> None:
        token = self._token(who)
        drives = self._drives(token)
        events = self._walks(Release(time=self._step(seconds), token=token), ())
        if drives:
            self._left(events)
        else:
            assert all(e.type == "tool.interrupted" and e.late for e in events)

    def _left(self, events: list[Event]) -> None:
        """The owner has left: nothing stays open, and nobody drives it."""
        assert events[-1].type == "investigation.released"
        assert (self.fold.token, self.fold.owner, self.fold.calls) == (None, None, {})

    # ---- facts: never refused

    def _fact(self, type: str, data: dict[str, Any], who: str, seconds: int, started: Event | None = None) -> Event:
        time, token = self._step(seconds), self._token(who)
        event = Event(uuid7(), type, data, time, started=started)
        event.attempt = self.tokens.get(token or "", 0)
        before = plain(self.fold)
        self._submit(Fact(event, token))
        usage = data.get("usage") or {}
        for name, amount in usage.items():
            self.used[name] += Fraction(amount)
        if event.late:
            assert self._moved(before) <= {"calls", *usage}, "a late fact changed more than its own call"
        return event

    def tool_started(self, who: str, effect: str | None, payload: str, seconds: int) -> None:
        data = {"tool": "whois", "agent": "net", "effect": effect, "started_at": self.world.time, "input": payload}
        self.calls.append(self._fact("tool.started", data, who, seconds))

    def tool_ended(
        self, started: Event, who: str, end: str, usage: dict[str, Any], here: bool, payload: str, seconds: int
    ) -> None:
        said: dict[str, Any] = {"call": started.id, "completed_at": self.world.time, "duration_ms": 1.5}
        said |= {"output": payload} if end == "tool.completed" else {"error": dict(ERROR)}
        if usage:
            said["usage"] = usage
        # Without `started`: the call was begun by another process, whose events this one has folded. It is in
        # the fold as long as it is open; later completions only come from the process that has it.
        was_open = started.id in self.fold.calls
        event = self._fact(end, said, who, seconds, started if here or not was_open else None)
        assert started.id not in self.fold.calls
        assert was_open or event.late or self._token(who) is None, "what was closed already is closed late"

    def phase_left(self, who: str, name: str, end: str, payload: str, seconds: int) -> None:
        known = self.fold.phases.get(name)
        before = None if known is None else known.status
        said: dict[str, Any] = {"id": uuid7() if known is None else known.id, "name": name, "kind": "CancelledError"}
        if end != "phase.interrupted":
            said |= {"completed_at": self.world.time, "duration_ms": 2.5, "output": payload}
        if end == "phase.failed":
            said["error"] = dict(ERROR)
        event = self._fact(end, said, who, seconds)
        if known is None:
            assert name not in self.fold.phases
        elif event.late or before is not PhaseState.RUNNING:
            assert known.status is before
        else:
            ends = {"phase.completed": PhaseState.COMPLETED, "phase.failed": PhaseState.FAILED}
            assert known.status is ends.get(end, PhaseState.PENDING)
            assert end == "phase.interrupted" or known.output_sequence == event.sequence

    def noted(self, who: str, kind: str, payload: str) -> None:
        before = plain(self.fold)
        self._fact(kind, {"data": payload}, who, 0)
        assert self._moved(before) == set()

    def usage_reported(self, who: str, usage: dict[str, Any]) -> None:
        self._fact("usage.reported", {"usage": usage}, who, 0)

    def reload(self) -> None:
        """Another process goes on, with what the rows say."""
        self.world.commit()
        self.world.fold = self.world.from_rows()
        self.world.fold.touched = {}
        self.reloaded = True
