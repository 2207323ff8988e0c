"""A store in PostgreSQL, and the database that it stands in."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_sdk.testing.servers import Postgres
from tests.mortal import mortal_database, proxy, server

__all__ = ["mortal_database", "proxy", "server"]  # for the modules here


@pytest.fixture
async def backend(postgres_store: str) -> AsyncIterator[PostgresBackend]:
    backend = PostgresBackend(postgres_store)
    await backend.open()
    yield backend
    await backend.close()


@pytest.fixture
async def raw(postgres_store: str) -> AsyncIterator[Any]:
    """A connection of somebody else."""
    connection = await asyncpg.connect(postgres_store)
    yield connection
    await connection.close()


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The name of an empty database."""
    name = postgres.create_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
def empty(postgres: Postgres, database: str) -> str:
    return postgres.url_of(database)
