"""Who may watch: asked when somebody joins, before anything old is shown, and again while they watch."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from investigation_sdk.domain.records import Investigation
from investigation_sdk.realtime.selecting import Selection
from investigation_sdk.security.roles import Action, Principal, Role, Scope, allows, scope_of


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
    return allows(_known(principal), Action.READ, owner=investigation.user_id, tenant=investigation.tenant_id)


def is_of_tenant(principal: Any, investigation: Investigation) -> bool:
    """Whether it may be told that there is such an investigation: what is another tenant's does not exist for it."""
    return (getattr(principal, "tenant_id", None) or "") == (investigation.tenant_id or "")


def within_reach(principal: Watcher, selection: Selection) -> Selection | None:
    """By the same rule, what is left of a selection: of its tenant, and where it reads only its own, of itself.

    None where that is nothing, whatever is or will be in the store.
    """
    known = _known(principal)
    scope = scope_of(known, Action.READ)
    if scope == Scope.NONE or selection.tenant not in (None, known.tenant):
        return None
    if scope == Scope.OWN and selection.user_id not in (None, known.id):
        return None
    owner = known.id if scope == Scope.OWN else selection.user_id
    return selection._replace(tenant=known.tenant, user_id=owner)


def _known(principal: Watcher) -> Principal:
    roles = frozenset(role for role in Role if role in principal.roles)
    return Principal(id=principal.id, roles=roles, tenant_id=principal.tenant_id)


async def answered(answer: Any) -> Any:
    """What a function of the user's gave, awaited where it is to be awaited."""
    return (await answer) if inspect.isawaitable(answer) else answer
