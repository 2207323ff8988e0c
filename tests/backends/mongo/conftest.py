"""A store on MongoDB's protocol, as one process and as another see it."""

from typing import Any

import pytest

from investigation_backends.mongodb import behind
from tests.backends.mongo.rig import opened


@pytest.fixture
async def backend(mongo_store: str) -> Any:
    async with opened(mongo_store) as backend:
        yield backend


@pytest.fixture
async def other(mongo_store: str) -> Any:
    async with opened(mongo_store) as backend:
        yield backend


@pytest.fixture
def lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are written when somebody asks for lists, and not before."""
    monkeypatch.setattr(behind, "_LINGER", 3600.0)
