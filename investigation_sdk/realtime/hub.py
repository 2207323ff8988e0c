"""The hub: one for each SDK object. Whoever waits for news of an investigation waits here, and is told by whatever
hears of them first: this process's own commits, a broker, or a look at the store now and then.

All of it runs on the I/O thread, but for what commits call.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.session import Session
from investigation_sdk.errors import BackendUnavailable, InvestigationError
from investigation_sdk.realtime.brokers import Broker, Hearing
from investigation_sdk.realtime.ending import ended
from investigation_sdk.realtime.hints import Hint
from investigation_sdk.realtime.listening import NOT_YET, Listening
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import Query, StoredEvent, Where

_log = logging.getLogger("investigation_sdk.realtime")

OnHint = Callable[[Hint], object]


class Marks(Protocol):
    """What is said once among processes."""

    def key(self, kind: str, name: str) -> str:
        """Under which a name of a kind is marked."""
        ...

    async def mark(self, key: str, seconds: float) -> bool | None:
        """Whether it was not marked yet, and is now, for so long; None where that cannot be told."""
        ...


POLL_SECONDS: Final = 0.25
"""Between two looks at the store where no broker is heard."""

SAFETY_SECONDS: Final = 5.0
"""Between two looks where one is: a hint may be lost, never an event."""

_REMEMBERED: Final = 4096
_AT_ONCE: Final = 500


class Hub:
    """See the module.

    Args:
        recorder: The store, and this process's commits.
        broker: What other processes are heard by; None: the store alone.
        marks: What is said once among processes; None: they are not asked.

    Attributes:
        forgot_at: When :meth:`version_of` last forgot an investigation, by the monotonic clock; 0 where it never did.
    """

    def __init__(self, recorder: Recorder, broker: Broker | None = None, marks: Marks | None = None) -> None:
        self.recorder: Recorder = recorder
        self.poll_seconds: float = POLL_SECONDS
        self.safety_seconds: float = SAFETY_SECONDS
        self._broker = broker
        self._marks = marks
        self._listening: Listening | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._latest: OrderedDict[str, int] = OrderedDict()
        self._moved: OrderedDict[str, float] = OrderedDict()
        self._moved_before = 0.0
        self._waiting: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}
        self._listeners: list[OnHint] = []
        self._somebody = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._observing = False
        self._hears = False
        self.forgot_at: float = 0.0
        recorder.before_closing.append(self.stop)
        if broker is not None:
            self.observe()
            if broker.eager:
                recorder.after_opening.append(functools.partial(_opened, weakref.ref(self)))

    # ---- from any thread

    def observe(self) -> None:
        """Hear of this process's own commits from now on."""
        if not self._observing:
            self._observing = True
            self.recorder.sessions.observe(functools.partial(_committed, weakref.ref(self)))
            self.recorder.observe_progress(self.progress)
            self.recorder.observe_progress(functools.partial(_progressed, weakref.ref(self)))

    def committed(self, session: Session, events: Sequence[StoredEvent]) -> None:
        """A commit of this process is durable: what :meth:`observe` asked for. It must be quick."""
        id, sequence = session.id, events[-1].sequence
        self._remember(id, sequence)  # before the look at who waits: news() does it the other way round
        if self._broker is not None or id in self._waiting or self._listeners:
            self.soon(self._own, Hint(id, sequence))

    def progress(self, investigation_id: str, data: Mapping[str, Any]) -> None:
        """Tell whoever watches what is reported and not recorded: the newest replaces those before."""
        self.soon(self._own, Hint(investigation_id, 0, data))

    def soon(self, do: Callable[..., object], *given: object) -> None:
        """Call something on the I/O thread, as long as there is one."""
        io = self.recorder.io
        loop = io.loop
        if loop is None:  # closed: whoever looks finds it in the store
            return
        with contextlib.suppress(RuntimeError):  # … or closed in this moment
            if io.owns_this_thread():
                loop.call_soon(do, *given)
            else:
                loop.call_soon_threadsafe(do, *given)

    def version_of(self, investigation_id: str) -> int:
        """The sequence of its last event, as far as was heard; 0 where nothing was."""
        return self._latest.get(investigation_id, 0)

    def moved_at(self, investigation_id: str) -> float:
        """When progress of it that is not in its log was last heard of, by the monotonic clock; or later."""
        return self._moved.get(investigation_id, self._moved_before)

    @property
    def hears(self) -> bool:
        """Whether it is told of what others record, as far as it can tell."""
        return self._listening is not None and self._hears and self._listening.deaf is None

    @property
    def heard_since(self) -> float:
        """Since when it misses nothing, by the monotonic clock; infinity where it is not told of what others record."""
        return self._listening.since if self._listening is not None and self.hears else math.inf

    def hearing(self) -> Hearing:
        """What other processes are heard by, and what is wrong with that."""
        if self._broker is None:
            return Hearing(broker=None, deaf=None)
        if self._listening is not None and self._hears:
            return Hearing(broker=self._broker.name, deaf=self._listening.deaf)
        return Hearing(broker=self._broker.name, deaf=NOT_YET if self._broker.eager else None)

    async def first(self, kind: str, name: str, seconds: float) -> bool:
        """Whether a name of a kind is said for the first time in so many seconds, by all processes that share a Redis.

        True where there is none, or it does not answer: then nothing is known of others.
        """
        if self._marks is None:
            return True
        return await self.recorder.acall(self._marks.mark(self._marks.key(kind, name), seconds)) is not False

    async def begun(self) -> Hearing:
        """As :meth:`hearing`, of a hub that has begun to hear."""
        await self.recorder.acall(self._begin())
        return self.hearing()

    async def _begin(self) -> None:
        self.start()

    # ---- on the I/O thread

    def start(self) -> None:
        """Begin to hear and to look, on the running loop, if that is not done."""
        self._arrive()
        if not self._hears:
            self._hears = True
            self.observe()
            self.spawn(self._look_around(), "investigation-poll")
            if self._listening is not None:
                self.spawn(self._listening.run(), "investigation-listen")

    def _arrive(self) -> None:
        """See to it that what belongs to a loop belongs to the running one: that of an SDK ends when it is closed."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        self._loop = loop
        self._waiting, self._somebody = {}, asyncio.Event()
        self._tasks, self._hears = set(), False
        if self._broker is not None:
            self._listening = Listening(self._broker, self.heard, self._somebody.set)
            self.spawn(self._listening.send_all(), "investigation-hints")
            if self._broker.eager:
                self.start()

    async def stop(self) -> None:
        """Before the store is closed: say what is to be said, and end."""
        if self._loop is not asyncio.get_running_loop():
            if self._broker is not None:
                await self._broker.close()
            return
        self._loop = None
        tasks, self._tasks = self._tasks, set()
        await ended(tasks)
        if self._listening is not None:
            await self._listening.send_rest()
        if self._broker is not None:
            await self._broker.close()
        for waiters in self._waiting.values():
            for _, future in waiters:
                if not future.done():
                    future.set_exception(BackendUnavailable("The store was closed: nothing is heard of it any more."))

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run something on the I/O thread until the store is closed."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def news(self, investigation_id: str, after: int) -> None:
        """Wait until the investigation may have events behind `after`. To be followed by a look: it may have none."""
        self.start()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (after, future)
        self._waiting.setdefault(investigation_id, []).append(waiter)
        self._somebody.set()
        try:
            if self._latest.get(investigation_id, 0) <= after:
                await future
        finally:
            left = self._waiting.get(investigation_id, [])
            if waiter in left:
                left.remove(waiter)
            if not left:
                self._waiting.pop(investigation_id, None)

    def on_hint(self, listener: OnHint) -> Callable[[], None]:
        """Call `listener` with each hint, on the I/O thread; what is returned ends that."""
        self.start()
        self._listeners.append(listener)
        listeners = self._listeners

        def forget() -> None:
            if listener in listeners:
                listeners.remove(listener)

        return forget

    def heard(self, hint: Hint) -> None:
        """A hint, from wherever."""
        id, sequence = hint.investigation_id, hint.sequence
        if sequence:
            self._remember(id, sequence)
            self._wake(id, sequence)
            self.recorder.heard(id, sequence)
        if hint.progress is not None:
            self._move(id)
        for listener in list(self._listeners):
            try:
                listener(hint)
            except Exception:
                _log.exception("A listener failed; the others are told.")

    def _own(self, hint: Hint) -> None:
        self._arrive()
        self.heard(hint)
        if self._listening is not None:
            self._listening.send(hint)

    def _remember(self, id: str, sequence: int) -> None:
        latest = self._latest
        if sequence > latest.get(id, 0):
            latest[id] = sequence
            with contextlib.suppress(KeyError):  # two threads at once
                latest.move_to_end(id)
                if len(latest) > _REMEMBERED:
                    self.forgot_at = time.monotonic()
                    latest.popitem(last=False)

    def _move(self, id: str) -> None:
        self._moved[id] = time.monotonic()
        self._moved.move_to_end(id)
        if len(self._moved) > _REMEMBERED:
            _, self._moved_before = self._moved.popitem(last=False)

    def _wake(self, id: str, sequence: int) -> None:
        for after, future in self._waiting.get(id, ()):
            if sequence > after and not future.done():
                future.set_result(None)

    # ---- looking at the store

    async def _look_around(self) -> None:
        """Look for what nobody told: all investigations that are waited for, in few questions."""
        while True:
            await self._somebody.wait()
            self._somebody.clear()
            pause = self.look_seconds
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    while pause == self.look_seconds:  # until something changes how often to look
                        await self._somebody.wait()
                        self._somebody.clear()
            if not self._waiting:
                continue
            self._somebody.set()
            began = time.monotonic()
            try:
                await self._look(list(self._waiting))
            except InvestigationError as error:
                _log.info("A look for news did not reach the store: %s", error)
            except Exception:
                _log.exception("A look for news failed; it goes on.")
            # a slow store is not kept busy with this
            await asyncio.sleep(min(self.safety_seconds, 2 * (time.monotonic() - began)))

    @property
    def look_seconds(self) -> float:
        """Between two looks at the store, as things are."""
        return self.safety_seconds if self.hears else self.poll_seconds

    async def _look(self, ids: Sequence[str]) -> None:
        found = {row.id: row.version for row in await rows_of(self.recorder.backend, ids)}
        for id in ids:
            if id in found:
                self.heard(Hint(id, found[id]))
            else:  # deleted; who waits sees that
                self._release(id)

    def _release(self, id: str) -> None:
        for _, future in self._waiting.get(id, ()):
            if not future.done():
                future.set_result(None)


async def rows_of(backend: Backend, ids: Iterable[str]) -> list[InvestigationRow]:
    """The rows of those that are there, in few questions."""
    asked, found = sorted(ids), list[InvestigationRow]()
    for start in range(0, len(asked), _AT_ONCE):
        some = tuple(asked[start : start + _AT_ONCE])
        rows = await backend.find(Query("investigation", (Where("id", "in", some),), limit=_AT_ONCE))
        found += [row for row in rows if isinstance(row, InvestigationRow)]
    return found


def _opened(reference: weakref.ref[Hub]) -> None:
    hub = reference()
    if hub is not None:
        hub.start()


def _committed(reference: weakref.ref[Hub], session: Session, events: Sequence[StoredEvent]) -> None:
    hub = reference()
    if hub is not None:
        hub.committed(session, events)


def _progressed(reference: weakref.ref[Hub], investigation_id: str, data: Mapping[str, Any]) -> None:
    hub = reference()
    if hub is not None:
        hub.progress(investigation_id, data)
