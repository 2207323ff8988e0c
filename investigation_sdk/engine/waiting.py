"""Waiting for a commit: a thread blocks on a lock, a task awaits a future of its own loop.

Whoever resolves many waiters wakes each loop once (:func:`wake`), whatever number of its tasks wait.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterable
from typing import Final

from investigation_sdk.engine.hosts import Future, Loop, running_loop

_never: Final[set[int]] = set()


@contextlib.contextmanager
def never_blocks() -> Generator[None]:
    """In this block, this thread does not wait: others wait for what it does."""
    _never.add(threading.get_ident())
    try:
        yield
    finally:
        _never.discard(threading.get_ident())


def may_block() -> bool:
    """Whether this thread may wait."""
    return threading.get_ident() not in _never


class Waiter:
    """One thread or task that waits for one thing; made where it waits, resolved anywhere.

    Attributes:
        error: What it was resolved with.
        told: It was resolved, for certain. Where that was cut short, it may be resolved once more, with the same.
    """

    __slots__ = ("_future", "_lock", "_loop", "error", "told")

    def __init__(self, *, blocking: bool) -> None:
        self.error: BaseException | None = None
        self.told: bool = False
        self._loop: Loop | None = None
        self._future: Future | None = None
        self._lock: threading.Lock | None = None
        if blocking:
            self._lock = threading.Lock()
            self._lock.acquire()
        else:
            self._loop = running_loop()
            self._future = self._loop.create_future()

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until it is resolved, or for `timeout` seconds; whether it was resolved.

        A thread that must never block does not: the garbage collector may run a tool on it.

        Raises:
            BaseException: the error that it was resolved with.
        """
        assert self._lock is not None
        if threading.get_ident() in _never:
            return False
        if not self._lock.acquire(timeout=-1 if timeout is None else timeout):
            return False
        if self.error is not None:
            raise self.error
        return True

    def block(self) -> None:
        """Block this thread, whichever it is, until it is resolved."""
        assert self._lock is not None
        self._lock.acquire()

    async def wait_async(self) -> None:
        """Suspend this task until it is resolved. A cancelled wait cancels nothing but itself.

        Raises:
            BaseException: the error that it was resolved with.
        """
        assert self._future is not None
        await self._future
        if self.error is not None:
            raise self.error

    def _finish(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


def _finish_all(waiters: list[Waiter]) -> None:
    for waiter in waiters:
        waiter._finish()  # pyright: ignore[reportPrivateUsage]


def _release(lock: threading.Lock) -> None:
    try:
        lock.release()
    except RuntimeError:  # it was resolved before, by somebody who was cut short then
        return


def wake(waiters: Iterable[tuple[Waiter, BaseException | None]]) -> None:
    """Resolve waiters, each with its error or None, waking every loop among them once."""
    by_loop: dict[Loop, list[Waiter]] = {}
    for waiter, error in waiters:
        waiter.error = error
        lock = waiter._lock  # pyright: ignore[reportPrivateUsage]
        loop = waiter._loop  # pyright: ignore[reportPrivateUsage]
        if lock is not None:
            _release(lock)
            waiter.told = True
        elif loop is not None:
            by_loop.setdefault(loop, []).append(waiter)
    for loop, mine in by_loop.items():
        with contextlib.suppress(RuntimeError):  # that loop has ended: nobody waits any more
            loop.call_soon_threadsafe(_finish_all, mine)
        for waiter in mine:
            waiter.told = True
