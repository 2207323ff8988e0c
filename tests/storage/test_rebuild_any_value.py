from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from investigation_sdk.storage.codec import decode, encode
from investigation_sdk.storage.rebuild import same
from tests.storage.rebuild_values import (
    Account,
    Box,
    Color,
    Finding,
    Frozen,
    Level,
    Mode,
    Name,
    Open,
    Point,
    UserId,
    there_and_back,
)

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
