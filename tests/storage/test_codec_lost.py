from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import pytest

from investigation_sdk.storage.codec import decode, encode
from tests.storage.codec_values import Finding, Slotted, Text, lost


class Anything:
    def __init__(self, error: BaseException | None = None, text: Any = "ok") -> None:
        self.error = error
        self.text = text

    def __repr__(self) -> str:
        if self.error is not None:
            raise self.error
        return self.text  # type: ignore[no-any-return]


def test_everything_else_is_stored_as_its_repr_with_a_warning():
    with open(os.devnull) as file:  # noqa: PTH123
        for value in [len, lambda: 0, object(), ValueError("x"), sys, file, Finding, range(3), memoryview(b""), ...]:
            encoded = lost({"v": [value]})
            back = decode(encoded.text)["v"][0]
            assert back.type == "repr"
            assert back.value == repr(value)
            assert encoded.warnings[0] == f"{back.name} stored as its repr: it cannot be given back on resume"


@pytest.mark.parametrize(
    "error", [TypeError(), RecursionError(), asyncio.CancelledError(), GeneratorExit(), MemoryError()]
)
def test_a_repr_that_raises_stops_nothing(error):
    assert decode(lost(Anything(error)).text).value == f"<repr failed: {type(error).__name__}>"
    assert decode(lost(Anything(text=5)).text).value == "<repr failed: TypeError>"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_repr_does_not_swallow_what_ends_the_program(error):
    with pytest.raises(error):
        encode([Anything(error())])


def test_a_repr_is_truncated_visibly_and_storable():
    value = decode(lost(Anything(text="\0\ud800" + "x" * 5_000_000)).text).value
    assert len(value) == 1000
    assert value.startswith("\\u0000\\ud800x")
    assert value.endswith("…")
    assert decode(lost(Anything(text=Text("y" * 1000))).text).value == "y" * 1000


def test_classes_that_lie_or_break_are_stored_as_reprs():
    class Meta(type):
        @property
        def __module__(cls) -> str:  # type: ignore[override]
            raise ValueError

    class Odd(metaclass=Meta):
        __dataclass_fields__ = 5

        def __repr__(self) -> str:
            return "odd"

    class Missing:
        __class__ = dict  # type: ignore[assignment]

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __repr__(self) -> str:
            return "missing"

    assert decode(lost(Odd()).text).value == "odd"
    assert decode(lost(Missing()).text).value == "missing"
    broken = Slotted(1)
    del broken.a
    assert decode(lost(broken).text).type == "repr"


def test_iterators_are_not_consumed():
    generator = (number for number in range(3))
    iterator = iter([1, 2])
    mapped = map(str, [1])
    lost([generator, iterator, mapped])
    assert (list(generator), list(iterator), list(mapped)) == ([0, 1, 2], [1, 2], ["1"])

    async def agenerator():
        yield 1

    async def coroutine():
        return 1

    waiting = coroutine()
    lost([agenerator(), waiting])
    assert asyncio.run(waiting) == 1


def test_warnings_are_bounded_and_each_is_given_once():
    assert len(lost([object() for _ in range(1000)]).warnings) == 1
    kinds = [type(f"Kind{number}", (), {})() for number in range(100)]
    warnings = lost(kinds).warnings
    assert len(warnings) == 21
    assert warnings[-1].startswith("and 80 more")
