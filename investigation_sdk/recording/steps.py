"""Steps: code that waits, written once for both faces.

A *step* is a generator that yields what it has to wait for. :func:`block` runs it for ``with``, :func:`go` for
``async with``; the one blocks its thread, the other suspends its task.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any, NamedTuple, TypeAlias, TypeGuard, TypeVar, cast

from investigation_sdk.engine.hosts import run_apart
from investigation_sdk.engine.io_thread import IOThread
from investigation_sdk.engine.waiting import Waiter

T = TypeVar("T")

OnIO: TypeAlias = "Coroutine[Any, Any, Any]"
"""To be run on the I/O thread; its result is sent back into the step."""

MakeWaiter: TypeAlias = "Callable[[bool], Waiter | None]"
"""Called with whether it is to block; makes the waiter, or None where there is nothing to wait for."""


class OfUser(NamedTuple):
    """A function of the user's, ``def`` or ``async def``, to be called where the step runs; its result is sent back."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


Asked: TypeAlias = "OnIO | MakeWaiter | OfUser"
Step: TypeAlias = Generator["Asked", Any, T]


def _is_on_io(asked: Asked) -> TypeGuard[OnIO]:
    return isinstance(asked, Coroutine)


def _finish(answer: Any) -> Any:
    """What a function of the user's gave, awaited on a loop of its own where it is to be awaited."""
    return run_apart(answer) if inspect.isawaitable(answer) else answer


def block(step: Step[T], io: IOThread) -> T:
    """Run a step, blocking this thread where it waits."""
    sent: Any = None
    error: BaseException | None = None
    while True:
        try:
            asked = step.send(sent) if error is None else step.throw(error)
        except StopIteration as done:
            result: T = done.value
            return result
        sent = error = None
        try:
            if _is_on_io(asked):
                sent = io.call(asked)
            elif isinstance(asked, OfUser):
                sent = _finish(asked.fn(*asked.args, **asked.kwargs))
            elif (waiter := cast("MakeWaiter", asked)(True)) is not None:
                waiter.wait()
        except BaseException as raised:
            error = raised


async def go(step: Step[T], io: IOThread) -> T:
    """Run a step, suspending this task where it waits."""
    sent: Any = None
    error: BaseException | None = None
    while True:
        try:
            asked = step.send(sent) if error is None else step.throw(error)
        except StopIteration as done:
            result: T = done.value
            return result
        sent = error = None
        try:
            if _is_on_io(asked):
                sent = await io.acall(asked)
            elif isinstance(asked, OfUser):
                answer = asked.fn(*asked.args, **asked.kwargs)
                sent = (await answer) if inspect.isawaitable(answer) else answer
            elif (waiter := cast("MakeWaiter", asked)(False)) is not None:
                await waiter.wait_async()
        except BaseException as raised:
            error = raised


def iterate(items: AsyncIterator[T], io: IOThread) -> Iterator[T]:
    """The items of an asynchronous iterator, each awaited on the I/O thread while this thread blocks."""
    while True:
        try:
            item = io.call(_next(items))
        except StopAsyncIteration:
            return
        yield item


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)
