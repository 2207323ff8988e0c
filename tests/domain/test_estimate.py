"""When a run is likely to be done, by past runs: what may be said, and what may not."""

import random
from collections.abc import Mapping
from itertools import zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from investigation_sdk.domain.estimate import MIN_RUNS, History, PastRun, Place, Span

SECOND = 1_000_000.0


def run(
    *seconds: float,
    marks: tuple[tuple[int, float], ...] = (),
    reported: bool = False,
    sizes: Mapping[str, float] | None = None,
) -> PastRun:
    """Phases "0", "1", … of so many seconds, one after another."""
    phases: dict[str, Span] = {}
    time = 0.0
    for n, length in enumerate(seconds):
        timed = [(percent, at * SECOND) for percent, at in marks]
        phases[str(n)] = Span(time * SECOND, (time + length) * SECOND, timed, reported)
        time += length
    return PastRun(time * SECOND, phases, sizes or {})


def likely(history: History, place: Place) -> float:
    remaining = history.remaining(place)
    assert remaining is not None
    return remaining.likely / SECOND


@pytest.mark.parametrize("count", range(MIN_RUNS))
def test_too_few_runs_tell_nothing(count: int) -> None:
    assert History([run(1, 2)] * count).remaining(Place(SECOND, "0")) is None


def test_phases_take_what_they_took() -> None:
    history = History([run(10, 90, 1), run(10, 90, 1), run(10, 90, 1)])
    assert likely(history, Place(5 * SECOND, "0")) == pytest.approx(96)
    assert likely(history, Place(10 * SECOND, "1", 10 * SECOND)) == pytest.approx(91)
    assert likely(history, Place(100 * SECOND, "1", 100 * SECOND, inside=False)) == pytest.approx(1)
    assert likely(history, Place(2 * SECOND)) == pytest.approx(99)


def test_who_is_twice_as_slow_so_far_is_so_to_the_end_where_past_runs_were() -> None:
    history = History([run(n, 9 * n) for n in (1, 2, 3, 5, 8)])
    assert likely(history, Place(4 * SECOND, "1", 4 * SECOND)) == pytest.approx(36, rel=0.01)
    other = History([run(n, 9) for n in (1, 2, 3, 5, 8)])
    assert likely(other, Place(4 * SECOND, "1", 4 * SECOND)) == pytest.approx(9, rel=0.01)


def test_how_far_a_phase_is_counts_as_it_did_in_past_runs() -> None:
    """Half of it took a tenth of the time: a line would say 1 s."""
    history = History([run(10, marks=((50, 1.0),))] * 4)
    assert likely(history, Place(SECOND, "0", percent=50, marks=[(50, SECOND)])) == pytest.approx(9)
    assert likely(history, Place(SECOND, "0", percent=50)) == pytest.approx(9)


def test_between_two_marks_it_went_on_evenly_and_time_since_the_mark_counts() -> None:
    history = History([run(100, marks=((10, 10.0), (20, 60.0)))] * 4)
    mark = [(10, 10 * SECOND)]
    assert likely(history, Place(35 * SECOND, "0", percent=15, marks=mark)) == pytest.approx(65)
    assert likely(history, Place(10 * SECOND, "0", percent=15, marks=mark)) == pytest.approx(65)
    assert likely(history, Place(50 * SECOND, "0", percent=15, marks=mark)) == pytest.approx(50)


def test_percent_by_tools_is_not_compared_with_percent_that_was_reported() -> None:
    """One of two tools has ended early: half of the tools. What the phase will report of itself is not known yet."""
    history = History([run(10, marks=((50, 5.0),), reported=True)] * 4)
    mark = [(50, SECOND)]
    assert likely(history, Place(SECOND, "0", percent=50, marks=mark)) == pytest.approx(9)
    assert likely(history, Place(SECOND, "0", percent=50, marks=mark, reported=True)) == pytest.approx(5)
    by_tools = History([run(10, marks=((50, 5.0),))] * 4)
    assert likely(by_tools, Place(SECOND, "0", percent=50, marks=mark)) == pytest.approx(5)


def test_who_was_given_twice_as_much_takes_as_long_as_those_who_were() -> None:
    history = History([run(1, 3 * n, sizes={"files": n, "level": 5, "seed": 1 + n * 7 % 4}) for n in (1, 2, 3, 5, 8)])
    known = {"files": 4.0, "level": 5.0, "seed": 2.0}
    assert likely(history, Place(SECOND, "1", SECOND, sizes=known)) == pytest.approx(12)
    assert likely(history, Place(SECOND / 2, sizes=known)) == pytest.approx(12.5, rel=0.1)
    assert likely(history, Place(SECOND, "1", SECOND)) == pytest.approx(9), "where it is not known, the middle one"
    assert likely(history, Place(SECOND, "1", SECOND, sizes={"level": 5.0})) == pytest.approx(9)
    assert history.remaining(Place(SECOND, "1", SECOND, sizes={"files": 1e12})) is None, "no date is so late"


def test_a_number_that_has_told_nothing_is_not_believed() -> None:
    history = History(
        [run(1, length, sizes={"id": id}) for length, id in zip((9, 10, 11, 10), (1, 50, 2, 7), strict=True)]
    )
    assert likely(history, Place(SECOND, "1", SECOND, sizes={"id": 1e6})) == pytest.approx(10)


@pytest.mark.parametrize("count", [3, 5, 8, 9, 20, 50])
def test_four_in_five_runs_end_within_the_interval(count: int) -> None:
    chance = random.Random(count)
    inside = 0
    for _ in range(500):
        *past, now = (chance.lognormvariate(3, 0.7) for _ in range(count + 1))
        remaining = History([run(1, length) for length in past]).remaining(Place(SECOND, "1", SECOND))
        assert remaining is not None
        inside += remaining.low <= now * SECOND <= remaining.high
    assert 0.75 <= inside / 500 <= 0.9


def test_time_that_passes_is_time_less() -> None:
    history = History([run(10, 20), run(11, 22), run(9, 18), run(10, 21)])
    said = [likely(history, Place(at * SECOND, "1", 10 * SECOND)) for at in range(10, 30)]
    assert said == sorted(said, reverse=True)


def test_longer_than_ever_is_unknown() -> None:
    history = History([run(10), run(12), run(11)])
    assert history.remaining(Place(11.5 * SECOND, "0")) is not None
    assert history.remaining(Place(13 * SECOND, "0")) is None
    assert history.remaining(Place(1300 * SECOND, "0")) is None
    assert history.remaining(Place(1300 * SECOND)) is None


def test_a_phase_that_no_past_run_had_leaves_the_whole_to_compare() -> None:
    assert likely(History([run(10, 20)] * 3), Place(12 * SECOND, "new", 5 * SECOND)) == pytest.approx(18)
    half = Place(12 * SECOND, "new", 5 * SECOND, percent=50, marks=[(50, SECOND)])
    assert likely(History([run(10, 20)] * 3), half) == pytest.approx(18)


def test_the_interval_is_wider_where_runs_differ_more() -> None:
    def width(*lengths: float) -> float:
        remaining = History([run(1, length) for length in lengths]).remaining(Place(SECOND, "1", SECOND))
        assert remaining is not None
        return remaining.high - remaining.low

    assert width(10, 10, 10, 10) == 0
    assert width(9, 10, 11, 10) < width(5, 10, 20, 10)


times = st.floats(0, 1e12)
spans = st.lists(st.floats(0, 1e10), min_size=1, max_size=4)
given_sizes = st.dictionaries(st.sampled_from("ab"), st.floats(1e-9, 1e18))
marks = st.lists(st.tuples(st.integers(0, 100), st.floats(0, 1e11)), max_size=5)


@given(
    st.lists(spans, max_size=25),
    times,
    times,
    st.sampled_from([None, "0", "1", "3", "other"]),
    st.booleans(),
    st.integers(0, 100),
    marks,
    st.booleans(),
    st.lists(given_sizes, max_size=25),
    given_sizes,
)
def test_whatever_a_log_says_the_answer_is_an_interval_or_none(
    lengths: list[list[float]],
    elapsed: float,
    since: float,
    phase: str | None,
    inside: bool,
    percent: int,
    marks: list[tuple[int, float]],
    reported: bool,
    many: list[dict[str, float]],
    sizes: dict[str, float],
) -> None:
    timed = tuple((percent, time / SECOND) for percent, time in marks)
    history = History(
        [
            run(*(length / SECOND for length in one), marks=timed, reported=reported, sizes=of_this)
            for one, of_this in zip_longest(lengths, many[: len(lengths)])
        ]
    )
    remaining = history.remaining(Place(elapsed, phase, since, inside, percent, marks, reported, sizes))
    if remaining is not None:
        assert 0 <= remaining.low <= remaining.likely <= remaining.high <= 1e15
        assert MIN_RUNS <= remaining.runs <= len(lengths)
