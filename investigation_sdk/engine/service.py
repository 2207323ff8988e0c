"""The state service: what may be done to an investigation from outside the block that drives it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from datetime import datetime
from decimal import Decimal
from typing import Any, Self, TypeVar

from investigation_sdk.arguments import FLAG, MAPPING, TEXT, TEXT_OR_NONE, TIME_OR_NONE, WORDS_OR_NONE, check, one_of
from investigation_sdk.clock import from_datetime, now_us
from investigation_sdk.domain.commands import Ask, Command, Fact, Transition
from investigation_sdk.domain.events import Blob, Event
from investigation_sdk.domain.records import (
    Investigation,
    InvestigationEvent,
    PhasePlan,
    Resolution,
    ToolExecution,
)
from investigation_sdk.domain.rows import InvestigationRow, ToolRow
from investigation_sdk.domain.states import Effect, InvestigationState, ToolState, Verb
from investigation_sdk.domain.usage import check_cost, check_count, cost_text
from investigation_sdk.engine import keys, opening, queries, reading
from investigation_sdk.engine.creation import Creation, creation_data
from investigation_sdk.engine.observers import StateHooks
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.refused import KeyTaken
from investigation_sdk.engine.resolving import resolution_data, started_of
from investigation_sdk.engine.session import Session
from investigation_sdk.engine.sound import unreadable
from investigation_sdk.engine.texts import clean
from investigation_sdk.engine.tracing import Trace
from investigation_sdk.errors import InvalidArgument, InvestigationNotFound
from investigation_sdk.ids import HasId, Id, canonical, uuid7
from investigation_sdk.storage.codec import digest
from investigation_sdk.storage.payloads import pack, pack_members

S = TypeVar("S", bound=Callable[[Investigation, InvestigationEvent], Any])

Misfit = Callable[[str, str | None, Any], str]
"""Of a tool, its version and a result: why a call cannot have returned that; empty where it can, or nobody knows."""


def _nobody_knows(_tool_name: str, _version: str | None, _result: Any) -> str:
    return ""


class InvestigationStateService:
    """Commands to investigations, from whoever operates them. Each is recorded with its actor and its reason.

    Every method raises InvestigationNotFound for an unknown id, InvalidStateTransition where the state does not
    allow it, and BackendUnavailable where the store does not take it.
    """

    def __init__(
        self, recorder: Recorder, *, tenant: str, max_inline_bytes: int, misfit: Misfit = _nobody_knows
    ) -> None:
        self._recorder = recorder
        self._tenant = tenant
        self._limit = max_inline_bytes
        self._misfit = misfit
        self._hooks = StateHooks(recorder)
        self._when_claimable: Callable[[InvestigationRow], Awaitable[None]] | None = None

    def _use(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._hooks.use(recorder)

    def _for(self, tenant: str) -> Self:
        """The same, with another tenant for what it creates."""
        other = copy(self)
        other._tenant = tenant
        return other

    async def create_investigation(
        self,
        user_id: str,
        subject: str,
        investigation_type: str,
        configuration: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        phases: Sequence[str | PhasePlan] = (),
        metadata: Mapping[str, Any] | None = None,
        parent: Id | HasId | None = None,
        queue: bool = True,
        actor: str | None = None,
    ) -> Investigation:
        """Created, and queued unless ``queue=False``; drive it with ``sdk.attach(id)``.

        Raises:
            InvestigationUnfinished, InvestigationFinished: the key names one that exists.
        """
        check(queue=(queue, FLAG))
        creation = creation_data(
            subject=subject,
            investigation_type=investigation_type,
            user_id=user_id,
            key=key,
            configuration=configuration,
            metadata=metadata,
            phases=phases,
            parent=parent,
            inline=self._limit,
        )
        id = await self._recorder.acall(self._create(creation, actor, self._recorder.trace(), queue=queue))
        return await self._get(id, told=True)

    async def _create(self, creation: Creation, actor: str | None, trace: Trace | None, *, queue: bool) -> str:
        try:
            session = await opening.create(
                self._recorder, creation, tenant=self._tenant, actor=_by(actor), queue=queue, trace=trace
            )
        except KeyTaken as taken:
            raise await keys.existing(self._recorder, taken.existing_id, creation.data["key"]) from None
        await self._append(session, [_warning("creation", message, actor) for message in creation.warnings])
        return session.id

    async def transition_state(
        self,
        investigation_id: Id,
        new_state: InvestigationState,
        reason: str | None = None,
        *,
        actor: str | None = None,
    ) -> bool:
        """Change the state by hand, by one legal step. Whoever drives a running one loses it by that, but for a pause.

        Returns:
            True.

        Raises:
            InvalidStateTransition: the table does not allow it; `allowed` says what it does.
        """
        check(new_state=(new_state, one_of(InvestigationState)))
        state = InvestigationState(new_state)
        reason = _reason(reason)
        await self._give(investigation_id, Transition(time=now_us(), new_state=state, reason=reason, actor=_by(actor)))
        return True

    async def record_tool_execution(
        self,
        investigation_id: Id,
        phase_id: str | None,
        agent_name: str,
        tool_name: str,
        input_parameters: Mapping[str, Any],
        result: Any = None,
        error: str | None = None,
        *,
        tool_version: str | None = None,
        started_at: datetime | None = None,
        completed_at: datetime | None = None,
        tokens_used: int | None = None,
        api_calls_made: int | None = None,
        cost_estimate: Decimal | None = None,
        actor: str | None = None,
    ) -> ToolExecution:
        """Record a call that ran elsewhere (``source="reported"``); failed if `error` is given.

        Raises:
            InvestigationNotFound: there is no such investigation, or it has no such phase.
            PayloadTooLarge: parameters or result cannot be recorded.
        """
        check(
            agent_name=(agent_name, TEXT),
            tool_name=(tool_name, TEXT),
            input_parameters=(input_parameters, MAPPING),
            error=(error, WORDS_OR_NONE),
            tool_version=(tool_version, WORDS_OR_NONE),
            started_at=(started_at, TIME_OR_NONE),
            completed_at=(completed_at, TIME_OR_NONE),
        )
        time = now_us()
        started_us = time if started_at is None else from_datetime(started_at)
        ended_us = max(time, started_us) if completed_at is None else from_datetime(completed_at)
        if ended_us < started_us:
            raise InvalidArgument(f"completed_at={completed_at} is before started_at={started_at}")
        opened: dict[str, Any] = {
            "tool": clean(tool_name),
            "agent": clean(agent_name),
            "started_at": started_us,
            "source": "reported",
        }
        if phase_id is not None:
            opened["phase"] = canonical(phase_id)
        if tool_version is not None:
            opened["version"] = clean(tool_version)
        given = pack_members(dict(input_parameters), self._limit)
        opened["input"] = given.text
        if given.blobs:
            opened["digest"] = digest(dict(input_parameters))
        warnings = [("input", message) for message in given.warnings]
        started = Event(uuid7(), "tool.started", opened, time, blobs=given.blobs, actor=_by(actor))
        closed: dict[str, Any] = {"call": started.id, "completed_at": ended_us}
        if completed_at is not None and started_at is not None:
            closed["duration_ms"] = (ended_us - started_us) / 1000
        cost = None if cost_estimate is None else cost_text(check_cost(cost_estimate))
        for name, count in (("tokens_used", tokens_used), ("api_calls_made", api_calls_made)):
            if count is not None:
                check_count(name, count)
        reported = {"tokens_used": tokens_used, "api_calls_made": api_calls_made, "cost_estimate": cost}
        usage = {name: value for name, value in reported.items() if value is not None}
        if usage:
            closed["usage"] = usage
        blobs: tuple[Blob, ...] = ()
        if error is None:
            closed["output"], _, lost, blobs = pack(result, self._limit)
            warnings += [("output", message) for message in lost]
        else:
            closed["error"] = {"type": "reported", "message": clean(error)[: self._limit]}
        kind = "tool.completed" if error is None else "tool.failed"
        ended = Event(uuid7(), kind, closed, time, blobs=blobs, actor=_by(actor), started=started)
        events = [started, ended]
        more = {"call": started.id, "tool": opened["tool"]}
        events += [_warning(which, message, actor, **more) for which, message in warnings]
        return await self._recorder.acall(self._report(canonical(investigation_id), events))

    async def _report(self, investigation_id: str, events: Sequence[Event]) -> ToolExecution:
        started = events[0]
        session = await self._recorder.session(investigation_id)
        phase = started.data.get("phase")
        if phase is not None and session.acked.phase_by_id(phase) is None:
            await self._recorder.aflush(None)  # it may be on its way, and may yet be refused
        if phase is not None and session.acked.phase_by_id(phase) is None:
            raise InvestigationNotFound(
                f"Investigation {investigation_id} has no phase {phase}.", investigation_id=investigation_id
            )
        await self._append(session, events)
        row = await self._recorder.backend.get("tool", started.id)
        if not isinstance(row, ToolRow):
            raise unreadable(investigation_id, None, f"call {started.id} was recorded, and has no row")
        return await queries.tool(self._recorder.backend, row)

    async def _append(self, session: Session, events: Sequence[Event]) -> None:
        """Append facts from outside, together, and wait until they are durable."""
        if events:
            with session.lock:
                entries = [session.submit(Fact(event, None)) for event in events]
            self._recorder.commit(session)
            await opening.durable(session, entries[-1])

    async def resolve(self, call_id: Id, resolution: Resolution, *, actor: str | None = None) -> ToolExecution:
        """Say what became of a call of which that is not known: that was cut off, or that raised and is unsafe.

        Whoever drives the investigation on by its key acts on it; resume it where it is paused.

        Args:
            call_id: As UnknownOutcome and ResumeDivergence name it.
            resolution: ``succeeded`` with the result to give back, ``failed``, or ``not_executed``.
            actor: Who says so.

        Raises:
            InvestigationNotFound: there is no such call.
            InvalidArgument: the call is running, or its tool is not unsafe, so that nothing about it is unknown; or the
                result does not fit the annotation of the tool, where this process has that.
            PayloadTooLarge: the result cannot be recorded.
        """
        id = canonical(call_id)
        row = await self._recorder.acall(self._in_doubt(id))
        succeeded = resolution.outcome == "succeeded"
        if succeeded and (why := self._misfit(row.tool_name, row.tool_version, resolution.result)):
            raise InvalidArgument(
                f"Call {id} of {row.tool_name!r} cannot have returned that: {why}. Name what it would have returned, "
                "as the annotation of the tool says: an instance, or its fields.",
                argument="resolution",
                investigation_id=row.investigation_id,
            )
        return await self._recorder.acall(self._resolve(row, resolution, _by(actor)))

    async def _in_doubt(self, call_id: str) -> ToolRow:
        row = await self._recorder.backend.get("tool", call_id)
        if not isinstance(row, ToolRow) or (self._tenant and row.tenant_id != self._tenant):
            raise InvestigationNotFound(f"There is no call {call_id} in this store.")
        _check_open_to_doubt(row)
        return row

    async def _resolve(self, row: ToolRow, resolution: Resolution, actor: str | None) -> ToolExecution:
        backend, call_id = self._recorder.backend, row.id
        session = await self._recorder.session(row.investigation_id)
        started = await started_of(backend, row.investigation_id, call_id)
        data, blobs = resolution_data(call_id, resolution, self._limit)
        event = Event(uuid7(), "tool.resolved", data, now_us(), blobs=blobs, actor=actor, started=started)
        await self._append(session, [event])
        resolved = await backend.get("tool", call_id)
        assert isinstance(resolved, ToolRow)
        return await queries.tool(backend, resolved)

    async def pause(
        self, investigation_id: Id, reason: str | None = None, *, actor: str | None = None
    ) -> Investigation:
        """Ask a running one to pause. Returns when the request is durable; the owner stops at its next boundary."""
        return await self._ask(investigation_id, Verb.PAUSE, reason, actor)

    async def resume(
        self, investigation_id: Id, reason: str | None = None, *, actor: str | None = None
    ) -> Investigation:
        """Let a paused one go on: wakes the owner that waits, or, where nobody drives it, makes it claimable."""
        return await self._ask(investigation_id, Verb.RESUME, reason, actor)

    async def cancel(
        self, investigation_id: Id, reason: str | None = None, *, actor: str | None = None
    ) -> Investigation:
        """Cancel it for good. The owner stops at its next boundary; calls in flight report their own end."""
        return await self._ask(investigation_id, Verb.CANCEL, reason, actor)

    async def retry(
        self, investigation_id: Id, reason: str | None = None, *, actor: str | None = None
    ) -> Investigation:
        """From failed to retrying: claimable again."""
        return await self._ask(investigation_id, Verb.RETRY, reason, actor)

    def on_state(self, *states: InvestigationState) -> Callable[[S], S]:
        """Decorate a hook ``(investigation, event)``, def or async def, that is called after the commit of every
        change to one of `states` (none given: to any) that this process makes.

        Hooks run on a thread of their own, one after another, async ones under asyncio; what they raise is logged.
        """
        for state in states:
            check(state=(state, one_of(InvestigationState)))

        def register(hook: S) -> S:
            self._hooks.add(states, hook)
            return hook

        return register

    async def _ask(self, id: Id, verb: Verb, reason: str | None, actor: str | None) -> Investigation:
        await self._give(id, Ask(time=now_us(), verb=verb, reason=_reason(reason), actor=_by(actor)))
        return await self._get(canonical(id), told=verb in (Verb.RESUME, Verb.RETRY))

    async def _give(self, id: Id, command: Command) -> None:
        await self._recorder.acall(opening.command(self._recorder, canonical(id), command))

    async def _get(self, id: str, *, told: bool) -> Investigation:
        """The record; whoever runs queued ones is `told`, if it is to be taken up."""
        recorder = self._recorder
        row = await recorder.acall(reading.get_row(recorder.backend, id, recorder.sight))
        if told and self._when_claimable is not None:
            await self._when_claimable(row)
        return queries.investigation(row)


def _check_open_to_doubt(row: ToolRow) -> None:
    if row.effect != Effect.UNSAFE.value:
        raise InvalidArgument(
            f"Call {row.id} of {row.tool_name!r} is {row.status}, and the tool is not declared unsafe: nobody has to "
            "say what became of it. On a resume it runs again unless it is finished.",
            argument="call_id",
            investigation_id=row.investigation_id,
        )
    if row.status == ToolState.RUNNING.value:
        raise InvalidArgument(
            f"Call {row.id} of {row.tool_name!r} is recorded as running. That it was cut off is known once its "
            f"investigation, {row.investigation_id}, is taken over from an owner that is gone: open that by its key, "
            "or attach to it.",
            argument="call_id",
            investigation_id=row.investigation_id,
        )


def _by(actor: object) -> str | None:
    check(actor=(actor, TEXT_OR_NONE))
    return None if actor is None else clean(str(actor))


def _warning(kind: str, message: str, actor: str | None, **more: str) -> Event:
    data = {"kind": kind, "message": message, **more}
    return Event(uuid7(), "recorder.warning", data, now_us(), actor=_by(actor))


def _reason(reason: str | None) -> str | None:
    check(reason=(reason, WORDS_OR_NONE))
    return None if reason is None else clean(reason)
