"""Leftovers: members of a result that somebody named which went nowhere when it was made what the annotation says.

A model leaves out what it does not know, unless its own configuration says otherwise. Of a result that was named by
hand, that is a misspelled member, and what it should have been has its default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel, RootModel

Path = tuple[str, ...]
Sorted = tuple[Iterable[Any], Iterable[tuple[Any, Any, Any]]]
"""Members that are gone; and the others, each by its name, as it was given and as what it was made."""


def left_over(given: Any, made: Any, at: Path = ()) -> Iterator[Path]:
    """The members of `given` that are not in `made`, each by where it stands.

    Args:
        given: JSON-like. Instances in it are believed.
        made: What pydantic made of it.
        at: Where both stand.
    """
    if given is made:
        return
    if issubclass(type(made), RootModel):
        yield from left_over(given, made.root, at)
        return
    gone, others = _sorted_out(given, made)
    yield from ((*at, str(name)) for name in gone)
    for name, was, became in others:
        yield from left_over(was, became, (*at, str(name)))


def _sorted_out(given: Any, made: Any) -> Sorted:
    # The classes are asked, so that type checkers do not guess what is in the two.
    if issubclass(type(given), list | tuple) and issubclass(type(made), list | tuple):
        return (), [(place, *pair) for place, pair in enumerate(zip(given, made, strict=False))]
    if not issubclass(type(given), Mapping):
        return (), ()
    if issubclass(type(made), Mapping):
        return _of_mapping(given, made)
    if issubclass(type(made), BaseModel) or hasattr(made, "__dataclass_fields__"):
        return _of_fields(given, made)
    return (), ()


def _of_mapping(given: Mapping[Any, Any], made: Mapping[Any, Any]) -> Sorted:
    """Of a dict, which has them all, though its keys may be of another type; or of a TypedDict, which may not."""
    shared = [name for name in given if name in made]
    if shared or len(made) < len(given):
        gone = [name for name in given if name not in made] if len(made) < len(given) else ()
        return gone, [(name, given[name], made[name]) for name in shared]
    both = zip(given, given.values(), made.values(), strict=False)
    return (), list(both)


def _of_fields(given: Mapping[Any, Any], made: Any) -> Sorted:
    """Of a model or a dataclass: by the names under which its fields are taken."""
    taken = _taken_by_model(made) if isinstance(made, BaseModel) else _taken_by_dataclass(made)
    gone = [name for name in given if name not in taken]
    others = [(name, given[name], getattr(made, taken[name], None)) for name in given if name in taken]
    return () if _takes_others(type(made)) else gone, others


def _taken_by_model(made: BaseModel) -> dict[Any, str]:
    model = type(made)
    computed = {alias: name for name, field in model.model_computed_fields.items() for alias in (name, field.alias)}
    fields = model.model_fields
    taken = {name: field for field in made.model_fields_set for name in _names(field, fields.get(field))}
    return computed | taken  # model_dump() names what is computed, too


def _taken_by_dataclass(made: Any) -> dict[Any, str]:
    fields: dict[str, Any] = {**made.__dataclass_fields__, **getattr(made, "__pydantic_fields__", {})}
    return {name: field for field, info in fields.items() for name in _names(field, info)}


def _takes_others(kind: Any) -> bool:
    """Whether it keeps what is no field of it, or gives it a meaning of its own."""
    config = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", {})
    if config.get("extra") == "allow" or getattr(kind, "__pydantic_custom_init__", False):
        return True
    decorators: Any = getattr(kind, "__pydantic_decorators__", None)
    return decorators is not None and any(one.info.mode != "after" for one in decorators.model_validators.values())


def _names(name: str, field: Any) -> list[str | int]:
    """How a field may be named in what is given."""
    alias = getattr(field, "validation_alias", None)
    aliases = alias.choices if isinstance(alias, AliasChoices) else [alias] if alias else []
    return [name, *(one.path[0] if isinstance(one, AliasPath) else one for one in aliases)]
