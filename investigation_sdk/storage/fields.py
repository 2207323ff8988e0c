"""What a value of a user's class consists of, found out without trusting the class.

User code that can run here: ``__repr__`` of what is stored as its repr, ``__eq__`` of subclasses of date and
datetime, and descriptors that a class has as its fields. What it raises, other than KeyboardInterrupt and
SystemExit, stops nothing.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# Values of any type: what pyright narrows from Any it calls unknown.

from __future__ import annotations

import dataclasses
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from datetime import date, datetime
from enum import Enum
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeVar

from investigation_sdk.storage.tags import Tagged

_T = TypeVar("_T")
_MAX_REPR = 1000
_RETRIES = 8
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Fields(NamedTuple):
    """A value of a class, taken apart: its tag, what stands for it, what of it gets lost, which fields were not set."""

    tag: str
    value: Any
    lost: str = ""
    unset: tuple[str, ...] = ()


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
    """The fields of a value of class `kind`, by name, or its builtin base; None where it is known of neither."""
    if kind is Tagged:
        return Fields("tagged", value.value)
    if issubclass(kind, Enum):
        return Fields("enum", value._value_)
    names = getattr(kind, "_fields", None)
    if issubclass(kind, tuple) and type(names) is tuple:
        items = dict(zip(names, tuple.__iter__(value), strict=True))
        return Fields("namedtuple", items, _lost(value, names))
    names = field_names(kind)
    model_fields = getattr(kind, "__pydantic_fields__", None)
    if names is None and isinstance(model_fields, dict):
        return _model(value, kind, model_fields)
    if names is not None:
        stored = {name: object.__getattribute__(value, name) for name in names}
        return Fields("dataclass", stored, _lost(value, names) or _own_items(value, kind))
    for base, copy in _BASES.items():
        if issubclass(kind, base) and (kind is not base or base is OrderedDict):
            plain_value = steady(copy, value)
            equal = base not in {datetime, date} or plain_value == value
            if not equal:  # pandas keeps nanoseconds as well
                return None
            return Fields("subclass", plain_value, _lost(value, ()) or _beside_items(value, kind))
    return None


def _model(value: Any, kind: type[Any], model_fields: dict[str, Any]) -> Fields:
    """A pydantic model. Its private attributes are not data, as in pydantic's own serialization, and are lost unless
    they are as a new instance has them."""
    stored = _attributes(value)
    extra = object.__getattribute__(value, "__pydantic_extra__") or {}
    were_set = object.__getattribute__(value, "__pydantic_fields_set__")
    private = object.__getattribute__(value, "__pydantic_private__") or {}
    initial = getattr(kind, "__private_attributes__", {})
    changed = [name for name in private if not _is_initial(private[name], initial.get(name))]
    lost = f"its private attribute {changed[0]!r}" if changed else _lost(value, tuple(model_fields))
    fields = {name: stored[name] for name in model_fields if name in stored}
    unset = tuple(name for name in fields if name not in were_set)
    return Fields("model", fields | extra, lost, unset)


def _is_initial(value: Any, attribute: Any) -> bool:
    factory = getattr(attribute, "default_factory", None)
    if factory in _EMPTY:
        return type(value) is factory and not value
    default = getattr(attribute, "default", attribute)
    return value is default or (type(value) in _PLAIN and type(default) is type(value) and value == default)


_EMPTY: Final = (list, dict, set)
_PLAIN: Final = (str, int, float, bool)


def _own_items(value: Any, kind: type[Any]) -> str:
    """What a value with fields holds as the builtin that its class derives from."""
    if issubclass(kind, BaseException):
        return "its arguments"
    base = next((base for base in _BASES if issubclass(kind, base)), None)
    return "" if base is None or not steady(_BASES[base], value) else "its own items"


def _beside_items(value: Any, kind: type[Any]) -> str:
    """What a value of a subclass of a builtin has where nobody looks for it."""
    if issubclass(kind, defaultdict) and value.default_factory is not None:
        return "its default_factory"
    if getattr(kind, "n_fields", 0) != getattr(kind, "n_sequence_fields", 0):  # e.g. time.struct_time
        return "what it has beside its items"
    return ""


def field_names(kind: type[Any]) -> tuple[str, ...] | None:
    """The names of the fields of a dataclass, an attrs class or a msgspec struct."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
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
    kind = type(value)
    more = [
        shown(str(name))
        for name in (*_attributes(value), *_slots(value, kind))
        if name not in names and name not in _BOOKKEEPING and not isinstance(getattr(kind, name, None), cached_property)
    ]
    return f"its attribute {more[0]!r}" + (f" and {len(more) - 1} more" if len(more) > 1 else "") if more else ""


_BOOKKEEPING: Final = frozenset(
    {"__dict__", "__weakref__", "__orig_class__", "_attrs_cached_hash"}
    | {"__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"}
)
"""Names that say nothing of the value: set by Python, typing and attrs; what pydantic's hold is seen to elsewhere."""


def _slots(value: Any, kind: type[Any]) -> list[str]:
    """The slots of a value that have something in them."""
    found: list[str] = []
    for cls in kind.__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            private = name.startswith("__") and not name.endswith("__")
            slot = f"_{cls.__name__.lstrip('_')}{name}" if private else name
            if _has(value, slot):
                found.append(slot)
    return found


def _has(value: Any, slot: str) -> bool:
    try:
        object.__getattribute__(value, slot)
    except AttributeError:
        return False
    return True


def attempt(function: Callable[[], _T], otherwise: _T) -> _T:
    """What a function that may run user code returns; `otherwise` where it raises anything that can be caught."""
    try:
        return function()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        return otherwise


def steady(copy: Callable[[Any], Any], value: Any) -> Any:
    """`copy(value)`, tried again where another thread is changing the container."""
    for _ in range(_RETRIES):
        try:
            return copy(value)
        except RuntimeError:
            continue
    return copy(value)


def safe_repr(value: Any) -> str:
    """``repr(value)``, at most 1,000 characters of it, that any store takes; if it raises, a text that says so."""
    try:
        text = str.__str__(repr(value))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        text = f"<repr failed: {type(error).__name__}>"
    text = shown(text[: _MAX_REPR + 1])
    return text if len(text) <= _MAX_REPR else text[: _MAX_REPR - 1] + "…"


def class_name(kind: type[Any]) -> str:
    """Module and qualified name of a class, for people."""
    return shown(attempt(lambda: f"{kind.__module__}.{kind.__qualname__}", type.__repr__(kind)))[:_MAX_REPR]


def shown(text: str) -> str:
    """The text for people, in a form that every store takes."""
    return _UNSTORABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
