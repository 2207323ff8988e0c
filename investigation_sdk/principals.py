"""The SDK as one principal may use it. It has what is named here and nothing else, and all of that asks the table."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from investigation_sdk.arguments import LIMIT, NAMES_OR_NONE, PAGE_OR_NONE, TEXT, check
from investigation_sdk.domain.metrics import MetricsReport
from investigation_sdk.domain.progress_record import InvestigationProgress
from investigation_sdk.domain.records import (
    Investigation,
    InvestigationEvent,
    InvestigationPhase,
    Page,
    PhasePlan,
    Resolution,
    ToolExecution,
    ToolTotals,
    VerificationReport,
)
from investigation_sdk.domain.rows import InvestigationRow, ToolRow
from investigation_sdk.domain.states import InvestigationState, ToolState
from investigation_sdk.engine import measuring, queries, reading
from investigation_sdk.engine.queries import When, created_between, equals, in_states
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.service import InvestigationStateService
from investigation_sdk.errors import (
    AccessDenied,
    InvalidArgument,
    InvestigationFinished,
    InvestigationNotFound,
    InvestigationUnfinished,
)
from investigation_sdk.ids import HasId, Id, canonical
from investigation_sdk.realtime.live import LiveReader
from investigation_sdk.security.roles import Action, Principal, Scope, allows, denied, scope_of
from investigation_sdk.storage.commit import Where


class Submit(Protocol):
    """What queues an investigation for a tenant."""

    async def __call__(
        self,
        investigation_type: str,
        subject: str,
        *,
        tenant: str,
        user_id: str | None,
        key: str | None,
        configuration: Mapping[str, Any] | None,
        metadata: Mapping[str, Any] | None,
        priority: int,
        not_before: datetime | None,
        actor: str | None,
    ) -> Investigation:
        """As ``sdk.submit``."""
        ...


class Guard:
    """Looks an investigation up for a principal: another tenant's is not there, and what no role allows is denied."""

    def __init__(self, recorder: Recorder, principal: Principal) -> None:
        if recorder.tenant not in ("", principal.tenant):
            raise AccessDenied(
                f"{principal.id!r} is of tenant {principal.tenant!r}, and this SDK is another tenant's. Give it one "
                "that is made with that tenant_id, or with none.",
                principal_id=principal.id,
            )
        self.recorder = recorder
        self.principal = principal

    async def one(self, action: Action, investigation_id: Id) -> str:
        """The canonical id of an investigation to which the principal may do this.

        Raises:
            InvestigationNotFound: there is none of that id in the principal's tenant.
            AccessDenied: its roles do not allow it.
        """
        id = canonical(investigation_id)
        await self.recorder.acall(self._row(action, id))
        return id

    async def _row(self, action: Action, id: str) -> InvestigationRow:
        row = await reading.get_row(self.recorder.backend, id, self.recorder.tenant)
        if row.tenant_id != self.principal.tenant:
            raise InvestigationNotFound(f"There is no investigation {id} in this store.", investigation_id=id)
        if not allows(self.principal, action, owner=row.user_id, tenant=row.tenant_id):
            raise denied(self.principal, action, id)
        return row

    async def call(self, action: Action, call_id: Id) -> str:
        """As :meth:`one`, for the investigation of a call."""
        id = canonical(call_id)
        row = await self.recorder.acall(self.recorder.backend.get("tool", id))
        if not isinstance(row, ToolRow) or row.tenant_id != self.principal.tenant:
            raise InvestigationNotFound(f"There is no call {id} in this store.")
        await self.one(action, row.investigation_id)
        return id

    def new(self, user_id: str | None) -> str:
        """The owner of one that is about to be created, in the principal's tenant: itself, unless it names another.

        Raises:
            AccessDenied: its roles do not allow it, or not for others.
        """
        owner = self.principal.id if user_id is None else user_id
        if not allows(self.principal, Action.CREATE, owner=owner, tenant=self.principal.tenant):
            raise denied(self.principal, Action.CREATE)
        return owner

    def wheres(self, action: Action, user_id: str | Sequence[str] | None = None) -> list[Where]:
        """Conditions that leave what the principal may see.

        Raises:
            AccessDenied: its roles let it see nothing, or not what is others'.
        """
        scope = scope_of(self.principal, action)
        if scope == Scope.NONE:
            raise denied(self.principal, action)
        if scope == Scope.OWN:
            if user_id not in (None, self.principal.id):
                raise denied(self.principal, action)
            user_id = self.principal.id
        return [Where("tenant_id", "=", self.principal.tenant), *equals("user_id", user_id)]


class PrincipalService:
    """Commands as one principal. Each is recorded with that principal as its actor."""

    def __init__(self, service: InvestigationStateService, guard: Guard) -> None:
        self._service = service
        self._guard = guard
        self._actor = guard.principal.actor

    async def create_investigation(
        self,
        user_id: str | None,
        subject: str,
        investigation_type: str,
        configuration: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        phases: Sequence[str | PhasePlan] = (),
        metadata: Mapping[str, Any] | None = None,
        parent: Id | HasId | None = None,
        queue: bool = True,
    ) -> Investigation:
        """As of the service, in the principal's tenant; `user_id` None: its own.

        Raises:
            AccessDenied: its roles do not allow it.
        """
        owner = self._guard.new(user_id)
        if parent is not None:
            named = parent if isinstance(parent, str | UUID) else parent.id
            parent = await self._guard.one(Action.READ, named)
        try:
            return await self._service.create_investigation(
                owner,
                subject,
                investigation_type,
                configuration,
                key=key,
                phases=phases,
                metadata=metadata,
                parent=parent,
                queue=queue,
                actor=self._actor,
            )
        except (InvestigationFinished, InvestigationUnfinished) as taken:
            if taken.investigation_id is not None:  # the error names it, and has its result
                await self._guard.one(Action.READ, taken.investigation_id)
            raise

    async def transition_state(
        self, investigation_id: Id, new_state: InvestigationState, reason: str | None = None
    ) -> bool:
        """Change the state by hand, by one legal step; for admins, and with a reason.

        Raises:
            AccessDenied: its roles do not allow it.
            InvalidArgument: no reason is given.
        """
        id = await self._guard.one(Action.TRANSITION, investigation_id)
        if reason is None or not reason.strip():
            raise InvalidArgument(
                "a change of state by hand needs reason=: it is what an auditor reads",
                argument="reason",
                investigation_id=id,
            )
        return await self._service.transition_state(id, new_state, reason, actor=self._actor)

    async def record_tool_execution(
        self,
        investigation_id: Id,
        phase_id: str | None,
        agent_name: str,
        tool_name: str,
        input_parameters: Mapping[str, Any],
        result: Any = None,
        error: str | None = None,
        **more: Any,
    ) -> ToolExecution:
        """As of the service.

        Raises:
            AccessDenied: its roles do not allow it.
        """
        id = await self._guard.one(Action.REPORT, investigation_id)
        more["actor"] = self._actor
        return await self._service.record_tool_execution(
            id, phase_id, agent_name, tool_name, input_parameters, result, error, **more
        )

    async def resolve(self, call_id: Id, resolution: Resolution) -> ToolExecution:
        """As of the service."""
        id = await self._guard.call(Action.RESOLVE, call_id)
        return await self._service.resolve(id, resolution, actor=self._actor)

    async def pause(self, investigation_id: Id, reason: str | None = None) -> Investigation:
        """As of the service."""
        id = await self._guard.one(Action.PAUSE, investigation_id)
        return await self._service.pause(id, reason, actor=self._actor)

    async def resume(self, investigation_id: Id, reason: str | None = None) -> Investigation:
        """As of the service."""
        id = await self._guard.one(Action.RESUME, investigation_id)
        return await self._service.resume(id, reason, actor=self._actor)

    async def cancel(self, investigation_id: Id, reason: str | None = None) -> Investigation:
        """As of the service."""
        id = await self._guard.one(Action.CANCEL, investigation_id)
        return await self._service.cancel(id, reason, actor=self._actor)

    async def retry(self, investigation_id: Id, reason: str | None = None) -> Investigation:
        """As of the service."""
        id = await self._guard.one(Action.RETRY, investigation_id)
        return await self._service.retry(id, reason, actor=self._actor)


class PrincipalSDK:
    """What ``sdk.as_principal(principal)`` gives: reading and commands, each as far as the principal's roles reach.

    Every method raises AccessDenied where no role allows it, and InvestigationNotFound for what is another
    tenant's, as for what does not exist. What drives investigations is not here: that is the process' own.
    """

    service: PrincipalService

    def __init__(
        self, reader: LiveReader, recorder: Recorder, service: InvestigationStateService, submit: Submit, who: Principal
    ) -> None:
        self._reader = reader
        self._guard = Guard(recorder, who)
        self._submit = submit
        self.service = PrincipalService(service, self._guard)

    @property
    def principal(self) -> Principal:
        """Who asks."""
        return self._guard.principal

    async def submit(
        self,
        investigation_type: str,
        subject: str,
        *,
        user_id: str | None = None,
        key: str | None = None,
        configuration: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
    ) -> Investigation:
        """As ``sdk.submit``, in the principal's tenant; `user_id` None: its own.

        Raises:
            AccessDenied: its roles do not allow it, or the key names one that it may not read.
        """
        made = await self._submit(
            investigation_type,
            subject,
            tenant=self.principal.tenant,
            user_id=self._guard.new(user_id),
            key=key,
            configuration=configuration,
            metadata=metadata,
            priority=priority,
            not_before=not_before,
            actor=self.principal.actor,
        )
        await self._guard.one(Action.READ, made.id)
        return made

    async def get(self, investigation_id: Id) -> Investigation:
        """One investigation."""
        return await self._reader.get(await self._guard.one(Action.READ, investigation_id))

    async def find(self, *, key: str, investigation_type: str = "general") -> Investigation | None:
        """The newest investigation of a key that the principal may see, or None."""
        check(key=(key, TEXT), investigation_type=(investigation_type, TEXT))
        wheres = [
            *self._guard.wheres(Action.READ),
            *equals("investigation_type", investigation_type),
            *equals("key", key),
        ]
        recorder = self._guard.recorder
        page = await recorder.acall(queries.list_investigations(recorder.backend, wheres, None, 1))
        return next(iter(page), None)

    async def list(
        self,
        *,
        investigation_type: str | None = None,
        status: InvestigationState | Sequence[InvestigationState] | None = None,
        user_id: str | None = None,
        since: When | None = None,
        until: When | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[Investigation]:
        """Those that the principal may see, newest first; `since` and `until` bound their creation."""
        check(
            investigation_type=(investigation_type, NAMES_OR_NONE),
            user_id=(user_id, NAMES_OR_NONE),
            after=(after, PAGE_OR_NONE),
            limit=(limit, LIMIT),
        )
        wheres = [
            *self._guard.wheres(Action.READ, user_id),
            *created_between(since, until),
            *equals("investigation_type", investigation_type),
            *in_states("status", InvestigationState, status),
        ]
        recorder = self._guard.recorder
        return await recorder.acall(queries.list_investigations(recorder.backend, wheres, after, limit))

    async def progress(self, investigation_id: Id, *, include_tools: bool = True) -> InvestigationProgress:
        """How far an investigation is."""
        id = await self._guard.one(Action.READ, investigation_id)
        return await self._reader.progress(id, include_tools=include_tools)

    async def phases(self, investigation_id: Id) -> Sequence[InvestigationPhase]:
        """All phases of an investigation, in their order."""
        return await self._reader.phases(await self._guard.one(Action.READ, investigation_id))

    async def tools(
        self,
        investigation_id: Id,
        *,
        tool: str | None = None,
        agent: str | None = None,
        phase: str | None = None,
        status: ToolState | Sequence[ToolState] | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[ToolExecution]:
        """Calls of one investigation, in the order of their start."""
        id = await self._guard.one(Action.READ, investigation_id)
        return await self._reader.tools(
            id, tool=tool, agent=agent, phase=phase, status=status, after=after, limit=limit
        )

    async def tool_totals(self, investigation_id: Id) -> Sequence[ToolTotals]:
        """What the calls of an investigation add up to."""
        return await self._reader.tool_totals(await self._guard.one(Action.READ, investigation_id))

    async def events(
        self,
        investigation_id: Id,
        *,
        event_type: str | Sequence[str] | None = None,
        actor: str | None = None,
        after: int | str = 0,
        limit: int = 100,
    ) -> Page[InvestigationEvent]:
        """Events of an investigation behind the sequence `after`, in order."""
        id = await self._guard.one(Action.READ, investigation_id)
        return await self._reader.events(id, event_type=event_type, actor=actor, after=after, limit=limit)

    async def tail(self, investigation_id: Id, *, after: int = 0) -> AsyncIterator[InvestigationEvent]:
        """All events behind `after`, then those that come."""
        id = await self._guard.one(Action.READ, investigation_id)
        async for event in self._reader.tail(id, after=after):
            yield event

    async def payload(self, investigation_id: Id, value: Any) -> Any:
        """What was recorded, in full."""
        return await self._reader.payload(await self._guard.one(Action.READ, investigation_id), value)

    async def verify(self, investigation_id: Id) -> VerificationReport:
        """Check an investigation's chain."""
        return await self._reader.verify(await self._guard.one(Action.VERIFY, investigation_id))

    async def metrics(
        self, *, since: When, until: When | None = None, investigation_type: str | None = None
    ) -> MetricsReport:
        """What the investigations of the principal's tenant add up to."""
        check(investigation_type=(investigation_type, NAMES_OR_NONE))
        wheres: builtins.list[Where] = [
            *self._guard.wheres(Action.METRICS),
            *created_between(since, until),
            *equals("investigation_type", investigation_type),
        ]
        recorder = self._guard.recorder
        return await recorder.acall(measuring.measure(recorder.backend, wheres))
