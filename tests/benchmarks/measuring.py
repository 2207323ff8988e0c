"""Two contestants in turns, and the ratio between them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

Works: TypeAlias = "dict[str, Callable[[], Awaitable[Any]]]"

_REPEATED: Final = 40


def compared(name: str, times: dict[str, list[float]], goal: float) -> None:
    """Print two contestants, and the ratio of the second to the first; infinity is no goal."""
    (one, first), (two, second) = times.items()
    ratios = [b / a for a, b in zip(first, second, strict=True)]
    ratio = statistics.median(ratios)
    print(
        f"  {name:22} {one}: {statistics.median(first):9.1f} µs   {two}: {statistics.median(second):9.1f} µs   "
        f"{ratio:.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
        + ("" if math.isinf(goal) else f", goal {goal:.2f}x: {'met' if ratio <= goal else 'MISSED'}"),
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
