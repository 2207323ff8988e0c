"""Programs made up at random, crashed at random, their questions answered truthfully: each unsafe act is done once."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from investigation_sdk import (
    AsyncInvestigationRun,
    InvestigationSDK,
    InvestigationState,
    Resolution,
    UnknownOutcome,
    tool,
)
from investigation_sdk.testing import SimulatedCrash, crash_at

done: list[int] = []
"""The acts that were done, each a number of its own."""

CRASHES = 6
ATTEMPTS = 60


@tool(effect="unsafe")
def act(n: int) -> int:
    done.append(n)
    return n


@tool(effect="read")
def act_inside(acts: list[int]) -> list[int]:
    return [act(n) for n in acts]


@tool(effect="idempotent")
async def act_at_the_same_time(n: int) -> int:
    await asyncio.sleep(0)
    return act(n)


@tool(effect="read")
def act_and_yield(n: int) -> Iterator[int]:
    yield act(n)
    yield n


async def _in_row(investigation: AsyncInvestigationRun, acts: list[int]) -> None:
    for n in acts:
        act(n)


async def _inside(investigation: AsyncInvestigationRun, acts: list[int]) -> None:
    act_inside(acts)


async def _together(investigation: AsyncInvestigationRun, acts: list[int]) -> None:
    await asyncio.gather(*(act_at_the_same_time(n) for n in acts))


async def _generated(investigation: AsyncInvestigationRun, acts: list[int]) -> None:
    for n in acts:
        list(act_and_yield(n))


async def _phase(investigation: AsyncInvestigationRun, acts: list[int]) -> None:
    async with investigation.phase(f"phase {acts[0]}"):
        await _in_row(investigation, acts)


PIECES: list[Callable[[AsyncInvestigationRun, list[int]], Any]] = [_in_row, _inside, _together, _generated, _phase]


def _program(dice: random.Random) -> list[tuple[Callable[[AsyncInvestigationRun, list[int]], Any], list[int]]]:
    numbers = iter(range(100))
    return [
        (dice.choice(PIECES), [next(numbers) for _ in range(dice.randint(1, 3))]) for _ in range(dice.randint(2, 8))
    ]


def _answer(sdk: InvestigationSDK, asked: UnknownOutcome) -> None:
    assert asked.call_id is not None
    assert asked.investigation_id is not None
    [call] = [call for call in sdk.sync.tools(asked.investigation_id) if call.id == asked.call_id]
    assert call.input_parameters is not None
    n = call.input_parameters["n"]
    happened = Resolution(outcome="succeeded", result=n) if n in done else Resolution(outcome="not_executed")
    sdk.sync.service.resolve(asked.call_id, happened)
    sdk.sync.service.resume(asked.investigation_id)


@pytest.mark.parametrize("durability", ["sync", "strict", "batched"])
@pytest.mark.parametrize("seed", range(30))
def test_each_unsafe_act_is_done_once(seed: int, durability: Any) -> None:
    dice = random.Random(f"{seed} {durability}")
    program = _program(dice)
    done.clear()

    async def run(sdk: InvestigationSDK) -> None:
        async with sdk.investigation("s", key="k") as investigation:
            for piece, acts in program:
                await piece(investigation, acts)

    with InvestigationSDK("memory://", durability=durability) as sdk:
        for attempt in range(ATTEMPTS):
            point = dice.choice(["tool.started", "tool.completed"])
            crash = crash_at(point, nth=dice.randint(1, 8)) if attempt < CRASHES else contextlib.nullcontext()
            try:
                with crash:
                    asyncio.run(run(sdk))
                break
            except SimulatedCrash:
                pass
            except UnknownOutcome as asked:
                _answer(sdk, asked)
        found = sdk.sync.find(key="k")
        assert found is not None
        assert found.status is InvestigationState.COMPLETED
        assert sorted(done) == [n for _, acts in program for n in acts]
        assert sdk.sync.verify(found.id).ok
