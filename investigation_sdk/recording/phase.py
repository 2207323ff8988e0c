"""Phases: the parts of an investigation, as blocks and as decorators."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar, cast

from investigation_sdk.arguments import NUMBER, check
from investigation_sdk.clock import monotonic_ns, now_us
from investigation_sdk.domain.commands import StartPhase
from investigation_sdk.domain.events import Blob, Event
from investigation_sdk.domain.phase import Phase
from investigation_sdk.domain.progress import percent
from investigation_sdk.domain.records import PhasePlan
from investigation_sdk.domain.states import PhaseState
from investigation_sdk.engine import reading
from investigation_sdk.engine.hosts import shielded
from investigation_sdk.engine.texts import clean, json_text
from investigation_sdk.engine.tracing import Span
from investigation_sdk.errors import BackendUnavailable, InvestigationError
from investigation_sdk.ids import uuid7
from investigation_sdk.recording import spooling
from investigation_sdk.recording.driver import Driver
from investigation_sdk.recording.failures import describe_error, was_cancelled
from investigation_sdk.recording.frames import BlockFrame, current_frame
from investigation_sdk.recording.steps import Step, block, go
from investigation_sdk.recording.wrapping import dress, kind_of, name_of
from investigation_sdk.storage.payloads import Payload, is_rebuildable, pack, pack_or_note

F = TypeVar("F", bound=Callable[..., Any])
_UNSET: Final = object()


class PhaseRun:
    """A phase while its block runs.

    Attributes:
        id: Of the phase; empty outside an investigation.
        name: As it was given.
        completed_before: An earlier attempt completed it.
        previous_output: What that attempt left in `output_data`, or None.
    """

    def __init__(self, name: str, driver: Driver | None = None) -> None:
        self.id = ""
        self.name = name
        self.completed_before = False
        self.previous_output: Any = None
        self._driver = driver
        self._output: Any = _UNSET
        self._percent = -1
        self._begun = monotonic_ns()

    @property
    def output_data(self) -> Any:
        """What the phase found out; recorded when the block is left."""
        return None if self._output is _UNSET else self._output

    @output_data.setter
    def output_data(self, value: Any) -> None:
        if self._driver is not None:
            is_rebuildable(value)  # or refused here, where it is assigned
        self._output = value

    def progress(self, fraction: float) -> None:
        """How far the phase is, 0 to 1; never moves backwards. It is said in place of what its tools tell.

        Costs next to nothing: it is written and told at most four times a second, and nobody waits for it. Only the
        next event has it in the log.
        """
        check(fraction=(fraction, NUMBER))
        now = percent(fraction)
        if now > self._percent:
            self._percent = now
            if self._driver is not None:
                self._driver.recorder.report(self._driver.session, self.id, now)


class AsyncPhaseRun(PhaseRun):
    """A phase while its ``async with`` block runs; the same as :class:`PhaseRun`."""


class _Phase:
    """One use of a phase: entered once, left once. Shared by all faces."""

    def __init__(self, driver: Driver, name: str, weight: float, tools: Sequence[Any], input_data: Any) -> None:
        plan = PhasePlan(name, weight, tools)
        self.driver = driver
        self.name = clean(plan.name)
        self.weight = plan.weight
        self.tools = list(plan.tools)
        self.input_data = input_data
        self.frame: BlockFrame | None = None
        self.span: Span | None = None

    def enter(self, run: PhaseRun) -> Step[PhaseRun]:
        driver = self.driver
        known = driver.session.decided.phases.get(self.name)
        if known is not None and known.status is PhaseState.COMPLETED:
            run.completed_before = True
            run.previous_output = yield self._previous_output(known)
        command, warnings = self._start_command()
        yield from driver.command(command, lambda: self._not_entered(command.event.data))
        driver.warn("input", warnings, phase=self.name)
        self._warn_of_nesting()
        phase = driver.session.decided.phases[self.name]
        run.id = phase.id
        run._begun = monotonic_ns()  # pyright: ignore[reportPrivateUsage]
        around = current_frame.get()
        call = around.call if around is not None and around.driver is driver else None
        self.frame = BlockFrame(driver, phase.id, self.name, call)
        if driver.trace is not None:
            self.span = driver.trace.phase(command.event)
            self.span.enter()
        return run

    async def _previous_output(self, known: Phase) -> Any:
        """What an earlier attempt left, wherever it stands: in the row, in its event, or in a blob."""
        text = None if known.output is None else json_text(known.output)
        backend, id = self.driver.recorder.backend, self.driver.session.id
        return await reading.whole(
            backend, id, await reading.payload(backend, id, text, known.output_sequence, "output")
        )

    def _not_entered(self, started: dict[str, Any]) -> Event:
        """It was started, and whoever waited for that gave up."""
        data = {"id": started["id"], "name": self.name, "kind": "not_entered"}
        return Event(uuid7(), "phase.interrupted", data, now_us(), parent_call=self.driver.inside())

    def _start_command(self) -> tuple[StartPhase, Sequence[str]]:
        time = now_us()
        data: dict[str, Any] = {"id": uuid7(), "name": self.name, "started_at": time}
        if self.weight != 1:
            data["weight"] = self.weight
        if self.tools:
            data["tools"] = self.tools
        warnings: Sequence[str] = ()
        blobs: tuple[Blob, ...] = ()
        if self.input_data is not None:
            data["input"], _, warnings, blobs = pack(self.input_data, self.driver.options.max_inline_bytes)
        around = self._around()
        if around is not None:
            data["inside"] = around
        event = Event(uuid7(), "phase.started", data, time, blobs=blobs, parent_call=self.driver.inside())
        return StartPhase(time=time, token=self.driver.token, event=event), warnings

    def _around(self) -> str | None:
        """The phase inside of which this one is entered."""
        frame = current_frame.get()
        return frame.phase_name if frame is not None and frame.driver is self.driver else None

    def _warn_of_nesting(self) -> None:
        around = self._around()
        if around is not None:
            message = (
                f"Phase {self.name!r} was entered inside phase {around!r}. Phases are flat: both are "
                "recorded side by side, and the inner one's time counts in the outer one's too."
            )
            self.driver.warn("nested_phase", (message,), phase=self.name)

    def leave(self, run: PhaseRun, error: BaseException | None) -> Step[None]:
        assert self.frame is not None
        if self.span is not None:
            self.span.leave()
        self.frame.leave()
        driver = self.driver
        try:
            if driver.resume is not None:
                driver.resume.sum_up(self.name)
            left = self._left(run, error)
            if self.span is not None:
                self.span.end(left.type, left.data)
            entry = driver.fact(left)
            if was_cancelled(error) or isinstance(error, KeyboardInterrupt | SystemExit):
                return  # the end of the investigation waits for it
            yield from spooling.durable_or_kept(driver, entry)
        except InvestigationError as failure:
            if error is None:
                raise driver.interrupt(_unavailable(driver, self.name, failure)) from failure

    def _left(self, run: PhaseRun, error: BaseException | None) -> Event:
        time = now_us()
        elapsed = (monotonic_ns() - run._begun) // 1000  # pyright: ignore[reportPrivateUsage]
        data: dict[str, Any] = {"id": run.id, "name": self.name, "completed_at": time, "duration_ms": elapsed / 1000}
        blobs: tuple[Blob, ...] = ()
        if error is None:
            event_type = "phase.completed"
        elif isinstance(error, Exception):
            event_type = "phase.failed"
            data["error"] = describe_error(error)
        else:
            event_type = "phase.interrupted"
            data = {"id": run.id, "name": self.name, "kind": type(error).__name__}
        if run._output is not _UNSET and event_type != "phase.interrupted":  # pyright: ignore[reportPrivateUsage]
            output = self._output(run)
            data["output"], blobs = output.text, output.blobs
        return Event(uuid7(), event_type, data, time, blobs=blobs, parent_call=self.driver.inside())

    def _output(self, run: PhaseRun) -> Payload:
        packed = pack_or_note(run.output_data, self.driver.options.max_inline_bytes)
        self.driver.warn("output", packed.warnings, phase=self.name)
        return packed


def _unavailable(driver: Driver, name: str, error: InvestigationError) -> InvestigationError:
    if isinstance(error, BackendUnavailable):
        return BackendUnavailable(
            f"The end of phase {name!r} is queued, but not durable yet: {error}", investigation_id=driver.session.id
        )
    return error


class PhaseScope:
    """A phase for ``with``, or as a decorator on a function."""

    def __init__(self, phase: Callable[[], _Phase | None], name: str) -> None:
        self._make = phase
        self._name = name
        self._open: tuple[_Phase, PhaseRun] | None = None

    def __enter__(self) -> PhaseRun:
        phase = self._make()
        if phase is None:
            return PhaseRun(self._name)
        run = block(phase.enter(PhaseRun(self._name, phase.driver)), phase.driver.recorder.io)
        self._open = phase, run
        return run

    def __exit__(self, et: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None, /) -> None:
        """Never swallows."""
        if self._open is not None:
            (phase, run), self._open = self._open, None
            block(phase.leave(run, e), phase.driver.recorder.io)

    def __call__(self, fn: F, /) -> F:
        """As a decorator on ``def`` or ``async def``: each call is the phase."""
        return _decorated(fn, self._make, self._name)


class AsyncPhaseScope:
    """A phase for ``async with``, or as a decorator on a function."""

    def __init__(self, phase: Callable[[], _Phase | None], name: str) -> None:
        self._amake = phase
        self._aname = name
        self._aopen: tuple[_Phase, AsyncPhaseRun] | None = None

    async def __aenter__(self) -> AsyncPhaseRun:
        phase = self._amake()
        if phase is None:
            return AsyncPhaseRun(self._aname)
        run = AsyncPhaseRun(self._aname, phase.driver)
        await go(phase.enter(run), phase.driver.recorder.io)
        self._aopen = phase, run
        return run

    async def __aexit__(
        self, et: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        """Never swallows."""
        if self._aopen is not None:
            (phase, run), self._aopen = self._aopen, None
            with shielded():
                await go(phase.leave(run, e), phase.driver.recorder.io)

    def __call__(self, fn: F, /) -> F:
        """As a decorator on ``def`` or ``async def``: each call is the phase."""
        return _decorated(fn, self._amake, self._aname)


class AnyPhaseScope(PhaseScope, AsyncPhaseScope):
    """A phase of whatever investigation is around, for ``with``, ``async with`` and as a decorator."""

    def __init__(self, phase: Callable[[], _Phase | None], name: str) -> None:
        PhaseScope.__init__(self, phase, name)
        AsyncPhaseScope.__init__(self, phase, name)

    def __call__(self, fn: F, /) -> F:
        """As a decorator on ``def`` or ``async def``: each call is the phase."""
        return _decorated(fn, self._make, self._name)


def _decorated(fn: F, make: Callable[[], _Phase | None], name: str) -> F:
    call: Any = fn
    kind = kind_of(fn)
    if kind == "async":

        async def run_async(*args: Any, **kwargs: Any) -> Any:
            async with AsyncPhaseScope(make, name):
                return await call(*args, **kwargs)

        return cast("F", dress(run_async, fn))
    if kind == "sync":

        def run(*args: Any, **kwargs: Any) -> Any:
            with PhaseScope(make, name):
                return call(*args, **kwargs)

        return cast("F", dress(run, fn))
    what = f"{name_of(fn)!r}, a {kind.replace('_', ' ')}"
    raise TypeError(f"phase({name!r}) cannot decorate {what}; use `with phase({name!r}):` inside it")


def phase_of(
    driver: Driver, name: str, weight: float, tools: Sequence[Any], input_data: Any
) -> Callable[[], _Phase | None]:
    """Makes the phase of a given investigation."""
    return functools.partial(_Phase, driver, name, weight, tools, input_data)


def phase(
    name: str, *, weight: float = 1, tools: Sequence[str | Callable[..., Any]] = (), input_data: Any = None
) -> AnyPhaseScope:
    """A phase of the investigation around; no-op outside one.

    Args:
        name: Unique among the phases of an investigation.
        weight: Its share of the progress, relative to the others'.
        tools: Names or decorated functions that it is expected to call.
        input_data: What it starts from; any value.
    """

    def make() -> _Phase | None:
        frame = current_frame.get()
        return None if frame is None else _Phase(frame.driver, name, weight, tools, input_data)

    return AnyPhaseScope(make, name)
