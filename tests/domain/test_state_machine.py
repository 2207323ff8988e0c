"""Random commands and facts, whatever their tokens and clocks: what then holds of the log, the fold and the rows."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from investigation_sdk.domain.commands import (
    Append,
    Ask,
    Claim,
    Command,
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
    VersionConflict,
)
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.chain import Checker
from investigation_sdk.storage.codec import encode
from tests.domain.harness import ERROR, World, plain, states_passed

S = InvestigationState

WHO = st.sampled_from(["owner"] * 6 + ["stale", "nobody", "forged"])
NOT_OWNER = st.sampled_from(["stale", "nobody", "forged"])
SECONDS = st.integers(-600, 600)
WAY_TO = {
    S.CREATED: [],
    S.QUEUED: [S.QUEUED],
    S.INITIALIZING: [S.QUEUED, S.INITIALIZING],
    S.RUNNING: [S.QUEUED, S.INITIALIZING, S.RUNNING],
    S.PAUSED: [S.QUEUED, S.INITIALIZING, S.RUNNING, S.PAUSED],
    S.COMPLETING: [S.QUEUED, S.INITIALIZING, S.RUNNING, S.COMPLETING],
    S.FAILED: [S.QUEUED, S.INITIALIZING, S.FAILED],
    S.RETRYING: [S.QUEUED, S.INITIALIZING, S.FAILED, S.RETRYING],
    S.COMPLETED: [S.QUEUED, S.INITIALIZING, S.RUNNING, S.COMPLETING, S.COMPLETED],
    S.CANCELLED: [S.CANCELLED],
}
STARTS = [(state, state in (S.RUNNING, S.PAUSED)) for state in S if state not in TERMINAL]  # and whether it is driven
NAMES = st.sampled_from(["triage", "network", "größe 🚲", "nul\0"])
REASONS = st.one_of(st.none(), st.text(max_size=20))
COSTS = st.decimals("0", "1e20", allow_nan=False, allow_infinity=False, places=None).map(lambda d: format(d, "f"))
USAGE = st.fixed_dictionaries(
    {},
    optional={"tokens_used": st.integers(0, 10**6), "api_calls_made": st.integers(0, 99), "cost_estimate": COSTS},
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([1e22, 1e-7, "x" * 600]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
PAYLOADS = VALUES.map(lambda value: encode(value).text)
WEIGHTS = st.sampled_from([1, 3, 0.25, 0, -2, float("inf"), float("nan"), 1e308, 10**400, "3", Decimal(2)])
EFFECTS = st.sampled_from([None, "read", "idempotent", "unsafe"])
TYPE_OF = {
    S.CREATED: "investigation.created",
    S.COMPLETED: "investigation.completed",
    S.FAILED: "investigation.failed",
    S.CANCELLED: "investigation.cancelled",
}


class Investigations(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World("acme")
        self.fold = self.world.fold
        self.tokens: dict[str, int] = {}
        self.calls: list[Event] = []
        self.log: list[Event] = []
        self.patience = 0
        self.used = {"tokens_used": Fraction(), "api_calls_made": Fraction(), "cost_estimate": Fraction()}

    @initialize(
        start=st.sampled_from([*STARTS, *[(S.RUNNING, True)] * 12]),
        planned=st.lists(st.tuples(NAMES, WEIGHTS), max_size=2, unique_by=lambda plan: plan[0]),
        patience=st.integers(0, 30),
    )
    def create(self, start: tuple[S, bool], planned: list[tuple[str, Any]], patience: int) -> None:
        """Created, and led to where it starts; nothing ends it for good in its first `patience` steps."""
        self.patience = patience
        state, driven = start
        queue = state not in (S.CREATED, S.CANCELLED)
        phases = [{"id": uuid7(), "name": name, "weight": weight, "tools": ["whois"]} for name, weight in planned]
        events = self._note(self.world.create(queue=queue, phases=phases, configuration=encode({"a": 1e22}).text))
        assert states_passed(events) == ([S.CREATED, S.QUEUED] if queue else [S.CREATED])
        for new in WAY_TO[state][1 if queue else 0 :]:
            self.transition(new, None, 0)
        if driven:
            self.claim(0)

    # ---- submitting

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
        self.patience -= 1
        return self.world.time

    def _note(self, events: list[Event]) -> list[Event]:
        self.log += events
        return events

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
            for name in (
                "status",
                "phases",
                "progress",
                "token",
                "attempt",
                "result",
                "completed_at",
                "last_checkpoint",
            ):
                assert plain(self.fold)[name] == before[name], f"{name} changed after the end"
        return self._note(events)

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

    @rule(seconds=SECONDS)
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

    @rule(verb=st.sampled_from([Verb.PAUSE, Verb.RESUME, Verb.RETRY]), reason=REASONS, seconds=SECONDS)
    def ask_to_go_on_or_stop(self, verb: Verb, reason: str | None, seconds: int) -> None:
        self.ask(verb, reason, seconds)

    @precondition(lambda self: self.patience < 0)
    @rule(reason=REASONS, seconds=SECONDS)
    def ask_to_cancel(self, reason: str | None, seconds: int) -> None:
        self.ask(Verb.CANCEL, reason, seconds)

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

    @rule(new=st.sampled_from(S), reason=REASONS, seconds=SECONDS)
    def change_by_hand(self, new: S, reason: str | None, seconds: int) -> None:
        if self.patience < 0 or new not in TERMINAL:
            self.transition(new, reason, seconds)

    def transition(self, new: S, reason: str | None, seconds: int) -> None:
        status, token = self.fold.status, self.fold.token
        assert status is not None
        way = (new,) if new in ALLOWED_TRANSITIONS[status] else None
        self._walks(Transition(time=self._step(seconds), actor="ops", new_state=new, reason=reason), way)
        if way is not None and status is S.RUNNING:
            assert self.fold.token == (token if new is S.PAUSED else None)

    @precondition(lambda self: self.fold.token is not None)
    @rule(name=NAMES, weight=WEIGHTS, payload=PAYLOADS, seconds=SECONDS)
    def enter_phase(self, name: str, weight: Any, payload: str, seconds: int) -> None:
        self.start_phase("owner", name, weight, payload, seconds)

    @rule(who=NOT_OWNER, name=NAMES, seconds=SECONDS, what=st.sampled_from(["phase", "append", "finish", "release"]))
    def command_of_another(self, who: str, name: str, seconds: int, what: str) -> None:
        if what == "phase":
            self.start_phase(who, name, 1, "null", seconds)
        elif what == "append":
            self.append(who, "tool.started", name, "null", seconds)
        elif what == "finish":
            self.finish(who, None, seconds)
        else:
            self.release(who, seconds)

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

    @precondition(lambda self: self.fold.token is not None)
    @rule(
        kind=st.sampled_from(["phase.skipped", "phase.planned", "checkpoint.saved", "tool.started"]),
        name=NAMES,
        payload=PAYLOADS,
        seconds=SECONDS,
    )
    def owner_appends(self, kind: str, name: str, payload: str, seconds: int) -> None:
        self.append("owner", kind, name, payload, seconds)

    def append(self, who: str, kind: str, name: str, payload: str, seconds: int) -> None:
        token, time, id = self._token(who), self._step(seconds), uuid7()
        known = self.fold.phases.get(name)
        data: dict[str, Any] = {
            "phase.skipped": {"id": uuid7(), "name": name, "reason": "not needed"},
            "phase.planned": {"phases": [{"id": uuid7(), "name": name}, {"id": uuid7(), "name": "last", "weight": 2}]},
            "checkpoint.saved": {"data": payload},
            "tool.started": {"tool": "wire", "agent": "main", "started_at": time, "effect": "unsafe", "input": payload},
        }[kind]
        event = Event(id, kind, data, time)
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

    @precondition(lambda self: self.patience < 0 and (self.fold.token is not None or self.fold.status is S.CANCELLED))
    @rule(payload=st.none() | PAYLOADS, seconds=SECONDS)
    def block_ends_well(self, payload: str | None, seconds: int) -> None:
        self.finish("owner", payload, seconds)

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

    @rule(who=WHO, seconds=SECONDS)
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

    @precondition(lambda self: self.fold.token is not None)
    @rule(seconds=SECONDS)
    def owner_releases(self, seconds: int) -> None:
        self.release("owner", seconds)

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
            after = plain(self.fold)
            moved = {name for name in after if after[name] != before[name]}
            assert moved <= {"version", "at", "calls", *usage}, "a late fact changed more than its own call"
        return event

    @rule(who=WHO, effect=EFFECTS, payload=PAYLOADS, seconds=SECONDS)
    def tool_started(self, who: str, effect: str | None, payload: str, seconds: int) -> None:
        data = {"tool": "whois", "agent": "net", "effect": effect, "started_at": self.world.time, "input": payload}
        self.calls.append(self._fact("tool.started", data, who, seconds))

    @precondition(lambda self: self.calls)
    @rule(
        data=st.data(),
        who=WHO,
        end=st.sampled_from(["tool.completed", "tool.failed", "tool.interrupted"]),
        usage=USAGE,
        here=st.booleans(),
        payload=PAYLOADS,
        seconds=SECONDS,
    )
    def tool_ended(
        self, data: st.DataObject, who: str, end: str, usage: dict[str, Any], here: bool, payload: str, seconds: int
    ) -> None:
        started = data.draw(st.sampled_from(self.calls[-4:]))
        said: dict[str, Any] = {"call": started.id, "completed_at": self.world.time, "duration_ms": 1.5}
        said |= {"output": payload} if end == "tool.completed" else {"error": dict(ERROR)}
        if usage:
            said["usage"] = usage
        # Without `started`: the call was begun by another process, whose events this one has folded. It is in
        # the fold as long as it is open; later completions only come from the process that has it.
        was_open = started.id in self.fold.calls
        self._fact(end, said, who, seconds, started if here or not was_open else None)
        assert started.id not in self.fold.calls

    @precondition(lambda self: self.fold.phases)
    @rule(
        who=WHO,
        name=NAMES,
        end=st.sampled_from(["phase.completed", "phase.failed", "phase.interrupted"]),
        payload=PAYLOADS,
        seconds=SECONDS,
    )
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

    @rule(who=WHO, kind=st.sampled_from(["note.recorded", "recorder.warning", "fraud.hypothesis"]), payload=PAYLOADS)
    def noted(self, who: str, kind: str, payload: str) -> None:
        before = plain(self.fold)
        self._fact(kind, {"data": payload}, who, 0)
        after = plain(self.fold)
        assert {name for name in after if after[name] != before[name]} <= {"version", "at"}

    @rule(who=WHO, usage=USAGE)
    def usage_reported(self, who: str, usage: dict[str, Any]) -> None:
        self._fact("usage.reported", {"usage": usage}, who, 0)

    # ---- what holds

    @precondition(lambda self: self.world.pending)
    @rule()
    def commit(self) -> None:
        """Seal what was decided since the last time: one submission, or many."""
        self.world.commit()

    @invariant()
    def one_log_in_order(self) -> None:
        pending = self.log[-30:]
        assert self.fold.version == len(self.log)
        assert [e.sequence for e in pending] == list(range(len(self.log) - len(pending) + 1, len(self.log) + 1))
        times = [e.at for e in pending]
        assert times == sorted(times)
        assert all(e.at >= e.time for e in pending)

    @invariant()
    def progress_is_a_percentage_and_100_says_completed(self) -> None:
        assert type(self.fold.progress) is int
        assert 0 <= self.fold.progress <= 100
        assert (self.fold.progress == 100) == (self.fold.status is S.COMPLETED)

    @invariant()
    def who_drives_is_told_by_the_state(self) -> None:
        if self.fold.token is not None:
            assert self.fold.status in (S.RUNNING, S.PAUSED)
            assert self.fold.token in self.tokens
        else:
            assert PhaseState.RUNNING not in {phase.status for phase in self.fold.phases.values()}

    @invariant()
    def usage_is_the_exact_sum(self) -> None:
        sums = {name: Fraction(getattr(self.fold, name)) for name in self.used}
        assert sums == self.used

    def teardown(self) -> None:
        if self.fold.status is None:
            return
        self.world.commit()
        self._every_change_of_state_is_one_legal_event()
        self._attempts_count_claims()
        self._what_is_stored_says_the_same()
        checker = Checker(self.fold.id)
        checker.add(self.world.stored)
        assert checker.finish(self.fold.version, self.world.head) == []

    def _every_change_of_state_is_one_legal_event(self) -> None:
        status: S | None = None
        for event in self.log:
            if event.new_state is None:
                assert event.previous_state is None
                assert event.type not in (*TYPE_OF.values(), "state.transition")
                continue
            assert event.previous_state is status
            allowed = (S.CREATED,) if status is None else ALLOWED_TRANSITIONS[status]
            assert event.new_state in allowed
            assert event.type == TYPE_OF.get(event.new_state, "state.transition")
            status = event.new_state
        assert status is self.fold.status

    def _attempts_count_claims(self) -> None:
        count = Counter(event.type for event in self.log)
        assert self.fold.attempt == count["investigation.claimed"] == count["investigation.started"] == len(self.tokens)
        for type in ("investigation.claimed", "investigation.started"):
            of_type = [event for event in self.log if event.type == type]
            attempts = list(range(1, len(of_type) + 1))
            assert [event.attempt for event in of_type] == attempts
            assert [event.data["attempt"] for event in of_type] == attempts
        assert self.fold.retry_count == sum(event.new_state is S.RETRYING for event in self.log)

    def _what_is_stored_says_the_same(self) -> None:
        reread, rows = self.world.reread()
        assert plain(reread) == plain(self.fold)
        assert rows == self.world.rows
        from_rows = self.world.from_rows()
        assert plain(from_rows, from_rows=True) == plain(self.fold, from_rows=True)


TestInvestigations = pytest.mark.filterwarnings("error")(Investigations.TestCase)
TestInvestigations.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    phases=(Phase.generate,),
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


WHOS = ["owner", "stale", "nobody", "forged"]
EVERYTHING: list[Callable[[Investigations], None]] = [
    lambda m: m.claim(1),
    *(partial(Investigations.ask, verb=verb, reason="ops", seconds=-1) for verb in list(Verb)[1:5]),
    *(partial(Investigations.transition, new=state, reason=None, seconds=1) for state in S),
    *(partial(Investigations.start_phase, who=who, name="triage", weight=1, payload="1", seconds=1) for who in WHOS),
    *(
        partial(Investigations.append, who=who, kind=kind, name="triage", payload="1", seconds=1)
        for who in WHOS
        for kind in ("phase.skipped", "checkpoint.saved", "tool.started")
    ),
    *(partial(Investigations.finish, who=who, payload="1", seconds=1) for who in WHOS),
    *(partial(Investigations.fail, who=who, seconds=1) for who in WHOS),
    *(partial(Investigations.release, who=who, seconds=1) for who in WHOS),
    *(partial(Investigations.tool_started, who=who, effect="unsafe", payload="1", seconds=1) for who in WHOS),
    *(partial(Investigations.usage_reported, who=who, usage={"cost_estimate": "0.1"}) for who in WHOS),
]


@pytest.mark.parametrize("driven", [False, True], ids=["undriven", "driven"])
@pytest.mark.parametrize("state", S)
def test_everything_in_every_state(state: S, driven: bool):
    """One thing, and a second one, from each state, by whomever: the same checks, without chance."""
    if driven and state in TERMINAL:
        pytest.skip("what has ended cannot be driven")
    for first, second in itertools.product(EVERYTHING, EVERYTHING[:19:3]):
        machine = Investigations()
        machine.create((state, driven), [("triage", 1)], 0)
        first(machine)
        second(machine)
        machine.one_log_in_order()
        machine.who_drives_is_told_by_the_state()
        machine.progress_is_a_percentage_and_100_says_completed()
        machine.usage_is_the_exact_sum()
        machine.teardown()


COMMANDS: list[Command] = [
    Claim(time=1, id=uuid7(), owner="host"),
    *(Ask(time=1, verb=verb) for verb in (Verb.PAUSE, Verb.CANCEL, Verb.RETRY, Verb.RESUME)),
    Transition(time=1, new_state=S.QUEUED),
    StartPhase(time=1, event=Event(uuid7(), "phase.started", {"id": uuid7(), "name": "x", "started_at": 1}, 1)),
    Append(time=1, event=Event(uuid7(), "checkpoint.saved", {"data": None}, 1)),
    Finish(time=1),
    Fail(time=1, kind="error", error=ERROR),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: type(c).__name__)
def test_nothing_can_be_asked_of_what_is_not_created(command: Command):
    world = World()
    with pytest.raises(VersionConflict, match="not created yet"):
        world.submit(command)
    assert world.fold.version == 0


def test_what_exists_cannot_be_created_again():
    world = World()
    world.create()
    with pytest.raises(VersionConflict, match="exists already"):
        world.create()
    assert world.fold.version == 2
