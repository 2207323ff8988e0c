"""The SDK as one principal may use it. It has what is named here and nothing else, and all of that asks the table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from investigation_sdk.domain.records import Investigation, PhasePlan, Resolution, RowsReport, ToolExecution
from investigation_sdk.domain.rows import InvestigationRow, ToolRow
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.engine import reading
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.service import InvestigationStateService
from investigation_sdk.engine.sight import Sight, equals
from investigation_sdk.errors import (
    AccessDenied,
    InvalidArgument,
    InvestigationFinished,
    InvestigationNotFound,
    InvestigationUnfinished,
)
from investigation_sdk.ids import HasId, Id, canonical
from investigation_sdk.principal_reads import PrincipalReads
from investigation_sdk.realtime.live import LiveReader, SeenReader
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


class PrincipalSight(Sight):
    """Sees what a principal's roles let it do one thing to. What another tenant has is not there.

    Args:
        principal: Who asks.
        action: What it is about to do.
    """

    def __init__(self, principal: Principal, action: Action) -> None:
        super().__init__(principal.tenant)
        self._principal = principal
        self._action = action

    def admit(self, row: object, id: str) -> InvestigationRow:
        """See :meth:`Sight.admit`.

        Raises:
            InvestigationNotFound: there is none of that id in the principal's tenant.
            AccessDenied: its roles do not allow it.
        """
        here = isinstance(row, InvestigationRow) and row.tenant_id == self.tenant
        found = super().admit(row if here else None, id)
        if not allows(self._principal, self._action, owner=found.user_id, tenant=found.tenant_id):
            raise denied(self._principal, self._action, id)
        return found

    def investigations(self, user_id: str | Sequence[str] | None = None) -> list[Where]:
        """See :meth:`Sight.investigations`.

        Raises:
            AccessDenied: its roles let it see nothing, or not what is others'.
        """
        scope = scope_of(self._principal, self._action)
        if scope == Scope.NONE:
            raise denied(self._principal, self._action)
        if scope == Scope.OWN:
            if user_id not in (None, self._principal.id):
                raise denied(self._principal, self._action)
            user_id = self._principal.id
        return [Where("tenant_id", "=", self.tenant), *equals("user_id", user_id)]

    def keys(self) -> list[Where]:
        """See :meth:`Sight.keys`: as the investigations themselves."""
        return self.investigations()

    def calls(self) -> list[Where]:
        """See :meth:`Sight.calls`. Whose a call is stands with its investigation: so all of the tenant's, or none.

        Raises:
            AccessDenied: its roles do not reach over the whole tenant.
        """
        if scope_of(self._principal, self._action) != Scope.TENANT:
            raise denied(self._principal, self._action)
        return [Where("tenant_id", "=", self.tenant)]


class Guard:
    """What a principal may command."""

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
        sight = PrincipalSight(self.principal, action)
        await self.recorder.acall(reading.get_row(self.recorder.backend, id, sight))
        return id

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


class PrincipalService:
    """Commands as one principal. Each is recorded with that principal as its actor."""

    def __init__(self, service: InvestigationStateService, guard: Guard) -> None:
        self._service = service
        self._recorder = guard.recorder
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


class PrincipalSDK(PrincipalReads):
    """What ``sdk.as_principal(principal)`` gives: reading and commands, each as far as the principal's roles reach.

    Every method raises AccessDenied where no role allows it, and InvestigationNotFound for what is another
    tenant's, as for what does not exist. What drives investigations is not here: that is the process' own.
    """

    service: PrincipalService

    def __init__(
        self, reader: LiveReader, recorder: Recorder, service: InvestigationStateService, submit: Submit, who: Principal
    ) -> None:
        self._reader = reader
        self._recorder = recorder
        self._guard = Guard(recorder, who)
        self._submit = submit
        self.service = PrincipalService(service, self._guard)

    def _seen(self, action: Action) -> LiveReader:
        return SeenReader(self._reader, PrincipalSight(self.principal, action))

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

    async def check(
        self, investigation_id: Id, *, repair: bool = False, progress: Callable[[int], object] | None = None
    ) -> RowsReport:
        """As of the SDK; with `repair`, it needs what ``rebuild`` needs, else what ``verify`` does."""
        return await self._checking(repair=repair).check(investigation_id, repair=repair, progress=progress)

    async def check_all(
        self,
        *,
        investigation_type: str | None = None,
        repair: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> AsyncIterator[RowsReport]:
        """As :meth:`check`, for all that the principal may see."""
        checking = self._checking(repair=repair)
        async for report in checking.check_all(investigation_type=investigation_type, repair=repair, progress=progress):
            yield report

    def _checking(self, *, repair: bool) -> LiveReader:
        return self._seen(Action.REBUILD if repair else Action.VERIFY)
