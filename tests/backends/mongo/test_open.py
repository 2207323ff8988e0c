"""Opening a database on MongoDB's protocol: what is refused, in which words, and what an upgrade makes."""

import asyncio
import gc
import logging
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo import MongoClient, WriteConcern

from investigation_backends.mongo import MongoBackend
from investigation_backends.mongodb import migrations
from investigation_backends.mongodb.migrations import INDEXES, REVISIONS
from investigation_backends.mongodb.names import ALL_COLLECTIONS, COMMITS, SCHEMA
from investigation_sdk.errors import BackendUnavailable, ConfigurationError, InvestigationError, SchemaMismatch
from investigation_sdk.storage.backend import MigratingBackend
from investigation_sdk.storage.registry import BACKENDS, create_backend
from investigation_sdk.testing._contract.building import Case
from investigation_sdk.testing.servers import MongoServer, ServerMissing
from tests.backends.mongo.rig import failing, opened, raw

SECRET = "s3cr%2Ft"  # noqa: S105 - of nobody
DRIVERS = ("motor", "pymongo")


async def refusal(url: str, kind: type[InvestigationError] = BackendUnavailable, **options: Any) -> str:
    """The message with which opening is refused; never one with the password."""
    backend: Any = create_backend(url, {"connect_timeout": 0.5, "janitor_interval": 0.0, **options})
    with pytest.raises(kind) as refused:
        await backend.open()
    message = str(refused.value)
    for secret in (SECRET, urllib.parse.unquote(SECRET)):
        assert secret not in f"{message} {backend!r}"
    await backend.close()
    return message


def on(url: str, *, host: str | None = None, port: int | None = None, user: str = "", **options: str) -> str:
    """The URL with another host, port, user or options."""
    parts = urllib.parse.urlsplit(url)
    place = f"{user}{host or parts.hostname}:{port or parts.port}"
    return parts._replace(netloc=place, query=urllib.parse.urlencode(options)).geturl()


# ---------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mongodb://host", "names no database; write mongodb://host:27017/database"),
        ("mongodb://host/", "names no database"),
        (f"mongodb://u:{SECRET}@host:port/cases", "cannot be read"),
        ("mongodb://u:p@ss@host/cases", "cannot be read"),
        ("mongodb://host/cases?nonsense=1", "nonsense"),
        ("mongodb://host/cases?tls=perhaps", "tls"),
        ("mongodb:///cases", "cannot be read"),
        ("mongodb://host/cases?pool_size=many", "takes a whole number"),
        ("mongodb://host/cases?pool_size=0", "at least 1"),
        ("mongodb://host/cases?connect_timeout=0", "greater than 0"),
        ("mongodb://host/cases?command_timeout=nan", "greater than 0"),
        (
            f"mongodb://u:{SECRET}@host/cases?tls=true&tlsCertificateKeyFile=/no/such.pem",
            "tlsCertificateKeyFile names a file that cannot be read, '/no/such.pem'",
        ),
        ("mongodb://host/cases?tls=true&tlsCAFile=/no/such.pem", "tlsCAFile names a file that cannot be read"),
        ("mongodb://host/cases?driver=mongoengine", "takes one of motor, pymongo"),
        ("mongodb://host/cases?auto_migrate=true&read_only=true", "exclude each other"),
    ],
)
def test_urls_that_are_refused(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        create_backend(url)
    assert says in str(refused.value)
    assert "s3cr" not in str(refused.value)
    assert "p@ss" not in str(refused.value)


def test_urls_that_are_taken() -> None:
    for url, place in (
        ("mongodb://host/cases", "mongodb://host:27017/cases"),
        (f"mongodb://u:{SECRET}@a:1,b/cases?replicaSet=rs&tls=true", "mongodb://a:1,b:27017/cases"),
        (f"mongodb+srv://u:{SECRET}@cluster.example.org/cases", "mongodb://cluster.example.org/cases"),
    ):
        assert repr(create_backend(url)) == f"<MongoBackend: {place}>"


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_that_is_not_installed(driver: str) -> None:
    package = {"motor": "motor", "pymongo": "pymongo"}[driver]
    code = f"""
import sys
sys.modules["{package}"] = None
from investigation_sdk.storage.registry import create_backend
try:
    create_backend("mongodb://u:{SECRET}@host/cases?driver={driver}")
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"ConfigurationError mongodb needs '{package}")
    assert "pip install 'investigation-sdk[mongo]'" in done.stdout
    assert SECRET not in done.stdout


def test_importing_the_sdk_loads_no_driver() -> None:
    code = "import investigation_sdk, sys; print({'motor', 'pymongo', 'bson'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# ---------------------------------------------------------------- servers


@pytest.mark.parametrize("driver", DRIVERS)
async def test_an_unknown_host(driver: str) -> None:
    message = await refusal(f"mongodb://u:{SECRET}@nowhere.invalid/cases", driver=driver)
    assert message.startswith("mongodb://nowhere.invalid:27017/cases: the server cannot be reached; check the host")


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_name_that_the_dns_does_not_have(driver: str) -> None:
    message = await refusal(f"mongodb+srv://u:{SECRET}@nowhere.invalid/cases", driver=driver)
    assert "the DNS has no servers under that name; correct the host of the mongodb+srv URL" in message


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_certificate_that_is_not_there_where_the_url_is_looked_up(driver: str) -> None:
    backend = MongoBackend(
        f"mongodb+srv://u:{SECRET}@nowhere.invalid/cases?tlsCAFile=/no/such.pem",
        driver=driver,  # type: ignore[arg-type]
    )
    with pytest.raises(ConfigurationError, match=r"tlsCAFile names a file that cannot be read, '/no/such.pem'"):
        await backend.open()


def test_a_limit_of_less_than_a_millisecond_is_one() -> None:
    backend = MongoBackend("mongodb://host/cases", command_timeout=1e-5, connect_timeout=0.0015)
    assert backend._target.options["socketTimeoutMS"] == backend._target.write_timeout_ms == 1, "0 would be no limit"
    assert backend._target.options["connectTimeoutMS"] == 2


@pytest.mark.parametrize("driver", DRIVERS)
async def test_nothing_listens(driver: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        message = await refusal(f"mongodb://u:{SECRET}@127.0.0.1:{probe.getsockname()[1]}/cases", driver=driver)
    assert "the server cannot be reached; check the host, the port, and that it runs" in message


# pymongo's asynchronous client, closed while its monitor waits for a first answer, leaves that socket to the collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_server_that_says_nothing_is_given_up_in_time(driver: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        message = await refusal(f"mongodb://u:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/cases", driver=driver)
        assert time.monotonic() - started < 20
    assert "the server cannot be reached" in message
    gc.collect()


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., MongoServer]]:
    """Starts a server of its own; with `users`, one that wants their passwords."""
    servers: list[MongoServer] = []

    def start(*options: str, **users: str) -> MongoServer:
        try:
            server = MongoServer(*([] if users else options))
        except ServerMissing as missing:
            pytest.skip(str(missing))
        servers.append(server)
        server.start()
        if users:
            with MongoClient[Any](server.url) as client:
                for name, role in users.items():
                    roles = [{"role": role, "db": "cases"}]
                    client["cases"].command("createUser", name, pwd=urllib.parse.unquote(SECRET), roles=roles)
                durable = WriteConcern("majority", j=True)  # the users too: one log has all
                client["other"].get_collection("other", write_concern=durable).insert_one({})
            server.kill()
            server.options = [*options, "--auth"]
            server.start()
        return server

    yield start
    for server in servers:
        server.stop()


async def test_a_standalone(start: Callable[..., MongoServer]) -> None:
    server = start("--standalone")
    message = await refusal(f"mongodb://127.0.0.1:{server.port}/cases")
    assert "is a standalone server" in message
    assert "--replSet" in message
    assert "rs.initiate()" in message


@pytest.fixture(scope="module")
def guarded(start: Callable[..., MongoServer]) -> MongoServer:
    return start(writer="readWrite", owner="dbOwner", reader="read")


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_wrong_password(guarded: MongoServer, driver: str) -> None:
    url = on(guarded.url_of("cases"), user="owner:wr0ng@", authSource="cases", driver=driver)
    message = await refusal(url)
    assert "wrong user name or password, or another authSource than the user's" in message
    assert "wr0ng" not in message


@pytest.mark.parametrize("driver", DRIVERS)
async def test_no_password_where_one_is_needed(guarded: MongoServer, driver: str) -> None:
    message = await refusal(on(guarded.url_of("cases"), driver=driver))
    assert "this user lacks privileges; grant it the role readWrite on this database" in message


async def test_a_user_that_may_only_read(guarded: MongoServer) -> None:
    owner, reader = (
        on(guarded.url_of("cases"), user=f"{name}:{SECRET}@", authSource="cases") for name in ("owner", "reader")
    )
    assert "lacks privileges" in await refusal(reader, auto_migrate=True)
    backend = create_backend(owner)
    assert isinstance(backend, MongoBackend)
    await backend.upgrade()
    case = Case()
    async with opened(owner) as store:
        await case.apply(store)
    assert "lacks privileges; grant it the role readWrite" in await refusal(reader)
    async with opened(reader, read_only=True) as store:
        assert await store.get("investigation", case.id) == case.row
        with pytest.raises(BackendUnavailable, match="opened with read_only"):
            await store.claim("x", "me", ttl=1)


@pytest.mark.parametrize("code", [13, 10107])
async def test_privileges_and_read_only_members_are_looked_at(mongo_store: str, code: int) -> None:
    with failing(mongo_store, "update", errorCode=code):
        message = await refusal(mongo_store, connect_timeout=2)
    assert ("grant it the role readWrite" if code == 13 else "not the primary, or is read-only") in message


# ---------------------------------------------------------------- the schema


@pytest.fixture
def empty(mongo_url: str) -> Iterator[str]:
    """The URL of a database that is not there."""
    name = f"{urllib.parse.urlsplit(mongo_url).path[1:]}_empty"
    yield urllib.parse.urlsplit(mongo_url)._replace(path=f"/{name}").geturl()
    raw(mongo_url).client.drop_database(name)


async def test_an_empty_database_is_not_made_unasked(empty: str) -> None:
    message = await refusal(empty, SchemaMismatch)
    assert "has no collections of the SDK yet; run: investigate db upgrade --db 'mongodb://" in message
    assert "auto_migrate=True" in message
    assert raw(empty).list_collection_names() == []


async def test_auto_migrate_makes_it(empty: str) -> None:
    async with opened(empty, auto_migrate=True) as backend:
        await Case().apply(backend)
        assert set(raw(empty).list_collection_names()) == {*ALL_COLLECTIONS, SCHEMA}
        for name, indexes in INDEXES.items():
            assert {index.name for index in indexes} <= set(raw(empty)[name].index_information())
        assert await backend.current_revision() == backend.head_revision() == REVISIONS[-1]
        assert await backend.check_schema() == []
    async with opened(empty):
        pass


async def test_many_upgrade_at_once(empty: str) -> None:
    backends = [create_backend(empty, {"driver": DRIVERS[n % 2]}) for n in range(6)]
    assert all(isinstance(backend, MigratingBackend) for backend in backends)
    await asyncio.gather(*(backend.upgrade() for backend in backends if isinstance(backend, MigratingBackend)))
    async with opened(empty) as backend:
        assert await backend.check_schema() == []


async def test_an_upgrade_that_was_killed_is_done_again(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def half(client: Any) -> None:
        await client.make_collection(COMMITS)
        raise RuntimeError("killed")

    monkeypatch.setattr(migrations, "MIGRATIONS", {"0001": half})
    monkeypatch.setattr("investigation_backends.mongodb.opening.MIGRATIONS", {"0001": half})
    with pytest.raises(BackendUnavailable):
        await MongoBackend(empty).upgrade()
    monkeypatch.undo()
    assert "run: investigate db upgrade" in await refusal(empty, SchemaMismatch)
    async with opened(empty, auto_migrate=True) as backend:
        assert await backend.check_schema() == []


async def test_somebody_else_s_collections(empty: str) -> None:
    raw(empty)["investigations"].insert_one({"case": 1})
    for options in ({}, {"auto_migrate": True}):
        message = await refusal(empty, SchemaMismatch, **options)
        assert "has collections named investigations, but no revision of the SDK's schema" in message
        assert "Name another database" in message
    with pytest.raises(SchemaMismatch, match="somebody else's"):
        await MongoBackend(empty).upgrade()
    assert raw(empty)["investigations"].count_documents({}) == 1
    assert raw(empty).list_collection_names() == ["investigations"]


async def test_other_collections_are_left_alone(empty: str) -> None:
    raw(empty)["cases"].insert_one({"case": 1})
    async with opened(empty, auto_migrate=True) as backend:
        await Case().apply(backend)
    assert raw(empty)["cases"].count_documents({}) == 1


async def test_newer_and_older_schemas(empty: str) -> None:
    backend = MongoBackend(empty)
    await backend.upgrade()
    raw(empty)[SCHEMA].update_one({}, {"$set": {"revision": "9999"}})
    for options in ({}, {"auto_migrate": True}):
        message = await refusal(empty, SchemaMismatch, **options)
        assert "has schema 9999, which is newer than this version's" in message
        assert "upgrade investigation-sdk" in message
    with pytest.raises(SchemaMismatch, match="newer"):
        await backend.upgrade()
    with pytest.raises(SchemaMismatch, match="newer"):
        await backend.check_schema()
    assert raw(empty)[SCHEMA].find_one()["revision"] == "9999"
    raw(empty)[SCHEMA].update_one({}, {"$set": {"revision": "ae10f2c4b7"}})
    message = await refusal(empty, SchemaMismatch)
    assert f"a collection named {SCHEMA} in which no version of the SDK wrote 'ae10f2c4b7'" in message
    assert "Name another database" in message


async def test_differences_are_named(empty: str) -> None:
    backend = MongoBackend(empty)
    assert await backend.check_schema() == [f"the schema is not there, this version works with {REVISIONS[-1]}"]
    assert await backend.current_revision() is None
    await backend.upgrade()
    raw(empty)[COMMITS].drop_index("log")
    raw(empty)["tool_executions"].drop_index("status")
    raw(empty)["tool_executions"].create_index("status", name="status")
    raw(empty)["investigation_phases"].drop()
    assert list(await backend.check_schema()) == [
        "collection investigation_phases is missing",
        "index tool_executions.status has other keys or options",
        f"index {COMMITS}.log is missing",
    ]


def test_both_schemes_are_known() -> None:
    assert {BACKENDS[scheme].extra for scheme in ("mongodb", "mongodb+srv")} == {"mongo"}


async def test_closed_means_closed(mongo_store: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    backend = create_backend(mongo_store)
    with pytest.raises(BackendUnavailable, match="is closed; open it first"):
        await backend.get("investigation", "x")
    await backend.open()
    await backend.close()
    with pytest.raises(BackendUnavailable, match="is closed"):
        await backend.claim("x", "me", ttl=1)
    assert not caplog.records
