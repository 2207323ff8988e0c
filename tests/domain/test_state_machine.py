"""Random commands and facts, whatever their tokens and clocks: what then holds of the log, the fold and the rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal
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
    Fail,
    Finish,
    StartPhase,
    Transition,
)
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import TERMINAL, InvestigationState, Verb
from investigation_sdk.errors import VersionConflict
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.codec import Json, encode
from tests.domain.driving import Checked
from tests.domain.harness import ERROR, World

S = InvestigationState

STARTS = [(state, state in (S.RUNNING, S.PAUSED)) for state in S if state not in TERMINAL]  # and whether it is driven
WHO = st.sampled_from(["owner"] * 6 + ["stale", "nobody", "forged"])
NOT_OWNER = st.sampled_from(["stale", "nobody", "forged"])
SECONDS = st.integers(-600, 600)
NAMES = st.sampled_from(["triage", "network", "größe 🚲", "nul\0"])
REASONS = st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["nul\0", "long " * 1000]))
COSTS = st.decimals("0", "1e20", allow_nan=False, allow_infinity=False).map(lambda cost: format(cost, "f"))
USAGE = st.fixed_dictionaries(
    {},
    optional={"tokens_used": st.integers(0, 10**6), "api_calls_made": st.integers(0, 99), "cost_estimate": COSTS},
)
LONG_OR_ODD: st.SearchStrategy[Any] = st.sampled_from([1e22, 1e-7, -0.0, "x" * 600])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | LONG_OR_ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
PAYLOADS = VALUES.map(lambda value: encode(value).text)
WEIGHTS = st.sampled_from([1, 3, 0.25, 0, -2, float("inf"), float("nan"), 1e308, 10**400, "3", Decimal(2)])
EFFECTS = st.sampled_from([None, "read", "idempotent", "unsafe"])
APPENDED = st.sampled_from(["phase.skipped", "phase.planned", "checkpoint.saved", "tool.started"])
TOOL_ENDS = st.sampled_from(["tool.completed", "tool.failed", "tool.interrupted"])
PHASE_ENDS = st.sampled_from(["phase.completed", "phase.failed", "phase.interrupted"])
NOTES = st.sampled_from(["note.recorded", "recorder.warning", "fraud.hypothesis"])


class Investigations(RuleBasedStateMachine):
    """Nothing ends an investigation for good in its first `patience` steps: after the end little happens."""

    def __init__(self) -> None:
        super().__init__()
        self.it = Checked()
        self.patience = 0

    @property
    def driven(self) -> bool:
        return self.it.fold.token is not None

    @initialize(
        start=st.sampled_from([*STARTS, *[(S.RUNNING, True)] * 12]),
        planned=st.lists(st.tuples(NAMES, WEIGHTS), max_size=2, unique_by=lambda plan: plan[0]),
        patience=st.integers(0, 30),
    )
    def create(self, start: tuple[S, bool], planned: list[tuple[str, Any]], patience: int) -> None:
        self.patience = patience
        self.it.create(*start, planned)

    # ---- from outside

    @rule(seconds=SECONDS)
    def claim(self, seconds: int) -> None:
        self.it.claim(seconds)

    @rule(verb=st.sampled_from([Verb.PAUSE, Verb.RESUME, Verb.RETRY]), reason=REASONS, seconds=SECONDS)
    def ask(self, verb: Verb, reason: str | None, seconds: int) -> None:
        self.it.ask(verb, reason, seconds)

    @precondition(lambda self: self.patience < 0)
    @rule(reason=REASONS, seconds=SECONDS)
    def ask_to_cancel(self, reason: str | None, seconds: int) -> None:
        self.it.ask(Verb.CANCEL, reason, seconds)

    @rule(new=st.sampled_from(S), reason=REASONS, seconds=SECONDS)
    def change_by_hand(self, new: S, reason: str | None, seconds: int) -> None:
        if self.patience < 0 or new not in TERMINAL:
            self.it.transition(new, reason, seconds)

    @rule(who=NOT_OWNER, name=NAMES, seconds=SECONDS, what=st.sampled_from(["phase", "append", "finish", "release"]))
    def owners_command_by_another(self, who: str, name: str, seconds: int, what: str) -> None:
        if what == "phase":
            self.it.start_phase(who, name, 1, Json("1"), seconds)
        elif what == "append":
            self.it.append(who, "tool.started", name, Json("1"), seconds)
        elif what == "finish":
            self.it.finish(who, None, seconds)
        else:
            self.it.release(who, seconds)

    # ---- from the block that drives

    @precondition(lambda self: self.driven)
    @rule(name=NAMES, weight=WEIGHTS, payload=PAYLOADS, seconds=SECONDS)
    def enter_phase(self, name: str, weight: Any, payload: str, seconds: int) -> None:
        self.it.start_phase("owner", name, weight, payload, seconds)

    @precondition(lambda self: self.driven)
    @rule(kind=APPENDED, name=NAMES, payload=PAYLOADS, seconds=SECONDS)
    def append(self, kind: str, name: str, payload: str, seconds: int) -> None:
        self.it.append("owner", kind, name, payload, seconds)

    @precondition(lambda self: self.patience < 0 and (self.driven or self.it.fold.status is S.CANCELLED))
    @rule(payload=st.none() | PAYLOADS, seconds=SECONDS)
    def block_ends_well(self, payload: str | None, seconds: int) -> None:
        self.it.finish("owner", payload, seconds)

    @rule(who=WHO, seconds=SECONDS)
    def block_ends_with_an_error(self, who: str, seconds: int) -> None:
        self.it.fail(who, seconds)

    @precondition(lambda self: self.driven)
    @rule(seconds=SECONDS)
    def release(self, seconds: int) -> None:
        self.it.release("owner", seconds)

    # ---- what happened

    @rule(who=WHO, effect=EFFECTS, payload=PAYLOADS, seconds=SECONDS)
    def tool_started(self, who: str, effect: str | None, payload: str, seconds: int) -> None:
        self.it.tool_started(who, effect, payload, seconds)

    @precondition(lambda self: self.it.calls)
    @rule(
        back=st.integers(1, 4),
        who=WHO,
        end=TOOL_ENDS,
        usage=USAGE,
        here=st.booleans(),
        payload=PAYLOADS,
        seconds=SECONDS,
    )
    def tool_ended(
        self, back: int, who: str, end: str, usage: dict[str, Any], here: bool, payload: str, seconds: int
    ) -> None:
        started = self.it.calls[-min(back, len(self.it.calls))]
        self.it.tool_ended(started, who, end, usage, here, payload, seconds)

    @precondition(lambda self: self.it.fold.phases)
    @rule(who=WHO, name=NAMES, end=PHASE_ENDS, payload=PAYLOADS, seconds=SECONDS)
    def phase_left(self, who: str, name: str, end: str, payload: str, seconds: int) -> None:
        self.it.phase_left(who, name, end, payload, seconds)

    @rule(who=WHO, kind=NOTES, payload=PAYLOADS)
    def noted(self, who: str, kind: str, payload: str) -> None:
        self.it.noted(who, kind, payload)

    @rule(who=WHO, usage=USAGE)
    def usage_reported(self, who: str, usage: dict[str, Any]) -> None:
        self.it.usage_reported(who, usage)

    # ---- the store

    @precondition(lambda self: self.it.world.pending)
    @rule()
    def commit(self) -> None:
        """Seal what was decided since the last time: one submission, or many."""
        self.it.world.commit()

    @rule()
    def reload(self) -> None:
        self.it.reload()

    @invariant()
    def check_now(self) -> None:
        self.patience -= 1
        self.it.check_now()

    def teardown(self) -> None:
        if self.it.log:
            self.it.check_all()


TestInvestigations = pytest.mark.filterwarnings("error")(Investigations.TestCase)
TestInvestigations.settings = settings(
    max_examples=160,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.generate,),  # shrinking takes minutes: add Phase.shrink by hand where it is wanted
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


WHOS = ["owner", "stale", "nobody", "forged"]
ONE = Json("1")
EVERYTHING: list[Callable[[Checked], None]] = [
    lambda it: it.claim(1),
    *(partial(Checked.ask, verb=verb, reason="ops", seconds=-1) for verb in list(Verb)[1:5]),
    *(partial(Checked.transition, new=state, reason=None, seconds=1) for state in S),
    *(partial(Checked.start_phase, who=who, name="triage", weight=1, payload=ONE, seconds=1) for who in WHOS),
    *(
        partial(Checked.append, who=who, kind=kind, name="triage", payload=ONE, seconds=1)
        for who in WHOS
        for kind in ("phase.skipped", "checkpoint.saved", "tool.started")
    ),
    *(partial(Checked.finish, who=who, payload=ONE, seconds=1) for who in WHOS),
    *(partial(Checked.fail, who=who, seconds=1) for who in WHOS),
    *(partial(Checked.release, who=who, seconds=1) for who in WHOS),
    *(partial(Checked.tool_started, who=who, effect="unsafe", payload=ONE, seconds=1) for who in WHOS),
    *(partial(Checked.usage_reported, who=who, usage={"cost_estimate": "0.1"}) for who in WHOS),
]


@pytest.mark.parametrize("driven", [False, True], ids=["undriven", "driven"])
@pytest.mark.parametrize("state", S)
def test_everything_in_every_state(state: S, driven: bool):
    """One thing, and a second one, from each state, by whomever: the same checks, without chance."""
    if driven and state in TERMINAL:
        return  # what has ended cannot be driven
    for first, second in itertools.product(EVERYTHING, EVERYTHING[:20:4]):
        it = Checked()
        it.create(state, driven, [("triage", 1)])
        first(it)
        second(it)
        it.check_now()
        it.check_all()


def commands() -> list[Command]:
    started = Event(uuid7(), "phase.started", {"id": uuid7(), "name": "x", "started_at": 1}, 1)
    saved = Event(uuid7(), "checkpoint.saved", {"data": None}, 1)
    return [
        Claim(time=1, id=uuid7(), owner="host"),
        *(Ask(time=1, verb=verb) for verb in (Verb.PAUSE, Verb.CANCEL, Verb.RETRY, Verb.RESUME)),
        Transition(time=1, new_state=S.QUEUED),
        StartPhase(time=1, event=started),
        Append(time=1, event=saved),
        Finish(time=1),
        Fail(time=1, kind="error", error=ERROR),
    ]


@pytest.mark.parametrize("command", commands(), ids=lambda command: type(command).__name__)
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
