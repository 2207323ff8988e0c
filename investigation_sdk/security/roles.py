"""Roles, and what each of them allows: a table. What it does not name is denied."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from investigation_sdk.errors import AccessDenied


class Role(StrEnum):
    """What somebody is to investigations; one principal may have several."""

    VIEWER = "viewer"
    INVESTIGATOR = "investigator"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


class Action(StrEnum):
    """What can be allowed."""

    READ = "read"
    """The record, its progress, phases, calls and events, and watching it live."""
    VERIFY = "verify"
    METRICS = "metrics"
    CREATE = "create"
    REPORT = "report"
    """To record calls that ran elsewhere."""
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"
    RESOLVE = "resolve"
    """To say what became of a call of unknown outcome."""
    TRANSITION = "transition"
    """To change the state by hand."""
    REBUILD = "rebuild"
    """To have rows made again from the log."""


class Scope(IntEnum):
    """How far a permission reaches; a wider one includes the narrower. None reaches into another tenant."""

    NONE = 0
    OWN = 1
    """Investigations whose ``user_id`` is the principal's id."""
    TENANT = 2
    """All investigations of the principal's tenant."""


_STEER: Final = (Action.PAUSE, Action.RESUME, Action.CANCEL, Action.RETRY)

PERMISSIONS: Final[Mapping[Role, Mapping[Action, Scope]]] = MappingProxyType(
    {
        Role.VIEWER: MappingProxyType({Action.READ: Scope.TENANT}),
        Role.INVESTIGATOR: MappingProxyType(
            dict.fromkeys((Action.READ, Action.CREATE, Action.REPORT, *_STEER), Scope.OWN)
        ),
        Role.OPERATOR: MappingProxyType(
            dict.fromkeys(
                (Action.READ, Action.METRICS, Action.CREATE, Action.REPORT, Action.RESOLVE, *_STEER), Scope.TENANT
            )
        ),
        Role.AUDITOR: MappingProxyType(dict.fromkeys((Action.READ, Action.VERIFY, Action.METRICS), Scope.TENANT)),
        Role.ADMIN: MappingProxyType(dict.fromkeys(Action, Scope.TENANT)),
    }
)
"""The whole table: by role and action, how far it reaches."""


class Principal(BaseModel):
    """Who asks: somebody with roles, in a tenant."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    id: str
    """As it is recorded as the actor of what it commands; an investigation is its own where ``user_id`` is this."""
    roles: frozenset[Role] = frozenset()
    """Empty: it may nothing."""
    tenant_id: str | None = None
    """Whose investigations it may see; None: those of no tenant."""
    kind: Literal["human", "agent", "system"] = "human"
    on_behalf_of: str | None = None
    """For whom it acts; recorded with the actor. It gives no rights."""

    @field_validator("id")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("a principal needs an id: it is recorded as the actor")
        return value

    @property
    def actor(self) -> str:
        """How it stands in the log."""
        return self.id if self.on_behalf_of is None else f"{self.id} on behalf of {self.on_behalf_of}"

    @property
    def tenant(self) -> str:
        """As the store spells it; empty: none."""
        return self.tenant_id or ""


def scope_of(principal: Principal, action: Action) -> Scope:
    """How far a principal's roles together let it do this."""
    return max((PERMISSIONS[role].get(action, Scope.NONE) for role in principal.roles), default=Scope.NONE)


def allows(principal: Principal, action: Action, *, owner: str | None, tenant: str | None) -> bool:
    """Whether a principal may do this to an investigation of that owner and tenant."""
    if principal.tenant != (tenant or ""):
        return False
    scope = scope_of(principal, action)
    return scope == Scope.TENANT or (scope == Scope.OWN and owner == principal.id)


def denied(principal: Principal, action: Action, investigation_id: str | None = None) -> AccessDenied:
    """The error that says what was refused, and which roles would do."""
    roles = [role.value for role, row in PERMISSIONS.items() if row.get(action) == Scope.TENANT]
    what = "" if investigation_id is None else f" investigation {investigation_id}"
    own = " beyond its own investigations" if scope_of(principal, action) == Scope.OWN else ""
    return AccessDenied(
        f"{principal.id!r} may not {action}{what}{own}. These roles may: {', '.join(roles)}.",
        action=action.value,
        principal_id=principal.id,
        investigation_id=investigation_id,
    )
