"""The block around an investigation: open it, drive it, and leave it in a recorded state."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, cast

from investigation_sdk.clock import now_us
from investigation_sdk.domain.commands import Fail, Finish, Release
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.engine.hosts import in_thread, shielded
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.tracing import Trace
from investigation_sdk.errors import (
    BackendUnavailable,
    InvestigationCancelled,
    InvestigationError,
    InvestigationInterrupt,
    LeaseLost,
)
from investigation_sdk.recording import signals, spooling
from investigation_sdk.recording.driver import Driver
from investigation_sdk.recording.failures import describe_error, was_cancelled
from investigation_sdk.recording.frames import BlockFrame
from investigation_sdk.recording.run import AsyncInvestigationRun, InvestigationContext, InvestigationRun
from investigation_sdk.recording.steps import Step, block, go

Open = Callable[[Trace | None], Step[Driver]]


class InvestigationScope:
    """An investigation for ``with`` and ``async with``; enter it once."""

    def __init__(self, recorder: Recorder, opening: Open) -> None:
        self._recorder = recorder
        self._open = opening
        self._driver: Driver | None = None
        self._entered = False
        self._frame: BlockFrame | None = None

    def __enter__(self) -> InvestigationRun:
        driver = block(self._enter(), self._recorder.io)
        run = InvestigationRun(driver)
        self._inside(driver)
        return run

    def __exit__(self, et: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None, /) -> None:
        """Never swallows; raises what stopped the block."""
        if self._driver is not None:
            block(self._leave(self._driver, e), self._recorder.io)

    async def __aenter__(self) -> AsyncInvestigationRun:
        driver = await go(self._enter(), self._recorder.io)
        run = AsyncInvestigationRun(driver)
        self._inside(driver)
        return run

    async def __aexit__(
        self, et: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        """Never swallows; raises what stopped the block."""
        if self._driver is not None:
            with shielded():
                await go(self._leave(self._driver, e), self._recorder.io)

    def _enter(self) -> Step[Driver]:
        if self._entered:
            raise RuntimeError("this investigation scope was entered before; call sdk.investigation() again")
        self._entered = True
        if not self._recorder.is_open:
            yield self._recorder.opened()
        trace = self._recorder.trace()
        if trace is None:
            return (yield from self._open(None))
        try:
            driver = yield from self._open(trace)
        except BaseException as error:
            trace.unopened(getattr(error, "investigation_id", None), type(error).__name__)
            raise
        if driver.trace is None:
            trace.unopened(driver.session.id, None)
        return driver

    def _inside(self, driver: Driver) -> None:
        self._driver = driver
        self._frame = BlockFrame(driver, None, None, None)
        if driver.trace is not None:
            driver.trace.enter()
        signals.entered()

    def _leave(self, driver: Driver, error: BaseException | None) -> Step[None]:
        self._driver = None
        if driver.trace is not None:
            driver.trace.leave()
        if self._frame is not None:
            self._frame.leave()
        stopped = find_interrupt(error)
        if driver.stopped is not None and (error is None or (stopped is None and was_cancelled(error))):
            # swallowed, as by gather(return_exceptions=True); or cancelled as it did not come to a boundary
            stopped = InvestigationInterrupt(driver.stopped)
        failure = None
        try:
            if not driver.finished and not driver.session.abandoned:
                failure = yield from self._ended(driver, error, stopped)
        finally:
            signals.left()
        if stopped is not None and stopped.error.investigation_id in (driver.session.id, None):
            raise stopped.error from error  # another block's interrupt goes on to that block
        if failure is not None and error is None:
            raise failure

    def _ended(
        self, driver: Driver, error: BaseException | None, stopped: InvestigationInterrupt | None
    ) -> Step[InvestigationError | None]:
        """Record the end and let go, even where the wait for it is broken off; what the block is to end with."""
        session = driver.session
        failure: InvestigationError | None = None
        try:
            failure = yield from self._end(driver, error, stopped)
            if failure is None and driver.state is InvestigationState.CANCELLED:
                message = f"Investigation {session.id} was cancelled while it ran."
                failure = InvestigationCancelled(message, investigation_id=session.id)
            return failure
        finally:
            driver.closed = True
            driver.wait_is_over()
            try:
                if driver.trace is not None:
                    driver.trace.end(*_ended_as(driver, error, stopped, failure))
            finally:
                yield self._recorder.let_go(session, driver.token)

    def _end(
        self, driver: Driver, error: BaseException | None, stopped: InvestigationInterrupt | None
    ) -> Step[InvestigationError | None]:
        """Record how the block ended; what kept that from being recorded."""
        try:
            spooling.say_what_was_left_out(driver)
            if driver.resume is not None:
                driver.resume.sum_up(None, whole=error is None)
            entry = driver.recorder.submit(driver.session, self._command(driver, error, stopped))
            yield from spooling.durable_or_kept(driver, entry)
        except BackendUnavailable as down:
            return BackendUnavailable(
                f"The end of investigation {driver.session.id} is queued, but not durable yet: {down}",
                investigation_id=driver.session.id,
            )
        except InvestigationError as refused:
            return refused
        return None

    @staticmethod
    def _command(driver: Driver, error: BaseException | None, stopped: InvestigationInterrupt | None) -> Any:
        time, token, attempt = now_us(), driver.token, driver.attempt
        if stopped is not None:
            return Release(time=time, token=token, attempt=attempt)
        if error is None:
            result = driver.context._packed_result()  # pyright: ignore[reportPrivateUsage]
            text, blobs = (None, ()) if result is None else (result.text, result.blobs)
            return Finish(time=time, token=token, attempt=attempt, result=text, blobs=blobs)
        kind, again_at = driver.judge(error)
        return Fail(time=time, token=token, attempt=attempt, kind=kind, error=describe_error(error), again_at=again_at)


def _ended_as(
    driver: Driver,
    error: BaseException | None,
    stopped: InvestigationInterrupt | None,
    failure: InvestigationError | None,
) -> tuple[str, dict[str, Any]]:
    """How a block ended: the type of the event that says so, and what is in it. `failure` is what kept its end from
    being recorded."""
    if driver.state is InvestigationState.CANCELLED:
        return "investigation.cancelled", {}
    if stopped is not None:
        return "investigation.released", {"kind": type(stopped.error).__name__}
    if failure is not None and (error is None or isinstance(failure, LeaseLost)):
        return "investigation.released", {"kind": type(failure).__name__}
    if error is None:
        return "investigation.completed", {}
    return "investigation.failed", {"error": describe_error(error)}


async def run_in(scope: InvestigationScope, handler: Callable[[Any], Any]) -> Any:
    """What `handler` makes of an investigation; of one that is finished, what it was."""
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__):
        async with scope as running:
            if not running.finished:
                running.result = await handler(running)
            return running.result

    def run() -> Any:
        with scope as running:
            if not running.finished:
                running.result = returned(handler, running)
            return running.result

    return await in_thread(run)


def returned(handler: Callable[[Any], Any], running: InvestigationRun) -> Any:
    """What a handler that is ``def`` returns.

    Raises:
        TypeError: something to be awaited.
    """
    value = handler(running)
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise TypeError(
            "The handler is no `async def`, and what it returned is to be awaited. Give the `async def` itself; "
            " functools.partial() binds arguments to it."
        )
    return value


def find_interrupt(error: BaseException | None) -> InvestigationInterrupt | None:
    """The interrupt that an exception is, or that its group holds, however deep."""
    if isinstance(error, InvestigationInterrupt):
        return error
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for inner in group.exceptions:
            found = find_interrupt(inner)
            if found is not None:
                return found
    return None


__all__ = ["InvestigationContext", "InvestigationScope", "find_interrupt", "run_in"]
