"""The same value is the same bytes, whichever pydantic is installed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from investigation_sdk.storage.codec import digest, encode
from investigation_sdk.storage.spelling import to_json, with_plus

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        (b"[1e22,-1.5e300,1e-7,5e-324]", b"[1e+22,-1.5e+300,1e-7,5e-324]"),
        (b'{"1e22":1e16,"a\\"1e22":"\\\\","b":2e20}', b'{"1e22":1e+16,"a\\"1e22":"\\\\","b":2e+20}'),
        ('"ü 1e22"'.encode(), '"ü 1e22"'.encode()),
        (b"[1e+22]", b"[1e+22]"),
    ],
)
def test_large_floats_have_a_plus_and_texts_stay(written: bytes, spelled: bytes) -> None:
    assert with_plus(written) == spelled


@given(VALUES)
def test_what_is_spelled_is_the_same_value_spelled_once(value: object) -> None:
    data = to_json(value)
    assert with_plus(data) == data
    assert json.loads(data) == value


def test_floats_have_one_spelling_and_one_digest() -> None:
    assert encode([1e22, {"a": -2.5e300}, 1e-7]).text == '[1e+22,{"a":-2.5e+300},1e-7]'
    assert digest({"x": 1e22}) == "259959e642f8c8b97c24df2bb5942de4"
