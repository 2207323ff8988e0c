"""Parameters of queries that are mistyped: what is passed over would filter nothing, and nobody would notice."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Final

from fastapi import HTTPException
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant
from starlette.requests import HTTPConnection

_LIKE: Final = 0.8
"""So much is a mistyped name like the one that is meant, of 1."""


class Parameters:
    """Those that an application and its routes know.

    Args:
        authenticate: The application's dependency, which may have some of its own.
    """

    def __init__(self, authenticate: Callable[..., Any]) -> None:
        self._own = _names(get_dependant(path="", call=authenticate))

    def check(self, connection: HTTPConnection) -> None:
        """See to it that no parameter looks like another one that is meant.

        What looks like none may be read by the application itself, and passes.

        Raises:
            HTTPException: one does.
        """
        names = list(connection.query_params)
        if not names:
            return
        dependant = getattr(connection.scope.get("route"), "dependant", None)
        known = _names(dependant) if isinstance(dependant, Dependant) else set[str]()
        for name in names:
            if name not in known and name not in self._own:
                like = get_close_matches(name.lower(), known, 1, _LIKE)
                if like:
                    raise HTTPException(
                        422, f"There is no parameter {name[:100]!r} in the query. Is {like[0]!r} meant?"
                    )


def _names(dependant: Dependant) -> set[str]:
    names = {field.alias for field in dependant.query_params}
    return names.union(*(_names(one) for one in dependant.dependencies))
