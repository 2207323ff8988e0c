from __future__ import annotations

import json
import math
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from enum import Flag
from functools import cached_property
from time import gmtime
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr, SecretStr

from investigation_sdk.storage.codec import Tagged, decode, encode
from tests.storage.codec_values import Attrs, Color, Finding, Level, Slotted, Text, kept, lost, same


class Mode(Flag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: int
    y: Any


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


class Items(list):
    def __iter__(self) -> Any:
        raise AssertionError("user code")


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
