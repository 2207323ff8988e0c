"""A PostgreSQL server that is a module's own, for it is killed; a proxy before it, and a database in it.

A conftest imports these fixtures for the modules beside it.
"""

import asyncio
from collections.abc import Iterator

import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_sdk.testing.proxy import FaultProxy
from investigation_sdk.testing.servers import PostgresServer, ServerMissing


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Few connections, so that they can be used up."""
    try:
        server = PostgresServer(durable=True, settings={"max_connections": "30"})
    except ServerMissing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", server.port) as proxy:
        yield proxy


@pytest.fixture
def mortal_database(server: PostgresServer) -> Iterator[str]:
    """The name of a database with the SDK's tables there."""
    name = server.create_database()
    asyncio.run(PostgresBackend(server.url_of(name)).upgrade())
    yield name
    server.drop_database(name)
