"""Parameters that an agent framework fills in by itself: its run context, its state, a dependency.

The model does not choose them and they do not say what a call did, so they are neither recorded nor compared. They are
known by the names of their types, so no framework is imported.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from investigation_sdk.recording.wrapping import innermost

_TYPES: Final[Mapping[str, frozenset[str]]] = {
    "agents": frozenset({"RunContextWrapper"}),  # of OpenAI; its ToolContext inherits from it
    "fastmcp": frozenset({"Context", "UserSession"}),
    "google.adk": frozenset({"ReadonlyContext", "ToolContext"}),
    "langchain_core": frozenset({"BaseCallbackHandler", "BaseCallbackManager", "InjectedToolArg", "RunnableConfig"}),
    "langgraph": frozenset({"ToolRuntime"}),
    "mcp": frozenset({"Context"}),
    "pydantic_ai": frozenset({"RunContext"}),
    "uncalled_for": frozenset({"Dependency"}),  # FastMCP's defaults: Depends(…), CurrentContext()
}
"""By package: its types that stand for what is injected."""

_NAME: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")


def injected(fn: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]) -> frozenset[str]:
    """The names of the parameters of `fn` that a framework fills in, by their annotations and defaults."""
    namespace: dict[str, Any] = getattr(inspect.unwrap(innermost(fn)), "__globals__", {})

    def is_one(parameter: inspect.Parameter) -> bool:
        default: object = parameter.default
        return _is_injected(type(default)) or any(map(_is_injected, _classes(parameter.annotation, namespace)))

    return frozenset(name for name, parameter in parameters.items() if is_one(parameter))


def _is_injected(cls: type) -> bool:
    return any(
        base.__name__ in names and (base.__module__ == package or base.__module__.startswith(f"{package}."))
        for base in cls.__mro__
        for package, names in _TYPES.items()
    )


def _classes(annotation: Any, namespace: Mapping[str, Any]) -> Iterator[type]:
    """The classes that an annotation is made of, and those of what stands in its ``Annotated``.

    Where it is text (``from __future__ import annotations``), its names are looked up; nothing is evaluated.
    """
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        for name in _NAME.findall(_QUOTED.sub("", annotation)):
            found = _look_up(name, namespace)
            if not isinstance(found, str):
                yield from _classes(found, namespace)
        return
    for part in (annotation, typing.get_origin(annotation)):
        yield part if isinstance(part, type) else type(part)
    for part in typing.get_args(annotation):
        if not isinstance(part, str):  # in Annotated and Literal that is a text, no name
            yield from _classes(part, namespace)


def _look_up(name: str, namespace: Mapping[str, Any]) -> Any:
    first, *attributes = name.split(".")
    found = namespace.get(first)
    try:
        for attribute in attributes:
            found = getattr(found, attribute)
    except Exception:  # a module may load its attributes lazily, and fail
        return None
    return found
