"""A PostgreSQL server behind a network that fails: nothing acknowledged is lost, and nothing is there twice."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_sdk import InvestigationSDK, NotRecorded, tool
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.backend import CommitNotApplied, CommitUnknown
from investigation_sdk.storage.commit import APPLIED, CONFLICT
from investigation_sdk.testing.contract import Case
from investigation_sdk.testing.proxy import FaultProxy
from investigation_sdk.testing.servers import PostgresServer, ServerMissing


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this module's own: it is killed."""
    try:
        server = PostgresServer(durable=True)
    except ServerMissing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", server.port) as proxy:
        yield proxy


@pytest.fixture
def database(server: PostgresServer) -> Iterator[str]:
    name = server.create_database()
    asyncio.run(PostgresBackend(server.url_of(name)).upgrade())
    yield name
    server.drop_database(name)


@pytest.fixture
def url(proxy: FaultProxy, database: str) -> str:
    """The database, by way of the proxy."""
    return f"postgresql://postgres:hunter2@127.0.0.1:{proxy.port}/{database}"


async def opened(url: str, **options: Any) -> PostgresBackend:
    backend = PostgresBackend(url, **options)
    await backend.open()
    return backend


async def held_up(case: Case, server: PostgresServer, database: str) -> None:
    """The log in the database is exactly what this case knows."""
    direct = await opened(server.url_of(database))
    assert list(await direct.read_events(case.id)) == case.events
    assert await direct.get("investigation", case.id) == case.row
    await direct.close()


# ---------------------------------------------------------------- cut while it commits


@pytest.mark.parametrize("forward", [True, False], ids=["after the server got it", "before"])
async def test_cut_at_commit(
    url: str, proxy: FaultProxy, server: PostgresServer, database: str, *, forward: bool
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
    await held_up(case, server, database)
    await backend.close()


@pytest.mark.parametrize("forward", [True, False], ids=["after the server got it", "before"])
async def test_cut_while_a_batch_is_sent(
    url: str, proxy: FaultProxy, server: PostgresServer, database: str, *, forward: bool
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
        await held_up(case, server, database)
    await backend.close()


async def test_cut_before_the_transaction_ends_is_tried_again_at_once(
    url: str, proxy: FaultProxy, server: PostgresServer, database: str
) -> None:
    backend = await opened(url)
    case = Case()
    commit = case.commit("a", rows=[case.tool(tool_name="needle")])
    proxy.cut_when(b"needle", forward=True)
    assert list(await backend.commit([commit])) == [APPLIED], "nothing was committed, so it can be done again"
    assert proxy.was_cut()
    case.moved(commit)
    await held_up(case, server, database)
    await backend.close()


async def test_cut_between_two_calls(url: str, proxy: FaultProxy, server: PostgresServer, database: str) -> None:
    backend = await opened(url)
    case = Case()
    for _ in range(5):
        await case.apply(backend)
        proxy.cut_all()
        await asyncio.sleep(0.02)
        assert await backend.get("investigation", case.id) == case.row
    await held_up(case, server, database)
    await backend.close()


# ---------------------------------------------------------------- a server that is away


async def test_a_black_hole_ends_in_its_time(
    url: str, proxy: FaultProxy, server: PostgresServer, database: str
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
    await held_up(case, server, database)
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


async def test_a_server_that_is_killed_and_comes_back(server: PostgresServer, database: str) -> None:
    backend = await opened(server.url_of(database), connect_timeout=2.0)
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
    await held_up(case, server, database)
    await backend.close()


# ---------------------------------------------------------------- all the way from a tool


@tool
def lookup(n: int) -> int:
    return 2 * n


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
    options = {"command_timeout": 1.0, "connect_timeout": 1.0}
    with InvestigationSDK(url, backend_options=options, on_store_failure="continue") as sdk:
        sdk._recorder._writer._patience = 1.5
        with sdk.investigation("a hole") as run:
            assert lookup(0) == 0
            proxy.black_hole()
            for n in range(1, 20):
                assert lookup(n) == 2 * n
            proxy.cut_all()
            proxy.restore()
            for n in range(20, 30):
                assert lookup(n) == 2 * n
        assert sdk.sync.flush(30) == 0
        assert [call.output_result for call in sdk.sync.tools(run.id)] == [2 * n for n in range(30)]
        assert sdk.sync.get(run.id).status == "completed"
        assert sdk.sync.verify(run.id).ok
