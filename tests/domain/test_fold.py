"""Folding and progress, where random logs do not lead."""

import decimal
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from investigation_sdk.domain.events import Event
from investigation_sdk.domain.progress import overall, valid_weight
from investigation_sdk.domain.project import TEXT_LIMIT, investigation_row, shorten
from investigation_sdk.domain.records import PhasePlan
from investigation_sdk.domain.states import InvestigationState, PhaseState, Verb
from investigation_sdk.domain.upcast import upcast
from investigation_sdk.engine.reading import to_event
from investigation_sdk.engine.texts import json_text
from investigation_sdk.storage.chain import seal
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
    assert world.fold.progress == 25


class Weighted:
    def __init__(self, status: PhaseState, weight: float) -> None:
        self.status, self.weight = status, weight


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


def test_newer_and_unknown_versions_are_left_as_they_are():
    data = {"a": 1}
    assert upcast("tool.started", 1, data) is data
    assert upcast("tool.started", 99, data) is data
    assert upcast("my.type", 3, data) is data


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
