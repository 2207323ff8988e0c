"""Fitting: a result that somebody named, as the tool's annotation says that it would have been.

What a call returned is recorded, and given back exactly. What it would have returned was said by a person, as JSON, or
by a ``reconcile`` function: a model or a dataclass arrives as its fields, a time as text. The annotation of the live
function says what to make of that, and pydantic makes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import GenericAlias, NoneType, UnionType
from typing import Any, Final, Union, cast, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from investigation_sdk.recording.leftover import Path, left_over
from investigation_sdk.storage.hints import class_of
from investigation_sdk.storage.rebuild import Rebuilt

_CONFIG: Final = ConfigDict(arbitrary_types_allowed=True, extra="forbid")
_SHOWN: Final = 3


def fit(value: Any, hint: Any) -> Rebuilt:
    """`value` as an instance of what `hint` names; or the reason why it cannot be one.

    A member that no field takes is such a reason, in a model too that would leave it out; not in one whose
    configuration has ``extra="allow"``, or which rewrites what it is given before it looks at it.

    Args:
        value: Of any kind; not changed. Instances stay what they are.
        hint: A resolved annotation. Where it says nothing, or nothing that can be checked, the value is given as it is.
    """
    if hint in (None, Any, NoneType):  # of what returns nothing, whatever is said
        return Rebuilt(value)
    try:
        adapter = _adapter(value, hint)
    except Exception:  # of what pydantic, or what the user told it, makes nothing
        return Rebuilt(value)
    try:
        (fitted,) = adapter.validate_python((value,))
    except PydanticUserError:  # an annotation that names what is not there
        return Rebuilt(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        return Rebuilt(reason=_why([(tuple(map(str, one["loc"][1:])), one["msg"]) for one in found], hint))
    except Exception as error:  # of a validator of the user's
        return Rebuilt(reason=f"to make it {_name(hint)} failed with {type(error).__name__}")
    left = [(at, "No field takes it") for at in left_over(value, fitted)]
    if left:
        others = (fit(value, one) for one in _members(hint))  # pydantic takes the first model that leaves enough out
        return next((other for other in others if not other.reason), Rebuilt(reason=_why(left, hint)))
    return Rebuilt(value if isinstance(fitted, Iterator) else fitted)


def _adapter(value: Any, hint: Any) -> TypeAdapter[tuple[Any]]:
    """Of a tuple around it, since a model has its own configuration; of what can only be iterated over, and is known
    item by item, of those."""
    wanted = hint
    if get_origin(hint) is Iterable and isinstance(value, list):
        wanted = GenericAlias(list, get_args(hint))
    around: Any = GenericAlias(tuple, (wanted,))
    return cast("TypeAdapter[tuple[Any]]", TypeAdapter(around, config=_CONFIG))


def _members(hint: Any) -> list[Any]:
    union = get_origin(hint) in (Union, UnionType)
    return [one for one in get_args(hint) if one is not NoneType] if union else []


def _why(found: Sequence[tuple[Path, str]], hint: Any) -> str:
    parts = [": ".join((*filter(None, [".".join(at)]), message)) for at, message in found[:_SHOWN]]
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"it is not {_name(hint)}: {'; '.join(parts)}{more}"


def _name(hint: Any) -> str:
    cls = class_of(hint)
    return cls.__qualname__ if cls is hint and cls is not None else str(hint).replace("typing.", "")
