"""A MongoDB server behind a network that fails: nothing acknowledged is lost, and nothing is there twice."""

import asyncio
import contextlib
import threading
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandListener

from investigation_backends.mongo import MongoBackend
from investigation_sdk import InvestigationSDK, NotRecorded, ToolState, tool
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.backend import CommitNotApplied, CommitUnknown
from investigation_sdk.storage.commit import APPLIED, CONFLICT, Query
from investigation_sdk.testing._contract.building import blob
from investigation_sdk.testing.contract import Case
from investigation_sdk.testing.proxy import FaultProxy
from investigation_sdk.testing.servers import MongoServer, ServerMissing
from tests.backends.going_on import goes_on_while_its_server_is_away, lookup
from tests.backends.mongo.rig import failing, opened

pytestmark = pytest.mark.server


@pytest.fixture
def proxy(mongo_store: str) -> Iterator[FaultProxy]:
    place = urllib.parse.urlsplit(mongo_store)
    with FaultProxy(place.hostname or "", place.port or 0) as proxy:
        yield proxy


@pytest.fixture
def url(proxy: FaultProxy, mongo_store: str) -> str:
    """The database, by way of the proxy: a replica set's members would be found, and asked, without it."""
    parts = urllib.parse.urlsplit(mongo_store)
    return f"mongodb://127.0.0.1:{proxy.port}{parts.path}?directConnection=true&heartbeatFrequencyMS=500"


async def held_up(case: Case, url: str) -> None:
    """The log in the database is exactly what this case knows."""
    async with opened(url) as direct:
        assert list(await direct.read_events(case.id)) == case.events
        assert await direct.get("investigation", case.id) == case.row


@pytest.mark.parametrize("forward", [True, False], ids=["after the server got it", "before"])
async def test_cut_at_the_insert(url: str, mongo_store: str, proxy: FaultProxy, *, forward: bool) -> None:
    async with opened(url, connect_timeout=5.0) as backend:
        case = Case()
        await case.apply(backend)
        commit = case.commit("needle")
        proxy.cut_when(b"needle", forward=forward)
        results = []
        with contextlib.suppress(CommitUnknown, CommitNotApplied):
            results = list(await backend.commit([commit]))
        assert proxy.was_cut()
        if results != [APPLIED]:  # the driver did not try again by itself
            assert list(await backend.commit([commit])) in ([APPLIED], [CONFLICT])
        case.moved(commit)
        await held_up(case, mongo_store)


async def test_a_black_hole_ends_in_its_time(url: str, mongo_store: str, proxy: FaultProxy) -> None:
    async with opened(url, connect_timeout=1.0, command_timeout=1.0) as backend:
        case = Case()
        await case.apply(backend)
        commit = case.commit()
        proxy.black_hole()
        started = time.monotonic()
        with pytest.raises((CommitUnknown, CommitNotApplied)):
            await backend.commit([commit])
        with pytest.raises(BackendUnavailable):
            await backend.get("investigation", case.id)
        assert time.monotonic() - started < 30
        proxy.cut_all()
        proxy.restore()
        assert list(await backend.commit([commit])) in ([APPLIED], [CONFLICT])
        case.moved(commit)
        await held_up(case, mongo_store)


async def test_a_server_that_refuses_is_not_applied(url: str, mongo_store: str, proxy: FaultProxy) -> None:
    async with opened(url, connect_timeout=1.0) as backend:
        case = Case()
        await case.apply(backend)
        proxy.refuse()
        proxy.cut_all()
        with pytest.raises((CommitNotApplied, CommitUnknown)):
            await backend.commit([case.commit("never to be seen")])
        proxy.restore()
        await case.apply(backend)
        await held_up(case, mongo_store)


async def test_latency_is_only_slow(url: str, proxy: FaultProxy) -> None:
    async with opened(url) as backend:
        proxy.delay(0.05)
        case = Case()
        await case.apply(backend)
        assert await backend.get("investigation", case.id) == case.row


async def test_a_slow_server_is_waited_for_no_longer_than_stated(url: str, mongo_store: str, proxy: FaultProxy) -> None:
    """Each answer comes in time, and all that a call asks for does not."""
    async with opened(url, command_timeout=1.0) as backend:
        await Case().apply(backend)
        proxy.delay(0.6)
        with pytest.raises(BackendUnavailable, match=r"has not answered in 1 seconds \(command_timeout\)"):
            await backend.find(Query("investigation"))
        case = Case()
        commit = case.commit(blobs=[blob(b"1")])
        with pytest.raises(CommitUnknown, match=r"has not answered in 1 seconds"):
            await backend.commit([commit])
        proxy.restore()
        results = list(await backend.commit([commit]))
        assert results in ([APPLIED], [CONFLICT])
        case.moved(commit)
        await held_up(case, mongo_store)


def test_an_agent_that_goes_on_while_its_server_is_away(url: str, proxy: FaultProxy) -> None:
    goes_on_while_its_server_is_away(url, proxy)


# ---------------------------------------------------------------- the server is killed


@pytest.fixture(scope="module")
def mortal() -> Iterator[MongoServer]:
    """A server of this module's own: it is killed."""
    try:
        server = MongoServer()
    except ServerMissing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.fixture
def place(mortal: MongoServer, request: pytest.FixtureRequest) -> str:
    """The URL of a store of its own there."""
    url = f"{mortal.url_of(request.node.originalname)}&heartbeatFrequencyMS=500"
    asyncio.run(MongoBackend(url).upgrade())
    return url


SHORT = {"command_timeout": 5.0, "connect_timeout": 1.0}


def all_is_there(sdk: InvestigationSDK, id: str, numbers: range) -> None:
    """Each call is in the log once, in order, and the chain holds."""
    assert sdk.sync.flush(60) == 0
    calls = sdk.sync.tools(id, limit=1000)
    assert [call.input_parameters["n"] for call in calls] == list(numbers)
    assert {call.status for call in calls} == {ToolState.COMPLETED}
    sequences = [event.sequence for event in sdk.sync.iter_events(id)]
    assert sequences == list(range(1, len(sequences) + 1))
    report = sdk.sync.verify(id)
    assert report.ok, report.problems


def test_killed_in_the_middle_of_an_investigation(mortal: MongoServer, place: str) -> None:
    """It is killed while others write, and comes back: the agent goes on, and what was acknowledged is there."""
    ended = threading.Event()
    others: list[str] = []

    def write(sdk: InvestigationSDK) -> None:
        with sdk.investigation("another one") as run:
            others.append(run.id)
            while not ended.wait(0.002):
                lookup(0)

    with InvestigationSDK(place, backend_options=SHORT, on_store_failure="continue") as sdk:
        sdk._recorder._writer._patience = 1.0
        writer = threading.Thread(target=write, args=(sdk,))
        with sdk.investigation("killed") as run:
            writer.start()
            for n in range(60):
                if n in (20, 40):
                    mortal.kill()
                if n in (30, 50):
                    mortal.start()
                    assert sdk.sync.flush(60) == 0
                assert lookup(n) == 2 * n
        ended.set()
        writer.join(60)
        assert not writer.is_alive()
        all_is_there(sdk, run.id, range(60))
        assert sdk.sync.verify(others[0]).ok
    with InvestigationSDK(place) as again:
        all_is_there(again, run.id, range(60))
        assert again.sync.get(run.id).status == "completed"


def test_killed_in_the_middle_and_gone_on_with(mortal: MongoServer, place: str) -> None:
    """With ``raise``, the call is told in time; whoever opens it again is given back what was recorded."""
    ran: list[int] = []

    @tool
    def look(n: int) -> int:
        ran.append(n)
        return n

    with InvestigationSDK(place, backend_options=SHORT) as sdk:
        sdk._recorder._writer._patience = 1.0
        started = time.monotonic()
        with pytest.raises(NotRecorded) as stopped, sdk.investigation("killed", key="k"):
            for n in range(20):
                if n == 10:
                    mortal.kill()
                look(n)
        assert time.monotonic() - started < 30
        assert stopped.value.value == 10
        assert ran == list(range(11))
        mortal.start()
        assert sdk.sync.flush(60) == 0
        with sdk.investigation("killed", key="k") as run:
            for n in range(20):
                assert look(n) == n
        assert ran == list(range(20)), "each ran once"
        all_is_there(sdk, run.id, range(20))


# ---------------------------------------------------------------- no connection is left


@contextlib.contextmanager
def readers(sdk: InvestigationSDK, count: int) -> Iterator[None]:
    """So many threads read all the time."""
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            with contextlib.suppress(BackendUnavailable):
                sdk.sync.list(limit=1)

    threads = [threading.Thread(target=read) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)


class Finding(CommandListener):
    """Tells when a find was sent."""

    def __init__(self) -> None:
        self.sent = threading.Event()

    def started(self, event: Any) -> None:
        if event.command_name == "find":
            self.sent.set()

    def succeeded(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        pass


async def test_a_pool_that_is_exhausted_says_so(mongo_store: str) -> None:
    finding = Finding()

    def client(url: str, **options: Any) -> Any:
        return AsyncMongoClient(url, event_listeners=[finding], **options)

    backend = MongoBackend(mongo_store, client=client, pool_size=1, pool_timeout=0.2, janitor_interval=0)
    async with contextlib.AsyncExitStack() as stack:
        await backend.open()
        stack.push_async_callback(backend.close)
        case = Case()
        await case.apply(backend)
        commit = case.commit()
        with failing(mongo_store, "find", blockConnection=True, blockTimeMS=2000):
            finding.sent.clear()
            slow = asyncio.create_task(backend.read_events(case.id))
            async with asyncio.timeout(60):
                await asyncio.to_thread(finding.sent.wait, 60)
            with pytest.raises(CommitNotApplied, match="all connections are in use; raise pool_size"):
                await backend.commit([commit])
            with pytest.raises(BackendUnavailable, match="all connections are in use; raise pool_size"):
                await backend.get("investigation", case.id)
            assert not slow.done(), "it waited for the slow one"
            await slow
        assert list(await backend.commit([commit])) == [APPLIED]
        case.moved(commit)
        await held_up(case, mongo_store)


@pytest.mark.parametrize("policy", ["raise", "continue"])
def test_no_connection_is_left(mongo_store: str, policy: str) -> None:
    options = {"pool_size": 2, "pool_timeout": 0.1}
    with InvestigationSDK(mongo_store, backend_options=options, on_store_failure=policy) as sdk:  # type: ignore[arg-type]
        sdk._recorder._writer._patience = 0.5
        stops = contextlib.suppress(NotRecorded) if policy == "raise" else contextlib.nullcontext()
        with stops, sdk.investigation("crowded") as run:
            assert lookup(0) == 0
            started = time.monotonic()
            with failing(mongo_store, "find", "aggregate", blockConnection=True, blockTimeMS=400), readers(sdk, 12):
                for n in range(1, 10):
                    assert lookup(n) == 2 * n
            assert time.monotonic() - started < 60
        recorded = len(sdk.sync.tools(run.id, limit=1000))
        all_is_there(sdk, run.id, range(recorded if policy == "raise" else 10))
