"""The writer: group commit. It moves what the sessions seal into the store, many investigations at a time.

It runs on the I/O thread. There is one batch in flight, or as many as the backend says that it works on at the same
time, each of other investigations: so there is at most one commit in flight per investigation, and whatever is
submitted meanwhile is in the next batch.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from investigation_sdk.engine.entries import Woken
from investigation_sdk.engine.exclusive import exclusive
from investigation_sdk.engine.outcomes import on_applied, on_down, on_gone, on_unknown
from investigation_sdk.engine.refused import refused
from investigation_sdk.engine.repair import repair
from investigation_sdk.engine.sealing import next_commit
from investigation_sdk.engine.session import Session
from investigation_sdk.engine.tracing import StoreMeter
from investigation_sdk.engine.waiting import wake
from investigation_sdk.errors import (
    BackendUnavailable,
    InvestigationError,
)
from investigation_sdk.storage.backend import Backend, CommitNotApplied, CommitUnknown, OverlappingBackend, StoreFailure
from investigation_sdk.storage.commit import Commit, CommitResult, CommitStatus

_log = logging.getLogger("investigation_sdk.engine")

MAX_EVENTS: Final = 5000
"""Events in one batch, about: the commit that exceeds it is still in."""

MAX_SIZE: Final = 16_000_000
"""Characters of data, and bytes of blobs, in one batch: the commit that exceeds it is still in."""

FEW: Final = 32
"""So many commits are one batch, whatever the backend works on: a batch has a price of its own."""

_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 1.0
_UNREADABLE: Final = (BackendUnavailable, CommitNotApplied, StoreFailure)


class _Batch:
    """What is handed over to the backend at once: when, whether that is still so, and why not."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.commits: list[Commit] = []
        self.events = 0
        self.size = 0
        self.since = time.monotonic()
        self.flies = True
        self.why: BaseException | None = None

    @property
    def full(self) -> bool:
        return self.events >= MAX_EVENTS or self.size >= MAX_SIZE

    def add(self, session: Session, commit: Commit) -> None:
        self.sessions.append(session)
        self.commits.append(commit)
        self.events += len(commit.events)
        self.size += sum(len(event.event_data) for event in commit.events)
        self.size += sum(len(blob.data) for blob in commit.blobs)


class Writer:
    """Moves commits from sessions to a backend.

    Args:
        patience: Seconds without an answer of the store, however often it is tried, before those who wait are told.
        on_busy: Called on the loop when a commit is handed over; :meth:`watch` is to be called while it lasts.
    """

    def __init__(self, backend: Backend, *, patience: float, on_busy: Callable[[], None]) -> None:
        self._backend = backend
        self._on_busy = on_busy
        self._patience = patience
        self._ready: deque[Session] = deque()
        self._awake = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._at_once = backend.batches_at_once if isinstance(backend, OverlappingBackend) else 1
        self._batches: dict[asyncio.Task[None], _Batch] = {}
        self._on_their_way: dict[Session, _Batch] = {}
        self._owed: dict[Session, _Batch] = {}  # the first that it was in and that was not answered
        self._silent: _Batch | None = None
        self._repairs: set[asyncio.Task[None]] = set()
        self._pause = _FIRST_PAUSE
        self.meter: StoreMeter | None = None

    async def start(self) -> None:
        """Begin to work on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._owed, self._silent = {}, None
        self._task = asyncio.create_task(self._run(), name="investigation-writer")

    async def stop(self) -> None:
        """End at once; what is queued stays queued."""
        tasks = [task for task in (self._task, *self._batches, *self._repairs) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- from any thread

    def kick(self, session: Session) -> None:
        """There is something to commit, and somebody waits for it.

        A signal may raise at any line of this. What the next call finds is then never a promise that nobody keeps: a
        session may be ready twice, and the loop may be woken twice.
        """
        with session.lock:
            if not session.scheduled:
                self._ready.append(session)
                session.scheduled = True
        self._wake()

    def _wake(self) -> None:
        if self._awake:
            return
        assert self._loop is not None
        assert self._event is not None
        try:
            self._awake = True  # before the call: after it, the loop may be asleep again
            self._loop.call_soon_threadsafe(self._event.set)
        except BaseException:
            self._awake = False
            raise

    # ---- on the loop

    def watch(self) -> bool:
        """Look how long the store owes an answer, tried again or not: any, since the first commit after its last one,
        and one to each commit.

        Returns:
            Whether it owes one.
        """
        late = time.monotonic() - self._patience
        silent = self._silent
        if silent is not None and silent.since < late:
            for session in [*self._owed, *self._ready]:
                self._tell(session, silent)
        for session, first in self._owed.items():
            if first.since < late:
                self._tell(session, first)
        return bool(self._owed)

    def _tell(self, session: Session, first: _Batch) -> None:
        if session.down is None:
            batch = self._on_their_way.get(session)
            if batch is not None and batch.flies:
                on_unknown(session)
            why = first.why or InvestigationError(f"it has not answered a commit for {self._patience:g} seconds.")
            wake(on_down(session, _down(why)))

    async def _run(self) -> None:
        assert self._event is not None
        while True:
            if not self._ready:
                self._awake = False
                if not self._ready:
                    await self._event.wait()
                self._awake = True
            elif len(self._batches) >= self._at_once:
                await self._event.wait()
            else:
                self._begin()
                await asyncio.sleep(0)  # it is on its way before the next is sealed
                continue
            self._event.clear()

    def _begin(self) -> None:
        """Hand over the next batch."""
        batch = self._next_batch()
        if batch.commits:
            task = asyncio.get_running_loop().create_task(self._hand_over(batch))
            self._batches[task] = batch
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        """It is answered, or was broken off, perhaps before its first step."""
        batch = self._batches.pop(task)
        for session in batch.sessions:
            del self._on_their_way[session]
        if not task.cancelled():
            for session in batch.sessions:
                if session.queue or session.in_flight is not None:
                    self.kick(session)
                else:
                    self._owes_nothing(session)
        if self._event is not None:
            self._event.set()

    def _owes_nothing(self, session: Session) -> None:
        """Nothing is asked for any more: written, withdrawn or refused."""
        self._owed.pop(session, None)
        if not self._owed:
            self._silent = None

    def _next_batch(self) -> _Batch:
        """What is ready, sealed, up to the bounds; the rest stays for the next batch.

        A backend that works on several gets an equal share in each: it writes one while the next is sealed, and those
        who wait for one do their work meanwhile.
        """
        batch = _Batch()
        most = len(self._ready)
        if most > FEW:
            free = self._at_once - len(self._batches)
            most = (most + free - 1) // free
        while self._ready and len(batch.commits) < most and not batch.full:
            session = self._ready.popleft()
            with session.lock:
                session.scheduled = False
                # one that is on its way, also in this batch, is ready again once it is answered
                commit = None if session in self._on_their_way else _seal(session)
            if commit is not None:
                self._on_their_way[session] = batch
                self._owed.setdefault(session, batch)
                batch.add(session, commit)
            elif session not in self._on_their_way:
                self._owes_nothing(session)
        if batch.commits and self._silent is None:
            self._silent = batch
        return batch

    async def _hand_over(self, batch: _Batch) -> None:
        sessions = batch.sessions
        self._on_busy()
        results: Sequence[CommitResult] | BaseException
        try:
            results = await self._backend.commit(batch.commits)
            if len(results) != len(sessions):
                raise ValueError(f"a batch of {len(sessions)} commits was given {len(results)} answers")
        except asyncio.CancelledError:
            for session in sessions:
                on_unknown(session)
            raise
        except BaseException as error:
            results = error
        finally:
            batch.flies = False
        if self.meter is not None:
            seconds = time.monotonic() - batch.since
            self.meter.committed(seconds, batch.events, failed=isinstance(results, BaseException))
        if isinstance(results, BaseException):
            await self._failed(sessions, results)
            return
        self._silent, self._pause = None, _FIRST_PAUSE
        woken: Woken = []
        for session, result in zip(sessions, results, strict=True):
            del self._owed[session]
            woken += self._one(session, result)
        wake(woken)

    def _one(self, session: Session, result: CommitResult) -> Woken:
        status = result.status
        if status is CommitStatus.APPLIED:
            return _on_applied(session)
        if status is CommitStatus.CONFLICT:
            self._repair(session)
            return []
        return refused(session, result)

    def _repair(self, session: Session) -> None:
        session.repairing = True
        task = asyncio.get_running_loop().create_task(self._repaired(session))
        self._repairs.add(task)
        task.add_done_callback(self._repairs.discard)

    async def _repaired(self, session: Session) -> None:
        """After a conflict: read until that works, and tell who waits if it lasts."""
        pause = _FIRST_PAUSE
        late = asyncio.get_running_loop().call_later(self._patience, _unread, session, self._patience)
        try:
            while True:
                try:
                    await self._read(session)
                    return
                except _UNREADABLE as error:
                    session.repairing = True
                    _log.warning(
                        "Investigation %s: reading after a conflict failed, trying again: %s",
                        session.id,
                        error,
                        extra={"investigation_id": session.id},
                    )
                    await asyncio.sleep(pause)
                    pause = min(_LONGEST_PAUSE, 2 * pause)
        finally:
            late.cancel()
            if session.repairing:  # the writer is stopped: the commit is in conflict again once it is started again
                session.repairing = False
                self.kick(session)

    async def _read(self, session: Session) -> None:
        """Bring a session up to date; what was queued meanwhile goes out then."""
        woken: Woken = []
        try:
            woken = await repair(session, self._backend)
        except _UNREADABLE:
            raise
        except Exception as error:
            _log.exception("Investigation %s cannot be read.", session.id, extra={"investigation_id": session.id})
            woken = on_gone(session, f"Investigation {session.id} in the store cannot be read: {error}")
        finally:
            session.repairing = False
            wake(woken)
            if session.queue or session.in_flight is not None:
                self.kick(session)

    async def refresh(self, session: Session) -> None:
        """Read what others have written. A commit of ours that is on its way does that too.

        Raises:
            BackendUnavailable: it cannot be read.
        """
        while True:
            with session.lock:
                flight = session.in_flight
                if flight is None and not session.repairing:
                    session.repairing = True
                    break
                if session.repairing and session.down is not None:
                    raise session.down.with_traceback(None)
                waiter = None if flight is None else session.waiter(flight.entries[-1], blocking=False)
            if waiter is None:
                await asyncio.sleep(_FIRST_PAUSE)
                continue
            try:
                await waiter.wait_async()
            except BackendUnavailable:
                raise
            except InvestigationError:
                pass  # refused, on what was found
            return
        try:
            await self._read(session)
        except (CommitNotApplied, StoreFailure) as error:
            raise _down(error) from error

    async def _failed(self, sessions: Sequence[Session], error: BaseException) -> None:
        """Nothing of the batch is known to be written: tell who waits if it lasts, and try again."""
        for first in (self._silent, *map(self._owed.get, sessions)):
            if first is not None:
                first.why = error
        if not isinstance(error, CommitNotApplied | StoreFailure):
            if not isinstance(error, CommitUnknown):
                _log.error("The backend raised what its contract does not allow; taken as unknown.", exc_info=error)
            for session in sessions:
                on_unknown(session)
        self.watch()
        for session in sessions:
            if session.down is not None or isinstance(error, StoreFailure):
                wake(on_down(session, _down(error)))
        await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311
        self._pause = min(_LONGEST_PAUSE, 2 * self._pause)


_seal = exclusive(next_commit)
_on_applied = exclusive(on_applied)


def _down(error: BaseException) -> BackendUnavailable:
    down = BackendUnavailable(f"The store does not take the record: {error}")
    down.__cause__ = error
    return down


def _unread(session: Session, patience: float) -> None:
    on_unknown(session)
    silent = InvestigationError(f"after a conflict it could not be read for {patience:g} seconds.")
    wake(on_down(session, _down(silent)))
