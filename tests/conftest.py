"""Stores to run a test on, and SDKs on them."""

import asyncio
import itertools
import os
import shutil
import signal
import tempfile
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from investigation_backends.mongo import MongoBackend
from investigation_backends.mongodb.names import ALL_COLLECTIONS
from investigation_sdk import InvestigationSDK
from investigation_sdk.domain import fold
from investigation_sdk.testing.servers import (
    MongoServer,
    Postgres,
    PostgresAt,
    PostgresServer,
    RedisServer,
    ServerMissing,
)

pytest.register_assert_rewrite("investigation_sdk.testing._contract")  # before any test imports a part of it

COMPILED = not fold.__file__.endswith(".py")
"""Whether the core is compiled: `make test-compiled`."""


ROOM = 4 * 2**30
"""Bytes that must be free in memory for temporary files to stand there."""


def _temporary_files_in_memory() -> None:
    """Where there is room: or most of the time is spent waiting for a disk, at thousands of commits. A process that is
    killed loses no more there than on a disk. A TMPDIR of your own is left as it is."""
    memory = "/dev/shm"  # noqa: S108
    if "TMPDIR" in os.environ or not os.access(memory, os.W_OK):
        return
    if shutil.disk_usage(memory).free > ROOM and not os.statvfs(memory).f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = tempfile.tempdir = memory


def pytest_configure() -> None:
    """Lets signals do what they do in a terminal: tests send them, and children inherit what is ignored here.
    A job that a shell starts in the background ignores SIGINT and SIGQUIT, and under nohup SIGHUP."""
    _temporary_files_in_memory()
    usual = dict.fromkeys((signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM), signal.SIG_DFL)
    for number, handler in (usual | {signal.SIGINT: signal.default_int_handler}).items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*usual, signal.SIGINT})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On a compiled core, the tests that change it from outside are skipped."""
    if not COMPILED:
        return
    skipped = pytest.mark.skip(reason="changes the core from outside, and it is compiled")
    for item in items:
        if item.get_closest_marker("interpreted"):
            item.add_marker(skipped)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/cases.db"


@pytest.fixture(
    params=[
        *("memory://", "memory://?writer=true", "sqlite"),
        *(pytest.param(server, marks=pytest.mark.server) for server in ("postgres", "mongo")),
    ]
)
def url(request: pytest.FixtureRequest, sqlite_url: str) -> str:
    """A test that asks for `url` or `sdk` runs on each kind of store."""
    if request.param in ("postgres", "mongo"):
        return str(request.getfixturevalue(f"{request.param}_store"))
    return sqlite_url if request.param == "sqlite" else str(request.param)


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> int:
    """No payload has more than 36,000 bytes, so that one can do without megabytes."""
    monkeypatch.setattr("investigation_sdk.storage.payloads.MAX_PAYLOAD", 36_000)
    return 36_000


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


# ---- servers: one of each, started when a test first asks for it; or your own, named in the environment


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, to make databases in."""
    if url := os.environ.get("INVESTIGATION_TEST_POSTGRES_URL"):
        yield PostgresAt(url)
        return
    try:
        server = PostgresServer()
    except ServerMissing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.fixture(scope="module")
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A new, empty database."""
    name = postgres.create_database()
    yield postgres.url_of(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def _postgres_template(postgres: Postgres) -> Iterator[str]:
    """A database with our tables: copying it is much cheaper than making them."""
    from investigation_backends.postgres import PostgresBackend

    name = postgres.create_database()
    asyncio.run(PostgresBackend(postgres.url_of(name)).upgrade())
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def _postgres_tables(postgres: Postgres, _postgres_template: str) -> Iterator[str]:
    name = postgres.create_database(template=_postgres_template)
    yield name
    postgres.drop_database(name)


_EMPTY = "; ".join(
    f"DELETE FROM {table}"
    for table in ("investigations", "investigation_events", "investigation_leases", "investigation_tombstones")
)


@pytest.fixture
def postgres_store(postgres: Postgres, _postgres_tables: str) -> str:
    """The URL of an empty store: a database for each module, emptied for each test."""
    postgres.sql(_EMPTY, database=_postgres_tables)
    return postgres.url_of(_postgres_tables)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    try:
        server = RedisServer()
    except ServerMissing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


_redis_databases = itertools.count()


@pytest.fixture(scope="module")
def redis_url(request: pytest.FixtureRequest) -> str:
    """A Redis database that no other module uses; of a server of your own, the one that you name."""
    if url := os.environ.get("INVESTIGATION_TEST_REDIS_URL"):
        return url
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url_of(next(_redis_databases))


@pytest.fixture(scope="session")
def mongo_server() -> Iterator[MongoServer]:
    try:
        server = MongoServer()
    except ServerMissing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.fixture(scope="module")
def mongo_url(request: pytest.FixtureRequest) -> str:
    """The URL of a new database."""
    name = f"investigation_test_{uuid.uuid4().hex[:12]}"
    if url := os.environ.get("INVESTIGATION_TEST_MONGO_URL"):
        return urllib.parse.urlsplit(url)._replace(path=f"/{name}").geturl()
    server: MongoServer = request.getfixturevalue("mongo_server")
    return server.url_of(name)


@pytest.fixture(scope="module")
def mongo_collections(mongo_url: str) -> Iterator[Any]:
    """A new database with the SDK's collections, as pymongo sees it; its `url` opens it."""
    from pymongo import MongoClient

    asyncio.run(MongoBackend(mongo_url).upgrade())
    client: Any = MongoClient(mongo_url)
    with client:
        database = client.get_default_database()
        yield database
        client.drop_database(database.name)


@pytest.fixture
def mongo_store(mongo_url: str, mongo_collections: Any) -> str:
    """The URL of a database with the SDK's collections, and nothing in them."""
    for name in ALL_COLLECTIONS:
        mongo_collections[name].delete_many({})
    return mongo_url
