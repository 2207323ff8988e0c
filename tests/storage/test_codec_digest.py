from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
import sys
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from investigation_sdk.storage.codec import digest
from tests.storage.codec_values import Color, Level, Text, any_text, values


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
