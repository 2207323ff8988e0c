"""The way back from inert data to instances of classes, by the annotation of live code and nothing else.

What :func:`~investigation_sdk.storage.codec.decode` gives is exact but for :class:`Tagged` parts. Each of them is made
an instance of the one class that the annotation allows there and whose name is the stored one. The stored name only
confirms: it is never looked up. Where the annotation does not say, or something of the value was lost, there is a
reason instead of a guess. In the end the instance is taken apart again, and must be what was stored.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# Values of any type: what pyright narrows from Any it calls unknown.

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum, Flag
from typing import Any, Final, cast

from investigation_sdk.storage.codec import decode, encode
from investigation_sdk.storage.fields import class_name, field_names
from investigation_sdk.storage.hints import alternatives, class_of, fields_of, items_of, of_key, of_position
from investigation_sdk.storage.tags import LargePayload, Tagged


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of it: `value`, or the `reason` why there is none."""

    value: Any = None
    reason: str = ""


class _Refused(Exception):
    """It cannot be rebuilt; the message says why."""


def rebuild(value: Any, annotation: Any) -> Rebuilt:
    """What was encoded, from what `decode` made of it and the annotation of the function that returned it.

    A value without parts of classes is given as it is, whatever the annotation says. Methods that can run: pydantic's
    validators of a model's fields, ``__post_init__`` of a msgspec struct, ``__eq__`` and ``__hash__`` of what is in
    sets and keys. Instances of other classes are made without their ``__init__``.

    Args:
        value: as decoded; not changed.
        annotation: resolved, not as text. None, or Any: nothing is known.
    """
    if not _has_tagged(value):
        return Rebuilt(value)
    try:
        rebuilt = _build(value, alternatives(annotation))
        again = encode(rebuilt)
        if not (again.rebuildable and same(decode(again.text), value)):
            return Rebuilt(reason="what was made of it is not what was recorded; its class has changed")
    except _Refused as refused:
        return Rebuilt(reason=str(refused))
    except RecursionError:
        return Rebuilt(reason="it is nested too deeply")
    except Exception as error:
        return Rebuilt(reason=f"making it failed with {type(error).__name__}; its class has changed")
    return Rebuilt(rebuilt)


def _has_tagged(value: Any) -> bool:
    todo = [value]
    while todo:
        one = todo.pop()
        kind = type(one)
        if kind is Tagged or kind is LargePayload:
            return True
        if kind is dict:
            todo.extend(one)
            todo.extend(one.values())
        elif kind in _SEQUENCES:
            todo.extend(one)
    return False


_SEQUENCES: Final = (list, tuple, set, frozenset)


def same(left: Any, right: Any) -> bool:
    """Whether two decoded values are the same: types, NaN, the sign of zero and the order of keys count."""
    kind = type(left)
    if kind is not type(right):
        return False
    if kind is float:
        return bool(left.hex() == right.hex())
    if kind is dict:
        return len(left) == len(right) and all(map(same, left.items(), right.items()))
    if kind in (list, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if kind is Tagged:
        return all(same(getattr(left, name), getattr(right, name)) for name in Tagged.__dataclass_fields__)
    if kind in _COMPARABLE:
        return bool(left == right)
    return encode(left).text == encode(right).text  # 1.0 and 1.00 are two decimals, and of some NaNs == raises


_COMPARABLE: Final = (str, int, bool, bytes, type(None))


def _build(value: Any, hints: list[Any]) -> Any:
    kind = type(value)
    if kind is Tagged:
        return _instance(value, hints)
    if kind is LargePayload:
        raise _Refused("a part of it is in a blob, which was not read")
    if kind is dict:
        keys, values = items_of(hints, mapping=True)
        built = {_build(key, keys): _build(item, values or of_key(hints, key)) for key, item in value.items()}
        return _all_of(built, value)
    if kind is tuple:
        return tuple(_build(item, of_position(hints, n, len(value))) for n, item in enumerate(value))
    if kind in _SEQUENCES:
        items, _ = items_of(hints, mapping=False)
        return _all_of(kind(_build(item, items) for item in value), value)
    return value


def _all_of(built: Any, value: Any) -> Any:
    if len(built) != len(value):
        raise _Refused("two of its items or keys are equal as instances of their class")
    return built


def _instance(tagged: Tagged, hints: list[Any]) -> Any:
    make = _MAKERS.get(tagged.type)
    if make is None:
        raise _Refused(_WHY_NOT.get(tagged.type, "a part of it is of a kind that this version does not know"))
    if tagged.lost:
        raise _Refused(f"{tagged.name} was recorded without {tagged.lost}")
    named = {cls: hint for hint in hints if (cls := class_of(hint)) is not None and class_name(cls) == tagged.name}
    if not named:
        allowed = ", ".join(sorted({class_name(cls) for hint in hints if (cls := class_of(hint)) is not None}))
        what = f"it says {allowed}" if allowed else "it says nothing of a class"
        raise _Refused(f"the annotation does not allow {tagged.name} there: {what}")
    if len(named) > 1:
        raise _Refused(f"the annotation allows {len(named)} classes called {tagged.name} there")
    cls, hint = named.popitem()
    return make(tagged, cls, hint)


def _enum(tagged: Tagged, cls: type[Any], hint: Any) -> Any:
    if not issubclass(cls, Enum):
        raise _Refused(f"{tagged.name} is no enumeration any more")
    for member in cls.__members__.values():
        if same(decode(encode(member._value_).text), tagged.value):
            return member
    if issubclass(cls, Flag) and type(tagged.value) is int:
        return cls(tagged.value)
    raise _Refused(f"{tagged.name} has no member of that value any more")


def _fields(tagged: Tagged, hint: Any, names: tuple[str, ...], *, missing: bool = False) -> dict[str, Any]:
    """The fields, built; they must be those that the class has today."""
    stored = tagged.value
    if type(stored) is not dict or not (set(stored) <= set(names) if missing else set(stored) == set(names)):
        raise _Refused(f"the fields of {tagged.name} are not those that were recorded")
    hints = fields_of(hint)
    return {name: _build(stored[name], alternatives(hints.get(name, Any))) for name in names if name in stored}


def _named_tuple(tagged: Tagged, cls: type[Any], hint: Any) -> Any:
    names = getattr(cls, "_fields", None)
    if not issubclass(cls, tuple) or type(names) is not tuple:
        raise _Refused(f"{tagged.name} is no named tuple any more")
    return tuple.__new__(cls, _fields(tagged, hint, names).values())


def _record(tagged: Tagged, cls: type[Any], hint: Any) -> Any:
    """A dataclass, an attrs class or a msgspec struct."""
    names = field_names(cls)
    if names is None:
        raise _Refused(f"{tagged.name} is no dataclass any more")
    fields = _fields(tagged, hint, names)
    if hasattr(cls, "__struct_fields__"):
        return cls(**fields)
    instance = object.__new__(cls)
    for name, field in fields.items():
        object.__setattr__(instance, name, field)
    if hasattr(cls, "_attrs_cached_hash"):
        object.__setattr__(instance, "_attrs_cached_hash", None)
    return instance


def _model(tagged: Tagged, cls: type[Any], hint: Any) -> Any:
    from pydantic import BaseModel

    if not issubclass(cls, BaseModel):
        raise _Refused(f"{tagged.name} is no pydantic model any more")
    stored = tagged.value
    names = tuple(cls.__pydantic_fields__)
    declared = {name: stored[name] for name in names if name in stored}
    fields = _fields(Tagged("model", tagged.name, declared), hint, names, missing=True)
    extra = {name: _build(stored[name], []) for name in stored if name not in declared}
    if extra and cls.model_config.get("extra") != "allow":
        raise _Refused(f"the fields of {tagged.name} are not those that were recorded")
    _check_valid(cls, fields, tagged)
    private = {name: attribute.get_default() for name, attribute in cls.__private_attributes__.items()}
    instance = object.__new__(cls)
    BaseModel.__setstate__(
        instance,
        {
            "__dict__": fields,
            "__pydantic_extra__": extra if cls.model_config.get("extra") == "allow" else None,
            "__pydantic_fields_set__": {name for name in stored if name not in tagged.unset},
            "__pydantic_private__": private or None,
        },
    )
    return instance


def _check_valid(cls: Any, fields: dict[str, Any], tagged: Tagged) -> None:
    """Refuse fields that the class, as it is today, would not take: what it validates, it may rely on."""
    from pydantic import RootModel

    if any(field.alias or field.validation_alias for field in cls.__pydantic_fields__.values()):
        options: dict[str, Any] = {"by_name": True, "by_alias": False}
    else:
        options = {}
    if len(fields) < len(cls.__pydantic_fields__):  # made without validation
        return
    try:
        given = fields["root"] if issubclass(cls, RootModel) else dict(fields)
        cls.__pydantic_validator__.validate_python(given, strict=True, **options)
    except TypeError:  # pydantic before 2.11 has no by_name
        return
    except ValueError:
        raise _Refused(f"{tagged.name} does not take the recorded fields any more") from None


def _subclass(tagged: Tagged, of: type[Any], hint: Any) -> Any:
    value, cls = tagged.value, cast("Any", of)
    base: Any = OrderedDict if issubclass(of, OrderedDict) else type(value)
    if not issubclass(of, base):
        raise _Refused(f"{tagged.name} derives from another class than when it was recorded")
    built = _build(value, [*alternatives(hint), *_bases_of(cls)])
    if base in _FILLED:
        instance = base.__new__(cls)
        _FILLED[base](instance, built)
        return instance
    if base in (datetime, date):
        return cls.fromisoformat(value.isoformat()) if base is date else _moment(cls, value)
    if base is complex:
        return complex.__new__(cls, value.real, value.imag)
    return base.__new__(cls, built)


def _bases_of(cls: type[Any]) -> list[Any]:
    return list(getattr(cls, "__orig_bases__", ()))


def _moment(cls: type[Any], value: datetime) -> Any:
    parts = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond)
    return datetime.__new__(cls, *parts, value.tzinfo, fold=value.fold)


_FILLED: Final[dict[Any, Callable[[Any, Any], Any]]] = {
    list: list.extend,
    dict: dict.update,
    OrderedDict: OrderedDict.update,
    set: set.update,
    bytearray: bytearray.extend,
}

_MAKERS: Final[dict[str, Callable[[Tagged, type[Any], Any], Any]]] = {
    "enum": _enum,
    "namedtuple": _named_tuple,
    "dataclass": _record,
    "model": _model,
    "subclass": _subclass,
}

_WHY_NOT: Final = {
    "repr": "a part of it was recorded as its repr",
    "truncated": "a part of it has too many values, and was left out",
    "cycle": "it refers to itself, which was left out",
    "too_deep": "it was nested too deeply, and a part was left out",
    "too_large": "it was too large to be recorded",
    "unstorable": "the store could not take it",
    "masked": "it is masked",
    "path": "a part of it is a path of another operating system",
}
