"""Values of all kinds, and what is asked of each that is stored."""

from __future__ import annotations

import json
import math
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from functools import cached_property
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import strategies as st

from investigation_sdk.storage.codec import Encoded, Json, decode, encode

UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def same(left: Any, right: Any) -> bool:
    """Equal, and of the very same types all the way down: NaN is NaN, -0.0 is not 0.0, dicts keep their order."""
    if type(left) is not type(right):
        return False
    if type(left) is float:
        return bool(left.hex() == right.hex())
    if type(left) is complex:
        return same(left.real, right.real) and same(left.imag, right.imag)
    if type(left) is Decimal:
        return bool(left.as_tuple() == right.as_tuple())
    if type(left) in (list, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if type(left) is dict:
        return len(left) == len(right) and all(map(same, left.items(), right.items()))
    if type(left) in (set, frozenset):
        rest = list(right)
        for item in left:
            found = next((index for index, other in enumerate(rest) if same(item, other)), None)
            if found is None:
                return False
            del rest[found]
        return not rest
    if type(left) in (datetime, time):
        return bool(left.isoformat() == right.isoformat() and left.fold == right.fold)
    return bool(left == right)


def check_text(text: str) -> Any:
    """What every stored text must be, whatever it was made from."""
    assert type(text) is Json
    text.encode()
    assert "\0" not in text
    tree = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    def no_nul(node: Any) -> None:
        if isinstance(node, str):
            assert not UNSTORABLE.search(node)
        elif isinstance(node, dict):
            for key, value in node.items():
                no_nul(key)
                no_nul(value)
        elif isinstance(node, list):
            for item in node:
                no_nul(item)

    no_nul(tree)
    return tree


def lost(value: Any) -> Encoded:
    encoded = encode(value)
    check_text(encoded.text)
    assert not encoded.rebuildable
    assert encoded.warnings
    return encoded


def kept(value: Any) -> Any:
    encoded = encode(value)
    check_text(encoded.text)
    assert encoded.rebuildable
    assert encoded.warnings == ()
    return decode(encoded.text)


any_text = st.text(st.characters(codec=None), max_size=8) | st.sampled_from(
    [
        "$type",
        "\0",
        "\\u0000",
        "\ud800",
        "\udc80x",
        "\ud83d\ude00",
        "%0000",
        "%",
        "%D800",
        "%00250000",
        "\0" + "0025",
        '"$type"',
        "\u2028",
        "\x7f",
    ]
)
offsets = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
zones = st.none() | offsets | st.just(UTC)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**53 - 2, 2**53 + 2)
    | st.integers(-(2**53) - 2, -(2**53) + 2)
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from([-0.0, 1e-7, 1e16, 1e22, 5e-324, 1.7976931348623157e308])
    | any_text
    | st.binary(max_size=9)
    | st.complex_numbers(allow_nan=True)
    | st.decimals(allow_nan=True)
    | st.sampled_from([Decimal("sNaN12"), Decimal("-0E+7"), Decimal("1E+999999"), Decimal("1.10")])
    | st.datetimes(timezones=zones, allow_imaginary=True)
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | any_text.map(PurePosixPath)
    | st.sampled_from(["C:\\a\\b.txt", "c:/x", "\\\\host\\share\\x", "a/b", ""]).map(PureWindowsPath)
)
keys = st.recursive(
    scalars.filter(lambda value: not isinstance(value, Decimal) or not value.is_snan()),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
values = st.recursive(
    scalars | st.binary(max_size=9).map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(any_text, inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=3)
        | st.sets(keys, max_size=3)
        | st.frozensets(keys, max_size=3)
    ),
    max_leaves=12,
)
TAGGED_EXAMPLES: list[tuple[Any, str]] = [
    ((1, [2]), '{"$type":"tuple","items":[1,[2]]}'),
    ({2, 1}, '{"$type":"set","items":[1,2]}'),
    (frozenset({"b", "a"}), '{"$type":"frozenset","items":["a","b"]}'),
    (b"\x00\xff", '{"$type":"bytes","value":"AP8="}'),
    (bytearray(b"a"), '{"$type":"bytearray","value":"YQ=="}'),
    (math.nan, '{"$type":"float","value":"nan"}'),
    (-math.inf, '{"$type":"float","value":"-inf"}'),
    (2**53 + 1, '{"$type":"int","value":"0x20000000000001"}'),
    (-(2**64), '{"$type":"int","value":"-0x10000000000000000"}'),
    (1 - 2j, '{"$type":"complex","value":[1.0,-2.0]}'),
    (Decimal("1.10"), '{"$type":"Decimal","value":"1.10"}'),
    (datetime(2026, 1, 2, 3, 4, 5, 6), '{"$type":"datetime","value":"2026-01-02T03:04:05.000006"}'),  # noqa: DTZ001
    (datetime(2026, 1, 2, tzinfo=UTC), '{"$type":"datetime","value":"2026-01-02T00:00:00+00:00"}'),
    (datetime(2026, 1, 2, fold=1), '{"$type":"datetime","value":"2026-01-02T00:00:00","fold":1}'),  # noqa: DTZ001
    (date(2026, 1, 2), '{"$type":"date","value":"2026-01-02"}'),
    (time(1, 2, 3, tzinfo=UTC), '{"$type":"time","value":"01:02:03+00:00"}'),
    (timedelta(-1, 2, 3), '{"$type":"timedelta","value":[-1,2,3]}'),
    (uuid.UUID(int=1), '{"$type":"UUID","value":"00000000-0000-0000-0000-000000000001"}'),
    (PurePosixPath("/a b"), '{"$type":"path","name":"PurePosixPath","value":"/a b"}'),
    ("a\0%\ud800", '{"$type":"str","value":"a%0000%0025%D800"}'),
    ({1: "x"}, '{"$type":"dict","items":[[1,"x"]]}'),
    ({"$type": "tuple", "items": []}, '{"$type":"dict","items":[["$type","tuple"],["items",[]]]}'),
    ({"\0": 1}, '{"$type":"dict","items":[[{"$type":"str","value":"%0000"},1]]}'),
]


class Color(Enum):
    RED = "r"
    PAIR = (1, 2)


class Level(IntEnum):
    HIGH = 3


@dataclass(frozen=True)
class Finding:
    name: str
    scores: tuple[float, ...] = ()
    hidden: str = field(default="h", repr=False)

    @cached_property
    def total(self) -> float:
        return sum(self.scores)


@dataclass(slots=True)
class Slotted:
    a: int


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise AssertionError("user code")


class Attrs(dict):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.__dict__ = self


def nest(wrap: Any, levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value
