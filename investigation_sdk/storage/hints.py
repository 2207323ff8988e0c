"""Annotations: which classes a value may be of, and what its parts are annotated with.

Annotations come from live code only: a function that is about to be called, and the classes that it names.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import types
import typing
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, Literal, NewType, TypeVar, get_args, get_origin

_WRAPPERS: Final = tuple(
    getattr(typing, name)
    for name in ("Annotated", "ClassVar", "Final", "NotRequired", "ReadOnly", "Required", "Unpack")
    if hasattr(typing, name)
)
_UNIONS: Final = (typing.Union, types.UnionType)
_ALIAS: Final[Any] = getattr(typing, "TypeAliasType", None)
_ONE: Final = 1
_DEEPEST: Final = 50


def alternatives(hint: Any) -> list[Any]:
    """The annotations that `hint` is a choice of, with aliases, unions and wrappers taken off; `Any` for what says
    nothing. A recursive alias ends where it repeats."""
    found: list[Any] = []
    todo = [(hint, 0)]
    while todo:
        one, depth = todo.pop()
        if depth > _DEEPEST:
            continue
        inner = _inside(one)
        if inner is None:
            found.append(one)
        else:
            todo.extend((each, depth + 1) for each in reversed(inner))
    return found


def _inside(hint: Any) -> list[Any] | None:
    """The annotations that one stands for; None where it stands for itself."""
    origin = get_origin(hint)
    if origin in _UNIONS:
        return list(get_args(hint))
    if origin in _WRAPPERS:
        return [get_args(hint)[0]]
    if origin is Literal:
        return list({type(value): None for value in get_args(hint)})
    if isinstance(hint, NewType):
        return [hint.__supertype__]
    if isinstance(hint, TypeVar):
        return list(hint.__constraints__) or [Any if hint.__bound__ is None else hint.__bound__]
    if hint in _WRAPPERS:
        return [Any]
    if _ALIAS is not None and isinstance(hint, _ALIAS):
        return [hint.__value__]
    if _ALIAS is not None and isinstance(origin, _ALIAS):
        return [filled(origin.__value__, dict(zip(origin.__type_params__, get_args(hint), strict=False)))]
    return None


def filled(hint: Any, variables: Mapping[Any, Any]) -> Any:
    """`hint` with type variables replaced."""
    if hint in variables:
        return variables[hint]
    parameters = getattr(hint, "__parameters__", ())
    if not variables or not parameters or get_origin(hint) is None:
        return hint
    return hint[tuple(variables.get(parameter, parameter) for parameter in parameters)]


def class_of(hint: Any) -> type[Any] | None:
    """The class that an annotation names, None where it names none."""
    origin = get_origin(hint) or hint
    return origin if isinstance(origin, type) and origin not in (Any, object) else None


def items_of(hints: Iterable[Any], *, mapping: bool) -> tuple[list[Any], list[Any]]:
    """For the keys (of what is no mapping: the items), and for the values of a mapping: what they may be."""
    first: list[Any] = []
    second: list[Any] = []
    for hint in hints:
        cls, args = class_of(hint), get_args(hint)
        if cls is None or not issubclass(cls, collections.abc.Iterable) or not args:
            continue
        is_mapping = issubclass(cls, collections.abc.Mapping)
        if mapping and is_mapping:
            first += alternatives(args[0])
            second += alternatives(args[1]) if len(args) > _ONE else []  # a Counter has one argument
        elif not mapping and not is_mapping:
            first += alternatives(args[0])
    return first, second


def of_position(hints: Iterable[Any], position: int, length: int) -> list[Any]:
    """What the item at a position of a tuple of this length may be."""
    found: list[Any] = []
    for hint in hints:
        cls, args = class_of(hint), get_args(hint)
        if cls is None or not issubclass(cls, collections.abc.Iterable) or issubclass(cls, collections.abc.Mapping):
            continue
        if not issubclass(cls, tuple) or (len(args) == _ONE + 1 and args[1] is Ellipsis):
            found += alternatives(args[0]) if args else []
        elif len(args) == length:
            found += alternatives(args[position])
    return found


def of_key(hints: Iterable[Any], key: Any) -> list[Any]:
    """What the value of a key may be, by the typed dicts among these."""
    found: list[Any] = []
    for hint in hints:
        cls = class_of(hint)
        if cls is not None and typing.is_typeddict(cls) and isinstance(key, str):
            fields = fields_of(hint)
            found += alternatives(fields[key]) if key in fields else []
    return found


def fields_of(hint: Any) -> dict[str, Any]:
    """The annotations of a class's fields by name; empty where they cannot be resolved."""
    cls = class_of(hint)
    if cls is None:
        return {}
    model_fields = getattr(cls, "__pydantic_fields__", None)
    if isinstance(model_fields, dict) and not dataclasses.is_dataclass(cls):
        members: Mapping[str, Any] = typing.cast("dict[str, Any]", model_fields)
        return {name: field.annotation for name, field in members.items()}
    found = _resolved(cls)
    variables = dict(zip(getattr(cls, "__parameters__", ()), get_args(hint), strict=False))
    return {name: filled(each, variables) for name, each in found.items()} if variables else found


def return_hint(fn: Callable[..., Any]) -> Any:
    """What a function says that it returns; None where it says nothing that can be resolved."""
    return _resolved(fn).get("return")


_known: Final[weakref.WeakKeyDictionary[Any, dict[str, Any]]] = weakref.WeakKeyDictionary()


def _resolved(named: Any) -> dict[str, Any]:
    """The annotations of a class or a function; resolving them takes longer than all else."""
    try:
        return _known[named]
    except (KeyError, TypeError):
        pass
    try:
        hints = typing.get_type_hints(named, include_extras=True)
    except Exception:  # a name that is not there at run time, or not yet
        return dict(getattr(named, "__annotations__", {}))
    try:
        _known[named] = hints
    except TypeError:  # nothing that can be referred to weakly
        pass
    return hints


__all__ = ["Annotated", "alternatives", "class_of", "fields_of", "filled", "items_of", "of_key", "of_position"]
