"""The four kinds of callable, each recorded by a wrapper of its own kind.

The context is set around each piece of the body that runs, and put back to what it was: no token of a context
variable lives across a ``yield``, where another task may go on.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, Final

from investigation_sdk.engine.session import Entry
from investigation_sdk.errors import InvestigationError
from investigation_sdk.recording import caching
from investigation_sdk.recording.call import Call
from investigation_sdk.recording.capture import ToolSpec
from investigation_sdk.recording.driver import Driver
from investigation_sdk.recording.ending import complete, complete_cached, complete_items, fail
from investigation_sdk.recording.frames import Frame, current_frame
from investigation_sdk.recording.items import Items
from investigation_sdk.recording.resume import Reused
from investigation_sdk.recording.steps import Step, block, go
from investigation_sdk.recording.wrapping import Kind

Close = Callable[[Driver, Call, Any], Entry | None]
"""Records the end of a call; what to wait for."""


def _open(frame: Frame, spec: ToolSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Step[Call | Reused | None]:
    """Everything before a body runs; a result that an earlier attempt recorded comes in its place. None: it is to run
    without a record."""
    driver = frame.driver
    if driver.must_wait and not (yield from driver.ready(spec)):
        return None
    call = driver.begin(frame, spec, args, kwargs)
    resume = driver.resume
    if resume is None:
        if spec.cache is not None:
            cached = yield from _cached(driver, call, args, kwargs)
            if cached is not None:
                return cached
        yield from _start(driver, call)
        return call
    record = yield from resume.take(call, frame.call)
    try:
        reused = yield from resume.look_up(call, record, args, kwargs)
        if reused is None and spec.cache is not None and record is None:
            reused = yield from _cached(driver, call, args, kwargs)
        if reused is None:
            yield from _start(driver, call)
    except BaseException:  # the task is cancelled, the store is down: whoever makes it again finds it again
        if record is not None:
            resume.put_back(record)
        raise
    return call if reused is None else reused


def _cached(driver: Driver, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Step[Reused | None]:
    """A result that was kept, recorded as what it is; None where the body has to run."""
    kept = yield from caching.look(driver, call, args, kwargs)
    if kept is None:
        return None
    yield from complete_cached(driver, call, kept.output, kept.value)
    return Reused(kept.value)


def _start(driver: Driver, call: Call) -> Step[None]:
    if call.spec.waits_to_start or driver.strict:
        yield from driver.start_and_wait(call)
    else:
        driver.start(call)


def _close(driver: Driver, call: Call, close: Close, end: Any, value: Any = None) -> None:
    """Everything after a body ran, blocking: record its end, and wait until that is durable where it has to be."""
    try:
        entry = close(driver, call, end)
        if entry is not None:
            _wait(driver, entry)
    except InvestigationError as error:
        raised = end if isinstance(end, BaseException) and end is not value else None
        failure = driver.not_recorded(call, error, value, raised)
        if failure is not None:
            raise failure from (raised or error)


def _wait(driver: Driver, entry: Entry) -> None:
    waiter = driver.session.waiter(entry, blocking=True)
    if waiter is not None:
        driver.about_to_block()
        waiter.wait()


async def _aclose(driver: Driver, call: Call, close: Close, end: Any, value: Any = None) -> None:
    """As :func:`_close`, suspending."""
    try:
        entry = close(driver, call, end)
        if entry is not None:
            await _await(driver, entry)
    except InvestigationError as error:
        raised = end if isinstance(end, BaseException) and end is not value else None
        failure = driver.not_recorded(call, error, value, raised)
        if failure is not None:
            raise failure from (raised or error)


async def _await(driver: Driver, entry: Entry) -> None:
    waiter = driver.session.waiter(entry, blocking=False)
    if waiter is not None:
        await waiter.wait_async()


def _sync(fn: Callable[..., Any], spec: ToolSpec) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        frame = current_frame.get()
        if frame is None:
            return fn(*args, **kwargs)
        driver = frame.driver
        if driver.must_wait or spec.steps or driver.strict:
            recorded = block(_open(frame, spec, args, kwargs), driver.recorder.io)
            if isinstance(recorded, Reused):
                return recorded.value
            if recorded is None:
                return fn(*args, **kwargs)
        else:
            recorded = driver.begin(frame, spec, args, kwargs)
            driver.start(recorded)
        recorded.enter()
        try:
            value = fn(*args, **kwargs)
        except BaseException as error:
            recorded.leave(frame)
            _close(driver, recorded, fail, error)
            raise
        recorded.leave(frame)
        try:
            entry = complete(driver, recorded, value)
            if entry is not None:
                _wait(driver, entry)
        except InvestigationError as error:
            failure = driver.not_recorded(recorded, error, value, None)
            if failure is not None:
                raise failure from error
        return value

    return call


def _async(fn: Callable[..., Awaitable[Any]], spec: ToolSpec) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        frame = current_frame.get()
        if frame is None:
            return await fn(*args, **kwargs)
        driver = frame.driver
        if driver.must_wait or spec.steps or driver.strict:
            recorded = await go(_open(frame, spec, args, kwargs), driver.recorder.io)
            if isinstance(recorded, Reused):
                return recorded.value
            if recorded is None:
                return await fn(*args, **kwargs)
        else:
            recorded = driver.begin(frame, spec, args, kwargs)
            driver.start(recorded)
        recorded.enter()
        try:
            value = await fn(*args, **kwargs)
        except BaseException as error:
            recorded.leave(frame)
            await _aclose(driver, recorded, fail, error)
            raise
        recorded.leave(frame)
        try:
            entry = complete(driver, recorded, value)
            if entry is not None:
                await _await(driver, entry)
        except InvestigationError as error:
            failure = driver.not_recorded(recorded, error, value, None)
            if failure is not None:
                raise failure from error
        return value

    return call


def _generator(fn: Callable[..., Generator[Any, Any, Any]], spec: ToolSpec) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        frame = current_frame.get()
        if frame is None:
            return (yield from fn(*args, **kwargs))
        driver = frame.driver
        recorded = block(_open(frame, spec, args, kwargs), driver.recorder.io)
        if isinstance(recorded, Reused):
            given, returned = recorded.value
            yield from given
            return returned
        if recorded is None:
            return (yield from fn(*args, **kwargs))
        items = Items(driver.options.max_inline_bytes)
        try:
            body = fn(*args, **kwargs)
            step: Callable[[], Any] = functools.partial(next, body)
            while True:
                item = _inside(recorded, step)
                items.add(item)
                try:
                    step = functools.partial(body.send, (yield item))
                except GeneratorExit:
                    _inside(recorded, body.close)
                    raise
                except BaseException as thrown:
                    step = functools.partial(body.throw, thrown)
        except StopIteration as end:
            _close(driver, recorded, complete_items, items.end(end.value, exhausted=True), end.value)
            return end.value
        except GeneratorExit:
            _given_up(recorded, items)
            raise
        except BaseException as error:
            _close(driver, recorded, fail, error)
            raise

    return call


def _inside(call: Call, step: Callable[[], Any]) -> Any:
    """Run one step of a body with the call as its context."""
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


def _async_generator(fn: Callable[..., AsyncGenerator[Any, Any]], spec: ToolSpec) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        frame = current_frame.get()
        recorded = None
        if frame is not None:
            recorded = await go(_open(frame, spec, args, kwargs), frame.driver.recorder.io)
        if isinstance(recorded, Reused):
            for item in recorded.value[0]:
                yield item
            return
        items = Items(0 if frame is None else frame.driver.options.max_inline_bytes)
        try:
            body = fn(*args, **kwargs)
            step: Callable[[], Awaitable[Any]] = body.__anext__
            while True:
                item = await _ainside(recorded, step)
                items.add(item)
                try:
                    step = functools.partial(body.asend, (yield item))
                except GeneratorExit:
                    await _ainside(recorded, body.aclose)
                    raise
                except BaseException as thrown:
                    step = functools.partial(body.athrow, thrown)
        except StopAsyncIteration:
            if recorded is not None:
                driver = recorded.driver
                await _aclose(driver, recorded, complete_items, items.end(exhausted=True))
        except GeneratorExit:
            if recorded is not None:
                _given_up(recorded, items)
            raise
        except BaseException as error:
            if recorded is not None:
                await _aclose(recorded.driver, recorded, fail, error)
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


WRAPPERS: Final[dict[Kind, Callable[[Any, ToolSpec], Callable[..., Any]]]] = {
    "sync": _sync,
    "async": _async,
    "generator": _generator,
    "async_generator": _async_generator,
}
"""By kind: from a function and what was said of it, its recorded form."""
