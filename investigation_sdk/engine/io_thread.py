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
from typing import Any, Generic, TypeAlias, TypeVar

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
    """A coroutine on the I/O thread for a caller whose wait may be broken off, just as it is done perhaps."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[Any] | None = None
        self._unwanted = False
        self._undo: Undo | None = None

    async def run(self) -> T:
        self._task = asyncio.current_task()
        closed = self._unwanted
        if closed:
            raise asyncio.CancelledError
        result = await self._coroutine
        self._undo = _undo.get()
        if self._unwanted:
            self.not_wanted()
        return result

    def never_began(self) -> None:
        """Nothing is left that could run it: close it, unless it ran."""
        if self._task is None:
            self._coroutine.close()

    def not_wanted(self) -> None:
        """Nobody takes the result. On the I/O thread, behind the cancellation."""
        self._unwanted = True
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()
        self.never_began()
        if self._task is not None and not self._task.cancelling():
            self._task.cancel()


class IOThread:
    """Runs coroutines for callers on other threads and loops. Started when first needed, again after a fork."""

    def __init__(self, name: str = "investigation-io") -> None:
        self._name = name
        self._starting = threading.RLock()  # the garbage collector may run a tool in there
        self._thread: threading.Thread | None = None
        self._pid = 0
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
        run = _Run(coroutine)
        future: ThreadFuture[T] | None = None
        try:
            future = self.submit(run.run())
            return _outcome(future)
        except BaseException as error:
            self._broken_off(run, future, error)
            raise

    async def acall(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """As :meth:`call`, suspending this task."""
        if self.owns_this_thread():
            return await coroutine
        run = _Run(coroutine)
        future = self.submit(run.run())
        try:
            return await self.outcome(future)
        except BaseException as error:
            self._broken_off(run, future, error)
            raise

    async def outcome(self, future: ThreadFuture[T]) -> T:
        """Suspend this task until what was submitted is done. A cancelled wait cancels nothing but itself."""
        waiter = Waiter(blocking=False)
        future.add_done_callback(lambda _: wake([(waiter, None)]))
        await waiter.wait_async()
        return _outcome(future)

    def _broken_off(self, run: _Run[T], future: ThreadFuture[T] | None, error: BaseException) -> None:
        if future is not None:  # else in the middle of submitting
            if future.done() and not future.cancelled() and future.exception() is error:
                return  # it is what the coroutine raised
            future.cancel()
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                self.loop.call_soon_threadsafe(run.not_wanted)
                return
        if future is not None and future.done():  # the thread has ended, so it does not begin any more
            run.never_began()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread, once what runs on it has been cancelled; idempotent. On that thread, without waiting."""
        with self.ending(timeout), self._starting:
            loop, self.loop, self._thread = self.loop, None, None
            if loop is not None and self._pid == os.getpid():
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(_cancel_all_and_stop, loop)

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
        raise BackendUnavailable("The store was closed before it answered.") from None


def _cancel_all_and_stop(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    if not tasks:
        loop.stop()
        return
    for task in tasks:
        task.cancel()
    gathered = asyncio.gather(*tasks, return_exceptions=True)
    gathered.add_done_callback(lambda _: loop.stop())
