"""What a framework fills in is not recorded; known by its type's name and module, however it is written down."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, ForwardRef, Generic, Literal, Optional, TypeVar

import pytest

from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.recording.injected import injected

D = TypeVar("D")


class RunContext(Generic[D]):
    """As pydantic-ai's."""


class InjectedToolArg:
    """As LangChain's."""


class InjectedState(InjectedToolArg):
    """As LangGraph's."""


class Dependency:
    """As that of FastMCP's defaults."""


class Context:
    """The application's own: not injected."""


RunContext.__module__ = "pydantic_ai._run_context"
InjectedToolArg.__module__ = "langchain_core.tools.base"
InjectedState.__module__ = "langgraph.prebuilt.tool_node"
Dependency.__module__ = "uncalled_for.base"
pai = types.SimpleNamespace(RunContext=RunContext)


class Lazy(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        raise ImportError("install it")


lazy = Lazy("lazy")


def as_text(
    a: RunContext[int],
    b: pai.RunContext[Unknown],  # type: ignore[name-defined]  # noqa: F821
    c: Optional[RunContext[int]],  # noqa: UP045
    d: RunContext[int] | None,
    e: Annotated[dict[str, Any], InjectedState],
    f: Annotated[dict[str, Any], InjectedState()],
    g: int = Dependency(),  # type: ignore[assignment]
    *,
    h: Annotated[str, "not the RunContext"] = "",
    i: Context | None = None,
    j: Literal["RunContext"] = "RunContext",
    k: lazy.Thing = None,  # type: ignore[name-defined]
    l: Nowhere.Known = None,  # type: ignore[name-defined]  # noqa: E741, F821
    m: str = "RunContext",
    n: list[int] | None = None,
    **rest: Any,
) -> None: ...


def parameters(**annotations: Any) -> dict[str, inspect.Parameter]:
    kind = inspect.Parameter.KEYWORD_ONLY
    return {name: inspect.Parameter(name, kind, annotation=a) for name, a in annotations.items()}


def test_annotations_that_are_text() -> None:
    assert isinstance(as_text.__annotations__["a"], str)
    assert injected(as_text, inspect.signature(as_text).parameters) == set("abcdefg")


def test_annotations_that_are_not() -> None:
    found = injected(
        as_text,
        parameters(
            a=RunContext[int],
            b=RunContext,
            c=Optional[RunContext[int]],  # noqa: UP045
            d=RunContext[int] | None,
            e=Annotated[dict[str, Any], InjectedState],
            f=Annotated[Any, "a text", InjectedState()],
            g=ForwardRef("RunContext"),
            h=Annotated[str, "RunContext"],
            i=Context,
            j=Literal["RunContext"],
            k=Callable[[int], str],
            l=int,
            m=inspect.Parameter.empty,
        ),
    )
    assert found == set("abcdefg")


def test_through_wrappers_partials_methods_and_objects() -> None:
    @functools.wraps(as_text)
    def wrapper(*args: Any, **kwargs: Any) -> Any: ...

    class Tools:
        def method(self, ctx: RunContext[int], q: str) -> None: ...

        def __call__(self, ctx: RunContext[int], q: str) -> None: ...

    cases: list[tuple[Callable[..., Any], Any]] = [
        (wrapper, "abcdefg"),
        (functools.partial(as_text, RunContext()), "bcdefg"),
        (Tools().method, ["ctx"]),
        (Tools(), ["ctx"]),
        (len, ""),
    ]
    for fn, names in cases:
        assert injected(fn, inspect.signature(fn).parameters) == set(names)


@pytest.mark.parametrize("module", ["agents_of_ours", "my.pydantic_ai"])
def test_a_class_of_that_name_from_elsewhere_is_recorded(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunContext, "__module__", module)
    assert not injected(as_text, parameters(a=RunContext[int]))


def test_a_call_is_recorded_without_it(sdk: InvestigationSDK) -> None:
    @tool
    def look_up(ctx: RunContext[int], q: str, state: Annotated[dict[str, Any], InjectedState] | None = None) -> str:
        return q

    with sdk.investigation("injected") as investigation:
        look_up(RunContext(), "a", {"messages": []})
        look_up(ctx=RunContext(), q="b")
    calls = sdk.sync.tools(investigation.id)
    assert [c.input_parameters for c in calls] == [{"q": "a"}, {"q": "b"}]
    assert not sdk.sync.events(investigation.id, event_type="recorder.warning")
