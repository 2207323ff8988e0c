"""An attempt: one run of a handler on one investigation that is leased."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import functools
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final

from investigation_sdk.clock import now_us, to_datetime
from investigation_sdk.domain.commands import Fail, GiveUp
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.project import LEFT_IN
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.engine import opening
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.errors import (
    InvestigationError,
    InvestigationTimeout,
    WorkerStopped,
)
from investigation_sdk.ids import uuid7
from investigation_sdk.recording import entering
from investigation_sdk.recording.driver import Driver, Options
from investigation_sdk.recording.failures import Judgement, describe_error, usual_judgement, was_cancelled
from investigation_sdk.recording.run import AsyncInvestigationRun
from investigation_sdk.recording.scope import InvestigationScope, returned
from investigation_sdk.storage.commit import Lease
from investigation_sdk.work import recovery
from investigation_sdk.work.dispatch import Executed, Outcome
from investigation_sdk.work.handlers import Investigator

_log = logging.getLogger("investigation_sdk.work")

Ended = Callable[[Executed, str], Awaitable[None]]
"""Is told what became of a run, of an investigation of that type."""

OVERDUE_SECONDS: Final = 5.0
"""How long a handler on a thread may go on behind its timeout, before it is reported as one that cannot be stopped."""


class Attempt:
    """See the module. All methods are called on the worker's loop.

    Args:
        skew: µs by which the store's clock is ahead of this machine's.
        ended: Is told what became of it: as soon as that is recorded, also where the handler runs on, on its thread.

    Attributes:
        not_stopped: The handler runs on, on its thread, though its investigation was taken from it.
    """

    def __init__(
        self, recorder: Recorder, options: Options, investigator: Investigator, lease: Lease, skew: int, ended: Ended
    ) -> None:
        self.id: str = lease.resource
        self.investigator: Investigator = investigator
        self.not_stopped: bool = False
        self._recorder = recorder
        self._options = dataclasses.replace(options, on_pause="raise")  # a pause must not hold a place of the worker
        self._lease = lease
        self._skew = skew
        self._driver: Driver | None = None
        self._late = False
        self._task: asyncio.Task[Any] | None = None
        self._stopping = asyncio.Event()
        self._again_at: int | None = None
        self._failed = 0
        self._ended = ended
        self._said: Executed | None = None

    @property
    def begun(self) -> bool:
        """Whether the handler may have been called."""
        return self._driver is not None

    async def run(self) -> Executed:
        """Run it to its end; what became of it. Never raises, but where its task is cancelled."""
        return await self._tell(await self._run())

    async def _tell(self, executed: Executed) -> Executed:
        """Say what became of it, once; what was said."""
        if self._said is None:
            self._said = executed
            await self._ended(executed, self.investigator.investigation_type)
        return self._said

    async def _run(self) -> Executed:
        try:
            if await self._given_up():
                return Executed(self.id, "failed")
            await (self._run_async() if self.investigator.is_async else self._run_in_thread())
        except WorkerStopped:
            return Executed(self.id, "released")
        except InvestigationError as error:
            if self._driver is None:
                _log.info("Investigation %s was not taken up: %s", self.id, error, extra={"investigation_id": self.id})
                return Executed(self.id, "busy")
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # the handler's: it is in the record
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise
            _log.warning(
                "The handler of %r failed in investigation %s; the log has the error: investigate show %s",
                self.investigator.investigation_type,
                self.id,
                self.id,
                extra={"investigation_id": self.id},
            )
        return self._executed()

    def _executed(self) -> Executed:
        state = None if self._driver is None else self._driver.state
        ends: dict[InvestigationState | None, Outcome] = {
            InvestigationState.COMPLETED: "completed",
            InvestigationState.FAILED: "failed",
            InvestigationState.CANCELLED: "cancelled",
            InvestigationState.PAUSED: "paused",
            InvestigationState.RETRYING: "queued",
        }
        again = None if self._again_at is None else to_datetime(self._again_at)
        outcome = ends.get(state, "released")
        return Executed(self.id, outcome, again if outcome == "queued" else None)

    # ---- before

    async def _given_up(self) -> bool:
        """Look at what was tried before: give up, or wait a little before the next try."""
        try:
            before, left, token = await self._recorder.acall(self._look_back())
            if token is not None and before.taken_over >= self.investigator.max_recoveries:
                await self._recorder.acall(self._give_up(before.taken_over, token))
                return True
            if left and before.begun > 1:
                await self._sit_out(recovery.pause(before.begun - 1))
        except BaseException:
            self._recorder.io.submit(self._recorder.give_up(self._lease))
            raise
        return False

    async def _look_back(self) -> tuple[recovery.Tries, bool, str | None]:
        recorder = self._recorder
        session = await recorder.session(self.id, count=False)
        fold = session.decided
        left = fold.status in LEFT_IN
        before = await recovery.tries(recorder.backend, self.id) if left and fold.attempt > 1 else recovery.Tries()
        if self.investigator.retries and fold.attempt:
            self._failed = await recovery.failures(recorder.backend, self.id, self.investigator.retries)
        return before, left, fold.token if left else None

    async def _give_up(self, times: int, token: str) -> None:
        message = (
            f"Taken over {times} times from a worker that had stopped, and nothing was completed in between. "
            "Find out what stops the worker; then sdk.service.retry() has it tried again."
        )
        _log.error("Investigation %s is given up. %s", self.id, message, extra={"investigation_id": self.id})
        command = GiveUp(time=now_us(), seen=token, kind="max_recoveries", message=message)
        try:
            await opening.command(self._recorder, self.id, command)
        finally:
            await self._recorder.give_up(self._lease)

    async def _sit_out(self, seconds: float) -> None:
        """Keep the lease, and nobody else tries meanwhile.

        Raises:
            WorkerStopped: the worker stops first.
        """
        recorder, lease = self._recorder, self._lease
        ttl = int(seconds * 1e6) + recorder.ttl_us
        if await recorder.acall(recorder.backend.claim(self.id, lease.owner, ttl=ttl)) is None:
            raise InvestigationError(f"Investigation {self.id} has another owner by now.", investigation_id=self.id)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
            raise _stopped(self.id)

    # ---- the handler

    def _scope(self) -> InvestigationScope:
        recorder, options, lease = self._recorder, self._options, self._lease
        return InvestigationScope(recorder, lambda trace: entering.attach(recorder, options, self.id, 0, trace, lease))

    def _begin(self, running: Any) -> None:
        """In the block: know its driver; declare the plan, where nobody did.

        Raises:
            InvestigationTimeout: its time is over before it was entered.
        """
        driver: Driver = running._driver
        driver.judge = self._judge
        self._driver = driver  # before the look at what is said meanwhile: one of the two threads sees the other's word
        if self._late:
            raise self._overdue()
        if self._stopping.is_set():
            driver.stopped = _stopped(self.id)
        if self.investigator.phases and not driver.session.decided.phases:
            running.plan(*self.investigator.phases)

    def _judge(self, error: BaseException) -> Judgement:
        kind = "timeout" if isinstance(error, InvestigationTimeout) else usual_judgement(error).kind
        if (kind == "interrupted" and not was_cancelled(error)) or self._failed >= self.investigator.retries:
            return Judgement(kind)
        wait = recovery.pause(self._failed + 1)
        self._again_at = now_us() + self._skew + int(wait * 1e6)
        return Judgement(kind, self._again_at)

    async def _run_async(self) -> None:
        self._task = asyncio.current_task()
        async with self._scope() as running:
            self._begin(running)
            running.result = await self._in_time(running)

    async def _in_time(self, running: AsyncInvestigationRun) -> Any:
        limit = asyncio.timeout(self.investigator.timeout)
        try:
            async with limit:
                return await self.investigator.handler(running)
        except TimeoutError as error:
            if not limit.expired():
                raise  # the handler's own
            raise self._overdue() from error

    def _overdue(self) -> InvestigationTimeout:
        return InvestigationTimeout(
            f"Investigation {self.id} ran longer than the {self.investigator.timeout:g} s that the handler of "
            f"{self.investigator.investigation_type!r} may take.",
            investigation_id=self.id,
        )

    async def _run_in_thread(self) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def work() -> None:
            error: BaseException | None = None
            try:
                with self._scope() as running:
                    self._begin(running)
                    running.result = returned(self.investigator.handler, running)
            except BaseException as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(_resolve, done, error)

        run = functools.partial(contextvars.copy_context().run, work)
        threading.Thread(target=run, name=f"investigation-{self.id}", daemon=True).start()
        await asyncio.wait({done}, timeout=self.investigator.timeout)
        if not done.done():
            if await self._take_away():
                await self._tell(self._executed())
            await asyncio.wait({done}, timeout=OVERDUE_SECONDS)
            if not done.done():
                await self._report()
        try:
            await asyncio.shield(done)
        finally:
            if done.done() and not done.cancelled():
                done.exception()
            self.not_stopped = False

    async def _take_away(self) -> bool:
        """The handler cannot be stopped in the middle of a body: record its end, let go of the investigation, and have
        it stop at a boundary. Whether that is recorded."""
        self._late = True
        driver = self._driver
        if driver is None:
            return False  # it is told when it enters its block
        error = self._overdue()
        kind, again_at = self._judge(error)
        command = Fail(
            time=now_us(),
            token=driver.token,
            attempt=driver.attempt,
            kind=kind,
            error=describe_error(error),
            again_at=again_at,
        )
        try:
            await self._recorder.acall(_durable(self._recorder, driver, command))
        except InvestigationError:
            return False
        driver.stopped = error  # before it is let go of: from then on, nothing of the session stops it
        await self._recorder.acall(self._recorder.let_go(driver.session, driver.token))
        return True

    async def _report(self) -> None:
        driver = self._driver
        self.not_stopped = True
        calls = [] if driver is None else [call.data["tool"] for call in driver.session.decided.calls.values()]
        what = (
            f"The handler of {self.investigator.investigation_type!r} runs on behind its timeout, on a thread, and a "
            "thread cannot be stopped: what it calls next is refused, and what it does by itself is not. It keeps its "
            "place in the worker until it ends."
        )
        _log.error("Investigation %s: %s", self.id, what, extra={"investigation_id": self.id})
        if driver is not None:
            data = {"kind": "not_stopped", "message": what, **({"tools": calls} if calls else {})}
            with contextlib.suppress(InvestigationError):
                driver.fact(Event(uuid7(), "recorder.warning", data, now_us()), lazy=True)

    # ---- stopping

    def stop(self) -> None:
        """Let it end at its next boundary, and be taken up by somebody else."""
        self._stopping.set()
        if self._driver is not None:
            self._driver.stopped = _stopped(self.id)

    def cancel(self) -> None:
        """Let it end now, if it is a coroutine."""
        self.stop()
        if self._task is not None:
            self._task.cancel()


def _stopped(id: str) -> WorkerStopped:
    message = f"The worker that runs investigation {id} is stopping; the next one takes it up where it is."
    return WorkerStopped(message, investigation_id=id)


async def _durable(recorder: Recorder, driver: Driver, command: Fail) -> None:
    await opening.durable(driver.session, recorder.submit(driver.session, command))


def _resolve(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(None)
    elif isinstance(error, Exception):
        done.set_exception(error)
    else:  # SystemExit of a handler, or Ctrl-C in it: recorded; it ends the thread, and not the worker
        done.set_exception(RuntimeError(f"the handler ended with {type(error).__name__}"))
