from __future__ import annotations

import asyncio
import copy
import hashlib
import hmac
import json
import math
import os
import re
import subprocess
import sys
import threading
import uuid
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal, localcontext
from enum import Enum, Flag, IntEnum
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from time import gmtime
from types import SimpleNamespace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PrivateAttr, SecretStr
from pydantic_core import to_json

from investigation_sdk.errors import PayloadTooLarge
from investigation_sdk.storage import tagging
from investigation_sdk.storage.codec import Encoded, Json, Tagged, decode, digest, encode, object_text, plain

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


# ---- exact round trips ----

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


@settings(max_examples=600, deadline=None)
@given(values)
def test_builtin_values_come_back_exactly(value):
    assert same(kept(value), value)


@settings(max_examples=300, deadline=None)
@given(values)
def test_encoding_is_deterministic_and_changes_nothing(value):
    before = copy.deepcopy(value)
    text = encode(value).text
    assert encode(decode(text)).text == text
    assert digest(decode(text)) == digest(value)
    assert same(value, before)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0")), inner)
        ),
        max_leaves=10,
    )
)
def test_plain_json_is_stored_as_itself(value):
    text = encode(value).text
    if "$type" not in text:
        assert plain(value)
        assert same(json.loads(text), value)
    assert same(decode(text), value)


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


@pytest.mark.parametrize(
    ("value", "text"), TAGGED_EXAMPLES, ids=lambda part: None if isinstance(part, str) else repr(part)[:20]
)
def test_the_tags_are_these(value, text):
    assert encode(value).text == text
    assert same(kept(value), value)
    assert not plain(value)


def test_this_systems_path_comes_back_and_the_other_systems_stays_inert():
    here = Path("/etc/ho\0sts")
    assert same(kept(here), here)
    other = "PosixPath" if os.name == "nt" else "WindowsPath"
    assert decode(f'{{"$type":"path","name":"{other}","value":"x"}}') == Tagged(
        "path", "", {"name": other, "value": "x"}
    )


def test_a_huge_integer_is_not_stopped_by_the_limit_on_digits():
    value = -(7**20_000)
    assert same(kept(value), value)


def test_the_decimal_context_changes_nothing():
    value = Decimal("1E+30")
    with localcontext() as context:
        context.capitals = 0
        context.prec = 2
        text = encode(value).text
        assert same(decode(text), value)
    assert text == encode(value).text


def test_two_nans_are_two_keys():
    value = {float("nan"): 1, float("nan"): 2}
    assert [*kept(value).values()] == [1, 2]


def test_a_zone_is_stored_as_its_offset_with_its_name_for_people():
    value = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    assert json.loads(encode(value).text)["zone"] == "Europe/Berlin"
    back = kept(value)
    assert back.utcoffset() == value.utcoffset() == timedelta(hours=1)
    assert back.fold == 1


def test_a_time_in_a_zone_without_an_offset_does_not_come_back_naive():
    assert decode(lost(time(1, tzinfo=ZoneInfo("Europe/Berlin"))).text).type == "repr"


@pytest.mark.parametrize("microseconds", [1, 999_999, 1_000_001, -1, -1_000_001])
def test_an_offset_below_a_second_comes_back_exactly_or_is_said_to_be_lost(microseconds):
    zone = timezone(timedelta(microseconds=microseconds))
    for value in (datetime(2026, 1, 1, tzinfo=zone), time(1, tzinfo=zone)):
        encoded = encode(value)
        back = decode(encoded.text)
        assert same(back, value) if encoded.rebuildable else back.type == "repr"


def test_a_zone_that_raises_ends_in_a_repr():
    class Broken(tzinfo):
        def utcoffset(self, when):
            raise asyncio.CancelledError

    back = decode(lost(datetime(2026, 1, 1, tzinfo=Broken())).text)  # type: ignore[abstract]
    assert back.name == "datetime.datetime"
    assert "Broken" in back.value


def test_hostile_text_is_encoded_in_linear_time():
    for part in ["\0", "%\0", "é", "\ud800", "\\u0000", '"$type"']:
        value = part * 1_000_000
        assert kept(value) == value


# ---- values of classes ----


class Color(Enum):
    RED = "r"
    PAIR = (1, 2)


class Level(IntEnum):
    HIGH = 3


class Mode(Flag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: int
    y: Any


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


class Account(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: str
    opened: date
    _cache: dict[str, int] = PrivateAttr(default_factory=dict)

    def model_dump(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        raise AssertionError("side effect")

    @cached_property
    def age(self) -> int:
        return 3


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise AssertionError("user code")


class Items(list):
    def __iter__(self) -> Any:
        raise AssertionError("user code")


class Attrs(dict):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.__dict__ = self


def tagged(kind: str, cls: type, value: Any, lost: str = "", unset: tuple[str, ...] = ()) -> Tagged:
    return Tagged(kind, f"{cls.__module__}.{cls.__qualname__}", value, lost, unset)


def test_enum_members_are_stored_by_value_and_shown_by_name():
    assert json.loads(encode(Color.RED).text)["member"] == "RED"
    assert kept(Color.RED) == tagged("enum", Color, "r")
    assert kept(Color.PAIR) == tagged("enum", Color, (1, 2))
    assert kept(Level.HIGH) == tagged("enum", Level, 3)
    assert kept(Mode.A | Mode.B) == tagged("enum", Mode, 3)


def test_fields_are_stored_by_name_without_running_the_class():
    finding = Finding("x", (0.5, math.inf))
    assert finding.total == math.inf
    assert kept(finding) == tagged("dataclass", Finding, {"name": "x", "scores": (0.5, math.inf), "hidden": "h"})
    assert kept(Slotted(1)) == tagged("dataclass", Slotted, {"a": 1})
    assert kept(Point(1, {2})) == tagged("namedtuple", Point, {"x": 1, "y": {2}})
    account = Account.model_validate({"id": "a", "opened": date(2026, 1, 1), "$type": "extra"})
    assert account.age == 3
    fields = {"id": "a", "opened": date(2026, 1, 1), "$type": "extra"}
    assert kept(account) == tagged("model", Account, fields)
    assert kept(Account.model_construct(id="a")) == tagged("model", Account, {"id": "a"})


def test_attrs_like_classes_and_structs_count_as_dataclasses():
    class Attr:
        __attrs_attrs__ = (SimpleNamespace(name="x"),)

        def __init__(self) -> None:
            self.x = (1,)

    class Struct:
        __struct_fields__ = ("y",)
        __slots__ = ("y",)

        def __init__(self) -> None:
            self.y = 2

    assert kept(Attr()) == tagged("dataclass", Attr, {"x": (1,)})
    assert kept(Struct()) == tagged("dataclass", Struct, {"y": 2})


def test_subclasses_of_builtins_keep_their_builtin_value():
    class Whole(int):
        pass

    class Real(float):
        pass

    class Raw(bytes):
        pass

    class Pair(tuple):
        __slots__ = ()

    class Bag(set):
        pass

    class Moment(datetime):
        pass

    for value, base in [
        (Text("a\0"), "a\0"),
        (Whole(2**60), 2**60),
        (Real("nan"), math.nan),
        (Raw(b"x"), b"x"),
        (Pair((1, 2)), (1, 2)),
        (Items([1, {2}]), [1, {2}]),
        (Attrs({"a": 1, 2: 3}), {"a": 1, 2: 3}),
        (Bag({1}), {1}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (defaultdict(None, {"k": [1]}), {"k": [1]}),
        (Moment(2026, 1, 2, fold=1), datetime(2026, 1, 2, fold=1)),  # noqa: DTZ001
    ]:
        back = kept(value)
        assert back.type == "subclass"
        assert back.name.endswith(type(value).__qualname__)
        assert same(back.value, base)
    moved = OrderedDict(a=1, b=2)
    moved.move_to_end("a")
    assert list(kept(moved).value) == ["b", "a"]


def test_what_a_class_adds_to_its_fields_is_said_to_be_lost():
    class Note(str):  # noqa: SLOT000
        pass

    note = Note("x")
    note.author = "me"  # type: ignore[attr-defined]
    encoded = lost(note)
    assert decode(encoded.text) == tagged("subclass", Note, "x", "its attribute 'author'")
    assert "without its attribute 'author'" in encoded.warnings[0]


class Hidden(BaseModel):
    a: int = 1
    _seen: list[int] = PrivateAttr(default_factory=list)
    _name: str = "none"


@dataclass
class Doubtful(dict):
    x: int = 1


class Slots(Slotted):
    __slots__ = ("__private", "extra")


@dataclass(slots=True)
class Slotted2(Slotted):
    b: int = 2


def test_what_a_class_hides_is_said_to_be_lost():
    hidden = Hidden()
    assert kept(hidden) == tagged("model", Hidden, {"a": 1}, unset=("a",))
    hidden._seen.append(1)
    assert decode(lost(hidden).text).lost == "its private attribute '_seen'"
    hidden = Hidden(a=1)
    hidden._name = "other"
    assert decode(lost(hidden).text).lost == "its private attribute '_name'"

    slots: Any = Slots(1)
    assert kept(slots) == tagged("dataclass", Slots, {"a": 1})
    slots.extra = 3
    slots._Slots__private = 4
    assert decode(lost(slots).text).lost == "its attribute '_Slots__private' and 1 more"
    assert kept(Slotted2(1)) == tagged("dataclass", Slotted2, {"a": 1, "b": 2})

    assert kept(Doubtful(2)) == tagged("dataclass", Doubtful, {"x": 2})
    doubtful = Doubtful(2)
    doubtful["k"] = "v"
    assert decode(lost(doubtful).text).lost == "its own items"
    assert decode(lost(defaultdict(list, {"k": [1]})).text).lost == "its default_factory"
    assert "beside its items" in decode(lost(gmtime(0)).text).lost


def test_a_date_that_equals_no_datetime_is_not_truncated_to_one():
    class Nano(datetime):  # as pandas.Timestamp
        def __eq__(self, other: object) -> bool:
            return False

        __hash__ = datetime.__hash__

    assert decode(lost(Nano(2026, 1, 1)).text).type == "repr"


def test_class_values_inside_others_and_as_keys():
    value = {Color.RED: [Finding("a")], Point(1, 2): {Finding("b"), Finding("c")}}
    back = kept(value)
    assert back[tagged("enum", Color, "r")] == [
        tagged("dataclass", Finding, {"name": "a", "scores": (), "hidden": "h"})
    ]
    assert len(back[tagged("namedtuple", Point, {"x": 1, "y": 2})]) == 2


def test_tagged_values_come_back_when_they_are_stored_again():
    back = kept({"k": [Color.RED, Finding("a")]})
    assert kept(back) == back
    assert kept(Tagged("a\0", "\ud800", {1: b""})) == Tagged("a\0", "\ud800", {1: b""})


def test_tagged_is_inert_immutable_and_hashes_as_it_equals():
    assert hash(Tagged("enum", "a", 1)) == hash(Tagged("enum", "a", True))
    left, right = ({"a": [1, {2}, bytearray(b"x"), ({},)]}, {"a": [1.0, frozenset({2}), bytearray(b"x"), ({},)]})
    assert Tagged("x", "y", left) == Tagged("x", "y", right)
    assert hash(Tagged("x", "y", left)) == hash(Tagged("x", "y", right))
    assert len({hash(Tagged("dataclass", "Cell", {"x": x, "y": y})) for x in range(30) for y in range(30)}) > 800
    with pytest.raises(AttributeError):
        Tagged("a", "b", 1).value = 2  # type: ignore[misc]


def test_a_secret_inside_a_model_is_not_revealed():
    class Login(BaseModel):
        password: SecretStr

    assert "hunter2" not in lost(Login(password=SecretStr("hunter2"))).text


# ---- what cannot be kept ----


class Anything:
    def __init__(self, error: BaseException | None = None, text: Any = "ok") -> None:
        self.error = error
        self.text = text

    def __repr__(self) -> str:
        if self.error is not None:
            raise self.error
        return self.text  # type: ignore[no-any-return]


def test_everything_else_is_stored_as_its_repr_with_a_warning():
    with open(os.devnull) as file:  # noqa: PTH123
        for value in [len, lambda: 0, object(), ValueError("x"), sys, file, Finding, range(3), memoryview(b""), ...]:
            encoded = lost({"v": [value]})
            back = decode(encoded.text)["v"][0]
            assert back.type == "repr"
            assert back.value == repr(value)
            assert encoded.warnings[0] == f"{back.name} stored as its repr: it cannot be given back on resume"


@pytest.mark.parametrize(
    "error", [TypeError(), RecursionError(), asyncio.CancelledError(), GeneratorExit(), MemoryError()]
)
def test_a_repr_that_raises_stops_nothing(error):
    assert decode(lost(Anything(error)).text).value == f"<repr failed: {type(error).__name__}>"
    assert decode(lost(Anything(text=5)).text).value == "<repr failed: TypeError>"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_repr_does_not_swallow_what_ends_the_program(error):
    with pytest.raises(error):
        encode([Anything(error())])


def test_a_repr_is_truncated_visibly_and_storable():
    value = decode(lost(Anything(text="\0\ud800" + "x" * 5_000_000)).text).value
    assert len(value) == 1000
    assert value.startswith("\\u0000\\ud800x")
    assert value.endswith("…")
    assert decode(lost(Anything(text=Text("y" * 1000))).text).value == "y" * 1000


def test_classes_that_lie_or_break_are_stored_as_reprs():
    class Meta(type):
        @property
        def __module__(cls) -> str:  # type: ignore[override]
            raise ValueError

    class Odd(metaclass=Meta):
        __dataclass_fields__ = 5

        def __repr__(self) -> str:
            return "odd"

    class Missing:
        __class__ = dict  # type: ignore[assignment]

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __repr__(self) -> str:
            return "missing"

    assert decode(lost(Odd()).text).value == "odd"
    assert decode(lost(Missing()).text).value == "missing"
    broken = Slotted(1)
    del broken.a
    assert decode(lost(broken).text).type == "repr"


def test_iterators_are_not_consumed():
    generator = (number for number in range(3))
    iterator = iter([1, 2])
    mapped = map(str, [1])
    lost([generator, iterator, mapped])
    assert (list(generator), list(iterator), list(mapped)) == ([0, 1, 2], [1, 2], ["1"])

    async def agenerator():
        yield 1

    async def coroutine():
        return 1

    waiting = coroutine()
    lost([agenerator(), waiting])
    assert asyncio.run(waiting) == 1


def test_warnings_are_bounded_and_each_is_given_once():
    assert len(lost([object() for _ in range(1000)]).warnings) == 1
    kinds = [type(f"Kind{number}", (), {})() for number in range(100)]
    warnings = lost(kinds).warnings
    assert len(warnings) == 21
    assert warnings[-1].startswith("and 80 more")


# ---- shapes that break recursive code ----


def test_cycles_are_marked_where_they_close():
    items: list[Any] = [1]
    items.append(items)
    assert decode(lost(items).text) == [1, Tagged("cycle", "", None)]
    mapping: dict[Any, Any] = {"a": {"b": ()}}
    mapping["a"]["b"] = (mapping, {1: mapping})
    mark = Tagged("cycle", "", None)
    assert decode(lost(mapping).text) == {"a": {"b": (mark, {1: mark})}}
    slotted = Slotted(1)
    slotted.a = [slotted]  # type: ignore[assignment]
    assert decode(lost(slotted).text).value == {"a": [mark]}
    own = Attrs()
    own["me"] = own
    assert decode(lost(own).text).value == {"me": mark}


def test_what_is_shared_is_repeated_and_no_cycle():
    shared = [{1}]
    assert same(kept([shared, (shared, shared), {"k": shared}]), [[{1}], ([{1}], [{1}]), {"k": [{1}]}])


def nest(wrap: Any, levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


WRAPS = [
    (lambda value: [value], 1),
    (lambda value: {"k": value}, 1),
    (lambda value: (value,), 2),
    (lambda value: {1: value}, 3),
    (Slotted, 2),
    (lambda value: frozenset({value}), 2),
]


@pytest.mark.parametrize(("wrap", "levels"), WRAPS)
def test_deep_values_are_kept_to_the_limit_and_marked_beyond(wrap, levels):
    deepest = tagging.MAX_DEPTH // levels
    encoded = encode(nest(wrap, deepest))
    assert encoded.rebuildable
    assert encode(decode(encoded.text)).rebuildable or levels == 2
    beyond = lost(nest(wrap, deepest + 1))
    assert "too_deep" in beyond.text
    assert "too_deep" in lost(nest(wrap, 500)).text
    decode(beyond.text)
    decode(object_text({"inner": Json(f"[{object_text({'result': beyond.text})}]")}))


def test_depth_far_beyond_the_stack_crashes_nothing():
    value: Any = []
    for _ in range(100_000):
        value = [value]
    lost(value)
    digest(value)
    assert not plain(value)
    while value:  # or freeing it is what this measures
        value = value[0]


def test_a_stack_that_is_nearly_used_up_changes_nothing():
    value = nest(lambda inner: {"b": [inner], "a": 0}, 80)
    odd = nest(lambda inner: [(inner,)], 55)
    expected = [encode(value), encode(odd), digest(value), digest(odd)]
    remaining = sys.getrecursionlimit() - 120

    def deep(levels: int) -> Any:
        if levels:
            return deep(levels - 1)
        found: list[Any] = [encode(value), encode(odd), digest(value), digest(odd)]
        return found, decode(found[0].text), decode(found[1].text)

    frame: Any = sys._getframe()
    while frame is not None:
        frame = frame.f_back
        remaining -= 1
    found, back, back_odd = deep(remaining)
    assert found == expected
    assert same(back, value)
    assert same(back_odd, odd)


def test_shared_references_do_not_explode(monkeypatch):
    value: Any = ["lol"]
    for _ in range(100):
        value = [value, value]
    monkeypatch.setattr(tagging, "MAX_NODES", 10_000)
    monkeypatch.setattr("investigation_sdk.storage.codec.MAX_NODES", 10_000)
    encoded = lost(value)
    assert len(encoded.text) < 200_000
    assert "truncated" in encoded.text
    decode(encoded.text)


def test_a_container_beyond_the_number_of_values_is_replaced_and_its_neighbours_are_not():
    big = [0] * (tagging.MAX_NODES + 1)
    assert decode(lost([{"a": 1}, (big,), "x"]).text) == [
        {"a": 1},
        (Tagged("truncated", "builtins.list", len(big)),),
        "x",
    ]
    assert decode(lost(big).text) == Tagged("truncated", "builtins.list", len(big))
    assert kept(big[:-2])[-1] == 0


def test_a_dict_that_another_thread_changes_crashes_nothing():
    value: dict[Any, Any] = {"a": {"b": {}}, "t": (1,)}
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for target in (value, value["a"], value["a"]["b"]):
                target[f"k{number % 50}"] = number
                target.pop(f"k{(number * 7) % 50}", None)

    thread = threading.Thread(target=change)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(1500):
            decode(encode(value).text)
            decode(encode(value["a"]).text)
            digest(value["a"])
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)


def test_a_subclass_that_is_changed_while_it_is_read_crashes_nothing():
    class Growing(OrderedDict):
        pass

    value: Any = Growing((number, number) for number in range(50))

    class Grows:
        def __repr__(self) -> str:
            value[len(value)] = 0
            return "grows"

    value["x"] = Grows()
    lost(value)


# ---- size ----


def test_a_text_longer_than_the_limit_is_refused_with_both_sizes():
    assert len(encode("é" * 4, max_bytes=10).text.encode()) == 10
    with pytest.raises(PayloadTooLarge, match=r"10 bytes.*9 bytes are the most.*reference"):
        encode("é" * 4, max_bytes=9)
    with pytest.raises(PayloadTooLarge, match=r"37 bytes.*20 bytes are the most"):
        encode({"a": (1, 2)}, max_bytes=20)
    assert encode({"a": (1, 2)}, max_bytes=1000).rebuildable
    with pytest.raises(PayloadTooLarge):
        encode([0] * 100, max_bytes=100)


def test_what_is_far_too_large_is_refused_before_it_is_written():
    text = "x" * 1_000_000
    for value in ([text] * 100_000, {"k": [[text] * 1000] * 1000}, {text: ()}, [({text: [b"y" * 1000]},)] * 100_000):
        with pytest.raises(PayloadTooLarge):
            encode(value, max_bytes=100_000)


def test_the_limit_counts_what_is_stored_not_what_repeats_in_a_cycle():
    items: list[Any] = ["x" * 1000]
    items.append(items)
    assert len(encode(items, max_bytes=1100).text) < 1100


# ---- digest ----


def test_the_digest_ignores_the_order_of_keys_and_nothing_else():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": [{"x": 1, "y": (2,)}]}) == digest({"a": [{"y": (2,), "x": 1}]})
    assert digest({"a": {"x": 1, "y": 2}, "b": 0}) == digest({"b": 0, "a": {"y": 2, "x": 1}})
    assert digest({1: "x", 2: "y"}) == digest({2: "y", 1: "x"})
    assert digest([1, 2]) != digest([2, 1])


def test_the_digest_tells_types_apart():
    different = [1, 1.0, True, "1", None, "null", [1], (1,), {1}, {"1": 1}, {1: 1}, b"1", Decimal(1), [], {}, "", 0.0]
    different += [-0.0, "a", "a\0", 2**53, float(2**53), Level.HIGH, 3, Color.RED, "r", Text("r")]
    assert len({digest(value) for value in different}) == len(different)
    assert len({digest({"v": value}) for value in different}) == len(different)


def test_the_digest_is_this_one():
    # sha256 of '{"a":[1,2.5,"é"],"b":null}'
    value = {"b": None, "a": [1, 2.5, "é"]}
    text = '{"a":[1,2.5,"é"],"b":null}'.encode()
    assert digest(value) == hashlib.sha256(text).hexdigest()[:32]
    assert digest(value, key=b"") == hmac.new(b"", text, "sha256").hexdigest()[:32]
    assert digest(value, key=b"k") == hmac.new(b"k", text, "sha256").hexdigest()[:32]
    assert (
        digest({"é": 1, "z": 2, "\U0001f600": 3, "\uffff": 4, "Z": 5})
        == hashlib.sha256('{"Z":5,"z":2,"é":1,"\uffff":4,"\U0001f600":3}'.encode()).hexdigest()[:32]
    )


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(any_text | st.integers(), values, max_size=6), st.randoms())
def test_the_digest_is_that_of_any_order(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert digest(dict(items)) == digest(value)


def test_sets_have_one_text_in_every_process():
    code = (
        "from investigation_sdk.storage.codec import encode, digest;"
        "v = {'k': {'a', 'b', 'c', 'd', ('e', 1), frozenset('xyz')}};"
        "print(encode(v).text, digest(v))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in range(1, 5)
    }
    assert len(outputs) == 1


# ---- plain, object_text ----


def test_plain_means_stored_without_a_tag():
    for value in [
        None,
        True,
        0,
        2**53,
        -1.5,
        "",
        "$type",
        "\\u0000",
        ['"$type"'],
        {"a": [{}]},
        nest(lambda v: [v], 180),
    ]:
        assert plain(value)
    for other in [2**53 + 1, math.nan, "\0", "\ud800", {"$type": 1}, {1: 1}, (), Level.HIGH, nest(lambda v: [v], 181)]:
        assert not plain(other)
        assert not plain([other])


def test_object_text_keeps_order_and_embeds_json():
    members = {
        "b": Json('{"x":[1]}'),
        "a": 'q"\\\n\x7fé\u2028',
        "n": None,
        "t": True,
        "f": False,
        "i": -5,
        "d": 1e-7,
        "l": [1, {"k": "v"}],
        "hex": "\\u0041",
    }
    text = object_text(members)
    assert text == to_json({**members, "b": {"x": [1]}}).decode()
    assert list(json.loads(text)) == list(members)
    assert object_text({}) == "{}"
    assert object_text({"a": ""}) == '{"a":""}'


@given(st.dictionaries(st.sampled_from(["a", "bc", "tool_name"]), values, max_size=3))
def test_object_text_stores_whatever_it_is_given(members):
    text = object_text(members)
    check_text(Json(text))
    assert same(decode(text), members)


# ---- hostile rows ----

HOSTILE = [
    '{"$type":"enum","name":"os.system","value":"touch /tmp/owned"}',
    '{"$type":"model","name":"subprocess.Popen","value":{"args":["true"]}}',
    '{"$type":"dataclass","name":"antigravity.X","value":{"__class__":"os"}}',
    '{"$type":"subclass","name":"this","value":[1]}',
    '{"$type":"py/object","name":"os.system"}',
    '{"$type":"pickle","value":"gASVCAAAAAAAAACMBGV2aWyULg=="}',
    '{"$type":"__import__","items":["antigravity"]}',
    '{"lc":2,"type":"constructor","id":["os","system"],"kwargs":{}}',
    '{"$type":"repr","class":"os","repr":"__import__(\'antigravity\')"}',
]


def test_hostile_rows_import_and_execute_nothing():
    code = """
import sys
from investigation_sdk.storage.codec import decode
before, events, armed = set(sys.modules), [], False
sys.addaudithook(lambda event, args: events.append(event) if armed else None)
texts = sys.argv[1:]
armed = True
for text in texts:
    decode(text)
armed = False
assert not events, events
assert set(sys.modules) == before
"""
    subprocess.run(
        [sys.executable, "-c", code, *HOSTILE, *MALFORMED, *(text for _, text in TAGGED_EXAMPLES)], check=True
    )
    found = [decode(text) for text in HOSTILE]
    assert found[0] == Tagged("enum", "os.system", "touch /tmp/owned")
    assert found[4] == Tagged("py/object", "", {"name": "os.system"})
    assert found[7] == json.loads(HOSTILE[7])
    assert all(type(value) in (Tagged, dict) for value in found)


MALFORMED = [
    '{"$type":5}',
    '{"$type":null,"items":[]}',
    '{"$type":{"$type":"tuple","items":[]}}',
    '{"$type":""}',
    '{"$type":"tuple"}',
    '{"$type":"tuple","items":"abc"}',
    '{"$type":"tuple","items":[],"more":1}',
    '{"$type":"set","items":[[]]}',
    '{"$type":"set","items":[1,1]}',
    '{"$type":"frozenset","items":{"a":1}}',
    '{"$type":"dict","items":[[1]]}',
    '{"$type":"dict","items":[[1,2],[1,3]]}',
    '{"$type":"dict","items":["ab"]}',
    '{"$type":"dict","items":[[[],1]]}',
    '{"$type":"bytes","value":"!"}',
    '{"$type":"bytes","value":"é"}',
    '{"$type":"bytes","value":7}',
    '{"$type":"bytearray","value":100000000000}',
    '{"$type":"float","value":"1.5"}',
    '{"$type":"float","value":[]}',
    '{"$type":"int","value":"1_0"}',
    '{"$type":"int","value":"0x"}',
    '{"$type":"int","value":12}',
    '{"$type":"complex","value":[1]}',
    '{"$type":"complex","value":["a","b"]}',
    '{"$type":"Decimal","value":"x"}',
    '{"$type":"Decimal","value":" 1"}',
    '{"$type":"Decimal","value":["0",[1],0]}',
    '{"$type":"datetime","value":"yesterday"}',
    '{"$type":"datetime","value":"2026-01-01"}',
    '{"$type":"datetime","value":"2026-01-01T00:00:00","fold":2}',
    '{"$type":"date","value":"2026-01-01","fold":1}',
    '{"$type":"date","value":5}',
    '{"$type":"time","value":"25:00:00"}',
    '{"$type":"timedelta","value":[9999999999,0,0]}',
    '{"$type":"timedelta","value":[0,0,1000000]}',
    '{"$type":"timedelta","value":[0,true,0]}',
    '{"$type":"UUID","value":"{00000000-0000-0000-0000-000000000001}"}',
    '{"$type":"path","name":"Path.home","value":"x"}',
    '{"$type":"path","name":["PurePosixPath"],"value":"x"}',
    '{"$type":"path","name":"PurePosixPath","value":5}',
    '{"$type":"str","value":"%"}',
    '{"$type":"str","value":"%00"}',
    '{"$type":"str","value":"%0041"}',
    '{"$type":"str","value":"%D7FF"}',
    '{"$type":"str","value":"%%00000025"}',
    '{"$type":"enum"}',
    '{"$type":"enum","name":1,"value":1}',
    '{"$type":"enum","name":"a","value":1,"more":1}',
    '{"$type":"tagged","of":1,"name":"","value":1}',
    '{"$type":"repr","class":"a"}',
    '{"$type":"cycle","value":1}',
    '{"$type":"truncated","class":1,"length":1}',
    '{"$type":"no such tag","value":[1]}',
]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_tags_are_inert(text):
    members = json.loads(text)
    back = decode(text)
    assert type(back) is Tagged
    if isinstance(members["$type"], str):
        assert back == Tagged(members["$type"], "", {key: value for key, value in members.items() if key != "$type"})
    else:
        assert back.type == ""
    assert decode(f'{{"a":[{text}]}}') == {"a": [back]}
    assert decode(f'{{"$type":"tuple","items":[{text}]}}') == (back,)
    assert decode(encode(back).text) == back


json_trees = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["$type", "tuple", "set", "dict", "nan", "0x1", "%", "a", "2026-01-01", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$type", "value", "items", "name", "class", "a"]), inner, max_size=3)
        | st.fixed_dictionaries(
            {
                "$type": st.sampled_from(
                    ["tuple", "set", "dict", "complex", "timedelta", "enum", "str", "path", "tagged"]
                )
            },
            optional={"items": inner, "value": inner, "name": inner, "of": inner},
        )
        | st.builds(lambda items: {"$type": "dict", "items": items}, st.lists(st.lists(inner, max_size=3), max_size=3))
    ),
    max_leaves=12,
)


@settings(max_examples=600, deadline=None)
@given(json_trees)
def test_any_json_decodes_to_something_that_is_stored_exactly(tree):
    back = decode(json.dumps(tree))
    assert same(kept(back), back)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1,]",
        "nope",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e400",
        "[-1e999]",
        '{"a":1,"a":2}',
        '[{"b":{"$type":"cycle","$type":"tuple","items":[]}}]',
        '{"a":1,"\\u0061":2}',
        '"\\ud800"',
        '"\ud800"',
        "\ufeff1",
        "01",
        "1 2",
        "'a'",
        "9" * 5000,
        "[" * 202 + "]" * 202,
        "[" * 1_000_000,
        '{"a":' * 1_000_000,
        '{"$type":"tuple","items":[' * 150 + "]}" * 150,
    ],
    ids=lambda text: repr(text)[:30],
)
def test_text_that_is_no_stored_value_is_a_value_error(text):
    with pytest.raises(ValueError, match="not the text of a stored value"):
        decode(text)


def test_text_that_others_wrote_decodes_too():
    assert same(decode(' { "a" : 1E2 , "b" : "\\u0041" } '), {"a": 100.0, "b": "A"})
    assert same(decode('{"\\u0024type":"tuple","items":[1]}'), (1,))
    assert same(decode("-0"), 0)
    assert same(decode("9007199254740993"), 9007199254740993)


def test_deep_chains_of_tags_as_keys_do_not_exhaust_the_stack():
    text = "1"
    for _ in range(60):
        text = f'{{"$type":"enum","name":"a","value":{text}}}'
    assert len(decode(f'{{"$type":"set","items":[{text},1]}}')) == 2
    for _ in range(20):
        text = f'{{"$type":"frozenset","items":[{text}]}}'
    decode(text)
