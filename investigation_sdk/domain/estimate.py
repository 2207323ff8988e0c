"""When an investigation is likely to be done: by what past runs of its type took from where it is now.

Percent says nothing of time: phases of equal weight take a second and an hour. So each past run is asked how long it
took from the same place on, less the time that this run has spent there, and scaled by how much slower or faster this
run has been so far. What these answers say together is an interval, or, if there are too few of them, nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from investigation_sdk.domain.progress import STEP

MIN_RUNS: Final = 3
"""Of fewer past runs nothing is concluded."""

LOW: Final = 0.1
"""The interval: about one run in ten is done before it, and one in ten after it."""

_MANY: Final = 20
"""From so many on the answers are their own distribution; of fewer a logarithmic normal one is assumed."""

_PACES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_PATIENCE: Final = 3
_SMALL: Final = 0.2
_NEARLY: Final = 0.1
_LEAST: Final = 1000.0
"""µs; times below are taken for this."""

_T90: Final = (
    3.08,
    1.89,
    1.64,
    1.53,
    1.48,
    1.44,
    1.41,
    1.40,
    1.38,
    1.37,
    1.36,
    1.36,
    1.35,
    1.35,
    1.34,
    1.34,
    1.33,
    1.33,
)
"""The quantile of Student's distribution above which a tenth lies, from 1 degree of freedom on."""


Marks = Sequence[tuple[int, float]]
"""When a phase was how far, in order: percent, and µs since it began."""


class Span(NamedTuple):
    """When a phase began and ended, in µs since the run began, and how it went on in between."""

    began: float
    ended: float
    marks: Marks = ()


@dataclass(frozen=True, slots=True)
class PastRun:
    """One completed run.

    Attributes:
        total: How long it took, µs.
        phases: When it was in which phase.
    """

    total: float
    phases: Mapping[str, Span]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is now. Times are µs of its running, pauses not counted.

    Attributes:
        elapsed: Since it began.
        phase: The phase that it is in, or, where `inside` is False, the last one that it left; None: none yet.
        since: When it entered that phase, or left it.
        percent: How far the phase is.
        marks: When it got there.
    """

    elapsed: float
    phase: str | None = None
    since: float = 0.0
    inside: bool = True
    percent: int = 0
    marks: Marks = ()


class Remaining(NamedTuple):
    """How much longer it takes, µs, and how many past runs say so."""

    low: float
    likely: float
    high: float
    runs: int


class _Leg(NamedTuple):
    """What a past run did from a place on, µs: how long until there, until it was seen to go on, and after that."""

    before: float
    inside: float
    after: float


class _Point(NamedTuple):
    """A place, as far as past runs can be compared with it: µs until it was reached, and since."""

    before: float
    spent: float


class History:
    """Past runs of one type, and what they say of one that runs."""

    def __init__(self, runs: Iterable[PastRun]) -> None:
        self.runs: Sequence[PastRun] = tuple(runs)
        self._fits: dict[tuple[str | None, bool, int], _Fit] = {}

    def remaining(self, place: Place) -> Remaining | None:
        """How much longer a run takes that is at `place`; None where past runs do not tell."""
        mark = place.marks[-1][0] if place.marks else 0
        fresh = place.percent // STEP > mark // STEP
        legs = self._legs(place, fresh=fresh)
        if len(legs) < MIN_RUNS:  # phases of another plan: the whole run is all that can be compared
            place, fresh = Place(place.elapsed), False
            legs = self._legs(place, fresh=fresh)
        if len(legs) < MIN_RUNS:
            return None
        key = (place.phase, place.inside, place.percent // STEP)
        fit = self._fits.get(key)
        if fit is None:
            fit = self._fits[key] = _fitted(legs, _PACES if place.phase is not None else (0.0,))
        reached = place.since + (place.marks[-1][1] if place.marks and place.inside else 0.0)
        point = _Point(place.elapsed, 0.0) if fresh else _Point(reached, max(0.0, place.elapsed - reached))
        answers = [answer for leg in legs if (answer := _answer(leg, point, fit.pace)) is not None]
        if len(answers) < MIN_RUNS:
            return None
        found = _interval(answers, fit.misses)
        # longer there than any past run, and nothing to come after it: nobody knows
        stalled = not any(leg.inside > point.spent for leg in legs) and found.likely < _NEARLY * point.spent
        return None if stalled else found

    def _legs(self, place: Place, *, fresh: bool) -> list[_Leg]:
        if place.phase is None:
            return [_Leg(0.0, run.total, 0.0) for run in self.runs]
        spans = [(run, run.phases[place.phase]) for run in self.runs if place.phase in run.phases]
        if not place.inside:
            return [_Leg(span.ended, run.total - span.ended, 0.0) for run, span in spans]
        return [_leg(run.total, span, place.percent, fresh=fresh) for run, span in spans]


def _leg(total: float, span: Span, percent: int, *, fresh: bool) -> _Leg:
    """From where the phase was so far, by its marks."""
    whole = span.ended - span.began
    step = percent // STEP
    here = next((time for reached, time in span.marks if reached // STEP >= step), whole) if step else 0.0
    on = next((time for reached, time in span.marks if reached // STEP > step and time > here), whole)
    if fresh:  # on the way from this step to the next
        here += (on - here) * (percent % STEP) / STEP
    return _Leg(span.began + here, on - here, total - span.began - on)


class _Fit(NamedTuple):
    """How past runs tell each other at one place.

    Attributes:
        pace: How much the time until here says about the time from here on: the power of the ratio that is best.
        misses: By how much each is told wrong by the others then: the logarithm of the ratio to what was told.
    """

    pace: float
    misses: Sequence[float]


def _fitted(legs: Sequence[_Leg], paces: Sequence[float]) -> _Fit:
    fits = [_Fit(pace, [_miss(leg, legs, pace) for leg in legs]) for pace in paces]
    return min(fits, key=lambda fit: statistics.fmean(map(abs, fit.misses)))


def _miss(one: _Leg, legs: Sequence[_Leg], pace: float) -> float:
    here = _Point(one.before, 0.0)
    told = statistics.median([_answer(leg, here, pace) or 0.0 for leg in legs if leg is not one])
    return math.log(max(_LEAST, one.inside + one.after) / max(_LEAST, told))


def _answer(leg: _Leg, point: _Point, pace: float) -> float | None:
    """How long it takes from here, by one past run; None where it has been here for so much longer than that run that
    they cannot be compared."""
    so_far = leg.before + min(leg.inside, point.spent)
    scale: float = (max(_LEAST, point.before + point.spent) / max(_LEAST, so_far)) ** pace
    if point.spent > _PATIENCE * max(scale * leg.inside, _SMALL * point.before):
        return None
    return scale * (max(0.0, leg.inside - point.spent) + leg.after)


def _interval(answers: Sequence[float], misses: Sequence[float]) -> Remaining:
    """What the answers say, and around that what they have missed by: the wider of the two."""
    likely = statistics.median(answers)
    logs = [math.log(max(_LEAST, answer)) for answer in answers]
    middle = math.log(max(_LEAST, likely))
    spreads = (_spread([log - middle for log in logs]), _spread(misses))
    low = likely * math.exp(min(0.0, *(spread[0] for spread in spreads)))
    high = likely * math.exp(max(0.0, *(spread[1] for spread in spreads)))
    return Remaining(low, likely, high, len(answers))


def _spread(values: Sequence[float]) -> tuple[float, float]:
    """Between which bounds the next value lies with 80 %."""
    ordered = sorted(values)
    count = len(ordered)
    if count >= _MANY:
        rank = int(LOW * (count + 1)) - 1
        return ordered[rank], ordered[count - 1 - rank]
    width = _T90[count - 2] * statistics.stdev(ordered) * math.sqrt(1 + 1 / count)
    return statistics.fmean(ordered) - width, statistics.fmean(ordered) + width
