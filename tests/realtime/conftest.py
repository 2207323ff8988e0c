"""Stores with a broker, and a server of rooms."""

from collections.abc import Callable, Iterator

import pytest

from investigation_sdk import InvestigationSDK

from .world import World


@pytest.fixture(params=["redis", pytest.param("postgres", marks=pytest.mark.server)])
def place(request: pytest.FixtureRequest, sqlite_url: str) -> tuple[str, dict[str, str]]:
    """A store with a broker, as the URL of the store and options: for two handles."""
    if request.param == "redis":
        return sqlite_url, {"redis": str(request.getfixturevalue("redis_url"))}
    return str(request.getfixturevalue("postgres_store")), {}


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.server) for name in ("sqlite", "postgres"))])
def sdk(request: pytest.FixtureRequest, make_sdk: Callable[..., InvestigationSDK]) -> InvestigationSDK:
    fixtures = {"sqlite": "sqlite_url", "postgres": "postgres_store"}
    if request.param == "memory":
        return make_sdk("memory://")
    return make_sdk(str(request.getfixturevalue(fixtures[request.param])))


@pytest.fixture
def world(sdk: InvestigationSDK) -> Iterator[World]:
    with World(sdk).up() as up:
        yield up
