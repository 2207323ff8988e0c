"""Whatever is done to a log, the first event that is not as it was is named."""

from __future__ import annotations

from typing import Any

import pytest

from investigation_sdk.domain.events import FORMAT_VERSION
from investigation_sdk.domain.records import VerificationReport
from investigation_sdk.storage import chain, checking
from investigation_sdk.storage.chain import canonical_object, link
from investigation_sdk.storage.checking import ChainProblem, Checker
from investigation_sdk.storage.commit import GENESIS, StoredEvent
from tests.storage.chain_logs import COLUMNS, ID, check, first, log_of

# ---- as it should be


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_a_log_that_nobody_touched_is_right(count: int):
    for seed in range(20):
        log = log_of(count, seed)
        assert check(log, count, log[-1].hash) == []


def test_a_log_is_checked_in_pieces_as_in_one():
    log = log_of(20)
    checker = Checker(ID)
    for start in range(0, 20, 3):
        checker.add(log[start : start + 3])
    assert checker.finish(20, log[-1].hash) == []
    assert (checker.checked, checker.sequence, checker.head) == (20, 20, log[-1].hash)


def test_an_empty_log_of_a_new_investigation_is_right():
    assert check([], 0, GENESIS) == []


# ---- changed


@pytest.mark.parametrize("place", [1, 5, 10])
@pytest.mark.parametrize("part", ["header", "event_data"])
def test_changed_text(place: int, part: str):
    log = log_of(10)
    event = log[place - 1]
    log[place - 1] = event._replace(**{part: getattr(event, part).replace("}", " }", 1)})
    problems = check(log, 10, log[-1].hash)
    assert [(p.sequence, p.kind) for p in problems] == [(place, "changed")]
    assert f"event {place} ({event.event_type})" in problems[0].message


@pytest.mark.parametrize("place", [1, 5, 10])
def test_changed_hash(place: int):
    was = log_of(10)
    for changed in (b"\1" * 32, b"", was[place - 1].hash[:-1], b"\0" + was[place - 1].hash):
        log = was.copy()
        log[place - 1] = log[place - 1]._replace(hash=changed)
        problems = check(log, 10, was[-1].hash)
        assert [(p.sequence, p.kind) for p in problems] == [(place, "changed")], "one place is named once"


@pytest.mark.parametrize("place", [1, 5])
def test_changed_and_hashed_again_by_itself(place: int):
    """A forger who knows the format, and mends one event: the next one does not follow from it any more."""
    was = log_of(10)
    log, event = was.copy(), was[place - 1]
    before = log[place - 2].hash if place > 1 else GENESIS
    log[place - 1] = event._replace(event_data='{"b":2}', hash=link(before, event.header, '{"b":2}'))
    assert first(log, was) == (place + 1, "changed")


def test_the_last_event_changed_and_hashed_again_is_told_by_the_row():
    was = log_of(10)
    event = was[9]
    forged = event._replace(event_data='{"b":2}', hash=link(was[8].hash, event.header, '{"b":2}'))
    assert first([*was[:9], forged], was) == (None, "head")


# ---- missing, inserted, out of order, truncated


@pytest.mark.parametrize(
    ("gone", "names"), [((1,), "event 1 is"), ((4,), "event 4 is"), ((4, 5, 6), "events 4 to 6 are")]
)
def test_missing(gone: tuple[int, ...], names: str):
    was = log_of(10)
    problems = check([e for e in was if e.sequence not in gone], 10, was[-1].hash)
    assert [(p.sequence, p.kind) for p in problems] == [(gone[0], "missing")]
    assert problems[0].message.startswith(f"{names} missing before event {gone[-1] + 1} ")


def test_missing_and_those_behind_moved_up():
    """Renumbered in the column, in the header, and in both."""
    was = log_of(10)
    for column, header in ((True, False), (False, True), (True, True)):
        log = was[:3]
        for event in was[4:]:
            number = event.sequence
            text = event.header.replace(f'"sequence":{number}', f'"sequence":{number - 1}') if header else event.header
            log.append(event._replace(sequence=number - 1 if column else number, header=text))
        assert first(log, was) in {(4, "changed"), (4, "missing")}


@pytest.mark.parametrize("place", [1, 5, 10])
def test_a_second_event_of_the_same_number(place: int):
    was = log_of(10)
    log = was.copy()
    log.insert(place, was[place - 1])
    problems = check(log, 10, was[-1].hash)
    assert [(p.sequence, p.kind) for p in problems] == [(place, "inserted")]


@pytest.mark.parametrize("place", [1, 5, 10])
@pytest.mark.parametrize("before", [True, False], ids=["in front of the true one", "behind it"])
def test_a_forged_event_with_its_own_hash(place: int, before: bool):
    """It follows from the event before, so that it is not told by its hash, only by its number."""
    was = log_of(10)
    event = was[place - 1]
    head = was[place - 2].hash if place > 1 else GENESIS
    forged = event._replace(event_data='{"b":2}', hash=link(head, event.header, '{"b":2}'))
    log = was.copy()
    log.insert(place - 1 if before else place, forged)
    problems = check(log, 10, was[-1].hash)
    assert [(p.sequence, p.kind) for p in problems] == [(place, "inserted")]


def test_an_event_of_another_investigation():
    was = log_of(10)
    other = "019a1f3e-0000-7000-8000-000000000000"
    event = was[4]
    text = event.header.replace(ID, other)
    moved = event._replace(investigation_id=other, header=text, hash=link(was[3].hash, text, event.event_data))
    problems = check([*was[:4], moved, *was[5:]], 10, was[-1].hash)
    assert (5, "inserted") in [(p.sequence, p.kind) for p in problems]
    assert other in next(p.message for p in problems if p.kind == "inserted")


def test_two_events_that_changed_places():
    was = log_of(10)
    for one, two in ((3, 4), (1, 10), (9, 10)):
        log = was.copy()
        log[one - 1], log[two - 1] = was[two - 1], was[one - 1]
        assert first(log, was) == (one, "missing"), "read in another order"
        log[one - 1], log[two - 1] = was[two - 1]._replace(sequence=one), was[one - 1]._replace(sequence=two)
        problems = [(p.sequence, p.kind) for p in check(log, 10, was[-1].hash)]
        assert problems[0] == (one, "changed"), "the columns were swapped"
        assert {(one, "order"), (two, "order")} <= set(problems)
        swapped = was[two - 1]._replace(header=was[one - 1].header), was[one - 1]._replace(header=was[two - 1].header)
        log[one - 1], log[two - 1] = swapped[0]._replace(sequence=one), swapped[1]._replace(sequence=two)
        assert first(log, was) == (one, "changed"), "all but the headers were swapped"


def test_an_event_earlier_than_the_one_before():
    was = log_of(10)
    event = was[4]
    text = event.header.replace(f'"at":{event.event_timestamp}', '"at":5')
    changed = event._replace(event_timestamp=5, header=text, hash=link(was[3].hash, text, event.event_data))
    problems = check([*was[:4], changed, *was[5:]], 10, was[-1].hash)
    assert ChainProblem(5, "order", "event 5 is earlier than the event before it") in problems


@pytest.mark.parametrize("left", [0, 1, 9])
def test_a_truncated_tail(left: int):
    was = log_of(10)
    problems = check(was[:left], 10, was[-1].hash)
    assert [(p.sequence, p.kind) for p in problems] == [(left + 1, "truncated")]
    assert f"ends with event {left}" in problems[0].message


def test_a_tail_that_was_added():
    was = log_of(10)
    problems = check(was, 8, was[7].hash)
    assert [(p.sequence, p.kind) for p in problems] == [(9, "inserted")]


def test_the_rows_version_and_head():
    was = log_of(10)
    assert [(p.sequence, p.kind) for p in check(was, 11, was[9].hash)] == [(11, "truncated")]
    assert [(p.sequence, p.kind) for p in check(was, 9, was[9].hash)] == [(10, "inserted")]
    assert [(p.sequence, p.kind) for p in check(was, 10, was[8].hash)] == [(None, "head")]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("place", [1, 5, 10])
def test_a_column_that_disagrees_with_its_header(column: str, place: int):
    was = log_of(10)
    for value in (COLUMNS[column], None):
        event = was[place - 1]
        if getattr(event, column) == value:
            continue
        log = was.copy()
        change: dict[str, Any] = {column: value}
        log[place - 1] = event._replace(**change)
        problems = check(log, 10, was[-1].hash)
        assert problems[0].sequence == place
        assert problems[0].kind == "column"
        assert f"column {column} of event {place}" in problems[0].message
        assert len(problems) == (2 if column == "investigation_id" else 1)


def test_the_columns_are_all_that_a_stored_event_has():
    checked = {*COLUMNS, "sequence", "header", "event_data", "hash"}
    assert set(StoredEvent._fields) == checked


# ---- a format to come


@pytest.mark.interpreted
def test_a_log_of_a_newer_format_cannot_be_checked(monkeypatch: pytest.MonkeyPatch):
    was = log_of(3)
    with monkeypatch.context() as later:
        for module in (chain, checking):
            later.setattr(module, "FORMAT_VERSION", FORMAT_VERSION + 1)
        now = log_of(5)
        assert check(now, 5, now[-1].hash) == []
    for log in (now, [event._replace(actor="of a column to come") for event in now]):
        problems = check(log, 5, log[-1].hash)
        assert [(p.sequence, p.kind) for p in problems] == [(n, "header") for n in range(1, 6)]
        assert "upgrade" in problems[0].message
        assert f"format {FORMAT_VERSION + 1}" in problems[0].message
    assert check(was, 3, was[-1].hash) == []


# ---- nothing that can stand in a store makes it raise

HOSTILE: list[dict[str, Any]] = [
    {"header": ""},
    {"header": "[]"},
    {"header": "null"},
    {"header": "[" * 100_000},
    {"header": '{"metadata":' + "[" * 900 + "]" * 900 + "}"},
    {"header": '{"metadata":NaN,"at":Infinity}'},
    {"header": '{"at":"late","sequence":[],"id":{}}'},
    {"header": "\udc80"},
    {"header": None},
    {"header": b"\xff\xfe"},
    {"event_data": None},
    {"event_data": "\udc80"},
    {"event_data": b"{}"},
    {"event_data": 7},
    {"hash": None},
    {"hash": "00" * 32},
    {"hash": 5},
    {"sequence": "5"},
    {"sequence": None},
    {"sequence": 5.5},
    {"metadata": 1, "actor": b"\0", "event_timestamp": "now"},
]


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: "".join(f"{n}={str(v)[:12]}" for n, v in change.items()))
def test_what_is_no_event_any_more(change: dict[str, Any]):
    was = log_of(10)
    log = was.copy()
    log[4] = log[4]._replace(**change)
    problems = check(log, 10, was[-1].hash)
    assert problems[0].sequence == 5
    assert {p.sequence for p in problems} == {5}, "the events behind it are as they were"


# ---- the report


def test_a_report_is_neither_true_nor_false():
    for ok in (True, False):
        report = VerificationReport(investigation_id=ID, ok=ok, checked=1, head="00", problems=[])
        with pytest.raises(TypeError, match=r"write report\.ok"):
            bool(report)
        with pytest.raises(TypeError, match=r"write report\.ok"):
            assert report
        assert report.ok is ok


def test_canonical_objects_have_one_text():
    assert canonical_object({"b": 1, "a": {"d": True, "c": "ü"}}) == '{"a":{"c":"ü","d":true},"b":1}'
    with pytest.raises(ValueError):
        canonical_object({"a": float("nan")})
