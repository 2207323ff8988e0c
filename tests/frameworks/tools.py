"""The tools that all frameworks are given: recorded, and as they are."""

import functools
import types
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field


def fresh(fn: Any) -> Any:
    """A copy, for a framework that marks the functions that it is given."""
    if isinstance(fn, types.MethodType):
        return types.MethodType(fresh(fn.__func__), fn.__self__)
    copy = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    functools.update_wrapper(copy, fn)
    del copy.__wrapped__  # type: ignore[attr-defined]
    return copy


class Filter(BaseModel):
    """What to leave out."""

    country: str = Field(description="two letters")
    limit: int = 10


def search(
    query: Annotated[str, Field(description="what to look for")],
    depth: int = 3,
    mode: Literal["fast", "deep"] = "fast",
    only: Filter | None = None,
) -> str:
    """Search the register.

    Args:
        query: what to look for
        depth: how far
        mode: how carefully
        only: what to leave out
    """
    return f"{query}:{depth}:{mode}:{only.country if only else '-'}"


async def asearch(
    query: Annotated[str, Field(description="what to look for")],
    depth: int = 3,
    mode: Literal["fast", "deep"] = "fast",
    only: Filter | None = None,
) -> str:
    """Search the register.

    Args:
        query: what to look for
        depth: how far
        mode: how carefully
        only: what to leave out
    """
    return f"{query}:{depth}:{mode}:{only.country if only else '-'}"


def fails(query: str) -> str:
    """Fail."""
    raise LookupError(f"no {query} here")


async def afails(query: str) -> str:
    """Fail."""
    raise LookupError(f"no {query} here")


def pages(query: str) -> Iterator[str]:
    """Page by page."""
    yield f"{query} 1"
    yield f"{query} 2"


async def apages(query: str) -> AsyncIterator[str]:
    """Page by page."""
    yield f"{query} 1"
    yield f"{query} 2"


class Register:
    """Tools as methods."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find(self, query: str, depth: int = 1) -> str:
        """Find in this register."""
        return f"{self.name}/{query}/{depth}"
