from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from typing import Any

import pytest

from investigation_sdk.errors import PayloadTooLarge
from investigation_sdk.storage import tagging
from investigation_sdk.storage.codec import Json, Tagged, decode, digest, encode, object_text, plain
from investigation_sdk.storage.shape import MAX_DEPTH, MAX_NODES
from tests.storage.codec_values import Attrs, Slotted, kept, lost, nest, same

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
    deepest = MAX_DEPTH // levels
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
    encoded = lost(value)
    assert len(encoded.text) < 200_000
    assert "truncated" in encoded.text
    decode(encoded.text)


def test_a_container_beyond_the_number_of_values_is_replaced_and_its_neighbours_are_not():
    big = [0] * (MAX_NODES + 1)
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
