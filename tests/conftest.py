"""Stores to run a test on, and SDKs on them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from investigation_sdk import InvestigationSDK


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/cases.db"


@pytest.fixture(params=["memory://", "memory://?writer=true", "sqlite"])
def url(request: pytest.FixtureRequest, sqlite_url: str) -> str:
    """A test that asks for `url` or `sdk` runs on each kind of store."""
    return sqlite_url if request.param == "sqlite" else str(request.param)


@pytest.fixture
def make_sdk() -> Iterator[Callable[..., InvestigationSDK]]:
    """Makes SDKs that are closed at the end of the test."""
    made: list[InvestigationSDK] = []

    def make(url: str, **options: object) -> InvestigationSDK:
        made.append(InvestigationSDK(url, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for sdk in made:
        sdk.sync.close()


@pytest.fixture
def sdk(url: str, make_sdk: Callable[..., InvestigationSDK]) -> InvestigationSDK:
    return make_sdk(url)


@pytest.fixture
def lite(sqlite_url: str, make_sdk: Callable[..., InvestigationSDK]) -> InvestigationSDK:
    """An SDK on SQLite only: where a second handle is to see the same store."""
    return make_sdk(sqlite_url)


@pytest.fixture
def other(sqlite_url: str, make_sdk: Callable[..., InvestigationSDK]) -> InvestigationSDK:
    """A second handle on the store of `lite`, as another process has one."""
    return make_sdk(sqlite_url)
