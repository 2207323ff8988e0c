"""The worker: takes up what is queued, and what others have left, and runs the handlers of this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

from investigation_sdk.clock import now_us
from investigation_sdk.domain.project import LEFT_IN
from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.engine.ownership import machine, new_owner, provably_dead, retire
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.errors import InvestigationError
from investigation_sdk.realtime.hints import Hint
from investigation_sdk.realtime.hub import Hub
from investigation_sdk.storage.commit import Lease, Query, Wanted, Where
from investigation_sdk.telemetry.setup import expect
from investigation_sdk.work.attempt import Attempt
from investigation_sdk.work.dispatch import Executed

_log = logging.getLogger("investigation_sdk.work")

POLL_SECONDS: Final = 0.5
"""Between two looks at a queue that was empty, on average."""
STOP_SECONDS: Final = 5.0
"""How long a drained worker waits for what it has told to stop, after its patience."""
_LONGEST_PAUSE: Final = 15.0
_AT_ONCE: Final = 20
_QUEUED: Final = 2
"""The sequence of the event that puts a new investigation into the queue."""

MakeAttempt = Callable[[str, Lease, int], Attempt]


class Readiness(NamedTuple):
    """What a worker does, for a readiness probe."""

    ready: bool
    """It takes up work: it was started, is not stopping, and its last look at the store was answered."""
    reason: str
    """Why it is not ready; empty where it is."""
    running: int
    by_type: Mapping[str, int]
    """How many run of each type."""
    not_stopped: Sequence[str]
    """Investigations whose handlers run on, on threads, behind their timeouts: they cannot be stopped, and keep their
    places."""


class Worker:
    """Runs investigations: ``async with sdk.worker():`` in the background of this loop, or ``sdk.worker().run()``.

    Any number of workers, in any number of processes and on any machines, share one store. Each investigation runs
    in one of them. What a worker that died has left is taken over: on this machine at once, from others when the lease
    has run out, by the store's clock. Leaving the block, SIGTERM and SIGINT drain: nothing more is taken up, what
    runs may end for `patience` seconds, and is then stopped at its next boundary, to be taken up where it is by others.
    """

    def __init__(
        self,
        hub: Hub,
        make: MakeAttempt,
        *,
        concurrency: int,
        types: Sequence[str],
        limits: Mapping[str, int],
        patience: float,
    ) -> None:
        self._hub = hub
        self._recorder: Recorder = hub.recorder
        self._make = make
        self._concurrency = concurrency
        self._types = types
        self._limits = limits
        self._patience = patience
        self._running: dict[asyncio.Task[Executed], Attempt] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._draining = False
        self._failure: str | None = "its first look at the store was not answered yet"
        self._recover_at = 0.0
        self._skew = 0
        self._forget: Callable[[], None] | None = None

    # ---- from outside

    @property
    def ready(self) -> bool:
        """Whether it takes up work."""
        return self.readiness().ready

    def readiness(self) -> Readiness:
        """What it does, and what keeps it from being ready. From any thread."""
        attempts = list(self._running.values())
        if self._task is None:
            reason = "it was not started"
        elif self._draining:
            reason = "it is stopping"
        else:
            reason = self._failure or ""
        by_type = Counter(one.investigator.investigation_type for one in attempts)
        stuck = [one.id for one in attempts if one.not_stopped]
        return Readiness(not reason, reason, len(attempts), dict(by_type), stuck)

    async def __aenter__(self) -> Self:
        """Begin to work, in the background of this loop (asyncio's)."""
        if self._task is not None:
            raise RuntimeError("this worker was started before; call sdk.worker() again")
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        expect(self._recorder, self._types)
        await self._recorder.acall(self._listen())
        self._task = asyncio.create_task(self._work(), name="investigation-worker")
        return self

    async def __aexit__(
        self, et: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        """Drain."""
        await self.drain(self._patience if et is None else 0)

    def run(self) -> None:
        """Work until SIGTERM or SIGINT (Ctrl-C), then drain; a second signal ends the patience. Blocks."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        told = asyncio.Event()
        at_once = asyncio.Event()

        def signalled() -> None:
            (at_once if told.is_set() else told).set()

        loop = asyncio.get_running_loop()
        handled: list[signal.Signals] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):  # not on the main thread
                loop.add_signal_handler(number, signalled)
                handled.append(number)
        try:
            async with self:
                _log.info("The worker is at work on %s.", ", ".join(map(repr, self._types)))
                await told.wait()
                draining = asyncio.create_task(self.drain(self._patience))
                hurry = asyncio.create_task(at_once.wait())
                await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
                hurry.cancel()
                if not draining.done():
                    self._stop_all()
                await draining
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    def nudge(self) -> None:
        """There may be work: look at once. From any thread."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(self._wake.set)

    # ---- taking up

    async def _listen(self) -> None:
        self._forget = self._hub.on_hint(self._heard)

    def _heard(self, hint: Hint) -> None:
        if hint.sequence == _QUEUED:
            self.nudge()

    async def _work(self) -> None:
        failed = 0
        while not self._draining:
            self._wake.clear()
            try:
                taken = await self._take_up()
                self._failure, failed = None, 0
                wait = 0.0 if taken else POLL_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            except Exception as error:
                failed += 1
                wait = min(_LONGEST_PAUSE, POLL_SECONDS * 2 ** min(failed, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
                self._failed(error)
            if len(self._running) >= self._concurrency:
                wait = self._recorder.ttl_us / 3e6
            if wait:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait)

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, InvestigationError):
            _log.exception("The worker failed to take up work; it goes on trying.")
        elif self._failure != str(error):
            _log.warning("The worker cannot take up work, and goes on trying: %s", error)
        self._failure = str(error) or type(error).__name__

    async def _take_up(self) -> int:
        """Take up what is there, as far as there is room; how many."""
        recover = time.monotonic() >= self._recover_at
        if recover:
            await self._recorder.acall(self._bury())
            self._recover_at = time.monotonic() + self._recorder.ttl_us / 3e6
        taken = 0
        for types, room in self._rooms():
            for left_in in (LEFT_IN, ()) if recover else ((),):
                if room > taken:
                    taken += await self._claim(Wanted(types, self._recorder.tenant or None, left_in), room)
        return taken

    def _rooms(self) -> list[tuple[list[str], int]]:
        """What may be taken up now: types together that have no limit, each of the others apart."""
        room = min(_AT_ONCE, self._concurrency - len(self._running))
        if room <= 0:
            return []
        counts = Counter(one.investigator.investigation_type for one in self._running.values())
        free = [one for one in self._types if one not in self._limits]
        rooms = [([one], min(room, self._limits[one] - counts[one])) for one in self._types if one in self._limits]
        if free:
            rooms.append((free, room))
        random.shuffle(rooms)  # so that none of them is always last
        return [(types, left) for types, left in rooms if left > 0]

    async def _claim(self, wanted: Wanted, room: int) -> int:
        room = min(room, self._concurrency - len(self._running))
        recorder = self._recorder
        owners = [new_owner() for _ in range(room)]
        leases: Sequence[Lease] = ()
        try:
            asked_at = now_us()
            leases = await recorder.acall(recorder.backend.claim_next(wanted, owners, ttl=recorder.ttl_us))
            if leases:
                self._skew = leases[0].expires_at - recorder.ttl_us - (asked_at + now_us()) // 2
        finally:
            used = {lease.owner for lease in leases}
            for owner in owners:
                if owner not in used:
                    retire(owner)
        if self._draining:
            for lease in leases:
                await recorder.acall(recorder.give_up(lease))
            return 0
        types = await recorder.acall(self._types_of(leases)) if leases else {}
        for lease in leases:
            if (investigation_type := types.get(lease.resource)) is None:  # deleted since
                await recorder.acall(recorder.give_up(lease))
            else:
                self._start(investigation_type, lease)
        return len(leases)

    async def _types_of(self, leases: Sequence[Lease]) -> dict[str, str]:
        where = (Where("id", "in", tuple(lease.resource for lease in leases)),)
        rows = await self._recorder.backend.find(Query("investigation", where))
        return {row.id: row.investigation_type for row in rows if isinstance(row, InvestigationRow)}

    def _start(self, investigation_type: str, lease: Lease) -> None:
        attempt = self._make(investigation_type, lease, self._skew)
        task = asyncio.create_task(attempt.run(), name=f"investigation-{lease.resource}")
        self._running[task] = attempt
        task.add_done_callback(self._finished)

    async def _bury(self) -> None:
        """Free what is held by processes of this machine that run no more: their leases need not run out."""
        recorder = self._recorder
        here = machine()
        where = (
            Where("status", "in", LEFT_IN),
            Where("investigation_type", "in", tuple(self._types)),
            Where("owner", ">=", f"{here}/"),
            Where("owner", "<", f"{here}0"),  # the character behind the slash
        )
        for row in await recorder.backend.find(Query("investigation", where, limit=1000)):
            if isinstance(row, InvestigationRow) and row.owner is not None and provably_dead(row.owner):
                await recorder.backend.release(Lease(row.id, row.owner, 0))

    # ---- running

    def _finished(self, task: asyncio.Task[Executed]) -> None:
        self._running.pop(task, None)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("A run of the worker failed; it goes on.", exc_info=error)

    async def drain(self, patience: float) -> None:
        """Take up nothing more; wait for what runs, `patience` seconds; then stop it, to be taken up by others."""
        self._draining = True
        self._wake.set()
        if self._forget is not None:
            self._forget()
        if self._task is not None:
            await asyncio.wait({self._task})
        for attempt in list(self._running.values()):
            if not attempt.begun:
                attempt.stop()
        await self._wait_for_all(patience)
        self._stop_all()
        await self._wait_for_all(STOP_SECONDS)
        for attempt in list(self._running.values()):
            attempt.cancel()
        await self._wait_for_all(STOP_SECONDS)
        for attempt in list(self._running.values()):
            _log.error(
                "Investigation %s: the handler of %r does not stop; it runs on as long as this process does.",
                attempt.id,
                attempt.investigator.investigation_type,
                extra={"investigation_id": attempt.id},
            )
        for task in list(self._running):
            task.cancel()

    async def _wait_for_all(self, seconds: float) -> None:
        if self._running and seconds > 0:
            await asyncio.wait(set(self._running), timeout=seconds)

    def _stop_all(self) -> None:
        for attempt in list(self._running.values()):
            attempt.stop()
