"""Fitting: a result that somebody named, as the tool's annotation says that it would have been.

What a call returned is recorded, and given back exactly. What it would have returned was said by a person, as JSON, or
by a ``reconcile`` function: a model or a dataclass arrives as its fields, a time as text. The annotation of the live
function says what to make of that, and pydantic makes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import GenericAlias, NoneType
from typing import Any, Final, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from investigation_sdk.storage.hints import class_of
from investigation_sdk.storage.rebuild import Rebuilt

_CONFIG: Final = ConfigDict(arbitrary_types_allowed=True, extra="forbid")
_SHOWN: Final = 3


def fit(value: Any, hint: Any) -> Rebuilt:
    """`value` as an instance of what `hint` names; or the reason why it cannot be one.

    Args:
        value: Of any kind; not changed. Instances stay what they are.
        hint: A resolved annotation. Where it says nothing, or nothing that can be checked, the value is given as it is.
    """
    if hint in (None, Any, NoneType):  # of what returns nothing, whatever is said
        return Rebuilt(value)
    wanted: Any = GenericAlias(tuple, (hint,))  # around it, since a model has its own configuration
    try:
        adapter = cast("TypeAdapter[tuple[Any]]", TypeAdapter(wanted, config=_CONFIG))
        (fitted,) = adapter.validate_python((value,))
    except PydanticUserError:  # an annotation that names what is not there, or is none of pydantic's
        return Rebuilt(value)
    except ValidationError as error:
        return Rebuilt(reason=_why(error, hint))
    except Exception as error:  # of a validator of the user's
        return Rebuilt(reason=f"to make it {_name(hint)} failed with {type(error).__name__}")
    return Rebuilt(value if isinstance(fitted, Iterator) else fitted)


def _why(error: ValidationError, hint: Any) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    parts = [": ".join((*filter(None, [".".join(map(str, one["loc"][1:]))]), one["msg"])) for one in found[:_SHOWN]]
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"it is not {_name(hint)}: {'; '.join(parts)}{more}"


def _name(hint: Any) -> str:
    cls = class_of(hint)
    return cls.__qualname__ if cls is hint and cls is not None else str(hint).replace("typing.", "")
