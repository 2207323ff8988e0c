"""Hosts: the asynchronous library whose loop runs the code that calls the SDK. asyncio; or trio, where it is loaded.

All that differs between them is here: what a task awaits and another thread resolves, and what keeps a cancelled
scope off the end of a block. Neither trio nor anyio is imported: where they run, they are loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import sys
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Future(Protocol):
    """What a task awaits; of asyncio's futures, as much as is used here."""

    def done(self) -> bool:
        """Whether it is resolved, or given up."""
        ...

    def set_result(self, result: None, /) -> object:
        """Resolve it; on the loop's own thread."""
        ...

    def __await__(self) -> Generator[Any, Any, Any]: ...


class Loop(Protocol):
    """What runs tasks; of asyncio's loops, as much as is used here. Two that are the same are equal."""

    def create_future(self) -> Future:
        """One that a task of this loop can await."""
        ...

    def call_soon_threadsafe(self, callback: Callable[..., object], /, *args: Any) -> object:
        """Call it soon, on the loop's own thread; said on any.

        Raises:
            RuntimeError: the loop has ended.
        """
        ...


@functools.cache
def _trio_wait(trio: Any) -> Callable[[Any], Awaitable[None]]:
    """Waits for an event of trio's. Ctrl-C breaks the wait off as a whole: raised in the midst of it, it would leave in
    the event a task that no longer waits for it, and whoever sets that brings trio down."""

    async def wait(event: Any) -> None:
        await event.wait()

    protected: Callable[[Any], Awaitable[None]] = trio.lowlevel.enable_ki_protection(wait)
    return protected


class _TrioFuture:
    __slots__ = ("_event", "_trio")

    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._event = trio.Event()

    def done(self) -> bool:
        return bool(self._event.is_set())

    def set_result(self, result: None, /) -> None:
        self._event.set()

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting: Generator[Any, Any, Any] = _trio_wait(self._trio)(self._event).__await__()
        return waiting


@dataclass(frozen=True, slots=True)
class _TrioLoop:
    token: Any

    def create_future(self) -> Future:
        return _TrioFuture(sys.modules["trio"])

    def call_soon_threadsafe(self, callback: Callable[..., object], /, *args: Any) -> None:
        self.token.run_sync_soon(callback, *args)


def _trio_answers(question: str) -> bool:
    ask = getattr(sys.modules.get("trio.lowlevel"), question, None)  # none while another thread is importing it
    try:
        return ask is not None and ask() is not None
    except RuntimeError:
        return False


def _in_asyncio_task() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


def _in_trio_task() -> bool:
    """Also in guest mode, where asyncio's loop runs trio; not where a task of trio's blocks on ``asyncio.run``."""
    return _trio_answers("current_task") and not _in_asyncio_task()


def running_loop() -> Loop:
    """The loop that runs this code.

    Raises:
        RuntimeError: none does.
    """
    if "trio.lowlevel" in sys.modules and _in_trio_task():
        return _TrioLoop(sys.modules["trio.lowlevel"].current_trio_token())
    return asyncio.get_running_loop()


def trio_runs_this_thread() -> bool:
    """Whether trio's loop runs on this thread, whatever it does just now, and as nobody's guest."""
    if not _trio_answers("current_trio_token"):
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


def shielded() -> AbstractContextManager[Any]:
    """Inside, a cancelled scope of trio or anyio breaks off no wait: such a scope would do so at *every* wait, while
    :meth:`asyncio.Task.cancel` does it once. For waits that are bounded, at the end of a block."""
    if _in_trio_task():
        return _shield("trio")
    if _in_asyncio_task():
        return _shield("anyio")
    return contextlib.nullcontext()


def _shield(library: str) -> AbstractContextManager[Any]:
    scope = getattr(sys.modules.get(library), "CancelScope", None)
    shield: AbstractContextManager[Any] = contextlib.nullcontext() if scope is None else scope(shield=True)
    return shield


async def in_thread(fn: Callable[[], T]) -> T:
    """The result of a function that blocks, called on a thread, in this task's context."""
    if _in_trio_task():
        result: T = await sys.modules["trio"].to_thread.run_sync(fn)
        return result
    return await asyncio.to_thread(fn)


def run_apart(awaitable: Awaitable[T]) -> T:
    """The result of something awaitable, under asyncio on a thread of its own: this one may have a loop that runs."""

    async def wait() -> T:
        return await awaitable

    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, "investigation-apart") as pool:
        return pool.submit(context.run, asyncio.run, wait()).result()
