"""A MongoDB server behind a network that fails: nothing acknowledged is lost, and nothing is there twice."""

import contextlib
import time
import urllib.parse
from collections.abc import Iterator

import pytest

from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.backend import CommitNotApplied, CommitUnknown
from investigation_sdk.storage.commit import APPLIED, CONFLICT
from investigation_sdk.testing.contract import Case
from investigation_sdk.testing.proxy import FaultProxy
from tests.backends.mongo_rig import opened

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


@tool
def lookup(n: int) -> int:
    return 2 * n


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
