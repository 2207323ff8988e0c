"""From inert data back to instances, by annotations of live code: exactly, or a reason."""

from __future__ import annotations

import re
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, RootModel, field_validator

from investigation_sdk.storage.codec import Tagged, decode, encode
from investigation_sdk.storage.hints import return_hint
from investigation_sdk.storage.rebuild import Rebuilt, rebuild, same

T = TypeVar("T")


class Color(Enum):
    RED = "r"
    PAIR = (1, Decimal("2.50"))
    ALSO_RED = "r"  # noqa: PIE796 - an alias


class Level(IntEnum):
    LOW = 1
    HIGH = 3


class Name(StrEnum):
    A = "a"
    B = "b"


class Mode(Flag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: int
    color: Color = Color.RED


class UserId(str):
    __slots__ = ()


class Ids(list[UserId]):
    pass


@dataclass
class Finding:
    level: Level
    points: list[Point] = field(default_factory=list)
    parent: Finding | None = None
    tags: frozenset[Name] = frozenset()
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Frozen:
    a: int
    color: Color


RAN: list[str] = []


@dataclass
class Loud:
    a: int
    b: int = field(init=False)
    start: InitVar[int] = 0

    def __post_init__(self, start: int) -> None:
        RAN.append("post_init")
        self.b = start + self.a


@dataclass
class Box(Generic[T]):
    item: T
    more: list[T] = field(default_factory=list)


class Account(BaseModel):
    id: UUID
    name: Name = Name.A
    findings: list[Finding] = []
    by_level: dict[Level, Point] = {}
    balance: Decimal = Decimal(0)
    raw: bytes = b""
    _note: str = PrivateAttr("none")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Aliased(BaseModel):
    inner: int = Field(alias="outer", gt=0)


class Generous(BaseModel, Generic[T]):
    item: T


class Whole(RootModel[list[Point]]):
    pass


class Doubled(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def double(cls, n: int) -> int:
        return n if n % 2 == 0 else 2 * n


class Movie(TypedDict, total=False):
    color: Color
    points: list[Point]


Alias = NewType("Alias", Account)


def there_and_back(value: Any, annotation: Any) -> Rebuilt:
    encoded = encode(value)
    assert encoded.rebuildable, encoded.warnings
    return rebuild(decode(encoded.text), annotation)


def identical(left: Any, right: Any) -> bool:
    """The same to Python and to the codec, of the very same classes."""
    return (
        type(left) is type(right)
        and left == right
        and repr(left) == repr(right)
        and encode(left).text == encode(right).text
    )


ACCOUNT = Account(
    id=UUID(int=7),
    name=Name.B,
    findings=[Finding(Level.HIGH, [Point(1), Point(2, Color.PAIR)], Finding(Level.LOW), frozenset(Name))],
    by_level={Level.HIGH: Point(0)},
    balance=Decimal("0.10"),
    raw=b"\0\xff",
)

Deep = list[tuple[Color, dict[str, dict[Level, list[Frozen]]]]]
CASES: list[tuple[Any, Any]] = [
    (Color.RED, Color),
    (Color.PAIR, Color),
    (Level.HIGH, Level),
    (Name.A, Name),
    (Mode.A | Mode.B, Mode),
    (Mode(0), Mode),
    (Color.RED, Literal[Color.RED, Color.PAIR]),
    (Color.RED, Color | None),
    (None, Color | None),
    (Color.RED, Annotated[Color, "why"]),
    (Color.RED, Final[Color]),
    (Point(1, Color.PAIR), Point),
    (UserId("u"), UserId),
    (Ids([UserId("a"), UserId("b")]), Ids),
    (OrderedDict(b=Color.RED, a=Color.PAIR), OrderedDict[str, Color]),
    (Counter({Color.RED: 2}), Counter[Color]),
    (Finding(Level.LOW, at=datetime(2026, 1, 2, tzinfo=UTC)), Finding),
    (Frozen(1, Color.RED), Frozen),
    (Box(Color.RED, [Color.PAIR]), Box[Color]),
    (Box(Box(Level.LOW)), Box[Box[Level]]),
    (ACCOUNT, Account),
    (ACCOUNT, Alias),
    (Account(id=UUID(int=1)), Account),
    (Open.model_validate({"a": 1, "more": [1, {"x": b"y"}], "$type": "z"}), Open),
    (Aliased(outer=3), Aliased),
    (Generous[Level](item=Level.LOW), Generous[Level]),
    (Whole([Point(1)]), Whole),
    ([ACCOUNT, Point(1), 5, "text", None], list[Account | Point | int | str | None]),
    ({"k": Level.LOW}, dict[str, Level]),
    ({"k": Level.LOW}, Mapping[str, Level]),
    ({Level.LOW: {Name.A}}, dict[Level, set[Name]]),
    ([Level.LOW], Sequence[Level]),
    ((Level.LOW, Name.A), tuple[Level, Name]),
    ((Level.LOW, Level.HIGH), tuple[Level, ...]),
    ((Level.LOW,), Sequence[Level]),
    ({Level.LOW, Level.HIGH}, set[Level]),
    (frozenset({Point(1)}), frozenset[Point]),
    ({"color": Color.RED, "points": [Point(3)]}, Movie),
    ([(Color.RED, {"x": {Level.LOW: [Frozen(1, Color.RED)]}})], Deep),
    (Doubled(n=4), Doubled),
]  # fmt: skip


@pytest.mark.parametrize(("value", "annotation"), CASES, ids=lambda each: str(each)[:40])
def test_it_comes_back(value: Any, annotation: Any) -> None:
    back = there_and_back(value, annotation)
    assert back.reason == ""
    assert identical(back.value, value)
    again = there_and_back([value], list[annotation])
    assert identical(again.value, [value])


@pytest.mark.parametrize(
    "value",
    [
        1, -0.0, "x", None, True, [1, {"a": [None]}], (1, (2,)), {1, 2}, frozenset({b"x"}), b"\0", bytearray(b"x"),
        2**80, Decimal("1.10"), UUID(int=1), date(2026, 1, 1), time(1, 2), timedelta(1, 2, 3), 1j, PurePosixPath("/x"),
        datetime(2026, 1, 1),  # noqa: DTZ001
        datetime(2026, 1, 1, tzinfo=UTC), {1: {(2, 3): "x"}}, "\0\ud800",
    ],
)  # fmt: skip
@pytest.mark.parametrize("annotation", [Any, None, int, list[Account], "no annotation", object()])
def test_what_has_no_class_of_anybody_s_needs_no_annotation(value: Any, annotation: Any) -> None:
    back = there_and_back(value, annotation)
    assert (back.reason, identical(back.value, value)) == ("", True)


def test_fields_that_were_not_set_stay_so() -> None:
    for value in (Account(id=UUID(int=1)), Account(id=UUID(int=1), name=Name.A), Account.model_construct(raw=b"x")):
        back = there_and_back(value, Account).value
        assert back.model_fields_set == value.model_fields_set
        assert back.model_dump(exclude_unset=True) == value.model_dump(exclude_unset=True)
        assert back._note == "none"


def test_init_does_not_run_again() -> None:
    value = Loud(1, start=41)
    RAN.clear()
    assert there_and_back(value, Loud).value == value
    assert RAN == []


def test_decimals_are_the_same_by_all_their_digits() -> None:
    for number in ("sNaN", "NaN123", "1.00", "-0", "1E+3"):
        assert same(Decimal(number), Decimal(number))
        assert there_and_back(Point(1)._replace(x=Decimal(number)), Point).reason == ""  # type: ignore[arg-type]
    assert not same(Decimal("1.0"), Decimal("1.00"))


def test_members_are_the_members() -> None:
    assert there_and_back(Color.ALSO_RED, Color).value is Color.RED
    assert there_and_back([Color.PAIR], list[Color]).value[0] is Color.PAIR


def test_annotations_of_a_live_function() -> None:
    def plain(x: int) -> list[Account] | None:
        return None

    async def later() -> dict[str, Finding]:
        return {}

    def silent():
        pass

    def unknown() -> NotThere:  # type: ignore[name-defined]  # noqa: F821
        pass

    assert there_and_back([ACCOUNT], return_hint(plain)).value == [ACCOUNT]
    assert there_and_back({"k": Finding(Level.LOW)}, return_hint(later)).value == {"k": Finding(Level.LOW)}
    for fn in (silent, unknown):
        assert "says nothing of a class" in there_and_back(Level.LOW, return_hint(fn)).reason
        assert there_and_back([1], return_hint(fn)).value == [1]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type aliases of their own are new in Python 3.12")
def test_aliases_of_their_own() -> None:
    names: dict[str, Any] = {"Level": Level, "Point": Point}
    exec("type Levels = list[Level]\ntype Many[T] = dict[str, T | Many[T]]", names)  # noqa: S102 - syntax of 3.12
    assert there_and_back([Level.LOW], names["Levels"]).value == [Level.LOW]
    nested = {"a": Point(1), "b": {"c": Point(2)}}
    assert there_and_back(nested, names["Many"][Point]).value == nested


# ---- refused


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
    assert "has no member of that value" in rebuild(Tagged("enum", f"{__name__}.Color", "gone"), Color).reason
    assert "no enumeration any more" in rebuild(Tagged("enum", f"{__name__}.Point", 1), Point).reason
    assert "no named tuple any more" in rebuild(Tagged("namedtuple", f"{__name__}.Color", {}), Color).reason
    assert "no dataclass any more" in rebuild(Tagged("dataclass", f"{__name__}.Color", {}), Color).reason
    assert "no pydantic model any more" in rebuild(Tagged("model", f"{__name__}.Color", {}), Color).reason
    assert "derives from another" in rebuild(Tagged("subclass", f"{__name__}.UserId", 5), UserId).reason
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


# ---- hypothesis

leaves: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(),
    str: st.text(),
    float: st.floats(),
    bytes: st.binary(),
    bool: st.booleans(),
    type(None): st.none(),
    Decimal: st.decimals(allow_nan=False),
    UUID: st.uuids(),
    datetime: st.datetimes(timezones=st.none() | st.just(UTC)),
    date: st.dates(),
    timedelta: st.timedeltas(),
    Color: st.sampled_from(Color),
    Level: st.sampled_from(Level),
    Name: st.sampled_from(Name),
    Mode: st.sampled_from([Mode(0), Mode.A, Mode.B, Mode.A | Mode.B]),
    Point: st.builds(Point, st.integers(), st.sampled_from(Color)),
    UserId: st.text().map(UserId),
    Finding: st.builds(Finding, st.sampled_from(Level), at=st.none() | st.datetimes()),
    Frozen: st.builds(Frozen, st.integers(), st.sampled_from(Color)),
    Account: st.builds(
        Account,
        id=st.uuids(),
        name=st.sampled_from(Name),
        by_level=st.dictionaries(st.sampled_from(Level), st.builds(Point, st.integers())),
        raw=st.binary(),
    ),
    Open: st.builds(Open, a=st.integers()),
}
Typed = tuple[Any, st.SearchStrategy[Any]]
HASHABLE: list[Any] = [str, int, Level, Name, Point, UserId, Frozen, UUID]


def of(combine: Callable[..., Typed], *inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    return st.tuples(*inner).map(lambda typed: combine(*typed))


def hint(origin: Any, *arguments: Any) -> Any:
    return origin[arguments]


typed: st.SearchStrategy[Typed] = st.recursive(
    st.sampled_from(list(leaves.items())),
    lambda inner: (
        of(lambda a: (hint(list, a[0]), st.lists(a[1], max_size=4)), inner)
        | of(lambda a: (hint(Sequence, a[0]), st.lists(a[1], max_size=4)), inner)
        | of(lambda a: (a[0] | None, a[1] | st.none()), inner)
        | of(lambda a: (hint(Annotated, a[0], "x"), a[1]), inner)
        | of(lambda a, b: (hint(tuple, a[0], b[0]), st.tuples(a[1], b[1])), inner, inner)
        | of(lambda a: (hint(tuple, a[0], ...), st.lists(a[1], max_size=4).map(tuple)), inner)
        | of(lambda a: (hint(dict, str, a[0]), st.dictionaries(st.text(), a[1], max_size=4)), inner)
        | of(lambda a: (hint(Box, a[0]), st.builds(Box, a[1])), inner)
        | st.sampled_from(HASHABLE).map(lambda kind: (hint(set, kind), st.sets(leaves[kind], max_size=4)))
        | st.sampled_from(HASHABLE).map(lambda kind: (hint(frozenset, kind), st.frozensets(leaves[kind], max_size=4)))
    ),
    max_leaves=6,
)
typed_values = typed.flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1]))


@settings(max_examples=400, deadline=None)
@given(typed_values)
def test_any_value_of_an_annotation_comes_back_as_it_was(pair: tuple[Any, Any]) -> None:
    annotation, value = pair
    back = there_and_back(value, annotation)
    assert back.reason == "", (annotation, value)
    assert type(back.value) is type(value)
    assert same(decode(encode(back.value).text), decode(encode(value).text))
    assert repr(back.value) == repr(value) or isinstance(value, set | frozenset) or "{" in repr(value)


@settings(max_examples=400, deadline=None)
@given(typed_values, typed)
def test_under_another_annotation_it_comes_back_as_it_was_or_there_is_a_reason(
    pair: tuple[Any, Any], other: Typed
) -> None:
    _, value = pair
    back = there_and_back(value, other[0])
    if back.reason:
        assert back.value is None
    else:
        assert same(decode(encode(back.value).text), decode(encode(value).text))
