"""The decorator that records a function's calls."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast, overload

from investigation_sdk.arguments import (
    CALLABLE_OR_NONE,
    DURATION_OR_NONE,
    EXCEPTIONS,
    LIST,
    LIST_OR_FLAG,
    LIST_OR_FUNCTION_OR_NONE,
    TEXT_OR_NONE,
    check,
)
from investigation_sdk.domain.states import Effect
from investigation_sdk.errors import InvalidArgument
from investigation_sdk.recording.caching import check_cached
from investigation_sdk.recording.capture import ToolSpec
from investigation_sdk.recording.generators import async_generator, generator
from investigation_sdk.recording.kinds import async_, sync
from investigation_sdk.recording.known import know
from investigation_sdk.recording.wrapping import Kind, dress, kind_of, name_of

_WRAPPERS: Final[dict[Kind, Callable[[Any, ToolSpec], Callable[..., Any]]]] = {
    "sync": sync,
    "async": async_,
    "generator": generator,
    "async_generator": async_generator,
}
"""By kind: from a function and what was said of it, its recorded form."""

EffectName: TypeAlias = Effect | Literal["read", "idempotent", "unsafe"]
F = TypeVar("F", bound=Callable[..., Any])


@overload
def tool(fn: F, /) -> F: ...
@overload
def tool(
    *,
    name: str | None = None,
    agent: str | None = None,
    version: str | None = None,
    effect: EffectName | None = None,
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
    effect: EffectName | None = None,
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
        fn: The function, where the decorator is used without options.
        name: Of the tool; the function's own by default.
        agent: Whose tool it is; by default that of :func:`agent` around the call.
        version: Of the tool; results of another version are not given back on resume.
        effect: What running it twice would do: ``"read"``, ``"idempotent"``, ``"unsafe"``.
        identity: The parameters (or a function of the arguments) that make two calls the same act.
        ignore: Parameters that are neither recorded nor compared. Those that a framework fills in (its run context, its
            state, a dependency) are left out by themselves.
        sensitive: True, or the parameters (``"return"`` for the result) of which only a mask is recorded. An exception
            that quotes a sensitive value is recorded without its text, wherever it ends up; of a tool that is
            sensitive as a whole, each is.
        summary: Makes one line for people from the result.
        reconcile: Finds out what became of a call of unknown outcome; kept for resume.
        no_effect_on: Exceptions that mean that nothing was done; kept for resume.
        cache: How long a result may be used again, of a tool that only reads: for the same arguments, version, tenant
            and user, in other investigations too. Such a call is recorded, with ``source="cached"``. Kept in Redis
            where the SDK has one (``redis=``), else in the process.

    Raises:
        TypeError: it is a tool already; or a tool of a framework: put ``@tool`` under that framework's decorator.
        InvalidArgument: a mistyped option; or `cache` for a tool whose results must not be used again.
    """
    check(
        name=(name, TEXT_OR_NONE),
        agent=(agent, TEXT_OR_NONE),
        version=(version, TEXT_OR_NONE),
        identity=(identity, LIST_OR_FUNCTION_OR_NONE),
        ignore=(ignore, LIST),
        sensitive=(sensitive, LIST_OR_FLAG),
        summary=(summary, CALLABLE_OR_NONE),
        reconcile=(reconcile, CALLABLE_OR_NONE),
        no_effect_on=(no_effect_on, EXCEPTIONS),
        cache=(cache, DURATION_OR_NONE),
    )

    def decorate(f: Any) -> Any:
        if isinstance(f, staticmethod | classmethod):
            method = cast("Any", f)
            return type(method)(decorate(method.__func__))
        _refuse_tool_objects(f)
        _refuse_twice(f)
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
        spec.reconcile, spec.no_effect_on = reconcile, no_effect_on
        if cache is not None:
            check_cached(spec)
            spec.cache, spec.steps = cache, True
        wrapper = dress(_WRAPPERS[kind_of(f)](f, spec), f)
        wrapper.__investigation_tool__ = spec
        know(wrapper)
        return wrapper

    return decorate if fn is None else decorate(fn)


def _effect(effect: EffectName | None) -> Effect | None:
    if effect is None:
        return None
    try:
        return Effect(effect)
    except ValueError:
        near = difflib.get_close_matches(str(effect), [e.value for e in Effect], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InvalidArgument(
            f"effect={effect!r} is not an effect; there are {', '.join(repr(e.value) for e in Effect)}.{hint}"
        ) from None


def _refuse_twice(f: object) -> None:
    """Of a tool that was made a tool once more, each call would be two. One with another decorator in between is meant
    so: each try of a retry is a call, and so is the whole."""
    spec = getattr(f, "__investigation_tool__", None)
    if isinstance(spec, ToolSpec) and getattr(f, "__wrapped__", None) is spec.fn:
        raise TypeError(
            f"@tool cannot wrap {spec.name!r}: it is a tool already, and each call would be recorded twice. "
            "Put @tool on it once, with all options."
        )


_FRAMEWORKS: Final = (
    "langchain",
    "langchain_core",
    "langchain_community",
    "langgraph",
    "llama_index",
    "agents.tool",  # of OpenAI; many applications have a package `agents` of their own
    "pydantic_ai",
    "fastmcp",
    "mcp.server",
    "crewai",
    "smolagents",
    "google.adk",
    "agent_framework",
)


def _refuse_tool_objects(f: object) -> None:
    """Of what a framework makes of a function, a record would be made of nothing, or of the wrong thing.

    pydantic-ai, and FastMCP with a mark, give back the function itself, which they call from then on.
    """
    if isinstance(f, type):
        raise TypeError(f"@tool goes on a function, and {f.__qualname__} is a class: put it on its methods.")
    cls = type(f)
    registered = hasattr(f, "__fastmcp__")
    bases = [base.__module__ for base in cls.__mro__]
    foreign = any(module == m or module.startswith(m + ".") for module in bases for m in _FRAMEWORKS)
    if callable(f) and not registered and not (foreign and not inspect.isroutine(f)):
        return
    what = f"a {cls.__module__}.{cls.__qualname__}"
    if registered:
        reason = f"cannot wrap {name_of(f)!r}: it was given to FastMCP, which would call it past the record"
    elif foreign:
        reason = f"cannot wrap {what}: it is a tool object of a framework"
    else:
        raise TypeError(f"@tool goes on a function or another callable, not on {what}.")
    raise TypeError(
        f"@tool {reason}. Put @tool innermost, directly on your "
        "function, and the framework's decorator above it:\n\n    @framework_tool\n    @tool\n    def lookup(...): ..."
    )
