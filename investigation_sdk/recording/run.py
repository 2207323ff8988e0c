"""What a block gets to hold: the live investigation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, cast

from investigation_sdk.arguments import MAPPING_OR_NONE, TEXT, WORDS, WORDS_OR_NONE, check
from investigation_sdk.clock import now_us
from investigation_sdk.domain.commands import Append, Ask
from investigation_sdk.domain.events import Event, check_custom_type
from investigation_sdk.domain.records import PhasePlan, Usage
from investigation_sdk.domain.states import InvestigationState, PhaseState, Verb
from investigation_sdk.engine import reading
from investigation_sdk.engine.creation import plan_data
from investigation_sdk.engine.sound import stored_value
from investigation_sdk.engine.texts import clean, json_text
from investigation_sdk.errors import BackendUnavailable, InvestigationError, PhaseError
from investigation_sdk.ids import uuid7
from investigation_sdk.recording.driver import Driver
from investigation_sdk.recording.phase import AsyncPhaseScope, PhaseScope, phase_of
from investigation_sdk.recording.steps import Step, block, go
from investigation_sdk.recording.tool_call import add_usage
from investigation_sdk.storage.payloads import MAX_PAYLOAD, Payload, is_rebuildable, pack, pack_members, pack_or_note

_UNSET: Final = object()
UNWAITED: Final = 5
"""A block that only appends, and never waits, stops at so many times the events that may wait to be durable."""
MAX_UNWAITED_BYTES: Final = 8 * MAX_PAYLOAD
"""Bytes of their blobs, likewise."""


class InvestigationContext:
    """What both faces share, and what :func:`current_investigation` gives: nothing here waits.

    Attributes:
        id, subject, investigation_type, key, user_id: As in the record.
        attempt: How many times it has been driven, this time included.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        fold = driver.session.decided
        self.id: str = fold.id
        self.subject: str = fold.subject
        self.investigation_type: str = fold.investigation_type
        self.key: str | None = fold.key
        self.user_id: str | None = fold.user_id
        self.attempt: int = fold.attempt
        self._result: Any = _UNSET
        driver.context = self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.state.value}>"

    @property
    def configuration(self) -> Mapping[str, Any]:
        """What it was configured with."""
        return self._mapping(self._driver.session.decided.configuration)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What was noted about it when it was created."""
        return self._mapping(self._driver.session.decided.metadata)

    @property
    def state(self) -> InvestigationState:
        """Its state, as this process knows it."""
        return self._driver.state

    @property
    def finished(self) -> bool:
        """The key named one that is finished: return `result` instead of working."""
        return self._driver.finished

    @property
    def result(self) -> Any:
        """What came out; set it inside the block, it is recorded when the block ends well.

        Raises:
            PayloadTooLarge: on setting a value that cannot be recorded.
        """
        if self._result is not _UNSET:
            return self._result
        return self._whole(self._driver.session.decided.result)

    @result.setter
    def result(self, value: Any) -> None:
        is_rebuildable(value)  # or refused here, where it is assigned
        self._result = value

    @property
    def last_checkpoint(self) -> Any:
        """What the last ``checkpoint()`` saved, in this attempt or an earlier one, or None."""
        return self._whole(self._driver.session.decided.last_checkpoint)

    def _whole(self, stored: Any) -> Any:
        """What was stored, decoded; the store is read, and waited for, only where it stands in a blob."""
        value = None if stored is None else stored_value(self.id, json_text(stored))
        if not reading.has_large(value):
            return value
        recorder = self._driver.recorder
        return recorder.call(reading.whole(recorder.backend, self.id, value))

    def _mapping(self, stored: Any) -> Mapping[str, Any]:
        value = self._whole(stored)
        return cast("dict[str, Any]", value) if isinstance(value, dict) else {}

    @property
    def usage(self) -> Usage:
        """Sums of what was reported, by tools and directly."""
        fold = self._driver.session.decided
        return Usage(tokens_used=fold.tokens_used, api_calls_made=fold.api_calls_made, cost_estimate=fold.cost_estimate)

    def record(self, event_type: str, data: Mapping[str, Any] | None = None) -> None:
        """Append an event of your own: ``record("fraud.hypothesis", {"text": "SIM swap"})``.

        Raises:
            ValueError: the type begins with a prefix of the SDK's own, or is not one.
            PayloadTooLarge: the data cannot be recorded.
        """
        check(event_type=(event_type, WORDS), data=(data, MAPPING_OR_NONE))
        check_custom_type(event_type)
        text, _, warnings, blobs = pack_members(dict(data or {}), self._driver.options.max_inline_bytes)
        inside = self._driver.inside()
        event = Event(uuid7(), event_type, {}, now_us(), text=text, blobs=blobs, parent_call=inside)
        self._append(event)
        self._driver.warn("data", warnings, event=event.id, event_type=event_type)

    def skip_phase(self, name: str, reason: str | None = None) -> None:
        """Say that a phase is not needed; it counts as done.

        Raises:
            PhaseError: it is open, or was completed in this attempt.
        """
        check(name=(name, TEXT), reason=(reason, WORDS_OR_NONE))
        name = clean(name)
        known = self._driver.session.decided.phases.get(name)
        if known is not None and (
            known.status is PhaseState.RUNNING
            or (known.status is PhaseState.COMPLETED and known.attempt == self._driver.attempt)
        ):
            raise PhaseError(
                f"Phase {name!r} of investigation {self.id} is {known.status.value} and cannot be skipped any more.",
                phase_name=name,
                investigation_id=self.id,
            )
        data = {"id": uuid7(), "name": name, **({} if reason is None else {"reason": reason})}
        self._command(Event(uuid7(), "phase.skipped", data, now_us()))

    def plan(self, *phases: str | PhasePlan) -> None:
        """Declare phases that became known only now."""
        self._command(Event(uuid7(), "phase.planned", {"phases": plan_data(phases)}, now_us()))

    def report(
        self,
        *,
        tokens_used: int = 0,
        api_calls_made: int = 0,
        cost_estimate: Decimal | float = 0,
        input_tokens: int = 0,
        output_tokens: int = 0,
    ) -> None:
        """Usage outside any tool: the agent's own model calls. Adds to what was reported. `input_tokens` and
        `output_tokens` are counted in ``tokens_used`` too; give either their sum as `tokens_used`, or them."""
        usage = add_usage(None, tokens_used, api_calls_made, cost_estimate, input_tokens, output_tokens)
        if usage:
            inside = self._driver.inside()
            self._append(Event(uuid7(), "usage.reported", {"usage": usage}, now_us(), parent_call=inside))
            if self._driver.trace is not None:
                self._driver.trace.used(usage)

    def _append(self, event: Event) -> None:
        driver = self._driver
        driver.check_not_finished()
        session = driver.session
        if session.queued_events > UNWAITED * session.spool_limit or session.queued_bytes > MAX_UNWAITED_BYTES:
            raise driver.interrupt(
                BackendUnavailable(
                    f"{session.queued_events} events of investigation {self.id}, with {session.queued_bytes:,} bytes "
                    "beside them, wait for a store that does not take them.",
                    investigation_id=self.id,
                )
            )
        driver.fact(event, lazy=True)

    def _command(self, event: Event) -> None:
        driver = self._driver
        driver.check_not_finished()
        try:
            driver.recorder.submit(driver.session, Append(time=event.time, token=driver.token, event=event), lazy=True)
        except InvestigationError as error:
            raise driver.interrupt(error) from error

    # ---- steps of both faces

    def _checkpoint(self, data: Any) -> Step[None]:
        text, _, warnings, blobs = pack(data, self._driver.options.max_inline_bytes)
        inside = self._driver.inside()
        event = Event(uuid7(), "checkpoint.saved", {"data": text}, now_us(), blobs=blobs, parent_call=inside)
        yield from self._driver.command(Append(time=event.time, token=self._driver.token, event=event))
        self._driver.warn("checkpoint", warnings)

    def _ask(self, verb: Verb, reason: str | None) -> Step[None]:
        driver = self._driver
        driver.check_not_finished()
        check(reason=(reason, WORDS_OR_NONE))
        why = None if reason is None else clean(reason)
        try:
            entry = driver.recorder.submit(driver.session, Ask(time=now_us(), verb=verb, reason=why))
            yield from driver.wait_for(entry)
        except BackendUnavailable as down:
            raise driver.interrupt(down) from down
        yield from driver.boundary()

    def _packed_result(self) -> Payload | None:
        if self._result is _UNSET:
            return None
        packed = pack_or_note(self._result, self._driver.options.max_inline_bytes)
        self._driver.warn("result", packed.warnings)
        return packed


class InvestigationRun(InvestigationContext):
    """The live investigation inside ``with``."""

    def phase(
        self, name: str, *, weight: float = 1, tools: Sequence[str | Callable[..., Any]] = (), input_data: Any = None
    ) -> PhaseScope:
        """A phase: ``with investigation.phase("triage"):``. See :func:`investigation_sdk.phase`.

        Raises:
            PhaseError: on entering: a phase of that name is open, or was completed in this attempt.
        """
        return PhaseScope(phase_of(self._driver, name, weight, tools, input_data), name)

    def checkpoint(self, data: Any) -> None:
        """Save data durably; `last_checkpoint` gives it back, in later attempts too."""
        block(self._checkpoint(data), self._driver.recorder.io)

    def pause(self, reason: str | None = None) -> None:
        """Stop here: waits until it is resumed, or raises InvestigationPaused, by ``on_pause``."""
        block(self._ask(Verb.PAUSE, reason), self._driver.recorder.io)

    def cancel(self, reason: str | None = None) -> None:
        """Cancel it; the block ends with InvestigationCancelled."""
        block(self._ask(Verb.CANCEL, reason), self._driver.recorder.io)


class AsyncInvestigationRun(InvestigationContext):
    """The live investigation inside ``async with``."""

    def phase(
        self, name: str, *, weight: float = 1, tools: Sequence[str | Callable[..., Any]] = (), input_data: Any = None
    ) -> AsyncPhaseScope:
        """A phase: ``async with investigation.phase("triage"):``. See :func:`investigation_sdk.phase`.

        Raises:
            PhaseError: on entering: a phase of that name is open, or was completed in this attempt.
        """
        return AsyncPhaseScope(phase_of(self._driver, name, weight, tools, input_data), name)

    async def checkpoint(self, data: Any) -> None:
        """Save data durably; `last_checkpoint` gives it back, in later attempts too."""
        await go(self._checkpoint(data), self._driver.recorder.io)

    async def pause(self, reason: str | None = None) -> None:
        """Stop here: waits until it is resumed, or raises InvestigationPaused, by ``on_pause``."""
        await go(self._ask(Verb.PAUSE, reason), self._driver.recorder.io)

    async def cancel(self, reason: str | None = None) -> None:
        """Cancel it; the block ends with InvestigationCancelled."""
        await go(self._ask(Verb.CANCEL, reason), self._driver.recorder.io)
