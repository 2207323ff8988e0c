"""A thread for reads that may be long, so that they do not hold the loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class ReaderThread:
    """One daemon thread, started when first needed, that runs functions one after another.

    Not an executor: those are shut down before the last reads at exit.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises, from the thread (or here, where the process ends and starts none any more)."""
        if self._thread is None or not self._thread.is_alive():  # also after a fork
            self._jobs = queue.SimpleQueue()
            thread = threading.Thread(target=_serve, args=(self._jobs,), name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return work()
            self._thread = thread
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((work, loop, future))
        return await future

    async def stop(self) -> None:
        """End the thread, and wait until it has done what it is doing: nobody else may, where a caller gave it up.

        Two connections to a SQLite file that are closed at once each take the other for one that stays, and leave the
        log's files behind.
        """
        if self._thread is not None and self._thread.is_alive():
            await self.run(_nothing)
            self._jobs.put(None)
        self._thread = None


def _nothing() -> None:
    pass


def _serve(jobs: queue.SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        work, loop, future = job
        if future.cancelled():
            continue
        result: Any = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(_answer, future, result, error)
        except RuntimeError:
            pass  # the loop was closed: nobody waits any more
        del job, work, future, result, error  # or the last one would be kept alive until the next


def _answer(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
