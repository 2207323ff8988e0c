"""What a tag in a stored payload says, and the way back from it to a value.

A value that JSON lacks is stored as an object with the member ``"$type"``. Tags of builtin and standard library
types give the very same value back; all others give a :class:`Tagged`. Nothing here imports, evaluates, or makes
an instance of a class that a stored name asks for.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# Values of any type: what pyright narrows from Any it calls unknown.

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from uuid import UUID

from investigation_sdk.storage.spelling import to_json

TAG = "$type"
CLASS_TAGS = frozenset({"enum", "model", "dataclass", "namedtuple", "subclass"})
"""Tags of values of classes: class name and value; the live function's annotation may rebuild them."""

_HASH_DEPTH = 4
_DIGEST = re.compile("[0-9a-f]{64}")
_HEX = re.compile(r"-?0x[0-9a-f]+", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile("%(D[89A-F][0-9A-F]{2})")
_PATHS = {path.__name__: path for path in (PurePosixPath, PosixPath, PureWindowsPath, WindowsPath)}


@dataclass(frozen=True, slots=True)
class Tagged:
    """What is known of a stored value whose class is not rebuilt here: inert data, never an instance of it.

    `type` is the tag; `name` the class's name, never looked up, or empty; `value` what was stored with it: an
    enum member's value, the fields of a model, dataclass or named tuple by name, a subclass's builtin value, a
    repr; for an unknown or malformed tag, the other members of the stored object. `lost` says what the instance had
    besides, `unset` which fields of a model nobody had set.
    """

    type: str
    name: str
    value: Any
    lost: str = ""
    unset: tuple[str, ...] = ()

    def __hash__(self) -> int:
        return _hash(self, _HASH_DEPTH)


@dataclass(frozen=True, slots=True)
class LargePayload:
    """Stands in a record for a payload that is too large to come with every list.

    ``await sdk.payload(record.investigation_id, it)`` reads what it stands for.

    Attributes:
        digest: SHA-256 of its JSON text in UTF-8, 64 hexadecimal digits.
        bytes: The size of that text.
    """

    digest: str
    bytes: int

    def __repr__(self) -> str:
        return f"LargePayload(bytes={self.bytes:,}, digest='{self.digest[:12]}…', read it with sdk.payload(…))"


NOT_ALL = frozenset({"blob", "masked", "too_large", "unstorable"})
"""Tags that stand where something is not."""


def tagged_objects(tree: Any) -> Iterator[dict[str, Any]]:
    """The objects in parsed JSON that have a tag, in no particular order."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if type(node) is dict:
            if TAG in node:
                yield node
            todo.extend(node.values())
        elif type(node) is list:
            todo.extend(node)


def tags_in(tree: Any) -> set[str]:
    """All tags in parsed JSON."""
    return {node[TAG] for node in tagged_objects(tree) if type(node[TAG]) is str}


def references(tree: Any) -> list[LargePayload]:
    """The blobs that parsed JSON refers to."""
    found = [_restore_one(node) for node in tagged_objects(tree) if node[TAG] == "blob"]
    return [large for large in found if type(large) is LargePayload]


def _hash(value: Any, depth: int) -> int:
    """A hash, equal for equal values, of what `decode` makes, unhashable containers included."""
    if depth == 0:
        return 0
    if isinstance(value, Tagged):
        return hash((value.type, value.name, _hash(value.value, depth - 1)))
    if isinstance(value, dict):
        return hash(frozenset((key, _hash(item, depth - 1)) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return hash(tuple(_hash(item, depth - 1) for item in value))
    if isinstance(value, set):
        return hash(frozenset(value))
    if isinstance(value, bytearray):
        return hash(bytes(value))
    try:
        return hash(value)
    except TypeError:  # a signaling NaN
        return 0


def restore(tree: Any) -> Any:
    """`tree`, parsed JSON that nobody else holds, with each tagged object replaced by its value, in place.

    Iterative, innermost first, so that the caller's stack never limits it.
    """
    holder = [tree]
    places: list[tuple[Any, Any]] = [(holder, 0)]
    for container, key in places:  # grows while it is read
        places.extend(nested(container[key]))
    for container, key in reversed(places):
        node = container[key]
        if type(node) is dict and TAG in node:
            container[key] = _restore_one(node)
    return holder[0]


def nested(node: Any) -> list[tuple[Any, Any]]:
    """The places, as (container, key or index), of the containers directly inside a piece of parsed JSON."""
    if type(node) is dict:
        return [(node, key) for key, child in node.items() if type(child) is dict or type(child) is list]
    if type(node) is list:
        return [(node, index) for index, child in enumerate(node) if type(child) is dict or type(child) is list]
    return []


def canonical(tree: Any) -> bytes:
    """The one JSON text, in UTF-8, of an encoded tree that nobody else holds: keys sorted by code point."""
    holder: list[Any] = [tree]
    places: list[tuple[Any, Any]] = [(holder, 0)]
    pairs: list[list[Any]] = []
    for container, key in places:  # grows while it is read
        node = container[key]
        if type(node) is dict:
            node = container[key] = dict(sorted(node.items()))
            if node.get(TAG) == "dict":
                pairs.append(node["items"])
            inside: Any = node.items()
        else:
            inside = enumerate(node) if type(node) is list else ()
        for place, child in inside:
            if type(child) is dict or type(child) is list:
                places.append((node, place))
    for items in reversed(pairs):  # the inner ones first: a key may have such pairs in it
        items.sort(key=_key_text)
    return to_json(holder[0])


def in_order(tree: Any) -> bool:
    """Whether the keys of all objects of an encoded tree without tags are sorted: then its text is canonical."""
    nodes = [tree]
    for node in nodes:  # grows while it is read
        if type(node) is dict:
            if len(node) > 1 and list(node) != sorted(node):
                return False
            nodes += [child for child in node.values() if type(child) is dict or type(child) is list]
        elif type(node) is list:
            nodes += [child for child in node if type(child) is dict or type(child) is list]
    return True


def _key_text(pair: list[Any]) -> bytes:
    return to_json(pair[0])


def _restore_one(node: dict[str, Any]) -> Any:
    """The value of one tagged object whose members are restored already; a Tagged where it is malformed."""
    tag = node[TAG]
    if type(tag) is str:
        restorer = _RESTORERS.get(tag)
        if restorer is not None:
            try:
                return restorer(node)
            except (ValueError, TypeError, KeyError, ArithmeticError, NotImplementedError, RecursionError):
                pass
        return Tagged(tag, "", {key: value for key, value in node.items() if key != TAG})
    return Tagged("", "", node)


def _member(node: Mapping[str, Any], name: str, kind: type[Any], size: int = 2) -> Any:
    """The member `name` of an object that has exactly `size` of them, and there is exactly a `kind`."""
    value = node[name]
    if type(value) is not kind or len(node) != size:
        raise ValueError(name)
    return value


def _text(node: dict[str, Any]) -> str:
    text: str = _member(node, "value", str)
    return text


def _items(node: dict[str, Any]) -> list[Any]:
    items: list[Any] = _member(node, "items", list)
    return items


def _same(value: Any, text: str, expected: str) -> Any:
    """`value`, if the text that it has is the stored one: standard parsers take more than they write."""
    if text != expected:
        raise ValueError(text)
    return value


def escape(text: str) -> str:
    """NUL, lone surrogates and ``%`` as ``%`` and four hexadecimal digits.

    Each code point apart: through UTF-16, two surrogates would come back as one character.
    """
    text = text.replace("%", "%0025").replace("\0", "%0000")
    return _SURROGATE.sub(lambda match: f"%{ord(match[0]):04X}", text)


def _str(node: dict[str, Any]) -> str:
    text = _text(node)
    if text.count("%") != text.count("%0000") + text.count("%0025") + len(_ESCAPED_SURROGATE.findall(text)):
        raise ValueError("escape")
    text = _ESCAPED_SURROGATE.sub(lambda match: chr(int(match[1], 16)), text.replace("%0000", "\0"))
    return text.replace("%0025", "%")


def _int(node: dict[str, Any]) -> int:
    text = _text(node)
    if not _HEX.fullmatch(text):
        raise ValueError("int")
    return int(text, 16)  # of a power of two: linear, and free of sys.set_int_max_str_digits


def _float(node: dict[str, Any]) -> float:
    text = _text(node)
    if text not in ("nan", "inf", "-inf"):
        raise ValueError("float")
    return float(text)  # a NaN of its own each: two of them are two keys


def _complex(node: dict[str, Any]) -> complex:
    real, imag = _member(node, "value", list)
    if type(real) is not float or type(imag) is not float:
        raise ValueError("complex")
    return complex(real, imag)


def decimal_text(value: Decimal) -> str:
    """All digits and the exponent, whatever the current context's ``capitals``."""
    return str(value).replace("e", "E")


def _decimal(node: dict[str, Any]) -> Decimal:
    value = Decimal(_text(node))
    return _same(value, decimal_text(value), node["value"])  # type: ignore[no-any-return]


def _uuid(node: dict[str, Any]) -> UUID:
    value = UUID(_text(node))
    return _same(value, str(value), node["value"])  # type: ignore[no-any-return]


def _moment(parse: Callable[[str], Any]) -> Callable[[dict[str, Any]], Any]:
    """The restorer of a date or time from ISO 8601; ``fold`` is kept beside, and a zone's name is display."""

    def restorer(node: dict[str, Any]) -> Any:
        if not node.keys() <= {TAG, "value", "fold", "zone"} or node.get("fold", 1) != 1:
            raise ValueError("moment")
        value = parse(node["value"])
        _same(value, value.isoformat(), node["value"])
        return value.replace(fold=1) if "fold" in node else value

    return restorer


def _timedelta(node: dict[str, Any]) -> timedelta:
    days, seconds, microseconds = parts = _member(node, "value", list)
    if any(type(part) is not int for part in parts):
        raise ValueError("timedelta")
    value = timedelta(days, seconds, microseconds)
    return _same(value, str([value.days, value.seconds, value.microseconds]), str(parts))  # type: ignore[no-any-return]


def _path(node: dict[str, Any]) -> Any:
    # The other system's concrete path raises NotImplementedError, and stays Tagged.
    return _PATHS[_member(node, "name", str, 3)](_member(node, "value", str, 3))


def _unique(kind: type[Any]) -> Callable[[dict[str, Any]], Any]:
    """The restorer of a set: items that are equal, or cannot be hashed, are malformed."""

    def restorer(node: dict[str, Any]) -> Any:
        items = _items(node)
        value = kind(items)
        if len(value) != len(items):
            raise ValueError("equal items")
        return value

    return restorer


def _dict(node: dict[str, Any]) -> dict[Any, Any]:
    pairs = _items(node)
    if any(type(pair) is not list for pair in pairs):
        raise ValueError("pair")
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("equal keys")
    return value


def _named(node: dict[str, Any]) -> Tagged:
    if not node.keys() <= {TAG, "name", "member", *_WITH_VALUE}:
        raise ValueError("member")
    return _with_value(node[TAG], node)


def _tagged(node: dict[str, Any]) -> Tagged:
    if not node.keys() <= {TAG, "of", "name", *_WITH_VALUE}:
        raise ValueError("member")
    return _with_value(_member(node, "of", str, len(node)), node)


_WITH_VALUE = ("value", "lost", "unset")


def _with_value(tag: str, node: dict[str, Any]) -> Tagged:
    lost, unset = node.get("lost", ""), node.get("unset", [])
    if type(lost) is not str or type(unset) is not list or any(type(name) is not str for name in unset):
        raise ValueError("member")
    return Tagged(tag, _member(node, "name", str, len(node)), node["value"], lost, tuple(unset))


def _repr(node: dict[str, Any]) -> Tagged:
    return Tagged("repr", _member(node, "class", str, 3), _member(node, "repr", str, 3))


def _truncated(node: dict[str, Any]) -> Tagged:
    return Tagged("truncated", _member(node, "class", str, 3), node["length"])


def _large(node: dict[str, Any]) -> LargePayload:
    digest, size = _member(node, "digest", str, 3), _member(node, "bytes", int, 3)
    if not _DIGEST.fullmatch(digest) or size < 1:
        raise ValueError("blob")
    return LargePayload(digest, size)


def _mark(node: dict[str, Any]) -> Tagged:
    if len(node) != 1:
        raise ValueError("mark")
    return Tagged(node[TAG], "", None)


_RESTORERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "str": _str,
    "int": _int,
    "float": _float,
    "complex": _complex,
    "Decimal": _decimal,
    "bytes": lambda node: b64decode(_text(node), validate=True),
    "bytearray": lambda node: bytearray(b64decode(_text(node), validate=True)),
    "datetime": _moment(datetime.fromisoformat),
    "date": _moment(date.fromisoformat),
    "time": _moment(time.fromisoformat),
    "timedelta": _timedelta,
    "UUID": _uuid,
    "path": _path,
    "tuple": lambda node: tuple(_items(node)),
    "set": _unique(set),
    "frozenset": _unique(frozenset),
    "dict": _dict,
    "blob": _large,
    "tagged": _tagged,
    "repr": _repr,
    "truncated": _truncated,
    "cycle": _mark,
    "too_deep": _mark,
    **dict.fromkeys(CLASS_TAGS, _named),
}
