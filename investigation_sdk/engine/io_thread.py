"""The I/O thread: one daemon thread with one event loop, which owns all connections of one SDK."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future as ThreadFuture
from typing import Any, TypeVar

T = TypeVar("T")


class IOThread:
    """Runs coroutines for callers on other threads and loops. Started when first needed, again after a fork."""

    def __init__(self, name: str = "investigation-io") -> None:
        self._name = name
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self.loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> asyncio.AbstractEventLoop:
        """The loop of the running thread; started if it is not."""
        if self.loop is not None and self._pid == os.getpid():
            return self.loop
        with self._starting:
            if self.loop is None or self._pid != os.getpid():
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(loop,), name=self._name, daemon=True)
                self._thread.start()
                self._pid = os.getpid()
                self.loop = loop
            return self.loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
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
        return contextvars.Context().run(asyncio.run_coroutine_threadsafe, coroutine, self.start())

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine there and block this thread until it is done.

        Raises:
            RuntimeError: this *is* the I/O thread: it would wait for itself.
            TimeoutError: it took longer than `timeout` seconds; it goes on nonetheless.
        """
        if self.owns_this_thread():
            coroutine.close()
            raise RuntimeError("a blocking call on the SDK's own I/O thread would wait for itself")
        return self.submit(coroutine).result(timeout)

    async def acall(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and suspend this task until it is done."""
        if self.owns_this_thread():
            return await coroutine
        return await asyncio.wrap_future(self.submit(coroutine))

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread, once what runs on it has been cancelled; idempotent."""
        loop, thread = self.loop, self._thread
        if loop is None or thread is None or self._pid != os.getpid():
            self.loop = self._thread = None
            return
        self.loop = self._thread = None
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_cancel_all_and_stop, loop)
        if threading.current_thread() is not thread:
            thread.join(timeout)


def _cancel_all_and_stop(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    if not tasks:
        loop.stop()
        return
    for task in tasks:
        task.cancel()
    gathered = asyncio.gather(*tasks, return_exceptions=True)
    gathered.add_done_callback(lambda _: loop.stop())
