from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from investigation_sdk.storage.chain import link
from investigation_sdk.storage.checking import Checker
from investigation_sdk.storage.commit import GENESIS
from tests.storage.chain_logs import COLUMNS, ID, Log, check, log_of


def _flip(text: str, at: int, chance: random.Random) -> str:
    at %= len(text)
    return text[:at] + chance.choice([c for c in 'x"{}:,0é\\' if c != text[at]]) + text[at + 1 :]


def change_header(log: Log, at: int, chance: random.Random) -> int:
    log[at] = log[at]._replace(header=_flip(log[at].header, chance.randrange(10**6), chance))
    return at + 1


def change_data(log: Log, at: int, chance: random.Random) -> int:
    log[at] = log[at]._replace(event_data=_flip(log[at].event_data, chance.randrange(10**6), chance))
    return at + 1


def change_hash(log: Log, at: int, chance: random.Random) -> int:
    place = chance.randrange(32)
    flipped = log[at].hash[place] ^ (1 << chance.randrange(8))
    log[at] = log[at]._replace(hash=log[at].hash[:place] + bytes([flipped]) + log[at].hash[place + 1 :])
    return at + 1


def drop(log: Log, at: int, chance: random.Random) -> int:
    del log[at]
    return at + 1


def cut(log: Log, at: int, chance: random.Random) -> int:
    del log[at:]
    return at + 1


def duplicate(log: Log, at: int, chance: random.Random) -> int:
    log.insert(at, log[at])
    return at + 1


def copy_elsewhere(log: Log, at: int, chance: random.Random) -> int:
    """An event put into the place of another one, with the number of that place."""
    to = chance.choice([n for n in range(len(log)) if n != at] or [at])
    log[to] = log[at]._replace(sequence=to + 1, hash=log[at].hash[::-1] if to == at else log[at].hash)
    return to + 1


def swap(log: Log, at: int, chance: random.Random) -> int:
    other = (at + 1 + chance.randrange(len(log) - 1)) % len(log) if len(log) > 1 else at
    if other == at:
        return change_hash(log, at, chance)
    log[at], log[other] = log[other], log[at]
    if chance.random() < 0.5:
        for place in (at, other):
            log[place] = log[place]._replace(sequence=place + 1)
    return min(at, other) + 1


def change_column(log: Log, at: int, chance: random.Random) -> int:
    column = chance.choice([*COLUMNS, "sequence"])
    value: Any = {**COLUMNS, "sequence": log[at].sequence + chance.choice([-3, -1, 1, 7])}[column]
    if getattr(log[at], column) == value:
        value = "nobody" if column == "actor" else None
    log[at] = log[at]._replace(**{column: value})
    return at + 1


def forge(log: Log, at: int, chance: random.Random) -> int:
    """Changed, and its own hash mended: the next event, or the row, tells."""
    head = log[at - 1].hash if at else GENESIS
    text = '{"forged":true}'
    log[at] = log[at]._replace(event_data=text, hash=link(head, log[at].header, text))
    return at + 2


TAMPERINGS: list[Callable[[Log, int, random.Random], int]] = [
    change_header,
    change_data,
    change_hash,
    drop,
    cut,
    duplicate,
    copy_elsewhere,
    swap,
    change_column,
    forge,
]


@pytest.mark.parametrize("tamper", TAMPERINGS)
@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(count=st.integers(1, 12), at=st.integers(0, 11), seed=st.integers(0, 10**6))
def test_any_single_tampering_is_noticed_and_located(
    tamper: Callable[[Log, int, random.Random], int], count: int, at: int, seed: int
):
    was = log_of(count, seed)
    log = was.copy()
    at %= count
    place = tamper(log, at, random.Random(seed))
    problems = check(log, count, was[-1].hash)
    assert problems, "nothing was noticed"
    found = problems[0].sequence
    if place > count:
        assert found in {None, count + 1, count}  # the last event: the row tells
    elif tamper is change_column:
        # A number that is too small or too large is named where it stands, or as what is missing there.
        assert found is not None
        assert found <= place
    else:
        assert found == place


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(count=st.integers(1, 40), seed=st.integers(0, 10**6), size=st.integers(1, 10))
def test_no_log_that_was_sealed_by_us_has_a_problem(count: int, seed: int, size: int):
    log = log_of(count, seed)
    checker = Checker(ID)
    for start in range(0, count, size):
        checker.add(log[start : start + size])
    assert checker.finish(count, log[-1].hash) == []
