"""Generators and asynchronous generators, each recorded by a wrapper of its own kind, or given back by one.

The context is set around each piece of the body that runs, and put back to what it was: no token of a context
variable lives across a ``yield``, where another task may go on.

What a generator gives may depend on what is sent into it. So that is recorded, by its digest, and a generator is given
back only as long as the same is sent into it. From there on, its body runs: it is told once more what was said until
then, and what it gives to that is left out.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, Literal

from investigation_sdk.errors import InvestigationError
from investigation_sdk.recording.call import Call
from investigation_sdk.recording.capture import ToolSpec
from investigation_sdk.recording.ending import complete_items, fail
from investigation_sdk.recording.frames import current_frame
from investigation_sdk.recording.items import Items, digest_of_sent
from investigation_sdk.recording.kinds import aclose, close, open_call, run_after_all
from investigation_sdk.recording.resume import Reused
from investigation_sdk.recording.steps import block, go

Said = tuple[Literal["send", "throw"], Any]
"""What a caller does to a generator that waits behind an item."""


class _GivenBack:
    """A generator that is given back: what it gave, and whether it is told what the recorded one was told.

    Attributes:
        said: What it was told so far.
    """

    def __init__(self, reused: Reused) -> None:
        self.items: list[Any]
        self.items, self.returned = reused.value
        self.said: list[Said] = []
        self._sent = reused.sent

    def is_told(self, said: Said) -> bool:
        """Whether it goes on as the recorded one did."""
        at = str(len(self.said))
        self.said.append(said)
        if self._sent is None:  # somebody named its items, whatever is sent
            return said[0] == "send"
        return said[0] == "send" and self._sent.get(at) == digest_of_sent(said[1])


def generator(fn: Callable[..., Generator[Any, Any, Any]], spec: ToolSpec) -> Callable[..., Any]:
    """The recorded form of a generator function."""

    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        frame = current_frame.get()
        if frame is None:
            return (yield from fn(*args, **kwargs))
        driver = frame.driver
        opened = block(open_call(frame, spec, args, kwargs), driver.recorder.io)
        recorded: Call | None
        told: list[Said] = []
        if isinstance(opened, Reused):
            given = _GivenBack(opened)
            for item in given.items:
                try:
                    said: Said = ("send", (yield item))
                except GeneratorExit:
                    raise
                except BaseException as thrown:
                    said = ("throw", thrown)
                if not given.is_told(said):
                    break
            else:
                return given.returned
            told = given.said
            recorded = block(run_after_all(frame, spec, args, kwargs, opened), driver.recorder.io)
        else:
            recorded = opened
        items = Items(driver.options.max_inline_bytes)
        try:
            body = fn(*args, **kwargs)
            step: Callable[[], Any] = functools.partial(next, body)
            for how, value in told:
                items.add(_inside(recorded, step))
                items.hear(how, value)
                step = functools.partial(getattr(body, how), value)
            while True:
                item = _inside(recorded, step)
                items.add(item)
                try:
                    sent = yield item
                except GeneratorExit:
                    _inside(recorded, body.close)
                    raise
                except BaseException as thrown:
                    items.hear("throw", thrown)
                    step = functools.partial(body.throw, thrown)
                else:
                    items.hear("send", sent)
                    step = functools.partial(body.send, sent)
        except StopIteration as end:
            if recorded is not None:
                close(driver, recorded, complete_items, items.end(end.value, exhausted=True), end.value)
            return end.value
        except GeneratorExit:
            if recorded is not None:
                _given_up(recorded, items)
            raise
        except BaseException as error:
            if recorded is not None:
                close(driver, recorded, fail, error)
            raise

    return call


def _inside(call: Call | None, step: Callable[[], Any]) -> Any:
    """Run one step of a body with the call as its context."""
    if call is None:
        return step()
    before = current_frame.get()
    call.enter()
    try:
        return step()
    finally:
        call.leave(before)


def _given_up(call: Call, items: Items) -> None:
    """Record that a generator was closed before its end, without waiting.

    The garbage collector may be who closes it: on any thread, the store's own included, and while that thread
    holds the session's lock, in the middle of numbering another event.
    """
    driver = call.driver
    lock: Any = driver.session.lock
    items.end(exhausted=False)
    with contextlib.suppress(InvestigationError):
        if lock._is_owned():
            driver.recorder.loop.call_soon_threadsafe(complete_items, driver, call, items)
        else:
            complete_items(driver, call, items)


def async_generator(fn: Callable[..., AsyncGenerator[Any, Any]], spec: ToolSpec) -> Callable[..., Any]:
    """The recorded form of an asynchronous generator function."""

    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        frame = current_frame.get()
        recorded: Call | None = None
        told: list[Said] = []
        if frame is not None:
            io = frame.driver.recorder.io
            opened = await go(open_call(frame, spec, args, kwargs), io)
            if isinstance(opened, Reused):
                given = _GivenBack(opened)
                for item in given.items:
                    try:
                        said: Said = ("send", (yield item))
                    except GeneratorExit:
                        raise
                    except BaseException as thrown:
                        said = ("throw", thrown)
                    if not given.is_told(said):
                        break
                else:
                    return
                told = given.said
                recorded = await go(run_after_all(frame, spec, args, kwargs, opened), io)
            else:
                recorded = opened
        items = Items(0 if frame is None else frame.driver.options.max_inline_bytes)
        try:
            body = fn(*args, **kwargs)
            step: Callable[[], Awaitable[Any]] = body.__anext__
            for how, value in told:
                items.add(await _ainside(recorded, step))
                items.hear(how, value)
                step = functools.partial(getattr(body, f"a{how}"), value)
            while True:
                item = await _ainside(recorded, step)
                items.add(item)
                try:
                    sent = yield item
                except GeneratorExit:
                    await _ainside(recorded, body.aclose)
                    raise
                except BaseException as thrown:
                    items.hear("throw", thrown)
                    step = functools.partial(body.athrow, thrown)
                else:
                    items.hear("send", sent)
                    step = functools.partial(body.asend, sent)
        except StopAsyncIteration:
            if recorded is not None:
                driver = recorded.driver
                await aclose(driver, recorded, complete_items, items.end(exhausted=True))
        except GeneratorExit:
            if recorded is not None:
                _given_up(recorded, items)
            raise
        except BaseException as error:
            if recorded is not None:
                await aclose(recorded.driver, recorded, fail, error)
            raise

    return call


async def _ainside(call: Call | None, step: Callable[[], Awaitable[Any]]) -> Any:
    if call is None:
        return await step()
    before = current_frame.get()
    call.enter()
    try:
        return await step()
    finally:
        call.leave(before)
