"""Where the recorder finds out what it is inside of: one context variable that holds one frame."""

from __future__ import annotations

import contextvars
import functools
import inspect
import os
import threading
import types
from collections.abc import Callable, Coroutine, Generator
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from investigation_sdk.arguments import CALLABLE, NUMBER_OR_NONE, TEXT, WORDS_OR_NONE, check
from investigation_sdk.domain.progress import percent
from investigation_sdk.domain.usage import add_exactly, check_cost, check_count, cost_text
from investigation_sdk.engine.texts import clean

if TYPE_CHECKING:
    from investigation_sdk.recording.driver import Driver
    from investigation_sdk.recording.run import InvestigationContext

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")


class Frame:
    """What is around a piece of code: the investigation, the phase, the call. Never changed, only replaced."""

    __slots__ = ("driver", "phase_id", "phase_name")

    def __init__(self, driver: Driver, phase_id: str | None, phase_name: str | None) -> None:
        self.driver: Driver = driver
        self.phase_id: str | None = phase_id
        self.phase_name: str | None = phase_name

    @property
    def call(self) -> CallFrame | None:
        """The innermost call around, if any."""
        return None


class CallFrame(Frame):
    """The frame of a call's body, which is the call itself."""

    __slots__ = ("_tool", "attempt", "id", "root")

    def __init__(self, around: Frame, id: str, attempt: int) -> None:
        self.driver: Driver = around.driver  # not by super(): one of these is made for each call
        self.phase_id: str | None = around.phase_id
        self.phase_name: str | None = around.phase_name
        self.id: str = id
        self.root: str = id
        self.attempt: int = attempt
        self._tool: ToolCall | None = None

    @property
    def call(self) -> CallFrame:
        """Itself."""
        return self

    @property
    def reported(self) -> ToolCall | None:
        """What the body may have reported to; None where it never asked for it."""
        return self._tool

    def tool(self) -> ToolCall:
        """What :func:`current_tool` gives, made when the body first asks for it."""
        if self._tool is None:
            with _adding:
                if self._tool is None:
                    far = functools.partial(self.driver.recorder.report, self.driver.session, self.id)
                    self._tool = ToolCall(self.id, self.attempt, self.root, far)
        return self._tool


class BlockFrame(Frame):
    """The frame of a block: of an investigation, or of a phase.

    Blocks may be left in another order than they were entered, or in another context. So leaving one changes the
    context only where that is still inside of it, and goes back to what is around it and not left yet.
    """

    __slots__ = ("_around", "_call", "_left")

    def __init__(self, driver: Driver, phase_id: str | None, phase_name: str | None, call: CallFrame | None) -> None:
        super().__init__(driver, phase_id, phase_name)
        self._call = call
        self._around = current_frame.get()
        self._left = False
        current_frame.set(self)

    @property
    def call(self) -> CallFrame | None:
        """The call that the block was opened in, if any."""
        return self._call

    def leave(self) -> None:
        """The block is left."""
        self._left = True
        if current_frame.get() is self:
            around = self._around
            while isinstance(around, BlockFrame) and around._left:
                around = around._around
            current_frame.set(around)


current_frame: contextvars.ContextVar[Frame | None] = contextvars.ContextVar("investigation_frame", default=None)
current_agent: contextvars.ContextVar[AgentScope | None] = contextvars.ContextVar("investigation_agent", default=None)


def _start_clean() -> None:
    current_frame.set(None)


os.register_at_fork(after_in_child=_start_clean)


_adding = threading.RLock()  # the garbage collector may run a tool in there


class ToolCall:
    """The call that is running now: what :func:`current_tool` gives inside a tool.

    Attributes:
        id: Of the call; empty outside one.
        recording: False outside a recorded call, where everything here is inert, so that tools stay testable.
        attempt: The investigation's attempt, from 1; 0 outside.
        idempotency_key: To hand to a service that does a thing once per key; the same when a call that was cut off
            runs again in a later attempt.
    """

    __slots__ = ("_far", "attempt", "id", "idempotency_key", "progress", "recording", "summary", "usage")

    def __init__(
        self, id: str = "", attempt: int = 0, idempotency_key: str = "", far: Callable[[int], None] | None = None
    ) -> None:
        self.id: str = id
        self.idempotency_key: str = idempotency_key
        self.attempt: int = attempt
        self.recording: bool = bool(id)
        self.usage: dict[str, Any] | None = None
        self.progress: float | None = None
        self._far = far
        self.summary: str | None = None

    def report(
        self,
        *,
        tokens_used: int = 0,
        api_calls_made: int = 0,
        cost_estimate: Decimal | float = 0,
        progress: float | None = None,
        summary: str | None = None,
    ) -> None:
        """Say what the call used and how far it is. Counters add to what was reported; the others replace.

        Args:
            tokens_used: Tokens.
            api_calls_made: Calls of other services.
            cost_estimate: In whatever currency you count; sums are exact for Decimal.
            progress: 0 to 1.
            summary: One line on the result, for people.
        """
        if not self.recording:
            return
        check(progress=(progress, NUMBER_OR_NONE), summary=(summary, WORDS_OR_NONE))
        with _adding:
            self.usage = add_usage(self.usage, tokens_used, api_calls_made, cost_estimate)
        if progress is not None:
            self.progress = min(1.0, max(0.0, progress))
            if self._far is not None:
                self._far(percent(progress))
        if summary is not None:
            self.summary = summary


def add_usage(usage: dict[str, Any] | None, tokens: int, calls: int, cost: Decimal | float) -> dict[str, Any] | None:
    """Counters added to counters: ``tokens_used`` and ``api_calls_made`` as int, ``cost_estimate`` as decimal text.

    Raises:
        ValueError: a count or the cost is less than 0, too large, or not a number.
    """
    if not (tokens or calls or cost):
        return usage
    check_count("tokens_used", tokens)
    check_count("api_calls_made", calls)
    total = dict(usage) if usage else {}
    if tokens:
        total["tokens_used"] = check_count("tokens_used", total.get("tokens_used", 0) + tokens)
    if calls:
        total["api_calls_made"] = check_count("api_calls_made", total.get("api_calls_made", 0) + calls)
    if cost:
        so_far = Decimal(total.get("cost_estimate", "0"))
        total["cost_estimate"] = cost_text(add_exactly(so_far, check_cost(cost)))
    return total


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
