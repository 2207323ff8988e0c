from __future__ import annotations

import asyncio
import copy
import json
import math
import os
from datetime import datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal, localcontext
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from investigation_sdk.storage.codec import Json, Tagged, decode, digest, encode, object_text, plain
from tests.storage.codec_values import TAGGED_EXAMPLES, Level, check_text, kept, lost, nest, same, values


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
