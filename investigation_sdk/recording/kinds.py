"""Functions and coroutine functions, each recorded by a wrapper of its own kind; and what begins and ends any call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from investigation_sdk.engine.entries import Entry
from investigation_sdk.errors import InvestigationError
from investigation_sdk.recording import caching
from investigation_sdk.recording.call import Call
from investigation_sdk.recording.capture import ToolSpec
from investigation_sdk.recording.driver import Driver
from investigation_sdk.recording.ending import complete, complete_cached, fail
from investigation_sdk.recording.frames import Frame, current_frame
from investigation_sdk.recording.resume import Reused
from investigation_sdk.recording.steps import Step, block, go

Close = Callable[[Driver, Call, Any], Entry | None]
"""Records the end of a call; what to wait for."""


def open_call(
    frame: Frame, spec: ToolSpec, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Step[Call | Reused | None]:
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
    resume.count(call, record, reused)
    return call if reused is None else reused


def run_after_all(
    frame: Frame, spec: ToolSpec, args: tuple[Any, ...], kwargs: dict[str, Any], given: Reused
) -> Step[Call]:
    """As :func:`open_call`, for a generator that was given back as far as it went the way of the recorded one."""
    driver = frame.driver
    resume, record = driver.resume, given.record
    assert resume is not None
    assert record is not None
    resume.not_reused(frame, spec, given.inside)
    try:
        yield from driver.ready(spec)  # never to run without a record: an earlier attempt has one
        call = driver.begin(frame, spec, args, kwargs)
        yield from resume.run_after_all(call, record)
        yield from _start(driver, call)
    except BaseException:  # as in open_call
        resume.put_back(record)
        raise
    resume.count(call, record, None)
    return call


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


def close(driver: Driver, call: Call, how: Close, end: Any, value: Any = None) -> None:
    """Everything after a body ran, blocking: record its end, and wait until that is durable where it has to be."""
    try:
        entry = how(driver, call, end)
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


async def aclose(driver: Driver, call: Call, how: Close, end: Any, value: Any = None) -> None:
    """As :func:`close`, suspending."""
    try:
        entry = how(driver, call, end)
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


def sync(fn: Callable[..., Any], spec: ToolSpec) -> Callable[..., Any]:
    """The recorded form of a function."""

    def call(*args: Any, **kwargs: Any) -> Any:
        frame = current_frame.get()
        if frame is None:
            return fn(*args, **kwargs)
        driver = frame.driver
        if driver.must_wait or spec.steps or driver.strict:
            resume = driver.resume
            given_back = None if resume is None else resume.at_once(frame, spec, args, kwargs)
            if given_back is not None:
                return given_back.value
            recorded = block(open_call(frame, spec, args, kwargs), driver.recorder.io)
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
            close(driver, recorded, fail, error)
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


def async_(fn: Callable[..., Awaitable[Any]], spec: ToolSpec) -> Callable[..., Any]:
    """The recorded form of a coroutine function."""

    async def call(*args: Any, **kwargs: Any) -> Any:
        frame = current_frame.get()
        if frame is None:
            return await fn(*args, **kwargs)
        driver = frame.driver
        if driver.must_wait or spec.steps or driver.strict:
            resume = driver.resume
            given_back = None if resume is None else resume.at_once(frame, spec, args, kwargs)
            if given_back is not None:
                return given_back.value
            recorded = await go(open_call(frame, spec, args, kwargs), driver.recorder.io)
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
            await aclose(driver, recorded, fail, error)
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
