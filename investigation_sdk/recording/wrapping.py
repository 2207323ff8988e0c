"""Wrapping functions without changing what they are: kind, signature, annotations, docstring, name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
Kind = Literal["sync", "async", "generator", "async_generator"]


def innermost(fn: Any) -> Any:
    """The function behind partials and callable objects."""
    while isinstance(fn, functools.partial):
        fn = cast("functools.partial[Any]", fn).func
    if inspect.isroutine(fn) or inspect.isclass(fn):
        return fn
    return type(fn).__call__


def kind_of(fn: Any) -> Kind:
    """What calling it gives."""
    fn = innermost(fn)
    if inspect.isasyncgenfunction(fn):
        return "async_generator"
    if inspect.iscoroutinefunction(fn):
        return "async"
    if inspect.isgeneratorfunction(fn):
        return "generator"
    return "sync"


def name_of(fn: Any) -> str:
    """The name of a function, of the function behind a partial, or of a callable object's class."""
    base = fn
    while isinstance(base, functools.partial):
        base = cast("functools.partial[Any]", base).func
    return str(getattr(base, "__name__", type(base).__name__))


def dress(wrapper: Any, fn: Any) -> Any:
    """Give a wrapper the looks of what it wraps; also of partials and callable objects, which
    :func:`functools.wraps` alone leaves without name, hints and signature."""
    if not isinstance(fn, functools.partial) and hasattr(fn, "__name__"):
        return functools.update_wrapper(wrapper, fn)
    target = innermost(fn)
    functools.update_wrapper(wrapper, target, assigned=("__module__", "__doc__"), updated=())
    if isinstance(fn, functools.partial) and target.__doc__ is None:
        wrapper.__doc__ = None
    signature = inspect.signature(fn)
    wrapper.__name__ = wrapper.__qualname__ = name_of(fn)
    wrapper.__signature__ = signature
    hints: dict[str, Any] = getattr(target, "__annotations__", {})
    wrapper.__annotations__ = {k: v for k, v in hints.items() if k in signature.parameters or k == "return"}
    wrapper.__wrapped__ = fn
    return wrapper


def in_scope(fn: F, make: Callable[[], AbstractContextManager[Any]]) -> F:
    """A function that runs inside a new scope each time: of the same kind as `fn`."""
    call: Any = fn
    match kind_of(fn):
        case "async":

            async def run_async(*args: Any, **kwargs: Any) -> Any:
                with make():
                    return await call(*args, **kwargs)

            wrapper: Any = run_async
        case "sync":

            def run(*args: Any, **kwargs: Any) -> Any:
                with make():
                    return call(*args, **kwargs)

            wrapper = run
        case kind:
            raise TypeError(f"{name_of(fn)!r} is a {kind.replace('_', ' ')}; use the scope inside it, with `with`")
    return cast("F", dress(wrapper, fn))
