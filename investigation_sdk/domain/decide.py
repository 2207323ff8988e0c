"""Decide: from what is submitted, the events that follow, or a refusal. Pure; nothing is changed here.

The seven verbs go through :data:`~investigation_sdk.domain.states.WAYS`, the manual change of state through
:data:`~investigation_sdk.domain.states.ALLOWED_TRANSITIONS`; there is no other way to change a state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from investigation_sdk.domain.commands import (
    Append,
    Ask,
    Claim,
    Command,
    Create,
    Fact,
    Fail,
    Finish,
    GiveUp,
    Release,
    StartPhase,
    Submission,
    Transition,
)
from investigation_sdk.domain.events import Blob, Event
from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.owners import describe
from investigation_sdk.domain.phase import Phase
from investigation_sdk.domain.project import error_message, interrupted_state, waits
from investigation_sdk.domain.refusals import check_running, drives, existing, owned, refusal
from investigation_sdk.domain.states import (
    ALLOWED_TRANSITIONS,
    TERMINAL,
    WAYS,
    InvestigationState,
    PhaseState,
    Verb,
)
from investigation_sdk.errors import (
    InvestigationCancelled,
    InvestigationFinished,
    LeaseLost,
    PhaseError,
    VersionConflict,
)
from investigation_sdk.ids import uuid7

_S = InvestigationState

_TYPE_OF_STATE: Final = {
    _S.COMPLETED: "investigation.completed",
    _S.FAILED: "investigation.failed",
    _S.CANCELLED: "investigation.cancelled",
}


def decide(fold: Fold, submission: Submission) -> list[Event]:
    """The events that `submission` leads to, neither numbered nor chained; none where there is nothing to do.

    Raises:
        InvestigationError: a command is refused; which of its subclasses says why. Facts never are.
    """
    if type(submission) is Fact:
        return _fact(fold, submission)
    return _DECIDERS[type(submission)](fold, submission)


def _fact(fold: Fold, fact: Fact) -> list[Event]:
    event = fact.event
    token = fact.token
    # What is said of a call afterwards does not end it, so it comes for one that is not open any more.
    closes = None if event.started is None or event.type == "tool.resolved" else event.started.id
    event.metadata = None if fact.progress is None else {"progress": fact.progress}
    if token is None:
        event.attempt = 0  # made in no attempt: it gets that of the moment, each time it is decided
    if token != fold.token or (closes is not None and closes not in fold.calls) or fold.status in TERMINAL:
        _mark_late(fold, fact, closes)
    return [event]


def _mark_late(fold: Fold, fact: Fact, closes: str | None) -> None:
    metadata: dict[str, Any] = {}
    if fact.token is not None or fold.status in TERMINAL:
        metadata["late"] = True
    if fact.token is not None and fold.token is not None and fact.token != fold.token:
        metadata["stale"] = True
    fact.event.metadata = metadata or None


def _create(fold: Fold, command: Create) -> list[Event]:
    if fold.status is not None:
        raise VersionConflict(f"Investigation {fold.id} exists already.", investigation_id=fold.id)
    created = _event(command, "investigation.created", command.data, command.blobs)
    created.new_state = _S.CREATED
    created.metadata = command.metadata
    if not command.queue:
        return [created]
    extra = {_S.QUEUED: _not_before(command.not_before)}
    return [created, *_walk(fold, command, (_S.QUEUED,), current=_S.CREATED, extra=extra)]


def _not_before(time: int | None) -> dict[str, Any]:
    return {} if time is None else {"not_before": time}


def _claim(fold: Fold, command: Claim) -> list[Event]:
    status = existing(fold)
    if status is _S.COMPLETED:
        raise InvestigationFinished(
            f"Investigation {fold.id} is completed: it can be read, not driven.", investigation_id=fold.id
        )
    if status is _S.CANCELLED:
        raise InvestigationCancelled(
            f"Investigation {fold.id} was cancelled and cannot be driven any more.", investigation_id=fold.id
        )
    if command.queued and not waits(status, resume_requested=fold.resume_requested):
        raise refusal(fold, "be taken up by a worker", _S.INITIALIZING)
    data: dict[str, Any] = {"owner": command.owner, "attempt": fold.attempt + 1}
    if fold.owner is not None:
        data["from"] = fold.owner
    claimed = _event(command, "investigation.claimed", data)
    claimed.id = command.id
    claimed.attempt = fold.attempt + 1
    way = WAYS[status][Verb.OPEN] or ()
    if status is _S.PAUSED and fold.resume_requested:
        way = (_S.RUNNING,)
    events = _close(fold, command, "crashed")
    if way[:1] == (_S.FAILED,):  # the attempt before fails first: to fail voids a token, and must not void the new one
        message = "It was left without an end."
        if fold.owner is not None:
            message = f"The owner, {describe(fold.owner)}, stopped without a word."
        crashed = {"kind": "crashed", "message": message}
        events += _walk(fold, command, way[:1], extra={_S.FAILED: crashed})
        way, status = way[1:], _S.FAILED
    events.append(claimed)
    events += _walk(fold, command, way, current=status)
    events.append(_event(command, "investigation.started", {"attempt": fold.attempt + 1}))
    events[-1].metadata = command.metadata
    return events


def _ask(fold: Fold, command: Ask) -> list[Event]:
    status = existing(fold)
    verb = command.verb
    if verb is Verb.RESUME and status is _S.PAUSED and fold.token is None:
        if fold.resume_requested:
            return []
        return [_event(command, "investigation.resume_requested", _reason(command.reason))]
    way = WAYS[status][verb]
    if way is None:
        raise refusal(fold, verb, _target(verb))
    failed = {"kind": "interrupted", "message": command.reason or f"{verb.value} requested"}
    extra: dict[InvestigationState, dict[str, Any]] = {_S.FAILED: failed}
    closing: list[Event] = []
    if way and way[-1] is _S.CANCELLED:
        closing = _close_from_outside(fold, command, "cancelled")
    return [*closing, *_walk(fold, command, way, reason=command.reason, extra=extra)]


def _transition(fold: Fold, command: Transition) -> list[Event]:
    status = existing(fold)
    new = command.new_state
    if new not in ALLOWED_TRANSITIONS[status]:
        raise refusal(fold, f"change to {new.value}", new)
    failed = {"kind": "error", "message": command.reason or "failed by hand"}
    events = _walk(fold, command, (new,), reason=command.reason, extra={_S.FAILED: failed})
    leaves = status is _S.RUNNING and new is not _S.PAUSED
    if leaves and fold.token is not None:
        events[-1].data["voids"] = fold.token
    if leaves or new in TERMINAL:
        events = [*_close_from_outside(fold, command, new.value), *events]
    return events


def _start_phase(fold: Fold, command: StartPhase) -> list[Event]:
    owned(fold, command.token)
    check_running(fold)
    event = command.event
    name = event.data["name"]
    known = fold.phases.get(name)
    if known is None:
        return [event]
    if known.status is PhaseState.RUNNING:
        raise PhaseError(
            f"Phase {name!r} of investigation {fold.id} is open already. Two phases at the same time need two names.",
            phase_name=name,
            investigation_id=fold.id,
        )
    if known.status is PhaseState.COMPLETED and known.attempt == fold.attempt:
        raise PhaseError(
            f"Phase {name!r} of investigation {fold.id} was completed already in this attempt. "
            f"Give each phase its own name, for example '{name} 2'.",
            phase_name=name,
            investigation_id=fold.id,
        )
    event.data["id"] = known.id
    event.text = None
    return [event]


def _append(fold: Fold, command: Append) -> list[Event]:
    owned(fold, command.token)
    if command.needs_running:
        check_running(fold)
    event = command.event
    if event.type == "phase.skipped":
        return _skip(fold, event)
    return [event]


def _skip(fold: Fold, event: Event) -> list[Event]:
    known = fold.phases.get(event.data["name"])
    if known is None:
        return [event]
    if known.status is PhaseState.RUNNING:
        raise PhaseError(
            f"Phase {known.name!r} of investigation {fold.id} is open: it cannot be skipped any more.",
            phase_name=known.name,
            investigation_id=fold.id,
        )
    if known.status in (PhaseState.COMPLETED, PhaseState.SKIPPED):
        return []
    event.data["id"] = known.id
    event.text = None
    return [event]


def _finish(fold: Fold, command: Finish) -> list[Event]:
    result = {} if command.result is None else {"result": command.result}
    if fold.status is _S.CANCELLED:
        note = _event(command, "note.recorded", {"kind": "late_result", **result}, command.blobs)
        return _late([*_close_own(fold, command), note])
    status = owned(fold, command.token)
    way = WAYS[status][Verb.END_WELL]
    if way is None:
        raise refusal(fold, Verb.END_WELL, _S.COMPLETED)
    events = [
        *_close(fold, command, "outlived"),
        *(_left_open(command, phase) for phase in fold.phases.values() if phase.status is PhaseState.RUNNING),
        *_walk(fold, command, way, extra={_S.COMPLETED: result}),
    ]
    events[-1].blobs = command.blobs
    return [*events, _released(command)]


def _fail(fold: Fold, command: Fail) -> list[Event]:
    status = existing(fold)
    way = WAYS[status][Verb.END_WITH_ERROR] if drives(fold, command.token) else None
    if way is None:
        occurred = _event(command, "error.occurred", {"kind": command.kind, "error": command.error})
        closing = _close_own(fold, command) if status is _S.CANCELLED else []
        return _late([*closing, occurred])
    failed = {"kind": command.kind, "message": error_message(command.error), "error": command.error}
    extra = {_S.FAILED: failed}
    if command.again_at is not None:
        way, extra[_S.RETRYING] = (*way, _S.RETRYING), _not_before(command.again_at)
    return [
        *_close(fold, command, "outlived"),
        *_walk(fold, command, way, extra=extra),
        _released(command),
    ]


def _give_up(fold: Fold, command: GiveUp) -> list[Event]:
    status = existing(fold)
    if fold.token != command.seen:
        raise LeaseLost(f"Investigation {fold.id} has another owner by now.", investigation_id=fold.id)
    if WAYS[status][Verb.OPEN] is None or (WAYS[status][Verb.OPEN] or ())[:1] != (_S.FAILED,):
        raise refusal(fold, "give up", _S.FAILED)
    failed = {"kind": command.kind, "message": command.message}
    return [*_close(fold, command, "crashed"), *_walk(fold, command, (_S.FAILED,), extra={_S.FAILED: failed})]


def _left_open(command: Finish, phase: Phase) -> Event:
    message = f"Phase {phase.name!r} was not left before the investigation ended. Use `with` or `async with` for it."
    return _event(command, "recorder.warning", {"kind": "phase_left_open", "phase": phase.name, "message": message})


def _close_own(fold: Fold, command: Finish | Fail | Release) -> list[Event]:
    """In a cancelled investigation: close the calls of the block that ends, and no later owner's."""
    attempt = command.attempt
    return _close(fold, command, "outlived", [c for c in fold.calls.values() if attempt in (None, c.attempt)])


def _release(fold: Fold, command: Release) -> list[Event]:
    if not drives(fold, command.token):
        return _late(_close_own(fold, command)) if fold.status is _S.CANCELLED else []
    return [*_close(fold, command, "outlived"), _released(command)]


# ---- shared pieces


def _event(command: Command, type: str, data: dict[str, Any], blobs: tuple[Blob, ...] = ()) -> Event:
    return Event(uuid7(), type, data, command.time, blobs=blobs, actor=command.actor)


def _released(command: Command) -> Event:
    return _event(command, "investigation.released", {"token": command.token})


def _reason(reason: str | None) -> dict[str, Any]:
    return {} if reason is None else {"reason": reason}


def _walk(
    fold: Fold,
    command: Command,
    way: Iterable[InvestigationState],
    *,
    current: InvestigationState | None = None,
    reason: str | None = None,
    extra: dict[InvestigationState, dict[str, Any]] | None = None,
) -> list[Event]:
    """One event for each step of a way."""
    events: list[Event] = []
    state = current or fold.status
    for new in way:
        data = {**_reason(reason), **((extra or {}).get(new) or {})}
        event = _event(command, _TYPE_OF_STATE.get(new, "state.transition"), data)
        event.previous_state = state
        event.new_state = new
        events.append(event)
        state = new
    return events


def _late(events: list[Event]) -> list[Event]:
    for event in events:
        event.metadata = {"late": True}
    return events


def _close_from_outside(fold: Fold, command: Command, kind: str) -> list[Event]:
    """Calls in flight of a living owner go on: they cannot be stopped from here, and report their own end."""
    return _close(fold, command, kind, () if fold.token else fold.calls.values())


def _close(fold: Fold, command: Command, kind: str, calls: Iterable[Event] | None = None) -> list[Event]:
    """Events that close what is open: calls (all, or these) are interrupted, running phases go back to pending."""
    open_calls = fold.calls.values() if calls is None else calls
    events = [interrupted(call, kind, command.time) for call in open_calls]
    running = [phase for phase in fold.phases.values() if phase.status is PhaseState.RUNNING]
    return events + [_event(command, "phase.interrupted", _phase_data(phase, kind)) for phase in running]


def _phase_data(phase: Phase, kind: str) -> dict[str, Any]:
    return {"id": phase.id, "name": phase.name, "kind": kind}


def interrupted(started: Event, kind: str, time: int) -> Event:
    """The event that closes a call of which no end was seen: ``crashed`` or ``outlived`` its block."""
    state = interrupted_state(started.data.get("effect")).value
    data = {"call": started.id, "kind": kind, "state": state}
    return Event(uuid7(), "tool.interrupted", data, time, started=started, parent_call=started.parent_call)


def _target(verb: Verb) -> InvestigationState:
    return {
        Verb.PAUSE: _S.PAUSED,
        Verb.CANCEL: _S.CANCELLED,
        Verb.RETRY: _S.RETRYING,
        Verb.RESUME: _S.RUNNING,
    }.get(verb, _S.COMPLETED)


_DECIDERS: Final[dict[type, Callable[[Fold, Any], list[Event]]]] = {
    Create: _create,
    Claim: _claim,
    Ask: _ask,
    Transition: _transition,
    StartPhase: _start_phase,
    Append: _append,
    Finish: _finish,
    Fail: _fail,
    GiveUp: _give_up,
    Release: _release,
}
