"""Empty stores, as many as are asked for."""

import asyncio
import os
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from investigation_backends.mongo import MongoBackend
from tests.mortal import mortal_database, proxy, server

__all__ = ["mortal_database", "proxy", "server"]  # for the modules here


@pytest.fixture
def postgres_stores(postgres: Any, _postgres_template: str) -> Iterator[Callable[[], str]]:
    made: list[str] = []

    def make() -> str:
        made.append(postgres.create_database(template=_postgres_template))
        return str(postgres.url_of(made[-1]))

    yield make
    for name in made:
        postgres.drop_database(name)


@pytest.fixture
def mongo_stores(request: pytest.FixtureRequest) -> Callable[[], str]:
    def make() -> str:
        name = f"investigation_test_{uuid.uuid4().hex[:12]}"
        if own := os.environ.get("INVESTIGATION_TEST_MONGO_URL"):
            url = urllib.parse.urlsplit(own)._replace(path=f"/{name}").geturl()
        else:
            url = request.getfixturevalue("mongo_server").url_of(name)
        asyncio.run(MongoBackend(url).upgrade())
        return str(url)

    return make
