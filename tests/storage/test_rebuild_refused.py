from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import pydantic
import pytest
from pydantic import AfterValidator, BaseModel, field_validator

from investigation_sdk.storage.codec import Tagged, decode, encode
from investigation_sdk.storage.rebuild import rebuild
from tests.storage.rebuild_values import (
    Account,
    Aliased,
    Box,
    Color,
    Doubled,
    Finding,
    Level,
    Movie,
    Open,
    Point,
    T,
    UserId,
    there_and_back,
)


class Sub(Account):
    pass


class Other(Enum):
    RED = "r"


def made(name: str, **fields: Any) -> Any:
    return type(name, (), {"__annotations__": fields, "__module__": __name__, "__qualname__": name})


@pytest.mark.parametrize(
    ("value", "annotation", "reason"),
    [
        (Level.LOW, Any, "says nothing of a class"),
        (Level.LOW, None, "says nothing of a class"),
        (Level.LOW, object, "says nothing of a class"),
        (Level.LOW, T, "says nothing of a class"),
        (Level.LOW, int, "it says builtins.int"),
        (Level.LOW, "Level", "says nothing of a class"),
        (Color.RED, Other, "does not allow .*Color there: it says .*Other"),
        (Sub(id=UUID(int=1)), Account, "does not allow .*Sub there"),
        ([Level.LOW], list, "says nothing of a class"),
        ([Level.LOW], Level, "says nothing of a class"),
        ({"k": Level.LOW}, list[Level], "says nothing of a class"),
        ((Level.LOW,), tuple[Level, Level], "says nothing of a class"),
        ({"color": 1, "other": Level.LOW}, Movie, "says nothing of a class"),
        (Open.model_validate({"a": 1, "more": Level.LOW}), Open, "says nothing of a class"),
        (Box(Level.LOW), Box, "says nothing of a class"),
        (Doubled.model_construct(n="x"), Doubled, "does not take the recorded fields"),
    ],
)  # fmt: skip
def test_where_the_annotation_does_not_say_there_is_a_reason(value: Any, annotation: Any, reason: str) -> None:
    back = there_and_back(value, annotation)
    assert back.value is None
    assert re.search(reason, back.reason), back.reason


def test_of_two_classes_of_one_name_none_is_guessed() -> None:
    def make() -> Any:
        @dataclass
        class Twin:
            a: int

        return Twin

    one, two = make(), make()
    assert there_and_back(one(1), one).value == one(1)
    assert "2 classes called" in there_and_back(one(1), one | two).reason


def changed(value: Any, annotation: Any, **stored: Any) -> str:
    """The reason why a stored value does not become what its class is today."""
    tagged: Tagged = decode(encode(value).text)
    back = rebuild(Tagged(tagged.type, tagged.name, {**tagged.value, **stored}), annotation)
    assert back.value is None
    return back.reason


def test_a_class_that_has_changed_since() -> None:
    assert "has no member of that value" in rebuild(Tagged("enum", f"{Color.__module__}.Color", "gone"), Color).reason
    assert "no enumeration any more" in rebuild(Tagged("enum", f"{Point.__module__}.Point", 1), Point).reason
    assert "no named tuple any more" in rebuild(Tagged("namedtuple", f"{Color.__module__}.Color", {}), Color).reason
    assert "no dataclass any more" in rebuild(Tagged("dataclass", f"{Color.__module__}.Color", {}), Color).reason
    assert "no pydantic model any more" in rebuild(Tagged("model", f"{Color.__module__}.Color", {}), Color).reason
    assert "derives from another" in rebuild(Tagged("subclass", f"{UserId.__module__}.UserId", 5), UserId).reason
    assert "fields of" in changed(Finding(Level.LOW), Finding, new=1)
    assert "fields of" in changed(Point(1), Point, y=1)
    assert "fields of" in changed(Account(id=UUID(int=1)), Account, unknown=1)
    assert "does not take the recorded fields" in changed(Account(id=UUID(int=1)), Account, balance="much")
    if pydantic.VERSION >= "2.11":  # before, fields with an alias cannot be validated by their names
        assert "does not take the recorded fields" in changed(Aliased(outer=1), Aliased, inner=-1)


@pytest.mark.parametrize(
    "kind", ["repr", "truncated", "cycle", "too_deep", "too_large", "unstorable", "masked", "x", ""]
)
def test_what_was_not_recorded_cannot_come_back(kind: str) -> None:
    back = rebuild({"k": [Tagged(kind, "builtins.int", 1)]}, dict[str, list[int]])
    assert back.value is None
    assert len(back.reason) > 10


def test_what_was_lost_cannot_come_back() -> None:
    note: Any = Finding(Level.LOW)
    note.cache = {}
    assert "without its attribute 'cache'" in rebuild(decode(encode(note).text), Finding).reason
    account = Account(id=UUID(int=1))
    account._note = "mine"
    assert "private attribute '_note'" in rebuild(decode(encode(account).text), Account).reason


def test_a_value_that_its_class_changes_when_it_is_made_is_refused() -> None:
    class Moody(BaseModel):
        n: Annotated[int, AfterValidator(lambda n: n)]

        def __setstate__(self, state: dict[Any, Any]) -> None:
            raise AssertionError("a model's own way of being unpickled is not asked")

    value = Moody(n=1)
    assert there_and_back(value, Moody).value == value

    class Fickle(str):
        __slots__ = ()

        def __new__(cls, *_: object) -> Any:
            raise AssertionError("not asked")

    assert there_and_back(str.__new__(Fickle, "x"), Fickle).value == "x"


@dataclass(eq=False)
class Equal:
    n: int

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


def test_items_that_became_equal_are_refused() -> None:
    tagged = [Tagged("dataclass", f"{__name__}.Equal", {"n": n}) for n in range(2)]
    assert "equal as instances" in rebuild(set(tagged), set[Equal]).reason
    assert "equal as instances" in rebuild(dict.fromkeys(tagged), dict[Equal, None]).reason


def test_what_raises_stops_nothing() -> None:
    @dataclass
    class Broken:
        n: int

        def __setattr__(self, name: str, value: Any) -> None:
            raise RuntimeError

    value = object.__new__(Broken)
    object.__setattr__(value, "n", 1)
    assert there_and_back(value, Broken).value.n == 1

    class Explodes(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def check(cls, _: int) -> int:
            raise OSError("validators may do anything")

    assert "OSError" in there_and_back(Explodes.model_construct(n=1), Explodes).reason


def test_other_libraries_classes() -> None:
    attrs: Any = pytest.importorskip("attrs", reason="attrs is not installed")
    msgspec: Any = pytest.importorskip("msgspec", reason="msgspec is not installed")

    @attrs.define(eq=True)
    class Attr:
        level: Level
        items: list[Point]

    @attrs.frozen(cache_hash=True)
    class Hashed:
        level: Level

    class Struct(msgspec.Struct):
        level: Level
        more: dict[str, Point]

    scope: dict[str, Any] = {"Attr": Attr, "Hashed": Hashed, "Struct": Struct}
    for value in (
        scope["Attr"](Level.LOW, [Point(1)]),
        scope["Hashed"](Level.HIGH),
        Struct(Level.LOW, {"k": Point(1)}),
    ):
        back = there_and_back(value, scope[type(value).__name__])
        assert back.reason == ""
        assert back.value == value
    hashed = scope["Hashed"](Level.LOW)
    assert hash(there_and_back(hashed, Hashed).value) == hash(hashed)
