"""From inert data back to instances, by annotations of live code: exactly, or a reason."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import pytest

from investigation_sdk.storage.hints import return_hint
from investigation_sdk.storage.rebuild import same
from tests.storage.rebuild_values import (
    ACCOUNT,
    RAN,
    Account,
    Alias,
    Aliased,
    Box,
    Color,
    Doubled,
    Finding,
    Frozen,
    Generous,
    Ids,
    Level,
    Loud,
    Mode,
    Movie,
    Name,
    Open,
    Point,
    UserId,
    Whole,
    identical,
    there_and_back,
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
