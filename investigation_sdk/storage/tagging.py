"""The careful way from any value to plain JSON: what JSON lacks is tagged, what cannot be kept is said.

:mod:`~investigation_sdk.storage.tags` is the way back.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# Values of any type: what pyright narrows from Any it calls unknown.

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from uuid import UUID

from pydantic_core import from_json

from investigation_sdk.errors import PayloadTooLarge
from investigation_sdk.storage.fields import attempt, class_name, safe_repr, shown, steady, take_apart
from investigation_sdk.storage.shape import MAX_DEPTH, MAX_NODES
from investigation_sdk.storage.spelling import to_json
from investigation_sdk.storage.tags import TAG, Tagged, canonical, decimal_text, escape

MAX_INT = 2**53
"""Integers beyond are tagged: readers that use doubles would change them."""

_MAX_WARNINGS = 20


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
        self.rebuildable: bool = True
        self.tagged: bool = False
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
        """`node`, noted as a tag."""
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
            node |= {"of": value.type, "name": value.name}
            fields = fields._replace(lost=value.lost, unset=value.unset)
        elif fields.tag == "enum" and type(value._name_) is str:
            node["member"] = value._name_
        node["value"] = fields.value
        if fields.lost:
            node["lost"] = shown(fields.lost)
        if fields.unset:
            node["unset"] = list(fields.unset)
        self.push(value, node, [key for key in node if key != TAG], depth + 1)
        return self.tag(node)

    def _truncated(self, value: Any, kind: type[Any]) -> Any:
        name = class_name(kind)
        self._lose(f"{name} left out: more than {MAX_NODES:,} values in one payload; it cannot be given back on resume")
        return self.tag({TAG: "truncated", "class": name, "length": len(value) if kind in _CONTAINERS else None})

    def _scalar(self, kind: type[Any], scalar: Callable[[Any], dict[str, Any]], value: Any) -> Any:
        node = attempt(lambda: scalar(value), None)
        if node is None:
            return self._instance(value, kind, 0)
        parts = node["value"]
        node["value"] = self._str(parts) if type(parts) is str else [self._encode(part, 0) for part in parts]
        return self.tag(node)

    def _str(self, value: str) -> Any:
        self.grow(len(value))
        if _storable(value):
            return value
        return self.tag({TAG: "str", "value": escape(value)})

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
    items = steady(list, value)
    # In the order of their texts: a set's own order differs from process to process.
    tagger.push(value, items, range(len(items)), depth + 2, finish=lambda: items.sort(key=_sort_text))
    return tagger.tag({TAG: type(value).__name__, "items": items})


def _dict(tagger: Tagger, value: dict[Any, Any], depth: int) -> Any:
    copy = value.copy()
    if TAG not in copy and all(type(key) is str and _storable(key) for key in copy):
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
        if type(value).fromisoformat(node["value"]).utcoffset() != value.utcoffset():
            raise ValueError("an offset below a second: Python's own parser misreads it")
        zone = getattr(value.tzinfo, "key", None)
        if type(zone) is str:
            node["zone"] = shown(zone)
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


def _storable(text: str) -> bool:
    """Whether every store takes the text: no NUL, no lone surrogates."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return "\0" not in text


def too_large(size: str, limit: int) -> PayloadTooLarge:
    """The error for a payload of `size` bytes."""
    return PayloadTooLarge(
        f"a payload of {size} bytes was not recorded, as {limit:,} bytes are the most: store the data elsewhere, and "
        "record a reference (a path, a key)"
    )
