"""Folding and progress, where random logs do not lead."""

import decimal
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from investigation_sdk.domain.commands import Append, Ask, Fact, Fail, Finish, Release
from investigation_sdk.domain.decide import decide
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.progress import overall, valid_weight
from investigation_sdk.domain.project import INLINE_LIMIT, TEXT_LIMIT, investigation_row, shorten
from investigation_sdk.domain.records import PhasePlan
from investigation_sdk.domain.rows import PhaseRow, ToolRow
from investigation_sdk.domain.states import InvestigationState, PhaseState, Verb
from investigation_sdk.domain.upcast import upcast
from investigation_sdk.domain.usage import check_cost, check_count, cost_text
from investigation_sdk.engine.reading import to_event
from investigation_sdk.engine.texts import json_text
from investigation_sdk.errors import PhaseError, SchemaMismatch
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.chain import seal
from investigation_sdk.storage.codec import Json
from investigation_sdk.storage.commit import GENESIS
from tests.domain.harness import World, plain

S = InvestigationState


def running() -> tuple[World, str]:
    world = World()
    world.create()
    world.claim()
    assert world.fold.token is not None
    return world, world.fold.token


@pytest.mark.parametrize(
    "context",
    [
        decimal.Context(prec=3),
        decimal.Context(prec=3, traps=[decimal.Inexact]),
        decimal.Context(rounding=decimal.ROUND_UP),
    ],
    ids=["three digits", "trapped", "rounded up"],
)
def test_sums_of_costs_are_exact_whatever_the_applications_decimal_context(context: decimal.Context):
    costs = ["0.1", "0.2", "1000000000000000000000", "0.000000000000000000000000000001", "7", "0"]
    with decimal.localcontext(context):
        world, token = running()
        for cost in costs:
            world.fact("usage.reported", {"usage": {"cost_estimate": cost}}, token)
        world.commit()
        assert Fraction(world.fold.cost_estimate) == sum(map(Fraction, costs))
        assert world.from_rows().cost_estimate == world.fold.cost_estimate
    assert str(world.fold.cost_estimate) == "1000000000000000000007.300000000000000000000000000001"


@pytest.mark.parametrize(
    ("cost", "text"),
    [(Decimal("1E+3"), "1000"), (Decimal("0.10"), "0.10"), (0.1, "0.1"), (1e-7, "0.0000001"), (10**14, "1" + "0" * 14)],
)
def test_costs_are_plain_digits(cost: Any, text: str):
    assert cost_text(check_cost(cost)) == text


@pytest.mark.parametrize("cost", [Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), float("nan"), float("inf")])
def test_costs_that_no_sum_survives_are_refused(cost: Any):
    with pytest.raises(ValueError, match="not a finite number"):
        check_cost(cost)


def test_usage_counts_what_was_reported_and_nothing_else():
    world, token = running()
    started = world.start_tool(token)
    usage = {"tokens_used": 3, "api_calls_made": 2, "cost_estimate": "0.10"}
    world.fact("tool.completed", {"call": started.id, "completed_at": 1, "usage": usage}, token, started)
    world.fact("usage.reported", {"usage": {"tokens_used": 4}}, token)
    world.fact("note.recorded", {"usage": usage}, token)
    fold = world.fold
    assert (fold.tokens_used, fold.api_calls_made, fold.cost_estimate) == (7, 2, Decimal("0.10"))


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), 1e300, 10**400, "3", None, Decimal(1)])
def test_weights_that_shares_cannot_be_computed_with_are_refused_in_a_plan_and_count_as_1_in_a_log(weight: Any):
    assert not valid_weight(weight)
    with pytest.raises(ValueError, match="greater than 0"):
        PhasePlan("triage", weight=weight)
    world, token = running()
    world.start_phase("triage", token, weight=weight)
    world.start_phase("network", token, weight=3)
    assert [phase.weight for phase in world.fold.phases.values()] == [1, 3]
    world.fact("phase.completed", {"id": "x", "name": "triage"}, token)
    assert world.fold.progress == 16  # 1 of 4, and as much again as one of them, on average: nothing was planned


class Weighted:
    def __init__(self, status: PhaseState, weight: float, progress: int = 0) -> None:
        self.status, self.weight, self.progress = status, weight, progress


@pytest.mark.parametrize(
    ("status", "phases", "percent"),
    [
        (S.RUNNING, [], 0),
        (S.RUNNING, [("completed", 1), ("running", 1)], 50),
        (S.RUNNING, [("completed", 1), ("skipped", 1), ("failed", 1)], 66),
        (S.RUNNING, [("completed", 0.1), ("completed", 0.2)], 99),
        (S.COMPLETING, [("completed", 1)], 99),
        (S.COMPLETED, [("pending", 5)], 100),
        (S.COMPLETED, [], 100),
        (S.FAILED, [("completed", 1)], 99),
    ],
)
def test_progress_is_the_share_of_the_weight_and_100_only_at_the_end(
    status: S, phases: list[tuple[str, float]], percent: int
):
    assert overall(status, [Weighted(PhaseState(state), weight) for state, weight in phases]) == percent


def test_a_type_that_is_not_known_changes_nothing_but_the_version():
    world, token = running()
    before = plain(world.fold)
    world.fact("from.the.future", {"call": [1], "usage": "much", "name": None, "phases": 3}, token)
    after = plain(world.fold)
    assert {name for name in after if after[name] != before[name]} == {"version"}


def test_a_copy_is_independent():
    world, token = running()
    world.start_phase("triage", token)
    copy, before = world.fold.copy(), plain(world.fold)
    world.start_tool(token)
    world.fact("phase.completed", {"id": "x", "name": "triage"}, token)
    world.ask(Verb.PAUSE)
    assert plain(copy) == before
    assert copy.touched == {}


def test_the_newest_version_and_unknown_types_are_left_as_they_are():
    data = {"a": 1}
    assert upcast("tool.started", 1, data) is data
    assert upcast("my.type", 3, data) is data


def test_a_version_that_only_a_newer_sdk_knows_is_refused():
    with pytest.raises(SchemaMismatch, match=r"tool\.started of schema 99 .* upgrade investigation-sdk"):
        upcast("tool.started", 99, {"a": 1})


@pytest.mark.parametrize("name", ["größe", "nul\0", "lone \udc80", '{"$type":"set"}', "a" * 300])
def test_names_are_read_back_as_they_were(name: str):
    world, token = running()
    world.start_phase(name, token, tools=[name])
    started = world.start_tool(token, tool=name, agent=name)
    world.commit()
    reread, _ = world.reread()
    assert list(reread.phases) == [name]
    assert reread.phases[name].tools == (name,)
    assert reread.calls[started.id].data["tool"] == name


@pytest.mark.parametrize("text", ["null", "1e+22", "1e-7", "-0.0", '{"$type":"set","value":[1]}', '"ü"', '"\\u0007"'])
def test_payloads_are_read_back_as_the_text_that_they_were(text: str):
    event = Event(
        "01a205e0-0fe7-7642-91e3-1a44b69f7e0d", "tool.completed", {}, 1, text=f'{{"call":"x","output":{text}}}'
    )
    assert event.text is not None
    assert json_text(to_event(seal("i", "", event, event.text, GENESIS)).data["output"]) == text


def test_long_messages_are_cut_visibly_in_rows_alone():
    world, _ = running()
    reason = "why " * 5000
    world.ask(Verb.PAUSE, reason)
    world.ask(Verb.CANCEL)
    assert shorten("x" * TEXT_LIMIT) == "x" * TEXT_LIMIT
    world = World.in_state(S.INITIALIZING)
    failed = world.ask(Verb.CANCEL, reason)[0]
    assert failed.data["message"] == reason
    row = investigation_row(world.fold, 1, GENESIS, json_text)
    assert row.error_message is not None
    assert len(row.error_message) <= TEXT_LIMIT
    assert f"… (of {len(reason)} characters)" in row.error_message


# ---- facts that come late, and releases that are void


def taken_over() -> tuple[World, str, str]:
    """An investigation whose first owner lost it to a second one; both have been in phase triage."""
    world, old = running()
    world.start_phase("triage", old)
    world.claim()
    new = world.fold.token
    assert new is not None
    world.start_phase("triage", new)
    return world, old, new


def test_the_end_of_a_phase_under_a_lost_claim_leaves_the_phase_of_the_new_owner_alone():
    world, old, _ = taken_over()
    event = world.fact("phase.completed", {"id": "x", "name": "triage", "output": Json("1")}, old)
    assert event.metadata == {"late": True, "stale": True}
    phase = world.fold.phases["triage"]
    assert (phase.status, phase.output, world.fold.progress) == (PhaseState.RUNNING, None, 0)


def test_a_checkpoint_that_comes_late_is_not_the_last():
    world, old, new = taken_over()
    world.fact("checkpoint.saved", {"data": Json("2")}, new)
    world.fact("checkpoint.saved", {"data": Json("1")}, old)
    assert world.fold.last_checkpoint == "2"


def test_a_release_releases_its_own_claim_only():
    world, old, new = taken_over()
    world.fact("investigation.released", {"token": old}, old)
    assert world.fold.token == new
    world.fact("investigation.released", {"token": new}, new)
    assert world.fold.token is None


def test_a_fact_is_marked_as_of_its_last_decision():
    """A commit that lost is decided again: what was late may be so no more, and the other way round."""
    world, old, new = taken_over()
    fact = Fact(Event(uuid7(), "note.recorded", {}, world.time), new)
    for token, metadata in ((old, {"late": True, "stale": True}), (new, None), (old, {"late": True, "stale": True})):
        fact.token = token
        assert decide(world.fold, fact)[0].metadata == metadata


def test_a_call_that_was_closed_already_is_closed_again_late_and_its_row_says_what_came_last():
    world, token = running()
    started = world.start_tool(token, effect="unsafe")
    said = {"call": started.id, "completed_at": 5}
    first = world.fact("tool.interrupted", {"call": started.id, "kind": "outlived", "state": "unknown"}, token, started)
    world.commit()
    cut = world.rows[started.id]
    assert isinstance(cut, ToolRow)
    assert (first.metadata, cut.status) == (None, "unknown")
    again = world.fact("tool.completed", {**said, "output": Json("7")}, token, started)
    world.commit()
    row = world.rows[started.id]
    assert isinstance(row, ToolRow)
    assert (again.metadata, row.status, row.output_result) == ({"late": True}, "completed", "7")


# ---- phases


def test_a_phase_is_entered_once_in_an_attempt_and_again_in_the_next():
    world, token = running()
    world.start_phase("triage", token)
    with pytest.raises(PhaseError, match="is open already"):
        world.start_phase("triage", token)
    world.fact("phase.completed", {"id": "x", "name": "triage"}, token)
    with pytest.raises(PhaseError, match="completed already in this attempt"):
        world.start_phase("triage", token)
    world.claim()
    world.start_phase("triage", world.fold.token)
    assert world.fold.phases["triage"].attempt == 2


def test_a_phase_that_failed_or_was_interrupted_may_be_entered_again():
    world, token = running()
    for end in ("phase.failed", "phase.interrupted"):
        world.start_phase("triage", token)
        world.fact(end, {"id": "x", "name": "triage", "error": {"type": "E"}}, token)
    world.start_phase("triage", token)
    assert world.fold.phases["triage"].error is None


def test_an_open_phase_cannot_be_skipped_and_one_that_is_done_need_not_be():
    world, token = running()

    def skip(name: str) -> list[Event]:
        event = Event(uuid7(), "phase.skipped", {"id": uuid7(), "name": name}, world.time)
        return world.submit(Append(time=world.time, token=token, event=event))

    world.start_phase("triage", token)
    with pytest.raises(PhaseError, match="cannot be skipped any more"):
        skip("triage")
    world.fact("phase.completed", {"id": "x", "name": "triage"}, token)
    assert skip("triage") == []
    assert [event.type for event in skip("letters")] == ["phase.skipped"]
    assert skip("letters") == []
    assert [phase.status.value for phase in world.fold.phases.values()] == ["completed", "skipped"]


# ---- rows


@pytest.mark.parametrize("length", [INLINE_LIMIT, INLINE_LIMIT + 1])
def test_a_payload_stands_in_its_row_up_to_a_limit_and_in_its_event_always(length: int):
    world, token = running()
    payload = Json('"' + "x" * (length - 2) + '"')
    inline = payload if length <= INLINE_LIMIT else None
    world.start_phase("triage", token, input=payload)
    world.fact("phase.completed", {"id": "x", "name": "triage", "output": payload}, token)
    started = world.start_tool(token, input=payload)
    world.fact("tool.completed", {"call": started.id, "output": payload}, token, started)
    world.commit()
    (phase,) = (row for row in world.rows.values() if isinstance(row, PhaseRow))
    (call,) = (row for row in world.rows.values() if isinstance(row, ToolRow))
    assert (phase.input_data, phase.output_data, call.input_parameters, call.output_result) == (inline,) * 4
    for sequence in (phase.input_sequence, phase.output_sequence, call.input_sequence, call.output_sequence):
        assert sequence is not None
        assert payload in world.stored[sequence - 1].event_data


@pytest.mark.parametrize("cost", [-1, 10**15, Decimal("1e-31"), Decimal("NaN"), Decimal("Infinity"), float("inf")])
def test_costs_that_no_store_could_sum_are_refused(cost: Any):
    with pytest.raises(ValueError, match="cost_estimate="):
        check_cost(cost)


@pytest.mark.parametrize("count", [-1, 2**53 + 1, 10**30, "5", 1.5])
def test_counts_that_no_store_could_sum_are_refused(count: Any):
    with pytest.raises(ValueError, match="tokens_used="):
        check_count("tokens_used", count)


def test_sums_of_counts_stop_at_what_every_store_holds():
    world, token = running()
    for _ in range(3):
        world.fact("usage.reported", {"usage": {"tokens_used": 2**62, "api_calls_made": 2**53}}, token)
    world.commit()
    assert (world.fold.tokens_used, world.fold.api_calls_made) == (2**63 - 1, 3 * 2**53)
    assert world.from_rows().tokens_used == 2**63 - 1


@pytest.mark.parametrize("end", ["finish", "fail", "release"])
def test_in_a_cancelled_investigation_a_block_closes_its_own_calls_only(end: str):
    world, stale = running()
    own = world.start_tool(stale)
    world.claim()
    newer = world.start_tool(world.fold.token)
    late = world.start_tool(stale)
    late.attempt = 1
    world.submit(Ask(time=world.time, verb=Verb.CANCEL))
    command = {
        "finish": Finish(time=world.time, token=stale, attempt=1),
        "fail": Fail(time=world.time, token=stale, attempt=1, kind="error", error={"type": "KeyError"}),
        "release": Release(time=world.time, token=stale, attempt=1),
    }[end]
    events = world.submit(command)
    assert [e.data["call"] for e in events if e.type == "tool.interrupted"] == [late.id]
    assert set(world.fold.calls) == {newer.id}
    assert own.id not in world.fold.calls  # the takeover had closed it
