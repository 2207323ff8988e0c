"""@tool does not change what a function is, and records each kind."""

import functools
import inspect
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest

from investigation_sdk import InvestigationSDK, current_tool, tool
from investigation_sdk.domain.states import ToolState


def lookup(device_id: str, *, depth: Annotated[int, "how far"] = 2) -> dict[str, int]:
    """Look a device up."""
    return {device_id: depth}


async def alookup(device_id: str, *, depth: Annotated[int, "how far"] = 2) -> dict[str, int]:
    """Look a device up."""
    return {device_id: depth}


def walk(n: int, start: int = 0) -> Iterator[int]:
    """Walk."""
    yield from range(start, n)


async def awalk(n: int, start: int = 0) -> AsyncIterator[int]:
    """Walk."""
    for i in range(start, n):
        yield i


class Callee:
    """A callable object."""

    def __call__(self, x: int, y: str = "b") -> str:
        """Call it."""
        return f"{x}{y}"


class AsyncCallee:
    async def __call__(self, x: int) -> int:
        return x


KINDS = (inspect.isfunction, inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


@pytest.mark.parametrize("fn", [lookup, alookup, walk, awalk])
@pytest.mark.parametrize("decorate", [tool, tool(name="n", version="1", effect="read")])
def test_looks_are_kept(fn: Callable[..., Any], decorate: Callable[..., Any]) -> None:
    wrapped = decorate(fn)
    assert [is_kind(wrapped) for is_kind in KINDS] == [is_kind(fn) for is_kind in KINDS]
    assert inspect.signature(wrapped) == inspect.signature(fn)
    assert wrapped.__annotations__ == fn.__annotations__
    assert typing.get_type_hints(wrapped, include_extras=True) == typing.get_type_hints(fn, include_extras=True)
    assert (wrapped.__name__, wrapped.__qualname__) == (fn.__name__, fn.__qualname__)
    assert (wrapped.__doc__, wrapped.__module__) == (fn.__doc__, fn.__module__)
    assert wrapped.__wrapped__ is fn


@pytest.mark.parametrize(
    ("made", "name", "asynchronous", "parameters"),
    [
        (tool(functools.partial(lookup, depth=9)), "lookup", False, ["device_id", "depth"]),
        (tool(functools.partial(alookup, depth=9)), "alookup", True, ["device_id", "depth"]),
        (tool(functools.partial(functools.partial(walk, 9), start=3)), "walk", False, ["start"]),
        (tool(Callee()), "Callee", False, ["x", "y"]),
        (tool(AsyncCallee()), "AsyncCallee", True, ["x"]),
        (tool(len), "len", False, ["obj"]),
    ],
)
def test_looks_of_partials_and_objects(made: Any, name: str, asynchronous: bool, parameters: list[str]) -> None:
    assert made.__name__ == name
    assert inspect.iscoroutinefunction(made) is asynchronous
    assert list(inspect.signature(made).parameters) == parameters
    assert set(made.__annotations__) <= {*parameters, "return"}


def test_hints_of_partials_and_objects_can_be_resolved() -> None:
    assert typing.get_type_hints(tool(Callee()))["return"] is str
    assert typing.get_type_hints(tool(functools.partial(lookup, depth=1)))["device_id"] is str


def test_a_callable_that_is_marked_as_a_coroutine_function_is_one() -> None:
    if not hasattr(inspect, "markcoroutinefunction"):
        pytest.skip("since Python 3.12")

    class Marked:
        def __call__(self) -> Any:
            return alookup("d")

    assert inspect.iscoroutinefunction(tool(inspect.markcoroutinefunction(Marked())))  # type: ignore[attr-defined,unused-ignore]


class Agent:
    factor = 10

    @tool
    def method(self, x: int) -> int:
        return self.factor * x

    @tool(name="amethod")
    async def amethod(self, x: int) -> int:
        return self.factor * x

    @tool
    @classmethod
    def over_class(cls, x: int) -> int:
        return cls.factor * x

    @classmethod
    @tool
    def under_class(cls, x: int) -> int:
        return cls.factor * x

    @tool
    @staticmethod
    def over_static(x: int) -> int:
        return 10 * x

    @staticmethod
    @tool
    def under_static(x: int) -> int:
        return 10 * x

    @tool
    def steps(self, x: int) -> Iterator[int]:
        yield from range(x)


def test_methods(sdk: InvestigationSDK) -> None:
    agent = Agent()
    with sdk.investigation("methods") as investigation:
        for call in (agent.method, agent.over_class, agent.under_class, agent.over_static, agent.under_static):
            assert call(4) == 40
        assert Agent.over_class(1) == Agent.under_class(1) == Agent.over_static(1) == Agent.under_static(1) == 10
        assert Agent.method(agent, 2) == 20
        assert list(agent.steps(2)) == [0, 1]
    calls = sdk.sync.tools(investigation.id)
    assert [(c.tool_name, c.input_parameters) for c in calls] == [
        ("method", {"x": 4}),
        ("over_class", {"x": 4}),
        ("under_class", {"x": 4}),
        ("over_static", {"x": 4}),
        ("under_static", {"x": 4}),
        *((name, {"x": 1}) for name in ("over_class", "under_class", "over_static", "under_static")),
        ("method", {"x": 2}),
        ("steps", {"x": 2}),
    ]
    assert {c.status for c in calls} == {ToolState.COMPLETED}


async def test_every_kind_is_recorded(sdk: InvestigationSDK) -> None:
    agent = Agent()
    async with sdk.investigation("kinds") as investigation:
        assert tool(lookup)("d", depth=1) == {"d": 1}
        assert await tool(alookup)("d") == {"d": 2}
        assert list(tool(walk)(2)) == [0, 1]
        assert [i async for i in tool(awalk)(3, start=1)] == [1, 2]
        assert await agent.amethod(2) == 20
        assert tool(functools.partial(lookup, depth=9))("p") == {"p": 9}
        assert await tool(functools.partial(alookup, depth=9))("p") == {"p": 9}
        assert tool(Callee())(1, y="z") == "1z"
        assert await tool(AsyncCallee())(5) == 5
        assert tool(len)([1, 2]) == 2
    found = [(c.tool_name, c.input_parameters, c.output_result) for c in await sdk.tools(investigation.id)]
    assert found == [
        ("lookup", {"device_id": "d", "depth": 1}, {"d": 1}),
        ("alookup", {"device_id": "d", "depth": 2}, {"d": 2}),
        ("walk", {"n": 2, "start": 0}, {"count": 2, "exhausted": True, "items": [0, 1]}),
        ("awalk", {"n": 3, "start": 1}, {"count": 2, "exhausted": True, "items": [1, 2]}),
        ("amethod", {"x": 2}, 20),
        ("lookup", {"device_id": "p", "depth": 9}, {"p": 9}),
        ("alookup", {"device_id": "p", "depth": 9}, {"p": 9}),
        ("Callee", {"x": 1, "y": "z"}, "1z"),
        ("AsyncCallee", {"x": 5}, 5),
        ("len", {"obj": [1, 2]}, 2),
    ]


async def test_outside_an_investigation_nothing_is_recorded(sdk: InvestigationSDK) -> None:
    assert tool(lookup)("d") == {"d": 2}
    assert await tool(alookup)("d") == {"d": 2}
    assert list(tool(walk)(2)) == [0, 1]
    assert [i async for i in tool(awalk)(2)] == [0, 1]
    async with sdk.investigation("other") as investigation:
        pass
    tool(lookup)("d")
    assert len(await sdk.list()) == 1
    assert len(await sdk.tools(investigation.id)) == 0


def test_variadic_arguments(sdk: InvestigationSDK) -> None:
    @tool
    def collect(first: int, *rest: int, **named: str) -> int:
        return first + sum(rest)

    with sdk.investigation("variadic") as investigation:
        assert collect(1, 2, 3, a="x") == 6
    (call,) = sdk.sync.tools(investigation.id)
    assert call.input_parameters == {"first": 1, "rest": (2, 3), "a": "x"}


def test_a_call_that_does_not_fit_fails_as_it_always_did(sdk: InvestigationSDK) -> None:
    plain = Callee()
    with pytest.raises(TypeError) as expected:
        plain(1, 2, 3, 4)  # type: ignore[call-arg,arg-type]
    with sdk.investigation("misfit") as investigation:
        with pytest.raises(TypeError) as found:
            tool(plain)(1, 2, 3, 4)  # type: ignore[call-arg,arg-type]
        with pytest.raises(TypeError, match="unexpected keyword"):
            tool(lookup)("d", dept=1)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="missing"):
            list(tool(walk)())  # type: ignore[call-arg]
    assert str(found.value) == str(expected.value)
    states = [c.status for c in sdk.sync.tools(investigation.id)]
    assert states == [ToolState.FAILED] * 3


async def test_an_async_generator_call_that_does_not_fit_is_recorded_as_failed(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("misfit") as investigation:
        with pytest.raises(TypeError, match="missing"):
            async for _ in tool(awalk)():  # type: ignore[call-arg]
                pass
    (call,) = await sdk.tools(investigation.id)
    assert call.status is ToolState.FAILED


def test_a_decorated_function_stays_usable_by_those_who_look_at_it() -> None:
    hints = typing.get_type_hints(Agent.method)
    assert hints == {"x": int, "return": int}
    assert list(inspect.signature(Agent().method).parameters) == ["x"]
    assert not current_tool().recording
