"""When an investigation is likely to be done: by what past runs of its type took from where it is now.

Percent says nothing of time: phases of equal weight take a second and an hour. So each past run is asked how long it
took from the same place on. Its answer is scaled twice: to how much this run was given, as far as that number told how
long past runs took; and to the pace of this run, as far as how long they took until there told how long they took from
there. The time that this run has been there is taken off. What these answers say together is an interval, or, if there
are too few of them, nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

MIN_RUNS: Final = 3
"""Of fewer past runs nothing is concluded."""

LOW: Final = 0.1
"""The interval: about one run in ten is done before it, and one in ten after it."""

_RANKED: Final = 9
"""From so many on the answers are their own distribution; of fewer a logarithmic normal one is assumed."""

_T90: Final = (1.89, 1.64, 1.53, 1.48, 1.44, 1.41)
"""The quantile of Student's distribution above which a tenth lies, from 2 degrees of freedom on."""

_PATIENCE: Final = 3
_SMALL: Final = 0.2
_NEARLY: Final = 0.1
_LEAST: Final = 1000.0
"""µs; times below are taken for this."""

_PACES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_POWERS: Final = (0.5, 1.0)
_BIAS: Final = 0.2
"""By so much less must past runs miss each other at an end of `_PACES` than in the middle, to be believed."""

_WORTH: Final = 0.95
"""At most so much of what they miss each other by otherwise, for a size to be believed."""

_LONGEST: Final = 1e15
"""µs, some thirty years."""

_KEPT: Final = 128

Marks = Sequence[tuple[int, float]]
"""When a phase was how far, in order: percent, and µs since it began."""


class Span(NamedTuple):
    """When a phase began and ended, in µs since the run began, and how it went on in between: by what it `reported`
    itself, or else by its tools."""

    began: float
    ended: float
    marks: Marks = ()
    reported: bool = False


@dataclass(frozen=True, slots=True)
class PastRun:
    """One completed run.

    Attributes:
        total: How long it took, µs.
        phases: When it was in which phase.
        sizes: How much it was given or found: numbers greater than 0, by name.
    """

    total: float
    phases: Mapping[str, Span]
    sizes: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is now. Times are µs of its running, pauses not counted.

    Attributes:
        elapsed: Since it began.
        phase: The phase that it is in, or, where `inside` is False, the last one that it left; None: none yet.
        since: When it entered that phase, or left it.
        percent: How far the phase is.
        marks: When it got there.
        reported: Whether it said so itself.
        sizes: How much it was given, as far as that is known by now.
    """

    elapsed: float
    phase: str | None = None
    since: float = 0.0
    inside: bool = True
    percent: int = 0
    marks: Marks = ()
    reported: bool = False
    sizes: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def mark(self) -> int:
        """The last mark that it got to, percent."""
        return self.marks[-1][0] if self.marks and self.inside else 0

    @property
    def reached(self) -> float:
        """When it got there."""
        return self.since + (self.marks[-1][1] if self.marks and self.inside else 0.0)


class Remaining(NamedTuple):
    """How much longer it takes, µs, and how many past runs say so."""

    low: float
    likely: float
    high: float
    runs: int


class _Leg(NamedTuple):
    """What a past run did, µs: `before` the mark, from there until it was `here`, until it was seen to go on, and
    `after` that."""

    before: float
    here: float
    inside: float
    after: float


class _Fit(NamedTuple):
    """How past runs tell each other from one place on.

    Attributes:
        legs: One of each run, with how much it was given, where that counts, else 1.
        size: The name of what counts, if anything does.
        power: The power of its ratio.
        pace: The power of the ratio of the times until here.
    """

    legs: Sequence[tuple[_Leg, float]]
    size: str | None
    power: float
    pace: float


class History:
    """Past runs of one type, and what they say of one that runs."""

    def __init__(self, runs: Iterable[PastRun]) -> None:
        self.runs: Sequence[PastRun] = tuple(runs)
        self.sized: bool = any(run.sizes for run in self.runs)
        """Whether it may matter how much a run is given."""
        self._fits: dict[object, _Fit] = {}

    def remaining(self, place: Place) -> Remaining | None:
        """How much longer a run takes that is at `place`; None where past runs do not tell."""
        place, runs = self._comparable(place)
        if len(runs) < MIN_RUNS:
            return None
        key = (place.phase, place.inside, place.reported, place.mark, place.percent, *place.sizes)
        fit = self._fits.get(key)
        if fit is None:
            if len(self._fits) >= _KEPT:
                self._fits.clear()
            fit = self._fits[key] = _fitted(runs, place)
        try:
            return _told(fit, place)
        except OverflowError:  # a number that was no size
            return None

    def _comparable(self, place: Place) -> tuple[Place, Sequence[PastRun]]:
        """The place, as far as enough past runs were at it, and these."""
        if place.phase is not None:
            name = place.phase
            runs = [run for run in self.runs if name in run.phases]
            if place.inside and (place.percent or place.marks) and len(runs) >= MIN_RUNS:
                said = [run for run in runs if run.phases[name].reported]
                if not place.reported and not said:
                    return place, runs
                if place.reported and len(said) >= MIN_RUNS:
                    return place, said
                place = replace(place, percent=0, marks=())  # by what is reported, and by tools: not the same percent
            if len(runs) >= MIN_RUNS:
                return place, runs
        return Place(place.elapsed, sizes=place.sizes), self.runs  # the whole is all that can be compared


def _leg(run: PastRun, place: Place) -> _Leg:
    if place.phase is None:
        return _Leg(0.0, 0.0, run.total, 0.0)
    span = run.phases[place.phase]
    if not place.inside:
        return _Leg(span.ended, 0.0, max(0.0, run.total - span.ended), 0.0)
    mark, here = _when(span, place.mark), _when(span, max(place.mark, place.percent))
    whole = span.ended - span.began
    on = min(whole, next((time for reached, time in span.marks if reached > place.percent and time > here), whole))
    return _Leg(span.began + mark, here - mark, on - here, max(0.0, run.total - span.began - on))


def _when(span: Span, percent: int) -> float:
    """When a phase was so far, µs since it began: between two marks it went on evenly."""
    whole = span.ended - span.began
    last, then = 0, 0.0
    for reached, time in (*span.marks, (100, whole)):
        if percent <= last:
            break
        there = max(then, min(time, whole))
        if percent < reached:
            return then + (there - then) * (percent - last) / (reached - last)
        last, then = reached, there
    return then


def _fitted(runs: Sequence[PastRun], place: Place) -> _Fit:
    """Of a few powers those by which the runs, all brought to the same size and pace, differ least."""
    legs = [_leg(run, place) for run in runs]
    until = [_log(leg.before) for leg in legs]
    rest = [_log(leg.here + leg.inside + leg.after) for leg in legs]
    paces = _PACES if place.phase is not None else _PACES[:1]
    best = None
    for name in (None, *(name for name in place.sizes if all(name in run.sizes for run in runs))):
        sizes = [1.0 if name is None else run.sizes[name] for run in runs]
        logs = [math.log(size) for size in sizes]
        for power in (0.0,) if name is None else _POWERS:
            for pace in (pace for pace in paces if power + pace <= 1):
                left = [r - power * size - pace * u for r, size, u in zip(rest, logs, until, strict=True)]
                missed = _differ(left) * (1 + _BIAS * abs(pace - 0.5)) / (1 if name is None else _WORTH)
                if best is None or missed < best[0]:
                    best = missed, _Fit(list(zip(legs, sizes, strict=True)), name, power, pace)
    assert best is not None
    return best[1]


def _differ(logs: Sequence[float]) -> float:
    middle = statistics.median(logs)
    return sum(abs(log - middle) for log in logs)


def _told(fit: _Fit, place: Place) -> Remaining | None:
    spent = max(0.0, place.elapsed - place.reached)
    size = 1.0 if fit.size is None else place.sizes[fit.size]
    reached = max(_LEAST, place.reached)
    answers: list[float] = []
    stalled = True
    for leg, given in fit.legs:
        scale: float = (size / given) ** fit.power * (reached / max(_LEAST, leg.before)) ** fit.pace
        here, inside = scale * leg.here, scale * leg.inside
        if spent > _PATIENCE * max(here + inside, _SMALL * place.reached):
            continue  # here for so much longer that they cannot be compared
        stalled = stalled and spent > here + inside
        answers.append(min(inside, max(0.0, here + inside - spent)) + scale * leg.after)
    if len(answers) < MIN_RUNS:
        return None
    found = _interval(answers)
    # longer there than any past run, and nothing to come after it; or a number that was no size: nobody knows
    unknown = (stalled and found.likely < _NEARLY * spent) or not found.high <= _LONGEST  # not: NaN is no answer either
    return None if unknown else found


def _interval(answers: Sequence[float]) -> Remaining:
    """Where the next answer lies: the powers were chosen by these, so that it differs a little more."""
    count, likely = len(answers), statistics.median(answers)
    wider = count / (count - 1)
    ordered = sorted(likely * (answer / likely) ** wider if likely >= _LEAST else answer for answer in answers)
    if count >= _RANKED:
        return Remaining(_ranked(ordered, LOW), likely, _ranked(ordered, 1 - LOW), count)
    logs = [_log(answer) for answer in ordered]
    width = math.exp(_T90[count - MIN_RUNS] * statistics.stdev(logs) * math.sqrt(1 + 1 / count))
    return Remaining(likely / width, likely, likely * width, count)


def _ranked(ordered: Sequence[float], part: float) -> float:
    """What the next answer is below with a chance of `part`, however they are distributed."""
    rank = part * (len(ordered) + 1) - 1
    lower = min(len(ordered) - 2, int(rank))
    return ordered[lower] + (ordered[lower + 1] - ordered[lower]) * (rank - lower)


def _log(time: float) -> float:
    return math.log(max(_LEAST, time))
