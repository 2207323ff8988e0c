"""The I/O thread: one daemon thread with one event loop, which owns all connections of one SDK."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import CancelledError
from concurrent.futures import Future as ThreadFuture
from typing import Any, Final, Generic, TypeAlias, TypeVar

from investigation_sdk.engine.waiting import Waiter, never_blocks, wake
from investigation_sdk.errors import BackendUnavailable

T = TypeVar("T")

Undo: TypeAlias = "Callable[[], None]"

_undo: contextvars.ContextVar[Undo | None] = contextvars.ContextVar("investigation_undo", default=None)


def undo_with(undo: Undo) -> None:
    """Said by a coroutine on the I/O thread: call `undo` there, should nobody be left to take its result."""
    _undo.set(undo)


class Ahead(Coroutine[Any, Any, T]):
    """A coroutine that awaits another one in its course. Closed before it began, it closes that, too.

    Args:
        whole: What runs.
        inner: What it will await.
    """

    def __init__(self, whole: Coroutine[Any, Any, T], inner: Coroutine[Any, Any, T]) -> None:
        self._whole = whole
        self._inner = inner

    def __await__(self) -> Generator[Any, Any, T]:
        return self._whole.__await__()

    def send(self, value: Any) -> Any:
        """See :class:`collections.abc.Coroutine`."""
        return self._whole.send(value)

    def throw(self, *error: Any) -> Any:
        """See :class:`collections.abc.Coroutine`."""
        return self._whole.throw(*error)

    def close(self) -> None:
        """See :class:`collections.abc.Coroutine`."""
        self._whole.close()
        self._inner.close()


class _Run(Generic[T]):
    """A coroutine on the I/O thread for a caller whose wait may be broken off, just as it is done perhaps.

    Args:
        coroutine: What runs.
        blocking: The caller is a thread that blocks; else a task.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], *, blocking: bool) -> None:
        self.waiter: Waiter = Waiter(blocking=blocking)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.taken: bool = False
        self.context: contextvars.Context | None = contextvars.copy_context() if blocking else None
        self.task: asyncio.Task[None] | None = None
        self._coroutine = coroutine
        self._others: set[_Run[Any]] = set()
        self._begun = False
        self._unwanted = False
        self._told = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._undo: Undo | None = None

    # ---- on the I/O thread

    def begin(self, others: set[_Run[Any]]) -> None:
        """Run it. Until it is done, it is one of `others`."""
        others.add(self)
        self._others = others
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        self._begun = True
        try:
            self._result = await self._coroutine
            self._undo = _undo.get()
        except BaseException as error:
            self._error = error
        if self._unwanted:
            self.not_wanted()
        self._done()

    def _done(self) -> None:
        self._others.discard(self)
        if not self._told:
            self._told = True
            wake([(self.waiter, None)])

    def not_wanted(self) -> None:
        """Nobody takes the result."""
        self._unwanted = True
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()
        if not self._begun:
            self.never_began()
        if self.task is not None and not self.task.cancelling():
            self.task.cancel()

    def never_began(self) -> None:
        """Nothing will run it any more: close it, unless it ran; and say so to who waits."""
        if not self._begun:
            self._coroutine.close()
            self._error = asyncio.CancelledError()
        self._done()

    # ---- where it is waited for

    def take(self) -> T:
        """Its result, once.

        Raises:
            BackendUnavailable: the thread was ended meanwhile.
            BaseException: what it raised.
        """
        self.taken = True
        error, self._error = self._error, None
        if isinstance(error, asyncio.CancelledError | CancelledError):  # nobody cancelled who waits
            raise BackendUnavailable(_CLOSED) from None
        if error is None:
            return self._result  # type: ignore[no-any-return]
        try:
            raise error
        finally:
            del error  # or it would refer to itself


_CLOSED: Final = "The store was closed before it answered."


class IOThread:
    """Runs coroutines for callers on other threads and loops. Started when first needed, again after a fork."""

    def __init__(self, name: str = "investigation-io") -> None:
        self._name = name
        self._starting = threading.RLock()  # the garbage collector may run a tool in there
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._runs: set[_Run[Any]] = set()
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def runs(self) -> bool:
        """It was started in this process, and not ended."""
        return self.loop is not None and self._pid == os.getpid()

    def start(self) -> asyncio.AbstractEventLoop:
        """The loop of the running thread; started if it is not."""
        if self.loop is not None and self.runs:
            return self.loop
        with self._starting:
            if self.loop is None or self._pid != os.getpid():
                loop = contextvars.Context().run(asyncio.new_event_loop)  # it keeps the context that it is made in
                self._runs = set()
                self._thread = threading.Thread(target=self._run, args=(loop,), name=self._name, daemon=True)
                self._thread.start()
                self._pid = os.getpid()
                self.loop = loop
            return self.loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            with never_blocks():
                loop.run_forever()
        finally:
            loop.close()

    def owns_this_thread(self) -> bool:
        """Whether the caller is on the I/O thread."""
        return threading.current_thread() is self._thread

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> ThreadFuture[T]:
        """Run a coroutine there; its result as a future of :mod:`concurrent.futures`.

        In a context of its own: what it leaves running there must not keep the caller's alive.
        """
        with self._starting:  # before the loop ends, or on the next
            return contextvars.Context().run(asyncio.run_coroutine_threadsafe, coroutine, self.start())

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and block this thread until it is done. Where the wait is broken off (Ctrl-C), it
        is cancelled, and undone if it is done already.

        Raises:
            BackendUnavailable: the thread was ended meanwhile.
            RuntimeError: this *is* the I/O thread: it would wait for itself.
        """
        if self.owns_this_thread():
            coroutine.close()
            raise RuntimeError("a blocking call on the SDK's own I/O thread would wait for itself")
        run = _Run(coroutine, blocking=True)
        try:
            self._hand_over(run)
            run.waiter.block()
            return run.take()
        except BaseException:
            self._broken_off(run)
            raise

    def as_the_caller(self, function: Callable[[], T]) -> T:
        """Call it; where a blocking call runs on this thread, in the context of who made that, as `await` would."""
        if self.owns_this_thread():
            task = asyncio.current_task()
            for run in self._runs:
                if run.task is task and run.context is not None:
                    return run.context.run(function)
        return function()

    async def acall(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """As :meth:`call`, suspending this task."""
        if self.owns_this_thread():
            return await coroutine
        run = _Run(coroutine, blocking=False)
        try:
            self._hand_over(run)
            await run.waiter.wait_async()
            return run.take()
        except BaseException:
            self._broken_off(run)
            raise

    def _hand_over(self, run: _Run[Any]) -> None:
        """Have it run, as :meth:`submit` does; without a future that can be cancelled and called back from any thread,
        which takes as long as a short read."""
        with self._starting:
            run.loop = self.start()
            run.loop.call_soon_threadsafe(run.begin, self._runs, context=contextvars.Context())

    @staticmethod
    def _broken_off(run: _Run[Any]) -> None:
        if run.taken:
            return  # it is what the coroutine raised
        try:
            if run.loop is not None:  # else in the middle of handing it over
                run.loop.call_soon_threadsafe(run.not_wanted)
                return
        except RuntimeError:  # closed meanwhile
            pass
        run.never_began()

    async def outcome(self, future: ThreadFuture[T]) -> T:
        """Suspend this task until what was submitted is done. A cancelled wait cancels nothing but itself."""
        waiter = Waiter(blocking=False)
        future.add_done_callback(lambda _: wake([(waiter, None)]))
        await waiter.wait_async()
        return _outcome(future)

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread, once what runs on it has been cancelled; idempotent. On that thread, without waiting."""
        with self.ending(timeout), self._starting:
            loop, self.loop, self._thread = self.loop, None, None
            if loop is not None and self._pid == os.getpid():
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(_cancel_all_and_stop, loop, self._runs)

    @contextlib.contextmanager
    def ending(self, timeout: float = 5.0) -> Generator[None]:
        """If the thread is to end in this block, wait for that behind it."""
        thread, pid = self._thread, self._pid
        yield
        if thread not in (None, self._thread, threading.current_thread()) and pid == os.getpid():
            thread.join(timeout)


def _outcome(future: ThreadFuture[T]) -> T:
    try:
        return future.result()
    except CancelledError:  # an Exception here, and none of asyncio's or trio's: nobody cancelled who waits
        raise BackendUnavailable(_CLOSED) from None


def _cancel_all_and_stop(loop: asyncio.AbstractEventLoop, runs: set[_Run[Any]]) -> None:
    def stop(_: object = None) -> None:
        for run in list(runs):  # a task that is cancelled before its first step never says a word
            run.never_began()
        loop.stop()

    tasks = asyncio.all_tasks(loop)
    if not tasks:
        stop()
        return
    for task in tasks:
        task.cancel()
    gathered = asyncio.gather(*tasks, return_exceptions=True)
    gathered.add_done_callback(stop)
