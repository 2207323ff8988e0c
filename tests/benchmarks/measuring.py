"""Two contestants in turns, the ratio between them, and what became of the goals."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeAlias

Works: TypeAlias = "dict[str, Callable[[], Awaitable[Any]]]"

_REPEATED: Final = 40


class Goal(NamedTuple):
    """One goal of a run, and what was measured: numbers with their units, as texts."""

    name: str
    ours: str
    goal: str
    met: bool


goals: Final[list[Goal]] = []
"""All of this run, in order."""


def judged(name: str, ours: float, goal: float, unit: str = "x") -> str:
    """Note a goal, which `ours` is at most; whether it is met, in a word."""
    goals.append(Goal(name, f"{ours:.4g}{unit}", f"{goal:.4g}{unit}", ours <= goal))
    return "met" if ours <= goal else "MISSED"


def conclude(*, strict: bool = False) -> int:
    """Print all goals; the exit status: 1 where one was missed and it is `strict`."""
    missed = sum(1 for goal in goals if not goal.met)
    if goals:
        width = max(len(goal.name) for goal in goals)
        print(f"\n{'goals, by median':{width}}  {'ours':>10}  {'at most':>10}")
        for goal in goals:
            print(f"{goal.name:{width}}  {goal.ours:>10}  {goal.goal:>10}  {'met' if goal.met else 'MISSED'}")
    print(f"\nOf {len(goals)} goals, {len(goals) - missed} were met and {missed} missed.", flush=True)
    return 1 if strict and missed else 0


def compared(name: str, times: dict[str, list[float]], goal: float) -> None:
    """Print two contestants, and the ratio of the second to the first; infinity is no goal."""
    (one, first), (two, second) = times.items()
    ratios = [b / a for a, b in zip(first, second, strict=True)]
    ratio = statistics.median(ratios)
    print(
        f"  {name:22} {one}: {statistics.median(first):9.1f} µs   {two}: {statistics.median(second):9.1f} µs   "
        f"{ratio:.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
        + ("" if math.isinf(goal) else f", goal {goal:.2f}x: {judged(f'{name}: {two}', ratio, goal)}"),
        flush=True,
    )


async def measured(works: Works, rounds: int) -> dict[str, list[float]]:
    """µs of each, one figure a round: the median of many that took turns, so that others on the machine hit both."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(1 + rounds):
        taken: dict[str, list[float]] = {name: [] for name in works}
        for turn in range(_REPEATED):
            for name in list(works) if turn % 2 == 0 else reversed(works):
                started = time.perf_counter()
                await works[name]()
                taken[name].append((time.perf_counter() - started) * 1e6)
        for name, values in taken.items():
            times[name].append(statistics.median(values))
    return {name: values[1:] for name, values in times.items()}  # the first round made connections and plans
