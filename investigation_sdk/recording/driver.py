"""The driver: one investigation while a block of this process drives it. Both faces and all calls go through it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from investigation_sdk.clock import monotonic_ns, now_us
from investigation_sdk.domain.commands import Append, Fact
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import Effect, InvestigationState
from investigation_sdk.engine import probes
from investigation_sdk.engine.entries import Entry
from investigation_sdk.engine.hosts import running_loop
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.session import Session
from investigation_sdk.engine.tracing import Trace
from investigation_sdk.errors import (
    BackendUnavailable,
    InvestigationCancelled,
    InvestigationError,
    InvestigationFinished,
    InvestigationInterrupt,
    InvestigationPaused,
    LeaseLost,
)
from investigation_sdk.ids import uuid7
from investigation_sdk.recording import spooling
from investigation_sdk.recording.call import Call, not_recorded, not_started, refused_while_down
from investigation_sdk.recording.capture import ToolSpec
from investigation_sdk.recording.context import current_agent
from investigation_sdk.recording.failures import (
    Judge,
    usual_judgement,
)
from investigation_sdk.recording.frames import Frame, current_frame
from investigation_sdk.recording.resume import Resume
from investigation_sdk.recording.steps import Step
from investigation_sdk.settings import Durability

if TYPE_CHECKING:
    from investigation_sdk.recording.run import InvestigationContext


_log = logging.getLogger("investigation_sdk.recording")

OFTEN: Final = 100
"""Times that sync tools hold an event loop before that is logged."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the SDK was told, as far as a driver needs it."""

    durability: Durability
    on_pause: Literal["wait", "raise"]
    max_inline_bytes: int
    tenant: str
    actor: str | None = None
    goes_on: bool = False


class Driver:
    """See the module.

    Attributes:
        token: The claim under which this block drives.
        attempt: From 1, counts claims.
        closed: The block was left; calls that still run are recorded as late facts.
        finished: The investigation was finished before; nothing new may run.
        resume: What earlier attempts recorded; None where there was none.
        judge: What the error of a block means, where a worker runs it.
        stopped: Why nothing more may begin in this block, whatever becomes of the investigation; or None.
        trace: What traces the block; None where nothing does.
        waiting_since: When it was said that the block waits for the end of a pause, in ns; 0 where it does not.
        left_out: Calls that ran, are not recorded, and of which the record does not say so yet.
        went_on: It was said that the agent goes on without the store.
    """

    __slots__ = (
        "attempt",
        "closed",
        "context",
        "finished",
        "held",
        "judge",
        "left_out",
        "options",
        "owner_token",
        "recorder",
        "resume",
        "session",
        "stopped",
        "strict",
        "synchronous",
        "token",
        "trace",
        "waiting_since",
        "went_on",
    )  # fmt: skip

    def __init__(
        self,
        recorder: Recorder,
        session: Session,
        options: Options,
        *,
        finished: bool = False,
        trace: Trace | None = None,
    ) -> None:
        self.recorder: Recorder = recorder
        self.session: Session = session
        self.options: Options = options
        self.token: str | None = session.token
        self.attempt: int = session.decided.attempt
        self.synchronous: bool = options.durability is not Durability.BATCHED
        self.strict: bool = options.durability is Durability.STRICT
        self.closed: bool = False
        self.finished: bool = finished
        self.trace: Trace | None = trace
        self.resume: Resume | None = None
        self.stopped: InvestigationError | None = None
        self.judge: Judge = usual_judgement
        self.held: int = 0
        self.waiting_since: int = 0
        self.left_out: int = 0
        self.went_on: bool = False
        session.spools = options.goes_on
        self.context: InvestigationContext

    # ---- waiting

    def wait_for(self, entry: Entry) -> Step[None]:
        """Until an entry is durable."""
        yield lambda blocking: self.session.waiter(entry, blocking=blocking)

    @property
    def held_up(self) -> bool:
        """Whether something stops the next call, or too much is queued."""
        session = self.session
        return (
            session.stop is not None
            or self.stopped is not None
            or session.down is not None
            or self.left_out > 0
            or self.finished
            or session.full
        )

    @property
    def must_wait(self) -> bool:
        """Whether a call may not just begin: it is held up, or its result may be recorded."""
        return self.resume is not None or self.held_up

    def ready(self, spec: ToolSpec) -> Step[bool]:
        """Wait until a call may begin; whether it is to be recorded.

        Raises:
            InvestigationInterrupt: it must not.
        """
        yield from self.boundary()
        if self.left_out and self.session.down is None:
            spooling.say_what_was_left_out(self)
        crowd = self.recorder.crowded(self.session)
        if crowd is not None:
            try:
                yield from self.wait_for(crowd)
            except BackendUnavailable as down:
                if spooling.left_out(self, spec):
                    return False
                raise InvestigationInterrupt(refused_while_down(self.session.id, down)) from down
            except InvestigationError:  # a command that waited was refused: no affair of this call's
                yield from self.boundary()
        return True

    def boundary(self) -> Step[None]:
        """Where no body has started yet: wait while paused, or stop.

        Raises:
            InvestigationInterrupt: it must not go on.
        """
        session = self.session
        self.check_not_finished()
        if self.stopped is not None:
            raise InvestigationInterrupt(self.stopped)
        while not self.closed:
            stop = session.stop
            if stop is None:
                down = session.down
                if down is not None and not self.options.goes_on:
                    raise InvestigationInterrupt(refused_while_down(self.session.id, down))
                self.wait_is_over()
                return
            if type(stop) is not InvestigationPaused or self.options.on_pause == "raise":
                raise InvestigationInterrupt(stop)
            self._say_that_it_waits()
            yield lambda blocking: self.recorder.watch(session, blocking=blocking)

    def _say_that_it_waits(self) -> None:
        """Once for each pause, however many calls wait."""
        if not self.waiting_since:
            self.waiting_since = monotonic_ns()
            _log.warning(
                "Investigation %s is paused; its block waits until it is resumed, from any process, with "
                "sdk.service.resume(%r). The log says why: investigate events %s",
                self.session.id,
                self.session.id,
                self.session.id,
                extra={"investigation_id": self.session.id},
            )

    def wait_is_over(self) -> None:
        """A pause is over, or the block is."""
        since, self.waiting_since = self.waiting_since, 0
        if since and self.trace is not None:
            self.trace.paused((monotonic_ns() - since) / 1e9)

    def check_not_finished(self) -> None:
        """Nothing new runs in an investigation that was finished when its block was entered.

        Raises:
            InvestigationInterrupt: it was.
        """
        if not self.finished:
            return
        finished = InvestigationFinished(
            f"Investigation {self.session.id} is finished; nothing new can run in it. Look at `.finished` and "
            "return `.result`, or open a new one with on_finished='new'.",
            result=self.context.result,
            investigation_id=self.session.id,
        )
        raise InvestigationInterrupt(finished)

    def command(
        self, command: Any, given_up: Callable[[], Event] | None = None, *, unsafe: bool = False
    ) -> Step[Entry]:
        """Submit a command of the owner's and wait until it is durable; where it is refused because of a pause,
        wait for the end of that and try again.

        Args:
            command: What to submit.
            given_up: Of the start of a call: the fact to append where the wait is broken off (the task is cancelled,
                Ctrl-C).
            unsafe: It has to be durable, also for an agent that goes on without the store.
        """
        while True:
            yield from self.boundary()
            down = self.session.down
            if unsafe and down is not None:
                raise InvestigationInterrupt(refused_while_down(self.session.id, down))
            kept = self.options.goes_on and not unsafe and not self.session.full
            try:
                entry = self.recorder.submit(self.session, command, lazy=kept)
                if kept:
                    self.recorder.commit(self.session)
                try:
                    yield from spooling.durable_or_kept(self, entry) if kept else self.wait_for(entry)
                except BaseException:
                    if given_up is not None and entry.error is None:  # it may yet be written
                        self.fact(given_up(), lazy=True)
                    raise
                if given_up is not None:
                    self.session.begin(entry)
            except InvestigationPaused:
                continue
            except (InvestigationCancelled, LeaseLost, BackendUnavailable) as error:
                raise self.interrupt(error) from error
            return entry

    def interrupt(self, error: InvestigationError) -> BaseException:
        """An error as it travels: inside the block as an interrupt, after it as itself."""
        return error if self.closed else InvestigationInterrupt(error)

    # ---- facts

    def fact(self, event: Event, *, lazy: bool = False) -> Entry:
        """Append what happened."""
        event.attempt = self.attempt
        return self.recorder.submit(self.session, Fact(event, self.token), lazy=lazy)

    def inside(self) -> str | None:
        """The id of the call of this investigation that this code runs inside of."""
        frame = current_frame.get()
        return None if frame is None or frame.call is None or frame.driver is not self else frame.call.id

    def append(self, event_type: str, data: dict[str, Any]) -> Entry:
        """Append an event that says something, without waiting."""
        return self.fact(Event(uuid7(), event_type, data, now_us(), parent_call=self.inside()), lazy=True)

    def warn(self, kind: str, messages: Sequence[str], **more: Any) -> None:
        """Record that something could not be recorded as it was."""
        for message in messages:
            self.append("recorder.warning", {"kind": kind, "message": message, **more})

    # ---- calls

    def begin(self, frame: Frame, spec: ToolSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Capture a call and make its ``tool.started`` event; not submitted yet."""
        arguments = spec.arguments(args, kwargs)
        given, digest, warnings, blobs = spec.input(arguments, self.options.max_inline_bytes)
        time = now_us()
        same, same_text = spec.described(current_agent.get())
        phase = frame.phase_id
        data = {**same, "phase": phase, "started_at": time, "input": given}
        rest = ""
        if digest is not None:
            data["digest"] = digest
            rest = f',"digest":"{digest}"'
        where = "" if phase is None else f',"phase":"{phase}"'
        text = f'{{{same_text}{where},"started_at":{time},"input":{given}{rest}}}'
        outer = frame.call
        id = uuid7()
        started = Event(id, "tool.started", data, time, text=text, parent_call=None if outer is None else outer.id)
        started.attempt = self.attempt
        if blobs:
            started.blobs = blobs
        call = Call(frame, spec, started, warnings)
        if spec.masked or spec.sensitive:
            call.confidential = spec.confidential(arguments)
        return call

    def _about_to_start(self, call: Call) -> None:
        if probes.probe is not None:
            probes.probe(self, call.started)
        if call.warnings:
            self.warn("input", call.warnings, call=call.id, tool=call.spec.name)

    def start(self, call: Call) -> None:
        """Submit the start of a call whose body does not wait for it: a fact."""
        self._about_to_start(call)
        self.recorder.submit(self.session, Fact(call.started, self.token), lazy=True)
        call.begin(self.trace)

    def start_and_wait(self, call: Call) -> Step[None]:
        """Submit the start of a call as a command, and wait until it is durable."""
        self._about_to_start(call)
        append = Append(time=call.started.time, token=self.token, event=call.started, needs_running=True)
        unsafe = call.spec.effect is Effect.UNSAFE
        yield from self.command(append, lambda: not_started(call.started), unsafe=unsafe)
        call.begin(self.trace)

    def about_to_block(self) -> None:
        """Count the waits of sync tools that hold a running event loop, and say so once when there are many."""
        try:
            running_loop()
        except RuntimeError:
            return
        self.held += 1
        if self.held == OFTEN:
            _log.warning(
                "Investigation %s: %d sync tools have held the event loop for a commit each. Make them `async def`, or "
                "call them through asyncio.to_thread() (trio.to_thread.run_sync()).",
                self.session.id,
                self.held,
                extra={"investigation_id": self.session.id},
            )

    def not_recorded(
        self, call: Call, error: InvestigationError, value: Any, raised: BaseException | None
    ) -> BaseException | None:
        """The body returned `value`, or raised, and the record of that is not durable: what to raise, or None."""
        if self.options.goes_on and isinstance(error, BackendUnavailable):
            spooling.goes_on(self, error)
            return None
        return self.interrupt(not_recorded(call, self.session.id, error, value, raised))

    # ---- state

    @property
    def state(self) -> InvestigationState:
        """The state as this process knows it."""
        status = self.session.decided.status
        assert status is not None
        return status
