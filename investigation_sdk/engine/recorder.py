"""The recorder: one store, the thread that owns its connections, and the sessions of this process.

Everything above submits here and waits here; whether commits go through the writer on the I/O thread or are made
on the caller's own thread (a backend that never blocks) is decided here, and nowhere else.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from investigation_sdk.domain.commands import Fact, Submission
from investigation_sdk.engine import flushing, ownership
from investigation_sdk.engine.entries import Entry
from investigation_sdk.engine.exclusive import busy
from investigation_sdk.engine.heartbeat import Heartbeat
from investigation_sdk.engine.inline import commit_queued, refresh_now
from investigation_sdk.engine.io_thread import Ahead, IOThread
from investigation_sdk.engine.linger import Linger
from investigation_sdk.engine.outcomes import on_down, on_unknown
from investigation_sdk.engine.progressing import Progressing, Told
from investigation_sdk.engine.repair import load
from investigation_sdk.engine.results import Results, ResultsHere
from investigation_sdk.engine.session import Session
from investigation_sdk.engine.sessions import Sessions
from investigation_sdk.engine.sight import Sight
from investigation_sdk.engine.tracing import StoreMeter, Trace, Tracer
from investigation_sdk.engine.waiting import Waiter, wake
from investigation_sdk.engine.writer import Writer
from investigation_sdk.errors import BackendUnavailable, InvestigationError
from investigation_sdk.native import not_native
from investigation_sdk.storage.backend import Backend, InlineBackend
from investigation_sdk.storage.commit import Lease

T = TypeVar("T")

EXIT_SECONDS: Final = 5.0


@not_native
class Recorder:
    """See the module.

    Args:
        tenant: Whose investigations are found by their ids; empty: anybody's.
        ttl_us: How long a lease lasts without a heartbeat, µs.
        patience: Seconds for which a store that does not answer is tried before those who wait are told.
    """

    def __init__(self, backend: Backend, *, ttl_us: int, tenant: str = "", patience: float = 10.0) -> None:
        self.backend = backend
        self.tenant = tenant
        self.sight: Sight = Sight(tenant)
        self.ttl_us = ttl_us
        self.io: IOThread = IOThread()
        self.sessions: Sessions = Sessions()
        self.results: Results = ResultsHere()
        self.after_opening: list[Callable[[], None]] = []
        self.before_closing: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.tracer: Tracer | None = None
        self.find_tracer: Callable[[Recorder], None] | None = None
        self._immediate: InlineBackend | None = backend if isinstance(backend, InlineBackend) else None
        self._patience = patience
        self._writer = Writer(backend, patience=patience, on_busy=self._tick)
        self._linger = Linger(self.commit, self._writer.watch)
        self._progressing = Progressing(backend)
        self._opening = asyncio.Lock()
        self._opened = False
        self._wanted = 0
        self._heartbeat = Heartbeat(backend, ttl_us=ttl_us, refresh=self.refresh)
        _recorders.add(self)

    # ---- opening and closing

    @property
    def is_open(self) -> bool:
        """The store is open, in this process."""
        return self._opened and self.io.runs

    async def opened(self) -> None:
        """Open the store, if it is not open. To be run on the I/O thread."""
        self._wanted += 1
        try:
            async with self._opening:
                if self._opened:
                    return
                if asyncio.get_running_loop() is not self.io.loop:
                    raise BackendUnavailable("The store was closed meanwhile.")
                await self.backend.open()
                if self._immediate is None:
                    await self._writer.start()
                await self._heartbeat.start()
                self._opened = True
                for begin in self.after_opening:
                    begin()
                for session in self.sessions.behind():
                    self.commit(session)
        finally:
            self._wanted -= 1

    async def _close(self) -> None:
        """Close the store, and begin to end the thread, unless somebody waits to open the store again."""
        async with self._opening:
            if self._opened:
                self._opened = False
                for stop in self.before_closing:
                    await stop()
                await self._heartbeat.stop()
                if self._immediate is None:
                    await self._writer.stop()
                    self._tell_those_who_wait()
                self._linger.stop()
                await self._progressing.stop()
                await self.backend.close()
            if not self._wanted:
                self.io.stop()
                self._opening = asyncio.Lock()

    def _tell_those_who_wait(self) -> None:
        closed = BackendUnavailable("The store was closed before it took the record.")
        for session in self.sessions.behind():
            on_unknown(session)
            wake(on_down(session, closed))
            session.down = None  # whoever goes on opens it again

    def close(self) -> None:
        """Flush, close the store and end the thread; blocks. Can be opened again."""
        if self._opened:
            flushing.report(self.flush(EXIT_SECONDS), "the store was closed")
            with self.io.ending():
                self.io.submit(self._close()).result()
        else:
            self.io.stop()
            self._opening = asyncio.Lock()

    async def aclose(self) -> None:
        """Flush, close the store and end the thread. Can be opened again."""
        if self._opened:
            flushing.report(await self.aflush(EXIT_SECONDS), "the store was closed")
            with self.io.ending():
                await self.io.outcome(self.io.submit(self._close()))
        else:
            self.io.stop()
            self._opening = asyncio.Lock()

    # ---- submitting and waiting

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Open the store and run a coroutine on the I/O thread; blocks."""
        return self.io.call(Ahead(self.when_open(coroutine), coroutine))

    async def acall(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Open the store and run a coroutine on the I/O thread."""
        return await self.io.acall(Ahead(self.when_open(coroutine), coroutine))

    async def when_open(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it once the store is open; closed where it does not open."""
        if not self._opened or self._opening.locked():  # it is being closed
            try:
                await self.opened()
            except BaseException:
                coroutine.close()
                raise
        return await coroutine

    def submit(self, session: Session, submission: Submission, *, lazy: bool = False) -> Entry:
        """Submit and see to it that it is committed: at once, or (`lazy`) with whatever is next, or soon.

        Raises:
            InvestigationError: the submission is refused.
        """
        entry = session.submit(submission, lazy=lazy)
        if lazy and self._opened:
            if not session.lingering:
                self._linger.add(session, self.loop)
        else:
            self.commit(session)
        return entry

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the I/O thread."""
        loop = self.io.loop
        assert loop is not None, "the store is not open"
        return loop

    def _tick(self) -> None:
        self._linger.wake(self.loop)

    def commit(self, session: Session) -> None:
        """See to it that what is queued is committed."""
        if self._immediate is not None:
            self._commit_inline(session)
        elif self._opened:
            self._writer.kick(session)
        else:  # closed: something ran on after that
            opening = self.io.submit(self._open_for(session))
            # the thread may have ended before it began
            opening.add_done_callback(functools.partial(self._begin_again, session))  # mypyc compiles no closure here

    def _begin_again(self, session: Session, opening: Future[None]) -> None:
        if opening.cancelled():
            self.commit(session)

    async def _open_for(self, session: Session) -> None:
        try:
            await self.opened()
        except InvestigationError as error:
            if asyncio.get_running_loop() is not self.io.loop:  # closed meanwhile: on the next one
                self.commit(session)
                return
            down = error if isinstance(error, BackendUnavailable) else BackendUnavailable(str(error))
            wake(on_down(session, down))

    def _commit_inline(self, session: Session) -> None:
        assert self._immediate is not None
        if not commit_queued(session, self._immediate) and self._opened:
            self._linger.add(session, self.loop)

    def crowded(self, session: Session) -> Entry | None:
        """The entry to wait for, where more is queued than may be: a fact, if there is one; commands may be refused."""
        if not session.full:
            return None
        with session.lock:
            queue = session.queue
            facts = (entry for entry in reversed(queue) if type(entry.submission) is Fact)
            return next(facts, queue[-1] if queue else None)

    def report(self, session: Session, id: str, percent: int) -> None:
        """A phase or call is so far. Nobody waits for that, and it may be lost."""
        if session.report(id, percent) and self._opened:
            self._progressing.add(session, self.loop)

    def observe_progress(self, observer: Told) -> None:
        """Call `observer` on the I/O thread with the id of an investigation and what it reported and no event says: the
        data of ``progress.update``, at most a few times a second for each."""
        self._progressing.observers.append(observer)

    # ---- sessions

    def look_for_tracer(self) -> Tracer | None:
        """What traces and measures this recorder, looked for where none is known; None where nothing does."""
        if self.tracer is None:
            find = self.find_tracer  # another thread may find it meanwhile
            if find is not None:
                find(self)
        return self.tracer

    def trace(self) -> Trace | None:
        """What traces the block that is about to be entered in this context, or what a caller of the blocking face
        makes; None where nothing does."""
        tracer = self.look_for_tracer()
        return None if tracer is None else self.io.as_the_caller(tracer.trace)

    def measure(self, meter: StoreMeter) -> None:
        """Tell `meter` of each batch that the writer commits."""
        self._writer.meter = meter

    async def session(self, investigation_id: str, *, count: bool = True) -> Session:
        """The session of an investigation in this process, brought up to date. Without `count`, it may not be known how
        often each tool was called; see :func:`~investigation_sdk.engine.repair.load`.

        Raises:
            InvestigationNotFound: there is no such investigation.
        """
        self.look_for_tracer()
        session = self.sessions.get(investigation_id)
        if session is not None:
            await self.refresh(session)
        if (known := self.sessions.get(investigation_id)) is not None:
            return known
        every = self.sessions.snapshot_every
        loaded = await load(self.backend, investigation_id, self.tenant, snapshots=every > 0, count=count)
        known = self.sessions.get(investigation_id)
        if known is None and self.sessions.add(loaded).queue:
            self.commit(loaded)
        return known or loaded

    async def refresh(self, session: Session) -> None:
        """Fold in what others have written."""
        if self._immediate is not None:
            refresh_now(session, self._immediate)
            self._commit_inline(session)
        else:
            await self._writer.refresh(session)

    # ---- driving

    def drive(self, session: Session, token: str, lease: Lease) -> None:
        """From now on this process drives it: its lease is renewed."""
        session.lease = lease
        session.own(token)
        self._heartbeat.driven[session.id] = session

    def let_go(self, session: Session, token: str | None) -> Coroutine[Any, Any, None]:
        """Whoever drove it under `token` in this process no longer does, from now on, unless another block of this
        process drives it by now. What is returned gives up the lease."""
        lease = None
        if session.token == token:
            self._heartbeat.driven.pop(session.id, None)
            session.disown()
            lease, session.lease = session.lease, None
        if lease is not None:
            ownership.retire(lease.owner)
        return self.give_up(lease)

    async def give_up(self, lease: Lease | None) -> None:
        """Release a lease of this process; where the store does not answer, it will run out."""
        if lease is None:
            return
        ownership.retire(lease.owner)
        with contextlib.suppress(InvestigationError):
            await self.backend.release(lease)

    def abandon(self, session: Session) -> None:
        """As if this process had been killed: write nothing more, keep the lease, let the owner be dead."""
        session.abandoned = True
        self._heartbeat.driven.pop(session.id, None)
        self.sessions.forget(session)
        if session.lease is not None:
            ownership.retire(session.lease.owner)

    def watch(self, session: Session, *, blocking: bool) -> Waiter | None:
        """A waiter for the next change of what stops `session`; None if nothing stops it."""
        return self._heartbeat.watch(session, blocking=blocking)

    def heard(self, investigation_id: str, version: int) -> None:
        """Somebody says that its log is so long. Where this process drives it, and knows less, it reads what others
        wrote: a pause, for example. On the I/O thread."""
        self._heartbeat.heard(investigation_id, version)

    # ---- flushing

    def flush(self, timeout: float | None = None) -> int:
        """Commit what is queued, and say how many events are still not durable.

        A store that does not answer is tried for `timeout` seconds; without one, until its patience is over.
        """
        flushing.flush(self.sessions, self.commit, timeout)
        return self.sessions.queued

    async def aflush(self, timeout: float | None = None) -> int:
        """As :meth:`flush`, for tasks."""
        if self.sessions.behind():
            with contextlib.suppress(BackendUnavailable):  # closed meanwhile
                await self.io.acall(flushing.aflush(self.sessions, self.commit, timeout))
        return self.sessions.queued

    def at_exit(self) -> None:
        """Flush at the end of the process, for a bounded time, and say what could not be written."""
        if not self._opened:
            return
        flushing.report(self.flush(EXIT_SECONDS), "the process ended")
        for stop in self.before_closing:
            with contextlib.suppress(Exception):  # the process ends; it was a courtesy
                self.io.submit(stop()).result(EXIT_SECONDS)

    def after_fork_in_child(self) -> None:
        """In a forked child: the parent's thread, connections and sessions are not this process's."""
        self.sessions.forked()
        self._heartbeat = Heartbeat(self.backend, ttl_us=self.ttl_us, refresh=self.refresh)
        self.io = IOThread()
        self._opening = asyncio.Lock()
        self._opened = False
        self._wanted = 0
        meter = self._writer.meter
        self._writer = Writer(self.backend, patience=self._patience, on_busy=self._tick)
        self._writer.meter = meter
        self._linger = Linger(self.commit, self._writer.watch)


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _flush_all() -> None:
    for recorder in list(_recorders):
        recorder.at_exit()


def _after_fork() -> None:
    ownership.forget_all()
    busy.clear()
    for recorder in list(_recorders):
        recorder.after_fork_in_child()


atexit.register(_flush_all)
os.register_at_fork(after_in_child=_after_fork)
