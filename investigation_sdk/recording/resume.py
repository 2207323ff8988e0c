"""Resume: before a call runs in a later attempt, find out what became of it in an earlier one, and give that back.

The table of outcome and effect, in words: what finished is given back. What raised, or was cut off, runs again,
unless it is unsafe: then nobody can tell what it did, so the investigation pauses and asks. An idempotent call that
runs again has the idempotency key of the first time.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from investigation_sdk.clock import now_us
from investigation_sdk.domain.commands import Ask
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.project import error_message
from investigation_sdk.domain.records import Resolution
from investigation_sdk.domain.resumes import KINDS
from investigation_sdk.domain.states import Effect, Verb
from investigation_sdk.engine.reading import has_large, whole
from investigation_sdk.engine.recorded import Recorded, refresh
from investigation_sdk.engine.records import Place, Record
from investigation_sdk.engine.resolving import resolution_data, started_of
from investigation_sdk.errors import (
    InvestigationError,
    InvestigationInterrupt,
    InvestigationPaused,
    ResumeDivergence,
    UnknownOutcome,
)
from investigation_sdk.ids import uuid7
from investigation_sdk.recording.giving_back import give_back, give_back_named, sent_into
from investigation_sdk.recording.steps import OfUser, Step
from investigation_sdk.storage.codec import decode
from investigation_sdk.storage.spelling import to_json

if TYPE_CHECKING:
    from investigation_sdk.recording.call import Call
    from investigation_sdk.recording.capture import ToolSpec
    from investigation_sdk.recording.driver import Driver
    from investigation_sdk.recording.frames import CallFrame, Frame


class Reused(NamedTuple):
    """What a call returned in an earlier attempt; of a generator, ``(items, returned)``."""

    value: Any
    sent: dict[str, str] | None = None
    """Of a generator, what was sent into it: see :func:`~investigation_sdk.recording.giving_back.sent_into`."""
    record: Record | None = None
    """Of a generator, its own."""
    inside: Sequence[Record] = ()
    """Of a generator, those of the calls that were made inside of it."""


class Resume:
    """What earlier attempts of one investigation recorded, and what this one made of it so far."""

    def __init__(self, driver: Driver, recorded: Recorded) -> None:
        self._driver = driver
        self._recorded = recorded
        self._lock = threading.Lock()  # calls count on any thread, and to add is to read and to write
        self._counts: dict[str | None, dict[str, dict[str, int]]] = {}

    def at_once(self, frame: Frame, spec: ToolSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reused | None:
        """What an earlier attempt recorded of a call that is about to be made in `frame`, if that can be told, and
        given back, without a closer look or a wait; then it was made. None for :meth:`take`.

        Raises:
            RecordUnreadable: what is recorded of it is not what the SDK writes.
        """
        around = frame.call
        place = Place(None if around is None else around.root, frame.phase_id, spec.name, spec.version)
        if spec.generator or self._driver.held_up or not self._recorded.any_at(place):
            return None
        given = spec.ordinary_input(args, kwargs, self._driver.options.max_inline_bytes)
        record = None if given is None else self._recorded.take(place, given, None, as_it_stands=True)
        if record is None:
            return None
        try:
            output = self._recorded.output(record)
        except BaseException:  # made again, it is not to pass for a new one
            self._recorded.put_back(record)
            raise
        self._count(frame.phase_name, spec.name, "reused")
        self._recorded.settle(record)
        return Reused(output)

    def take(self, call: Call, around: CallFrame | None) -> Step[Record | None]:
        """What is recorded of a call that is about to begin, in the call `around`; no other call gets it.

        Raises:
            InvestigationInterrupt: it is unsafe and new, and a recorded one of its tool is left over; the
                investigation is paused.
        """
        data = call.started.data
        given, digest = data["input"], data.get("digest")
        place = Place(None if around is None else around.root, call.phase_id, call.spec.name, call.spec.version)
        record = self._recorded.take(place, given, digest)
        if record is None and call.spec.effect is Effect.UNSAFE:
            yield from self._check_none_left(call)
            record = self._recorded.take(place, given, digest)  # somebody may have said so meanwhile
        if record is None:
            inside = around is not None and around.repeated
            call.repeated = inside or (digest is None and self._recorded.done_alike(place, given))
        return record

    def put_back(self, record: Record) -> None:
        """The call that took it did not begin after all."""
        self._recorded.put_back(record)

    def look_up(
        self, call: Call, record: Record | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Step[Reused | None]:
        """The recorded result of a call that is about to begin; None where it has to run.

        Args:
            call: Its start is not submitted yet; where it runs again, that is noted in it.
            record: What :meth:`take` gave for it.
            args: What it was called with, for ``reconcile``.
            kwargs: So, too.

        Raises:
            InvestigationInterrupt: nobody can tell what an unsafe call did; the investigation is paused.
        """
        spec = call.spec
        if record is None:
            return None
        reused, why = yield from self._give_back(spec, record)
        if reused is None and _in_doubt(spec, record):
            yield from self._refresh(record)
            reused, why = yield from self._give_back(spec, record)
            if reused is None and _in_doubt(spec, record):
                reused = yield from self._ask(call, record, why, args, kwargs)
        if reused is None:
            call.runs_again(record.root, repeated=record.state == "finished")
            return None
        inside = self._recorded.settle(record)
        return reused._replace(record=record, inside=inside) if spec.generator else reused

    def not_reused(self, frame: Frame, spec: ToolSpec, inside: Sequence[Record]) -> None:
        """A generator that was given back is told something else than the recorded one was: it does not count as given
        back any more, and the calls inside of it will be made again.

        Args:
            frame: Where it was called.
            spec: Its tool.
            inside: See :class:`Reused`.
        """
        self._recorded.unsettle(inside)
        self._count(frame.phase_name, spec.name, "reused", -1)

    def run_after_all(self, call: Call, record: Record) -> Step[None]:
        """Such a generator's body is about to run.

        Raises:
            InvestigationInterrupt: it is unsafe; the investigation is paused.
        """
        if _in_doubt(call.spec, record):
            yield from self._stop(self._told_otherwise(record))
        call.runs_again(record.root, repeated=True)

    def _give_back(self, spec: ToolSpec, record: Record) -> Step[tuple[Reused | None, str]]:
        """What it gave; None, and the reason, where that cannot be given back."""
        if record.state != "finished":
            return None, ""
        if record.plain and not (spec.generator or record.resolved):  # the usual case, without a closer look
            return Reused(self._recorded.output(record)), ""
        recorded = decode(to_json(self._recorded.output(record)).decode())
        if has_large(recorded):
            recorded = yield whole(self._driver.recorder.backend, self._driver.session.id, recorded)
        rebuilt = (give_back_named if record.resolved else give_back)(spec.fn, recorded)
        if rebuilt.reason:
            return None, rebuilt.reason
        return Reused(rebuilt.value, sent_into(recorded) if spec.generator else None), ""

    # ---- what nobody can tell

    def _ask(
        self, call: Call, record: Record, why: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Step[Reused | None]:
        """Of an unsafe call: what its ``reconcile`` function found out; without one, the investigation pauses.

        Args:
            call: See :meth:`look_up`.
            record: So, too.
            why: What is recorded of it cannot be given back.
            args: See :meth:`look_up`.
            kwargs: So, too.
        """
        reconcile = call.spec.reconcile
        if reconcile is None or record.state == "finished":
            because = f"The reason: {why}. " if why else ""
            yield from self._stop(_unknown(self._driver.session.id, record, because))
        try:
            found: Any = yield OfUser(reconcile, args, kwargs)  # type: ignore[arg-type]
            resolution = Resolution.model_validate(found)
            given = _given(call.spec, resolution)
        except Exception as error:
            unknown = _unknown(self._driver.session.id, record, f"reconcile= failed: {type(error).__name__}: {error}. ")
            yield from self._stop(unknown)
            raise
        driver = self._driver
        data, blobs = resolution_data(record.id, resolution, driver.options.max_inline_bytes, by="reconcile")
        started = yield started_of(driver.recorder.backend, driver.session.id, record.id)
        inside = driver.inside()
        resolved = Event(uuid7(), "tool.resolved", data, now_us(), blobs=blobs, parent_call=inside, started=started)
        yield from driver.wait_for(driver.fact(resolved))
        return given

    def _check_none_left(self, call: Call) -> Step[None]:
        """Stop where a recorded call of this unsafe tool is left over, and nobody has said yet what became of it."""
        left = self._recorded.unsafe_left(call.spec.name)
        while left is not None:
            yield from self._refresh(left)
            still = self._recorded.unsafe_left(call.spec.name)
            if still is left:
                yield from self._stop(self._divergence(call, left))
            left = still

    def _refresh(self, record: Record) -> Step[None]:
        driver = self._driver
        yield refresh(driver.recorder.backend, driver.session.id, record)

    def _divergence(self, call: Call, left: Record) -> ResumeDivergence:
        id = self._driver.session.id
        why = (
            ""
            if left.sure
            else (
                "Its arguments are masked or too large to be compared, so it may be the same one; with "
                "INVESTIGATION_DIGEST_KEY set from the first attempt on, masked ones are compared. "
            )
        )
        return ResumeDivergence(
            f"Investigation {id}: this call of the unsafe tool {left.tool!r} is not among those that earlier attempts "
            f"recorded, and call {left.id} of that tool, in attempt {left.attempt}, was not made again. It is paused "
            f"rather than risk doing one thing twice. {why}Compare the two (the arguments of the new one: "
            f"{call.started.data['input'][:500]}); say what became of the recorded one with "
            f"sdk.service.resolve({left.id!r}, …), then sdk.service.resume({id!r}).",
            call_id=left.id,
            tool_name=left.tool,
            investigation_id=id,
        )

    def _told_otherwise(self, record: Record) -> ResumeDivergence:
        id = self._driver.session.id
        return ResumeDivergence(
            f"Investigation {id}: into this call of the unsafe generator {record.tool!r} something else was sent than "
            f"into call {record.id}, in attempt {record.attempt}, whose items it was given so far. It is paused rather "
            f"than risk doing one thing twice. Say what became of that one with sdk.service.resolve({record.id!r}, …): "
            "'succeeded' with its items, which then come whatever is sent, or 'not_executed', and it runs; then "
            f"sdk.service.resume({id!r}).",
            call_id=record.id,
            tool_name=record.tool,
            investigation_id=id,
        )

    def _stop(self, error: InvestigationPaused) -> Step[None]:
        """Pause the investigation, and stop the block with `error`."""
        driver = self._driver
        driver.stopped = error
        try:
            ask = Ask(time=now_us(), verb=Verb.PAUSE, reason=f"{type(error).__name__}: {str(error)[:1500]}")
            yield from driver.wait_for(driver.recorder.submit(driver.session, ask))
        except InvestigationError as refused:
            raise InvestigationInterrupt(error) from refused
        raise InvestigationInterrupt(error)

    # ---- what became of it all

    def count(self, call: Call, record: Record | None, reused: Reused | None) -> None:
        """A call has begun, or was given back: once, and not where it was broken off before, and is made once more."""
        kind = "new" if record is None else "again" if reused is None else "reused"
        self._count(call.phase_name, call.spec.name, kind)

    def _count(self, phase: str | None, tool: str, kind: str, by: int = 1) -> None:
        with self._lock:
            tools = self._counts.get(phase)
            if tools is None:
                tools = self._counts[phase] = {}
            counts = tools.get(tool)
            if counts is None:
                counts = tools[tool] = dict.fromkeys(KINDS, 0)
            counts[kind] += by

    def sum_up(self, phase: str | None, *, whole: bool = False) -> None:
        """Record ``resume.summary`` for the calls of one phase, or of none: of each tool, how many were given back,
        ran again, and were not in the log.

        Args:
            phase: Its name.
            whole: The block ends well: say, too, which recorded calls were not made again.
        """
        if phase is None:  # the end: what a thread counted in a phase that had ended, too
            with self._lock:
                late = [name for name in self._counts if name is not None]
            for name in late:
                self.sum_up(name)
        with self._lock:
            tools = self._counts.pop(phase, {})
        totals = {kind: sum(count[kind] for count in tools.values()) for kind in KINDS}
        counts = {tool: {kind: count[kind] for kind in KINDS if count[kind]} for tool, count in tools.items()}
        data: dict[str, Any] = {"phase": phase, **totals, "tools": counts}
        left = dict(Counter(record.tool for record in self._recorded.outermost())) if whole else {}
        if left:
            data["no_longer_called"] = left
        if tools or left:
            self._driver.append("resume.summary", data)


def _in_doubt(spec: ToolSpec, record: Record) -> bool:
    """Whether to run it might be to do it twice."""
    return record.state != "undone" and Effect.UNSAFE in (spec.effect, record.effect)


def _given(spec: ToolSpec, resolution: Resolution) -> Reused | None:
    if resolution.outcome != "succeeded":
        return None
    rebuilt = give_back_named(spec.fn, resolution.result)
    if rebuilt.reason:
        raise TypeError(f"its result cannot be given back: {rebuilt.reason}")
    return Reused(rebuilt.value)


def _unknown(investigation_id: str, record: Record, why: str = "") -> UnknownOutcome:
    nobody = ", and nobody can tell what it did"
    what = {
        "finished": f"finished, but what it returned cannot be given back{nobody}",
        "raised": f"raised {error_message(record.error) if record.error else 'an exception'}{nobody}",
    }.get(record.state, f"was cut off{nobody}")
    if record.state == "finished" and record.resolved:
        what = "was resolved with a result that cannot be given back"
    return UnknownOutcome(
        f"Call {record.id} of the unsafe tool {record.tool!r} {what}. {why}"
        f"Investigation {investigation_id} is paused. Find out, say so with sdk.service.resolve({record.id!r}, "
        f"Resolution(outcome='succeeded' | 'failed' | 'not_executed')), then sdk.service.resume({investigation_id!r}).",
        call_id=record.id,
        tool_name=record.tool,
        investigation_id=investigation_id,
    )
