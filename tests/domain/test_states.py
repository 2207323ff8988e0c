"""The two tables, written out here a second time, to be compared with what the code has."""

import itertools
import re

import pytest

from investigation_sdk.domain.states import (
    ALLOWED_TRANSITIONS,
    TERMINAL,
    WAYS,
    InvestigationState,
    PhaseState,
    ToolState,
    Verb,
    Way,
)
from investigation_sdk.errors import InvestigationError
from tests.domain.harness import World, states_passed

S = InvestigationState

TRANSITIONS = """
created       queued, cancelled
queued        initializing, cancelled
initializing  running, failed
running       paused, completing, failed
paused        running, cancelled
completing    completed, failed
failed        retrying, cancelled
retrying      initializing, failed
completed
cancelled
"""

LEGAL = {
    S(state): [S(name) for name in "".join(following).replace(",", " ").split()]
    for state, *following in (line.split(maxsplit=1) for line in TRANSITIONS.strip().splitlines())
}

# The legal ways, cell by cell. R: refused; -: nothing to do; +: retrying -> initializing -> running.
LEGAL_WAYS = """
| state | a new owner opens it | pause | cancel | retry | resume | block ends well | block ends with an error |
| --- | --- | --- | --- | --- | --- | --- | --- |
| created | queued, initializing, running | R | cancelled | R | R | R | R |
| queued | initializing, running | R | cancelled | R | R | R | R |
| initializing | failed (crashed), + | R | failed, cancelled | R | R | R | failed |
| running | failed (crashed), + | paused | paused, cancelled | R | - | completing, completed | failed |
| paused | stays; running if `resume_requested` | - | cancelled | R | running; undriven: `resume_requested` | \
running, completing, completed | running, failed |
| completing | failed (crashed), + | R | R | R | R | completed | failed |
| failed | + | R | cancelled | retrying | R | R | R |
| retrying | initializing, running | R | failed, cancelled | - | R | R | R |
| completed | replay-only | R | R | R | R | R | R |
| cancelled | R | R | - | R | R | raises `InvestigationCancelled`, result kept as a late fact | the user's exception |
"""

# What depends on more than the state is decided elsewhere, and tested below; the table has what is left without it.
IN_THE_TABLE: dict[str, Way] = {
    "R": None,
    "-": (),
    "stays; running if `resume_requested`": (),
    "running; undriven: `resume_requested`": (S.RUNNING,),
    "replay-only": None,
    "raises `InvestigationCancelled`, result kept as a late fact": None,
    "the user's exception": None,
}


def way(cell: str) -> Way:
    if cell in IN_THE_TABLE:
        return IN_THE_TABLE[cell]
    names = cell.replace(" (crashed)", "").replace("+", "retrying, initializing, running")
    return tuple(S(name) for name in names.split(", "))


def cells() -> list[tuple[S, Verb, Way]]:
    found = []
    for line in LEGAL_WAYS.strip().splitlines()[2:]:
        state, *columns = (cell.strip() for cell in line.strip("|").split("|"))
        found += [(S(state), verb, way(cell)) for verb, cell in zip(Verb, columns, strict=True)]
    return found


def test_states_are_the_seeds():
    assert {s.value for s in InvestigationState} == set(LEGAL)
    assert [s.value for s in PhaseState] == ["pending", "running", "completed", "failed", "skipped"]
    assert [s.value for s in ToolState] == ["running", "completed", "failed", "interrupted", "unknown"]


def test_transitions_are_the_seeds_no_more_and_no_less():
    assert {state: list(following) for state, following in ALLOWED_TRANSITIONS.items()} == LEGAL
    assert {state for state in S if not LEGAL[state]} == TERMINAL


def test_tables_cannot_be_changed():
    with pytest.raises(TypeError):
        ALLOWED_TRANSITIONS[S.COMPLETED] = (S.RUNNING,)  # type: ignore[index]
    with pytest.raises(TypeError):
        WAYS[S.RUNNING][Verb.PAUSE] = None  # type: ignore[index]
    assert all(isinstance(following, tuple) for following in ALLOWED_TRANSITIONS.values())


def test_the_designs_table_is_whole():
    verbs = ["open", "pause", "cancel", "retry", "resume", "end_well", "end_with_error"]
    assert [verb.value for verb in Verb] == verbs
    assert [(state, verb) for state, verb, _ in cells()] == list(itertools.product(LEGAL, Verb))
    assert set(WAYS) == set(S)
    assert all(set(ways) == set(Verb) for ways in WAYS.values())


@pytest.mark.parametrize(("state", "verb", "expected"), cells(), ids=lambda v: str(v) if isinstance(v, str) else "")
def test_way_is_the_designs(state: S, verb: Verb, expected: Way):
    assert WAYS[state][verb] == expected


@pytest.mark.parametrize(("state", "verb"), list(itertools.product(S, Verb)))
def test_every_way_is_legal_step_by_step(state: S, verb: Verb):
    for previous, new in itertools.pairwise((state, *(WAYS[state][verb] or ()))):
        assert new in LEGAL[previous]


def test_nothing_but_a_plus_stands_for_a_restart():
    assert re.findall(r"\+", LEGAL_WAYS) == ["+"] * 4


# ---- the cells that say more than a state


def test_opening_a_paused_one_stays_paused():
    world = World.in_state(S.PAUSED)
    world.claim()
    assert world.fold.status is S.PAUSED
    assert world.fold.token is not None


def test_opening_a_paused_one_whose_resume_was_requested_runs():
    world = World.in_state(S.PAUSED)
    assert [e.type for e in world.ask(Verb.RESUME)] == ["investigation.resume_requested"]
    assert world.ask(Verb.RESUME) == []  # once is enough
    assert states_passed(world.claim()) == [S.RUNNING]
    assert not world.fold.resume_requested


def test_a_request_to_resume_ends_with_the_pause_that_it_was_made_in():
    world = World.in_state(S.PAUSED)
    world.ask(Verb.RESUME)
    world.transition(S.RUNNING)
    world.ask(Verb.PAUSE)
    world.claim()
    assert world.fold.status is S.PAUSED, "opening overruled a pause"


def test_resuming_a_paused_one_that_is_driven_runs():
    world = World.in_state(S.PAUSED)
    world.claim()
    assert states_passed(world.ask(Verb.RESUME)) == [S.RUNNING]


def test_a_crash_is_recorded_as_what_failed_before_the_new_claim():
    world = World.in_state(S.RUNNING)
    events = world.claim()
    failed = next(e for e in events if e.type == "investigation.failed")
    claimed = next(e for e in events if e.type == "investigation.claimed")
    assert failed.data["kind"] == "crashed"
    assert (failed.attempt, claimed.attempt) == (0, 1)
    assert world.fold.token == claimed.id
    assert world.fold.failure_kind is None


def test_completed_can_be_opened_for_replay_only():
    world = World.in_state(S.COMPLETED)
    with pytest.raises(InvestigationError) as caught:
        world.claim()
    assert type(caught.value).__name__ == "InvestigationFinished"
    assert "can be read, not driven" in str(caught.value)


@pytest.mark.parametrize("calls", [0, 2])
def test_block_of_a_cancelled_one_ends_well_its_result_is_a_late_fact(calls: int):
    world = World.in_state(S.RUNNING)
    world.claim()
    token = world.fold.token
    for _ in range(calls):
        world.start_tool(token)
    world.ask(Verb.CANCEL)
    assert len(world.fold.calls) == calls, "a living owner's calls go on"
    events = world.finish(token, result={"found": 3})
    assert [e.type for e in events] == ["tool.interrupted"] * calls + ["note.recorded"]
    assert all(e.late for e in events)
    assert events[-1].data == {"kind": "late_result", "result": {"found": 3}}
    assert (world.fold.status, world.fold.calls) == (S.CANCELLED, {})


def test_block_of_a_cancelled_one_ends_with_an_error_it_is_a_late_fact():
    world = World.in_state(S.RUNNING)
    world.claim()
    token = world.fold.token
    world.ask(Verb.CANCEL)
    (event,) = world.fail(token)
    assert (event.type, event.late) == ("error.occurred", True)
    assert (world.fold.status, world.fold.failure_kind) == (S.CANCELLED, None)


def test_a_transition_from_outside_that_takes_a_driven_one_out_of_running_voids_the_token():
    for state, voided in ((S.PAUSED, False), (S.COMPLETING, True), (S.FAILED, True)):
        world = World.in_state(S.RUNNING)
        world.claim()
        token = world.fold.token
        event = world.transition(state)[-1]
        assert event.data.get("voids") == (token if voided else None)
        assert world.fold.token == (None if voided else token)


@pytest.mark.parametrize("end", [S.CANCELLED, S.FAILED, S.COMPLETING])
def test_a_transition_by_hand_leaves_no_phase_running(end: S):
    world = World.in_state(S.RUNNING)
    world.claim()
    world.start_phase("triage", world.fold.token)
    if end is S.CANCELLED:
        world.ask(Verb.PAUSE)
    world.transition(end)
    assert world.fold.phases["triage"].status is PhaseState.PENDING
    assert world.fold.current_phase is None
