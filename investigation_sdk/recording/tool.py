"""The decorator that records a function's calls."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from datetime import timedelta
from typing import Any, TypeVar, cast, overload

from investigation_sdk.domain.states import Effect
from investigation_sdk.engine.session import Entry
from investigation_sdk.errors import InvestigationError, InvestigationInterrupt
from investigation_sdk.recording.capture import ToolSpec
from investigation_sdk.recording.context import current_frame
from investigation_sdk.recording.driver import Call, Driver
from investigation_sdk.recording.items import Items
from investigation_sdk.recording.steps import block, go
from investigation_sdk.recording.wrapping import dress, kind_of, name_of

F = TypeVar("F", bound=Callable[..., Any])


@overload
def tool(fn: F, /) -> F: ...
@overload
def tool(
    *,
    name: str | None = None,
    agent: str | None = None,
    version: str | None = None,
    effect: Effect | str | None = None,
    identity: Sequence[str] | Callable[..., Any] | None = None,
    ignore: Sequence[str] = (),
    sensitive: bool | Sequence[str] = False,
    summary: Callable[[Any], str] | None = None,
    reconcile: Callable[..., Any] | None = None,
    no_effect_on: tuple[type[BaseException], ...] = (),
    cache: timedelta | None = None,
) -> Callable[[F], F]: ...
def tool(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    agent: str | None = None,
    version: str | None = None,
    effect: Effect | str | None = None,
    identity: Sequence[str] | Callable[..., Any] | None = None,
    ignore: Sequence[str] = (),
    sensitive: bool | Sequence[str] = False,
    summary: Callable[[Any], str] | None = None,
    reconcile: Callable[..., Any] | None = None,
    no_effect_on: tuple[type[BaseException], ...] = (),
    cache: timedelta | None = None,
) -> Any:
    """Record the calls of a function inside an investigation; outside one, nothing happens.

    Goes on functions, methods, class and static methods, partials and callable objects; sync, async, generators
    and async generators; under the decorators of agent frameworks, never over them. Kind, signature, annotations,
    docstring, return value and exceptions stay what they are.

    Args:
        name: Of the tool; the function's own by default.
        agent: Whose tool it is; by default that of :func:`agent` around the call.
        version: Of the tool; results of another version are not given back on resume.
        effect: What running it twice would do: ``"read"``, ``"idempotent"``, ``"unsafe"``.
        identity: The parameters (or a function of the arguments) that make two calls the same act.
        ignore: Parameters that are neither recorded nor compared.
        sensitive: True, or the parameters (``"return"`` for the result) of which only a mask is recorded.
        summary: Makes one line for people from the result.
        reconcile: Finds out what became of a call of unknown outcome; kept for resume.
        no_effect_on: Exceptions that mean that nothing was done; kept for resume.
        cache: How long a result may be reused; kept for the result cache.

    Raises:
        TypeError: it is a tool object of a framework: put ``@tool`` under that framework's decorator.
        ValueError: a mistyped option.
    """

    def decorate(f: Any) -> Any:
        if isinstance(f, staticmethod | classmethod):
            method = cast("Any", f)
            return type(method)(decorate(method.__func__))
        _refuse_tool_objects(f)
        spec = ToolSpec(
            f,
            name=name or name_of(f),
            agent=agent,
            version=version,
            effect=_effect(effect),
            identity=identity,
            ignore=ignore,
            sensitive=sensitive,
            summary=summary,
        )
        wrapper = dress(_WRAPPERS[kind_of(f)](f, spec), f)
        wrapper.__investigation_tool__ = spec
        return wrapper

    return decorate if fn is None else decorate(fn)


def _effect(effect: Effect | str | None) -> Effect | None:
    if effect is None:
        return None
    try:
        return Effect(effect)
    except ValueError:
        near = difflib.get_close_matches(str(effect), list(Effect), n=1)
        hint = f" Did you mean {near[0].value!r}?" if near else ""
        raise ValueError(
            f"effect={effect!r} is not an effect; there are {', '.join(repr(e.value) for e in Effect)}.{hint}"
        ) from None


_FRAMEWORKS = ("langchain", "agents", "pydantic_ai", "fastmcp", "mcp", "crewai", "smolagents", "google.adk", "agent_framework")


def _refuse_tool_objects(f: Any) -> None:
    cls = cast("type[Any]", type(f))
    module = cls.__module__
    foreign = any(module == m or module.startswith((m + ".", m + "_")) for m in _FRAMEWORKS)
    if callable(f) and not (foreign and not inspect.isroutine(f)):
        return
    what = f"a {module}.{cls.__qualname__}"
    if not foreign:
        raise TypeError(f"@tool goes on a function or another callable, not on {what}.")
    raise TypeError(
        f"@tool cannot wrap {what}: it is a tool object of a framework. Put @tool innermost, directly on your "
        "function, and the framework's decorator above it:\n\n    @framework_tool\n    @tool\n    def lookup(...): ..."
    )


# ---- the four kinds


def _begin(driver: Driver, fn_args: tuple[Any, ...], kwargs: dict[str, Any], spec: ToolSpec, frame: Any) -> Call:
    if driver.must_stop or driver.recorder.crowded(driver.session) is not None:
        block(_ready(driver), driver.recorder.io)
    return driver.begin(frame, spec, fn_args, kwargs)


def _ready(driver: Driver) -> Any:
    yield from driver.boundary()
    crowd = driver.recorder.crowded(driver.session)
    if crowd is not None:
        yield from driver.wait_for(crowd)


def _sync(fn: Callable[..., Any], spec: ToolSpec) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        frame = current_frame.get()
        if frame is None:
            return fn(*args, **kwargs)
        driver = frame.driver
        recorded = _begin(driver, args, kwargs, spec, frame)
        if driver.waits_to_start(spec):
            block(driver.start_and_wait(recorded), driver.recorder.io)
        else:
            driver.start(recorded)
        current_frame.set(recorded.frame)
        try:
            value = fn(*args, **kwargs)
        except BaseException as error:
            current_frame.set(frame)
            _wait(driver, recorded, lambda: driver.fail(recorded, error), None)
            raise
        current_frame.set(frame)
        _wait(driver, recorded, lambda: driver.complete(recorded, value), value)
        return value

    return call


def _wait(driver: Driver, call: Call, close: Callable[[], Entry | None], value: Any) -> None:
    """Close a call, and block until that is durable where it has to be."""
    try:
        entry = close()
        if entry is not None:
            waiter = driver.session.waiter(entry, blocking=True)
            if waiter is not None:
                waiter.wait()
    except InvestigationError as error:
        raise driver.not_recorded(call, error, value) from error


def _async(fn: Callable[..., Awaitable[Any]], spec: ToolSpec) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        frame = current_frame.get()
        if frame is None:
            return await fn(*args, **kwargs)
        driver = frame.driver
        if driver.must_stop or driver.recorder.crowded(driver.session) is not None:
            await go(_ready(driver), driver.recorder.io)
        recorded = driver.begin(frame, spec, args, kwargs)
        if driver.waits_to_start(spec):
            await go(driver.start_and_wait(recorded), driver.recorder.io)
        else:
            driver.start(recorded)
        current_frame.set(recorded.frame)
        try:
            value = await fn(*args, **kwargs)
        except BaseException as error:
            current_frame.set(frame)
            await _wait_async(driver, recorded, lambda: driver.fail(recorded, error), None)
            raise
        current_frame.set(frame)
        try:
            entry = driver.complete(recorded, value)
            if entry is not None:
                waiter = driver.session.waiter(entry, blocking=False)
                if waiter is not None:
                    await waiter.wait_async()
        except InvestigationError as error:
            raise driver.not_recorded(recorded, error, value) from error
        return value

    return call


async def _wait_async(driver: Driver, call: Call, close: Callable[[], Entry | None], value: Any) -> None:
    try:
        entry = close()
        if entry is not None:
            waiter = driver.session.waiter(entry, blocking=False)
            if waiter is not None:
                await waiter.wait_async()
    except InvestigationError as error:
        raise driver.not_recorded(call, error, value) from error


def _generator(fn: Callable[..., Generator[Any, Any, Any]], spec: ToolSpec) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        frame = current_frame.get()
        if frame is None:
            return (yield from fn(*args, **kwargs))
        driver = frame.driver
        recorded = _begin(driver, args, kwargs, spec, frame)
        if driver.waits_to_start(spec):
            block(driver.start_and_wait(recorded), driver.recorder.io)
        else:
            driver.start(recorded)
        items = Items(driver.options.max_inline_bytes)
        body = fn(*args, **kwargs)
        step: Callable[[], Any] = lambda: next(body)  # noqa: E731
        try:
            while True:
                item = _inside(recorded, step)
                items.add(item)
                try:
                    sent = yield item
                except GeneratorExit:
                    _inside(recorded, body.close)
                    raise
                except BaseException as thrown:
                    step = _thrower(body, thrown)
                else:
                    step = _sender(body, sent)
        except StopIteration as end:
            _wait(driver, recorded, lambda: driver.complete(recorded, None, output=items.text(True, end.value)), None)
            return end.value
        except GeneratorExit:
            _wait(driver, recorded, lambda: driver.complete(recorded, None, output=items.text(False, None)), None)
            raise
        except BaseException as error:
            _wait(driver, recorded, lambda: driver.fail(recorded, error), None)
            raise

    return call


def _sender(body: Generator[Any, Any, Any], value: Any) -> Callable[[], Any]:
    return lambda: body.send(value)


def _thrower(body: Generator[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: body.throw(error)


def _inside(call: Call, step: Callable[[], Any]) -> Any:
    """Run one step of a body with the call as its context, which must not leak to the consumer across a yield."""
    before = current_frame.get()
    current_frame.set(call.frame)
    try:
        return step()
    finally:
        current_frame.set(before)


def _async_generator(fn: Callable[..., AsyncGenerator[Any, Any]], spec: ToolSpec) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        frame = current_frame.get()
        body = fn(*args, **kwargs)
        if frame is None:
            recorded, driver = None, None
        else:
            driver = frame.driver
            if driver.must_stop or driver.recorder.crowded(driver.session) is not None:
                await go(_ready(driver), driver.recorder.io)
            recorded = driver.begin(frame, spec, args, kwargs)
            if driver.waits_to_start(spec):
                await go(driver.start_and_wait(recorded), driver.recorder.io)
            else:
                driver.start(recorded)
        items = Items(0 if driver is None else driver.options.max_inline_bytes)
        step: Callable[[], Awaitable[Any]] = body.__anext__
        try:
            while True:
                item = await _inside_async(recorded, step)
                items.add(item)
                try:
                    sent = yield item
                except GeneratorExit:
                    await _inside_async(recorded, body.aclose)
                    raise
                except BaseException as thrown:
                    step = _athrower(body, thrown)
                else:
                    step = _asender(body, sent)
        except StopAsyncIteration:
            await _end_async(driver, recorded, items, exhausted=True)
        except GeneratorExit:
            await _end_async(driver, recorded, items, exhausted=False)
            raise
        except BaseException as error:
            if driver is not None and recorded is not None:
                failed, owner = recorded, driver
                await _wait_async(owner, failed, lambda: owner.fail(failed, error), None)
            raise

    return call


async def _end_async(driver: Driver | None, call: Call | None, items: Items, *, exhausted: bool) -> None:
    if driver is None or call is None:
        return
    output = items.text(exhausted, None)
    if exhausted:
        await _wait_async(driver, call, lambda: driver.complete(call, None, output=output), None)
    else:  # aclose() may come from the garbage collector or another task: do not wait there
        driver.complete(call, None, output=output)


def _asender(body: AsyncGenerator[Any, Any], value: Any) -> Callable[[], Awaitable[Any]]:
    return lambda: body.asend(value)


def _athrower(body: AsyncGenerator[Any, Any], error: BaseException) -> Callable[[], Awaitable[Any]]:
    return lambda: body.athrow(error)


async def _inside_async(call: Call | None, step: Callable[[], Awaitable[Any]]) -> Any:
    if call is None:
        return await step()
    before = current_frame.get()
    current_frame.set(call.frame)
    try:
        return await step()
    finally:
        current_frame.set(before)


_WRAPPERS: dict[str, Callable[[Any, ToolSpec], Any]] = {
    "sync": _sync,
    "async": _async,
    "generator": _generator,
    "async_generator": _async_generator,
}

__all__ = ["InvestigationInterrupt", "tool"]
