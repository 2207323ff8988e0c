"""A PostgreSQL server behind a network that fails: nothing acknowledged is lost, and nothing is there twice."""

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_sdk import InvestigationSDK, NotRecorded, ToolState, tool
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.backend import CommitNotApplied, CommitUnknown
from investigation_sdk.storage.commit import APPLIED, CONFLICT
from investigation_sdk.testing.contract import Case
from investigation_sdk.testing.proxy import FaultProxy
from investigation_sdk.testing.servers import PostgresServer
from tests.backends.going_on import goes_on_while_its_server_is_away, lookup


@pytest.fixture
def url(proxy: FaultProxy, mortal_database: str) -> str:
    """The database, by way of the proxy."""
    return f"postgresql://postgres:hunter2@127.0.0.1:{proxy.port}/{mortal_database}"


async def opened(url: str, **options: Any) -> PostgresBackend:
    backend = PostgresBackend(url, **options)
    await backend.open()
    return backend


async def held_up(case: Case, server: PostgresServer, mortal_database: str) -> None:
    """The log in the database is exactly what this case knows."""
    direct = await opened(server.url_of(mortal_database))
    assert list(await direct.read_events(case.id)) == case.events
    assert await direct.get("investigation", case.id) == case.row
    await direct.close()


# ---------------------------------------------------------------- cut while it commits


@pytest.mark.parametrize("forward", [True, False], ids=["after the server got it", "before"])
async def test_cut_at_commit(
    url: str, proxy: FaultProxy, server: PostgresServer, mortal_database: str, *, forward: bool
) -> None:
    backend = await opened(url)
    case = Case()
    commit = case.commit("a", "b", rows=[case.tool()])
    proxy.cut_when(b"COMMIT\0", forward=forward)
    with pytest.raises(CommitUnknown, match="the connection was cut") as caught:
        await backend.commit([commit])
    assert "hunter2" not in str(caught.value)
    assert proxy.was_cut()
    assert list(await backend.commit([commit])) == [CONFLICT if forward else APPLIED]
    case.moved(commit)
    await held_up(case, server, mortal_database)
    await backend.close()


@pytest.mark.parametrize("forward", [True, False], ids=["after the server got it", "before"])
async def test_cut_while_a_batch_is_sent(
    url: str, proxy: FaultProxy, server: PostgresServer, mortal_database: str, *, forward: bool
) -> None:
    backend = await opened(url)
    cases = [Case(), Case()]
    for case in cases:
        await case.apply(backend)
    commits = [case.commit("a", rows=[case.tool(tool_name="needle")]) for case in cases]
    proxy.cut_when(b"needle", forward=forward)
    with pytest.raises(CommitUnknown):
        await backend.commit(commits)
    assert proxy.was_cut()
    assert list(await backend.commit(commits)) == [CONFLICT if forward else APPLIED] * 2
    for case, commit in zip(cases, commits, strict=True):
        case.moved(commit)
        await held_up(case, server, mortal_database)
    await backend.close()


async def test_cut_before_the_transaction_ends_is_tried_again_at_once(
    url: str, proxy: FaultProxy, server: PostgresServer, mortal_database: str
) -> None:
    backend = await opened(url)
    case = Case()
    commit = case.commit("a", rows=[case.tool(tool_name="needle")])
    proxy.cut_when(b"needle", forward=True)
    assert list(await backend.commit([commit])) == [APPLIED], "nothing was committed, so it can be done again"
    assert proxy.was_cut()
    case.moved(commit)
    await held_up(case, server, mortal_database)
    await backend.close()


@pytest.mark.parametrize("forward", [True, False], ids=["after the server got it", "before"])
async def test_a_deletion_whose_answer_was_lost_is_told_rightly(
    url: str, proxy: FaultProxy, server: PostgresServer, mortal_database: str, *, forward: bool
) -> None:
    backend = await opened(url)
    case, gone = Case(), Case()
    for one in (case, gone):
        await one.apply(backend)
    assert await backend.delete([(gone.id, gone.row.version)]) == 1
    server.sql(
        "UPDATE investigation_tombstones SET deleted_at = deleted_at - interval '1 hour'", database=mortal_database
    )
    for asked, count in ((case, 1), (gone, 0)):
        proxy.cut_when(uuid.UUID(asked.id).bytes, forward=forward)
        assert await backend.delete([(asked.id, asked.row.version)]) == count
        assert proxy.was_cut()
        assert await backend.get("investigation", asked.id) is None
    await backend.close()


@pytest.mark.parametrize("forward", [True, False], ids=["after the server got it", "before"])
async def test_a_lease_that_is_given_up_in_a_call_whose_answer_was_lost(
    url: str, proxy: FaultProxy, server: PostgresServer, mortal_database: str, *, forward: bool
) -> None:
    direct = await opened(server.url_of(mortal_database))
    lease = await direct.claim("needle", "me", ttl=60_000_000)
    await direct.close()
    assert lease is not None
    backend = await opened(url)
    proxy.cut_when(b"needle", forward=forward)
    if forward:
        with pytest.raises(BackendUnavailable, match="nobody can tell whether this call made it so"):
            await backend.release(lease)
    else:
        assert await backend.release(lease) is True
    assert proxy.was_cut()
    assert await backend.holder("needle") is None
    assert await backend.release(lease) is False
    await backend.close()


async def test_cut_between_two_calls(url: str, proxy: FaultProxy, server: PostgresServer, mortal_database: str) -> None:
    backend = await opened(url)
    case = Case()
    for _ in range(5):
        await case.apply(backend)
        proxy.cut_all()
        await asyncio.sleep(0.02)
        assert await backend.get("investigation", case.id) == case.row
    await held_up(case, server, mortal_database)
    await backend.close()


# ---------------------------------------------------------------- a server that is away


async def test_a_black_hole_ends_in_its_time(
    url: str, proxy: FaultProxy, server: PostgresServer, mortal_database: str
) -> None:
    backend = await opened(url, command_timeout=1.0, connect_timeout=1.0)
    case = Case()
    await case.apply(backend)
    commit = case.commit()
    proxy.black_hole()
    started = time.monotonic()
    with pytest.raises(CommitUnknown, match="the server did not answer in time"):
        await backend.commit([commit])
    with pytest.raises(BackendUnavailable, match=r"did not answer in time|connect_timeout"):
        await backend.get("investigation", case.id)
    assert time.monotonic() - started < 30
    proxy.restore()
    results = list(await backend.commit([commit]))
    assert results in ([APPLIED], [CONFLICT])
    case.moved(commit)
    await held_up(case, server, mortal_database)
    await backend.close()


async def test_a_black_hole_before_a_transaction_is_committed_is_not_applied(url: str, proxy: FaultProxy) -> None:
    backend = await opened(url, command_timeout=1.0, connect_timeout=1.0)
    await Case().apply(backend)
    case = Case()
    proxy.black_hole()
    with pytest.raises(CommitNotApplied, match="the server did not answer in time"):
        await backend.commit([case.commit()])
    proxy.restore()
    await case.apply(backend)
    await backend.close()


async def test_a_server_that_refuses_is_not_applied(url: str, proxy: FaultProxy) -> None:
    backend = await opened(url, connect_timeout=2.0)
    case = Case()
    await case.apply(backend)
    proxy.refuse()
    proxy.cut_all()
    await asyncio.sleep(0.05)
    with pytest.raises(CommitNotApplied) as caught:
        await backend.commit([case.commit()])
    assert "hunter2" not in str(caught.value)
    with pytest.raises(BackendUnavailable):
        await backend.get("investigation", case.id)
    proxy.restore()
    await case.apply(backend)
    await backend.close()


async def test_latency_is_only_slow(url: str, proxy: FaultProxy) -> None:
    backend = await opened(url)
    proxy.delay(0.05)
    case = Case()
    await case.apply(backend)
    assert await backend.get("investigation", case.id) == case.row
    await backend.close()


async def test_a_slow_server_is_waited_for_no_longer_than_stated(url: str, proxy: FaultProxy) -> None:
    """Each answer comes in time, and all that a call asks for does not."""
    backend = await opened(url, command_timeout=1.0)
    await Case().apply(backend)
    proxy.delay(0.4)
    case = Case()
    with pytest.raises(CommitNotApplied, match="did not answer in time"):
        await backend.commit([case.commit()])
    proxy.restore()
    await case.apply(backend)
    await backend.close()


async def test_a_server_that_is_killed_and_comes_back(server: PostgresServer, mortal_database: str) -> None:
    backend = await opened(server.url_of(mortal_database), connect_timeout=2.0)
    case = Case()
    for _ in range(3):
        await case.apply(backend)
        server.kill()
        commit = case.commit()
        with pytest.raises((CommitUnknown, CommitNotApplied)):
            await backend.commit([commit])
        server.start()
        results = list(await backend.commit([commit]))
        assert results == [APPLIED]
        case.moved(commit)
    await held_up(case, server, mortal_database)
    await backend.close()


# ---------------------------------------------------------------- all the way from a tool


def test_an_investigation_through_a_network_that_is_cut_all_the_time(url: str, proxy: FaultProxy) -> None:
    ended = threading.Event()

    def cut() -> None:
        patterns = [b"COMMIT\0", b"needle", b"tool.completed"]
        n = 0
        while not ended.wait(0.03):
            n += 1
            if n % 3:
                proxy.cut_when(patterns[n % len(patterns)], forward=bool(n % 2))
            else:
                proxy.cut_all()

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        with InvestigationSDK(url) as sdk:
            with sdk.investigation("a rough day") as run:
                for n in range(150):
                    assert lookup(n) == 2 * n
            ended.set()
            cutter.join()
            proxy.restore()
            report = sdk.sync.verify(run.id)
            assert report.ok, report.problems
            calls = sdk.sync.tools(run.id, limit=1000)
            assert [call.output_result for call in calls] == [2 * n for n in range(150)]
            assert {call.status for call in calls} == {"completed"}
    finally:
        ended.set()
        cutter.join()


@pytest.mark.server
def test_a_call_into_a_black_hole_is_told_and_written_later(url: str, proxy: FaultProxy) -> None:
    with InvestigationSDK(url, backend_options={"command_timeout": 1.0, "connect_timeout": 1.0}) as sdk:
        sdk._recorder._writer._patience = 1.5
        with pytest.raises(NotRecorded) as caught, sdk.investigation("a hole") as run:
            lookup(1)
            proxy.black_hole()
            lookup(2)
        assert caught.value.value == 4
        assert "hunter2" not in str(caught.value)
        proxy.restore()
        sdk.sync.flush()
        assert [call.output_result for call in sdk.sync.tools(run.id)] == [2, 4]
        assert sdk.sync.verify(run.id).ok


@pytest.mark.server
def test_an_agent_that_goes_on_while_its_server_is_away(url: str, proxy: FaultProxy) -> None:
    goes_on_while_its_server_is_away(url, proxy)


# ---------------------------------------------------------------- no connection is left


_OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'investigation_sdk'"


@contextlib.asynccontextmanager
async def crowd(server: PostgresServer, mortal_database: str, proxy: FaultProxy) -> AsyncIterator[None]:
    """Ours are cut, and others hold every connection that the server has."""
    held: list[Any] = [await asyncpg.connect(server.url_of(mortal_database))]
    try:
        proxy.refuse()
        proxy.cut_all()
        async with asyncio.timeout(60):
            while await held[0].fetchval(_OURS):  # noqa: ASYNC110 - it comes true in the server
                await asyncio.sleep(0.02)
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while True:
                held.append(await asyncpg.connect(server.url_of(mortal_database)))
        proxy.restore()
        yield
    finally:
        await asyncio.gather(*(connection.close() for connection in held))


@tool
async def look(n: int) -> int:
    return 2 * n


async def all_is_there(sdk: InvestigationSDK, id: str, count: int) -> None:
    """Each call is in the log once, in order, and the chain holds."""
    assert await sdk.flush(60) == 0
    calls = await sdk.tools(id, limit=1000)
    assert [call.output_result for call in calls] == [2 * n for n in range(count)]
    assert {call.status for call in calls} == {ToolState.COMPLETED}
    report = await sdk.verify(id)
    assert report.ok, report.problems


@pytest.mark.server
async def test_no_connection_is_left(
    url: str, proxy: FaultProxy, server: PostgresServer, mortal_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"connect_timeout": 5.0}
    async with InvestigationSDK(url, backend_options=options, on_store_failure="continue") as sdk:
        sdk._recorder._writer._patience = 0.5
        async with sdk.investigation("crowded") as run:
            assert await look(0) == 0
            async with crowd(server, mortal_database, proxy), asyncio.timeout(60):
                for n in range(1, 20):
                    assert await look(n) == 2 * n
                assert "goes on" in caplog.text
                with pytest.raises(BackendUnavailable, match="no connection left; make pool_size smaller"):
                    await sdk.get(run.id)
            assert await sdk.flush(60) == 0
            assert await look(20) == 40
        await all_is_there(sdk, run.id, 21)


@pytest.mark.server
async def test_who_waits_for_a_server_without_a_connection_is_told_in_time(
    url: str, proxy: FaultProxy, server: PostgresServer, mortal_database: str
) -> None:
    async with InvestigationSDK(url, backend_options={"connect_timeout": 5.0}) as sdk:
        sdk._recorder._writer._patience = 0.5
        with pytest.raises(NotRecorded, match="no connection left") as stopped:
            async with sdk.investigation("crowded") as run:
                await look(0)
                async with crowd(server, mortal_database, proxy), asyncio.timeout(60):
                    await look(1)
        assert stopped.value.value == 2
        await all_is_there(sdk, run.id, 2)


@pytest.mark.server
async def test_readers_that_hold_every_connection_do_not_hold_up_the_agent(
    server: PostgresServer, mortal_database: str
) -> None:
    """What commits has a connection of its own; who reads is told in time that the pool is exhausted."""
    options = {"pool_size": 1, "max_overflow": 1, "pool_timeout": 0.3}
    raw: Any = await asyncpg.connect(server.url_of(mortal_database))
    async with InvestigationSDK(server.url_of(mortal_database), backend_options=options) as sdk:
        async with sdk.investigation("crowded") as run, asyncio.timeout(60):
            assert await look(0) == 0
            await raw.execute("BEGIN; LOCK TABLE investigation_snapshots")
            backend = sdk._recorder.backend
            waiting = [asyncio.create_task(sdk._recorder.acall(backend.read_snapshot(run.id))) for _ in range(2)]
            refused = None
            while refused is None:
                try:
                    await sdk.get(run.id)
                except BackendUnavailable as error:
                    refused = error
            assert "all 2 connections are in use for 0.3 seconds; make pool_size or max_overflow larger" in str(refused)
            for n in range(1, 20):
                assert await look(n) == 2 * n
            await raw.execute("ROLLBACK")
            await asyncio.gather(*waiting)
        await all_is_there(sdk, run.id, 20)
    await raw.close()
