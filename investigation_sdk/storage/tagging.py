"""The careful way from any value to plain JSON: what JSON lacks is tagged, what cannot be kept is said.

:mod:`~investigation_sdk.storage.tags` is the way back. User code that can run here: ``__repr__`` of what is stored
as its repr, a ``tzinfo``'s ``utcoffset``, ``__eq__`` of subclasses of date and datetime, and descriptors that a
class has as its fields. What it raises, other than KeyboardInterrupt and SystemExit, stops nothing.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cached_property
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from pydantic_core import from_json, to_json

from investigation_sdk.errors import PayloadTooLarge
from investigation_sdk.storage.tags import TAG, Tagged, canonical, decimal_text

MAX_DEPTH = 180
"""Levels of containers in the text of one value. JSON readers stop somewhere (pydantic's at 200), and a value is
put into an event that has levels of its own."""
MAX_NODES = 1_000_000
"""Values inside one value, a shared one counted as often as it is reached."""
MAX_INT = 2**53
"""Integers beyond are tagged: readers that use doubles would change them."""

_T = TypeVar("_T")
_MAX_REPR = 1000
_MAX_WARNINGS = 20
_RETRIES = 8
_UNSTORABLE = re.compile("[%\0\ud800-\udfff]")
_UNSHOWABLE = re.compile("[\0\ud800-\udfff]")


class Fields(NamedTuple):
    """A value of a class, taken apart: its tag, what stands for it, and what of it gets lost."""

    tag: str
    value: Any
    lost: str = ""


@dataclass(slots=True)
class _Frame:
    """A container that is being filled: `tree[key]`, for each of the `keys`, holds a value not yet encoded."""

    owner: Any
    tree: Any
    keys: Iterator[Any]
    depth: int
    finish: Callable[[], None] | None


class Tagger:
    """Encodes one value; then tells whether all of it can be given back, and whether anything is `tagged`."""

    __slots__ = ("_active", "_frames", "_limit", "_nodes", "_size", "_warnings", "rebuildable", "tagged")

    def __init__(self, limit: int | None = None) -> None:
        self.rebuildable = True
        self.tagged = False
        self._warnings: dict[str, None] = {}
        self._limit = limit
        self._size = 0
        self._nodes = 0
        self._active: set[int] = set()
        self._frames: list[_Frame] = []

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be kept, each kind once; the last one says how many kinds more there are."""
        shown = tuple(self._warnings)[:_MAX_WARNINGS]
        more = len(self._warnings) - len(shown)
        return (*shown, f"and {more} more kinds of values could not be stored fully") if more else shown

    def run(self, value: Any) -> Any:
        """The tree of plain JSON for `value`. It keeps a stack of its own: the caller's never limits it.

        Raises:
            PayloadTooLarge: its strings alone are longer than the limit.
        """
        holder = [value]
        frames = self._frames
        frames.append(_Frame(holder, holder, iter((0,)), 0, None))
        while frames:
            frame = frames[-1]
            tree = frame.tree
            for key in frame.keys:
                tree[key] = self._encode(tree[key], frame.depth)
                if frames[-1] is not frame:
                    break
            else:
                frames.pop()
                self._active.discard(id(frame.owner))
                if frame.finish is not None:
                    frame.finish()
        return holder[0]

    def push(
        self,
        owner: Any,
        tree: Any,
        keys: Iterable[Any],
        depth: int,
        finish: Callable[[], None] | None = None,
    ) -> None:
        """Have the `keys` of `tree`, which hold parts of the value `owner`, encoded next, `depth` levels down."""
        self._nodes += len(tree)
        self._active.add(id(owner))
        self._frames.append(_Frame(owner, tree, iter(list(keys)), depth, finish))

    def tag(self, node: dict[str, Any]) -> dict[str, Any]:
        self.tagged = True
        return node

    def grow(self, size: int) -> None:
        """Count characters of text; each is a byte at least."""
        self._size += size
        if self._limit is not None and self._size > self._limit:
            raise too_large(f"more than {self._size:,}", self._limit)

    def _encode(self, value: Any, depth: int) -> Any:
        """The tree of `value`, `depth` levels down; where it is a container, a frame that fills it is pushed."""
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return self._str(value)
        if (kind is int and -MAX_INT <= value <= MAX_INT) or (kind is float and value - value == 0.0):
            return value
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            return self._scalar(kind, scalar, value)
        if id(value) in self._active:
            self._lose("a reference from inside a value to itself was left out: it cannot be given back on resume")
            return self.tag({TAG: "cycle"})
        if depth >= MAX_DEPTH:
            self._lose(f"what is nested deeper than {MAX_DEPTH} levels was left out: it cannot be given back on resume")
            return self.tag({TAG: "too_deep"})
        container = _CONTAINERS.get(kind)
        if self._nodes + (len(value) if container is not None else 0) > MAX_NODES:
            return self._truncated(value, kind)
        if container is not None:
            return container(self, value, depth)
        return self._instance(value, kind, depth)

    def _instance(self, value: Any, kind: type[Any], depth: int) -> Any:
        """A value of a class that is no builtin: its fields, where it is known which they are, or its repr."""
        fields = attempt(lambda: take_apart(value, kind), None)
        name = class_name(kind)
        if fields is None:
            self._lose(f"{name} stored as its repr: it cannot be given back on resume")
            text = safe_repr(value)
            self.grow(len(text))
            return self.tag({TAG: "repr", "class": name, "repr": text})
        if fields.lost:
            self._lose(f"{name} stored without {fields.lost}: it cannot be given back on resume")
        node: dict[str, Any] = {TAG: fields.tag, "name": name}
        if kind is Tagged:
            node = {TAG: fields.tag, **fields.value}
            self.push(value, node, ("type", "name", "value"), depth + 1)
            return self.tag(node)
        if fields.tag == "enum":
            node["member"] = _shown(str(value._name_))
        node["value"] = fields.value
        self.push(value, node, ("value",), depth + 1)
        return self.tag(node)

    def _truncated(self, value: Any, kind: type[Any]) -> Any:
        name = class_name(kind)
        self._lose(f"{name} left out: more than {MAX_NODES:,} values in one payload; it cannot be given back on resume")
        return self.tag({TAG: "truncated", "class": name, "length": len(value) if kind in _CONTAINERS else 1})

    def _scalar(self, kind: type[Any], scalar: Callable[[Any], dict[str, Any]], value: Any) -> Any:
        node = attempt(lambda: scalar(value), None)
        if node is None:
            return self._instance(value, kind, 0)
        parts = node["value"]
        node["value"] = self._str(parts) if type(parts) is str else [self._encode(part, 0) for part in parts]
        return self.tag(node)

    def _str(self, value: str) -> Any:
        self.grow(len(value))
        if storable(value):
            return value
        # Each code point apart: UTF-16 would join two lone surrogates into one character.
        return self.tag({TAG: "str", "value": _UNSTORABLE.sub(lambda match: f"%{ord(match[0]):04X}", value)})

    def _lose(self, warning: str) -> None:
        self.rebuildable = False
        self._warnings[warning] = None


def _list(tagger: Tagger, value: list[Any], depth: int) -> Any:
    items = value.copy()
    tagger.push(value, items, range(len(items)), depth + 1)
    return items


def _tuple(tagger: Tagger, value: tuple[Any, ...], depth: int) -> Any:
    items = list(value)
    tagger.push(value, items, range(len(items)), depth + 2)
    return tagger.tag({TAG: "tuple", "items": items})


def _set(tagger: Tagger, value: set[Any] | frozenset[Any], depth: int) -> Any:
    items = _steady(lambda: list(value))
    # In the order of their texts: a set's own order differs from process to process.
    tagger.push(value, items, range(len(items)), depth + 2, finish=lambda: items.sort(key=_sort_text))
    return tagger.tag({TAG: type(value).__name__, "items": items})


def _dict(tagger: Tagger, value: dict[Any, Any], depth: int) -> Any:
    copy = value.copy()
    if TAG not in copy and all(type(key) is str and storable(key) for key in copy):
        tagger.grow(sum(map(len, copy)))
        tagger.push(value, copy, copy, depth + 1)
        return copy
    flat = [part for pair in copy.items() for part in pair]
    items: list[list[Any]] = []

    def finish() -> None:
        items.extend(map(list, zip(flat[::2], flat[1::2], strict=True)))

    tagger.push(value, flat, range(len(flat)), depth + 3, finish=finish)
    return tagger.tag({TAG: "dict", "items": items})


_CONTAINERS: dict[type[Any], Callable[[Tagger, Any, int], Any]] = {
    list: _list,
    dict: _dict,
    tuple: _tuple,
    set: _set,
    frozenset: _set,
}


def _sort_text(item: Any) -> bytes:
    return canonical(from_json(to_json(item))) if isinstance(item, (dict, list)) else to_json(item)


def _moment(value: datetime | time) -> dict[str, Any]:
    """Aware ones keep their offset; the name of the zone is for people."""
    node: dict[str, Any] = {TAG: type(value).__name__, "value": value.isoformat()}
    if value.fold:
        node["fold"] = 1
    if value.tzinfo is not None:
        if value.utcoffset() is None:
            raise ValueError("a zone without an offset: would come back naive")
        zone = getattr(value.tzinfo, "key", None)
        if type(zone) is str:
            node["zone"] = _shown(zone)
    return node


def _path(value: Any) -> dict[str, Any]:
    text = str(value)
    if type(value)(text) != value:
        raise ValueError("not its text's path")
    return {TAG: "path", "name": type(value).__name__, "value": text}


_SCALARS: dict[type[Any], Callable[[Any], dict[str, Any]]] = {
    int: lambda value: {TAG: "int", "value": hex(value)},
    float: lambda value: {TAG: "float", "value": repr(value)},
    complex: lambda value: {TAG: "complex", "value": [value.real, value.imag]},
    Decimal: lambda value: {TAG: "Decimal", "value": decimal_text(value)},
    bytes: lambda value: {TAG: "bytes", "value": b64encode(value).decode()},
    bytearray: lambda value: {TAG: "bytearray", "value": b64encode(bytes(value)).decode()},
    datetime: _moment,
    time: _moment,
    date: lambda value: {TAG: "date", "value": value.isoformat()},
    timedelta: lambda value: {TAG: "timedelta", "value": [value.days, value.seconds, value.microseconds]},
    UUID: lambda value: {TAG: "UUID", "value": str(value)},
    **dict.fromkeys((PurePosixPath, PosixPath, PureWindowsPath, WindowsPath), _path),
}

# How to get the builtin value out of one of a subclass without running any of its methods.
_BASES: dict[type[Any], Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    complex: complex.__complex__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    bytearray: bytearray.copy,
    list: list.copy,
    tuple: lambda value: tuple(tuple.__iter__(value)),
    OrderedDict: lambda value: dict(OrderedDict.items(value)),
    dict: lambda value: dict(dict.items(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    datetime: lambda value: datetime.combine(datetime.date(value), datetime.timetz(value)),
    date: lambda value: date.fromordinal(date.toordinal(value)),
}


def take_apart(value: Any, kind: type[Any]) -> Fields | None:
    """The fields of a value of class `kind`, by name, or its builtin base; None where it is known of neither.

    Private attributes of pydantic models are not data, as in pydantic's own serialization, and are left out.
    """
    if kind is Tagged:
        return Fields("tagged", {"type": value.type, "name": value.name, "value": value.value})
    if issubclass(kind, Enum):
        return Fields("enum", value._value_)
    if issubclass(kind, tuple) and type(getattr(kind, "_fields", None)) is tuple:
        return Fields("namedtuple", dict(zip(kind._fields, tuple.__iter__(value), strict=True)))  # type: ignore[attr-defined]
    names = _field_names(kind)
    if names is None and isinstance(getattr(kind, "__pydantic_fields__", None), dict):
        stored = _attributes(value)
        extra = object.__getattribute__(value, "__pydantic_extra__") or {}
        return Fields("model", {name: stored[name] for name in kind.__pydantic_fields__ if name in stored} | extra)
    if names is not None:
        return Fields("dataclass", {name: object.__getattribute__(value, name) for name in names}, _lost(value, names))
    for base, plain_value in _BASES.items():
        if issubclass(kind, base) and (kind is not base or base is OrderedDict):
            stored_as = _steady(lambda: plain_value(value))
            if base in (datetime, date) and not stored_as == value:  # pandas keeps nanoseconds as well
                return None
            return Fields("subclass", stored_as, _lost(value, ()))
    return None


def _field_names(kind: type[Any]) -> tuple[str, ...] | None:
    """The names of the fields of a dataclass, an attrs class or a msgspec struct."""
    fields = getattr(kind, "__dataclass_fields__", None)
    if isinstance(fields, dict):
        # Pseudo-fields (ClassVar, InitVar) are no attributes of the value.
        return tuple(name for name, field in fields.items() if field._field_type.name == "_FIELD")
    fields = getattr(kind, "__attrs_attrs__", None)
    if isinstance(fields, tuple):
        return tuple(field.name for field in fields)
    names = getattr(kind, "__struct_fields__", None)
    return names if type(names) is tuple else None


def _attributes(value: Any) -> dict[str, Any]:
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return attributes.copy() if isinstance(attributes, dict) and attributes is not value else {}


def _lost(value: Any, names: tuple[str, ...]) -> str:
    """Which attributes of `value` are neither among its fields nor computed from them."""
    more = [
        _shown(str(name))
        for name in _attributes(value)
        if name not in names and not isinstance(getattr(type(value), name, None), cached_property)
    ]
    return f"its attribute {more[0]!r}" + (f" and {len(more) - 1} more" if len(more) > 1 else "") if more else ""


def attempt(function: Callable[[], _T], otherwise: _T) -> _T:
    """What a function that may run user code returns; `otherwise` where it raises anything that can be caught."""
    try:
        return function()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        return otherwise


def _steady(copy: Callable[[], Any]) -> Any:
    """A copy of a container that another thread may be changing."""
    for _ in range(_RETRIES):
        try:
            return copy()
        except RuntimeError:
            continue
    return copy()


def safe_repr(value: Any) -> str:
    """``repr(value)``, at most 1,000 characters of it, that any store takes; if it raises, a text that says so."""
    try:
        text = str.__str__(repr(value))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        text = f"<repr failed: {type(error).__name__}>"
    text = _shown(text[: _MAX_REPR + 1])
    return text if len(text) <= _MAX_REPR else text[: _MAX_REPR - 1] + "…"


def class_name(kind: type[Any]) -> str:
    """Module and qualified name of a class, for people."""
    return _shown(attempt(lambda: f"{kind.__module__}.{kind.__qualname__}", type.__repr__(kind)))


def storable(text: str) -> bool:
    """Whether every store takes the text: no NUL, no lone surrogates."""
    if text.isascii():
        return "\0" not in text
    return _UNSHOWABLE.search(text) is None


def _shown(text: str) -> str:
    return _UNSHOWABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def too_large(size: str, limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"a payload of {size} bytes was not recorded, the limit is {limit:,} bytes: "
        "raise the limit, or pass and return a reference (a path, a key) in place of the content"
    )
