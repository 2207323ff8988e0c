"""A digest that was not recorded can be made from what was."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from investigation_sdk.storage.codec import digest, digest_of, digest_of_text, digest_of_tree, encode

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.characters(), max_size=20)
    | st.binary(max_size=8)
    | st.decimals(allow_nan=False)
    | st.datetimes(timezones=st.just(UTC))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=6), inner, max_size=4)
        | st.dictionaries(st.integers(), inner, max_size=2)
    ),
    max_leaves=12,
)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(values)
def test_the_digest_follows_from_the_recorded_text(value: Any) -> None:
    encoded = encode(value)
    assert encoded.rebuildable
    assert digest_of(encoded.text) == digest(value)


def test_the_order_of_keys_does_not_matter_and_types_do() -> None:
    one = {"b": [1, {"y": 1, "x": Decimal("1.0")}], "a": datetime(2026, 1, 1, tzinfo=UTC)}
    other = {"a": datetime(2026, 1, 1, tzinfo=UTC), "b": [1, {"x": Decimal("1.0"), "y": 1}]}
    assert digest_of(encode(one).text) == digest_of(encode(other).text) == digest(other)
    assert len({digest_of(encode(v).text) for v in (1, 1.0, True, "1", [1], (1,))}) == 6


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(trees)
def test_the_digest_of_a_text_is_that_of_its_tree_in_whatever_order_its_keys_are(tree: Any) -> None:
    text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()
    hashed, found = digest_of_text(text, json.loads(text))
    assert hashed == hashlib.sha256(text).digest()
    assert found == digest_of_tree(json.loads(text), tagged=False)
