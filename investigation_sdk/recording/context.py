"""Where code finds out what it runs inside of: the investigation, the call, the agent."""

from __future__ import annotations

import contextvars
import functools
import inspect
import types
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from investigation_sdk.arguments import CALLABLE, TEXT, WORDS_OR_NONE, check
from investigation_sdk.engine.texts import clean
from investigation_sdk.recording.frames import current_frame
from investigation_sdk.recording.tool_call import ToolCall

if TYPE_CHECKING:
    from investigation_sdk.recording.run import InvestigationContext

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")

current_agent: contextvars.ContextVar[AgentScope | None] = contextvars.ContextVar("investigation_agent", default=None)

_INERT: Final = ToolCall()


class AgentScope:
    """Names the agent of the tools inside; for ``with``, ``async with`` and as a decorator."""

    __slots__ = ("_before", "_entered", "model", "name", "version")

    def __init__(self, name: str, version: str | None, model: str | None) -> None:
        self.name: str = clean(name)
        self.version: str | None = version
        self.model: str | None = model
        self._before: AgentScope | None = None
        self._entered: AgentScope = self

    def __enter__(self) -> None:
        inside = AgentScope(self.name, self.version, self.model)  # many tasks may be inside of one scope
        inside._before = current_agent.get()
        inside._entered = self
        current_agent.set(inside)

    def __exit__(self, et: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None, /) -> None:
        inside = current_agent.get()
        while inside is not None and inside._entered is not self:
            inside = inside._before
        if inside is not None:
            current_agent.set(inside._before)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, et: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        self.__exit__(et, e, tb)

    def __call__(self, fn: F, /) -> F:
        """As a decorator on ``def`` or ``async def``."""
        from investigation_sdk.recording.wrapping import in_scope

        return in_scope(fn, lambda: AgentScope(self.name, self.version, self.model))


def agent(name: str, *, version: str | None = None, model: str | None = None) -> AgentScope:
    """Name the agent of the tools inside that name none themselves.

    Args:
        name: Of the agent, recorded with each call: ``with agent("triage", model="x"):``.
        version: Of the agent.
        model: That it asks.
    """
    check(name=(name, TEXT), version=(version, WORDS_OR_NONE), model=(model, WORDS_OR_NONE))
    return AgentScope(name, version, model)


def current_investigation() -> InvestigationContext | None:
    """The investigation that this code runs inside of, or None."""
    frame = current_frame.get()
    return None if frame is None else frame.driver.context


def current_tool() -> ToolCall:
    """The recorded call that this code runs inside of; never None: outside a call it is inert."""
    frame = current_frame.get()
    call = None if frame is None else frame.call
    return _INERT if call is None else call.tool()


def propagate(fn: Callable[P, R], /) -> Callable[P, R]:
    """Bind `fn` to the context of now, for threads and executors, which do not inherit it.

    The context is captured here, at this call, and copied for each call of the result, so that many threads may
    run it at the same time. What an ``async def`` awaits runs in that context too.
    """
    check(fn=(fn, CALLABLE))
    captured = contextvars.copy_context()
    if inspect.iscoroutinefunction(fn):
        coroutine_function: Any = fn

        @functools.wraps(fn)
        async def run(*args: Any, **kwargs: Any) -> Any:
            return await _stepped(coroutine_function(*args, **kwargs), captured.copy())

        return cast("Callable[P, R]", run)

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return captured.copy().run(fn, *args, **kwargs)

    return call


@types.coroutine
def _stepped(coroutine: Coroutine[Any, Any, R], context: contextvars.Context) -> Generator[Any, Any, R]:
    """Run a coroutine in the task that awaits this, each step of it in another context; under any async library."""
    step: Callable[[], Any] = functools.partial(coroutine.send, None)
    while True:
        try:
            asked = context.run(step)
        except StopIteration as done:
            result: R = done.value
            return result
        try:
            step = functools.partial(coroutine.send, (yield asked))
        except BaseException as thrown:  # GeneratorExit too: thrown in, it closes the coroutine
            step = functools.partial(coroutine.throw, thrown)
