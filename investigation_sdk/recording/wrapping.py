"""Wrapping functions without changing what they are: kind, signature, annotations, docstring, name."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
Kind = Literal["sync", "async", "generator", "async_generator"]


def innermost(fn: Any) -> Any:
    """The function behind partials and callable objects."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if inspect.isroutine(fn) or inspect.isclass(fn):
        return fn
    return type(fn).__call__


def kind_of(fn: Any) -> Kind:
    """What calling it gives."""
    marked = inspect.iscoroutinefunction(fn)  # a callable object may say so of itself
    fn = innermost(fn)
    if inspect.isasyncgenfunction(fn):
        return "async_generator"
    if marked or inspect.iscoroutinefunction(fn):
        return "async"
    if inspect.isgeneratorfunction(fn):
        return "generator"
    return "sync"


def name_of(fn: Any) -> str:
    """The name of a function, of the function behind a partial, or of a callable object's class."""
    base = fn
    while isinstance(base, functools.partial):
        base = base.func
    return str(getattr(base, "__name__", type(base).__name__))


def dress(wrapper: Any, fn: Any) -> Any:
    """Give a wrapper the looks of what it wraps; also of partials and callable objects, which
    :func:`functools.wraps` alone leaves without name, hints and signature."""
    wrapper.__annotations__ = {}
    if not isinstance(fn, functools.partial) and hasattr(fn, "__name__"):
        return functools.update_wrapper(wrapper, fn)
    target = innermost(fn)
    functools.update_wrapper(wrapper, target, assigned=("__module__", "__doc__"), updated=())
    wrapper.__name__ = wrapper.__qualname__ = name_of(fn)
    signature = inspect.signature(cast("Any", fn))
    hints = _hints(target)
    parameters = [p.replace(annotation=hints.get(p.name, p.annotation)) for p in signature.parameters.values()]
    returns = hints.get("return", signature.return_annotation)
    wrapper.__signature__ = signature.replace(parameters=parameters, return_annotation=returns)
    wrapper.__annotations__ = {k: v for k, v in hints.items() if k in signature.parameters or k == "return"}
    wrapper.__wrapped__ = fn
    return wrapper


def _hints(target: Any) -> dict[str, Any]:
    """Annotations that need not be looked up in a module, which nobody finds behind a partial or an object."""
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception:  # a name that is not there yet, or not at run time
        return dict(getattr(target, "__annotations__", {}))


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
