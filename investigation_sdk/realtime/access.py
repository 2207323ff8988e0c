"""Who may watch: asked when somebody joins, before anything old is shown, and again while they watch."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from investigation_sdk.domain.records import Investigation
from investigation_sdk.security.roles import Action, Principal, Role, allows


class Watcher(Protocol):
    """Who watches."""

    @property
    def id(self) -> str:
        """Who it is."""
        ...

    @property
    def roles(self) -> frozenset[Any]:
        """Roles, as :class:`~investigation_sdk.Role` names them; empty: nothing."""
        ...

    @property
    def tenant_id(self) -> str | None:
        """Whose investigations they may see; None: those of no tenant in particular."""
        ...


Authorise: TypeAlias = "Callable[[Any, Investigation], bool | Awaitable[bool]]"
"""Whether this principal may watch this investigation."""

Recheck: TypeAlias = "Callable[[Any], Any]"
"""The principal as it is now, or an awaitable of it; None where it may nothing any more."""


def may_watch(principal: Watcher, investigation: Investigation) -> bool:
    """The rule where none is given: who may read it, by the table of roles. What is no role of it gives nothing."""
    roles = frozenset(role for role in Role if role in principal.roles)
    known = Principal(id=principal.id, roles=roles, tenant_id=principal.tenant_id)
    return allows(known, Action.READ, owner=investigation.user_id, tenant=investigation.tenant_id)


async def answered(answer: Any) -> Any:
    """What a function of the user's gave, awaited where it is to be awaited."""
    return (await answer) if inspect.isawaitable(answer) else answer
