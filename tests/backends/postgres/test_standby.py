"""A hot standby: looked at with read_only, refused otherwise."""

import asyncio
import shutil
import time
from collections.abc import Iterator

import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_backends.sql.names import REVISIONS
from investigation_sdk import InvestigationSDK, ToolState, tool
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.backend import StoreFailure
from investigation_sdk.testing.contract import Case
from investigation_sdk.testing.servers import PostgresServer, ServerMissing
from tests.backends.postgres.rig import refused

pytestmark = pytest.mark.server


class Standby(PostgresServer):
    """A server that follows another one, and can be read meanwhile."""

    def __init__(self, primary: PostgresServer) -> None:
        super().__init__(settings={"hot_standby": "on"})
        self._primary = primary

    def prepare(self) -> None:
        super().prepare()
        data = self.folder / "data"
        shutil.rmtree(data)
        place = ["-h", "127.0.0.1", "-p", str(self._primary.port), "-U", "postgres"]
        self.run(self._binaries / "pg_basebackup", "-D", data, *place, "-R", "-X", "stream", "-c", "fast", "--no-sync")


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    try:
        server = PostgresServer(settings={"wal_level": "replica", "max_wal_senders": "4"})
    except ServerMissing as missing:
        pytest.skip(str(missing))
    with server:
        asyncio.run(PostgresBackend(server.url).upgrade())
        yield server


@pytest.fixture(scope="module")
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    with Standby(primary) as server:
        assert server.sql("SELECT pg_is_in_recovery()") == "t"
        yield server


def caught_up(primary: PostgresServer, standby: PostgresServer) -> None:
    """Wait until the standby has all that the primary has."""
    wanted = primary.sql("SELECT pg_current_wal_insert_lsn()")
    until = time.monotonic() + 60
    while standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{wanted}'") != "t":
        assert time.monotonic() < until, "the standby does not catch up"
        time.sleep(0.02)


@tool
def look(n: int) -> int:
    return 2 * n


def test_a_standby_is_looked_at(primary: PostgresServer, standby: PostgresServer) -> None:
    with InvestigationSDK(primary.url) as sdk, sdk.investigation("seen from afar") as run:
        for n in range(3):
            look(n)
    caught_up(primary, standby)
    with InvestigationSDK(standby.url, backend_options={"read_only": True}) as sdk:
        assert sdk.sync.get(run.id).status == "completed"
        assert [call.output_result for call in sdk.sync.tools(run.id, status=ToolState.COMPLETED)] == [0, 2, 4]
        assert run.id in [one.id for one in sdk.sync.list()]
        assert sdk.sync.verify(run.id).ok
        assert sdk.sync.check(run.id).ok
        with pytest.raises(BackendUnavailable, match="opened with read_only"), sdk.investigation("never"):
            pass


async def test_a_standby_shows_what_comes_and_cannot_be_listened_to(
    primary: PostgresServer, standby: PostgresServer
) -> None:
    case = Case()
    backend = PostgresBackend(primary.url)
    await backend.open()
    await case.apply(backend)
    await asyncio.to_thread(caught_up, primary, standby)
    reading = PostgresBackend(standby.url, read_only=True)
    await reading.open()
    assert await reading.get("investigation", case.id) == case.row
    with pytest.raises(BackendUnavailable, match="it takes no writes: a standby"):
        await reading.listen(lambda _: None, lambda: None)
    await case.apply(backend)
    await asyncio.to_thread(caught_up, primary, standby)
    assert list(await reading.read_events(case.id)) == case.events
    for one in (backend, reading):
        await one.close()


async def test_a_standby_that_is_to_be_written_is_refused(standby: PostgresServer) -> None:
    for options in ({}, {"auto_migrate": True}):
        said = await refused(BackendUnavailable, standby.url, **options)
        assert "is a standby, which takes no writes; connect to the primary, or pass read_only=True" in said
    reading = PostgresBackend(standby.url, read_only=True)
    assert await reading.current_revision() == REVISIONS[-1]
    assert list(await reading.check_schema()) == []
    await reading.open()
    with pytest.raises(StoreFailure, match="opened with read_only"):
        await reading.commit([Case().commit()])
    await reading.close()
