"""States and progress in Redis: what one process read, others find; and nobody gets less than it was told of."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from investigation_sdk import ConfigurationError, InvestigationNotFound, InvestigationSDK, tool
from investigation_sdk.api import create_app
from investigation_sdk.engine.parts import Parts
from investigation_sdk.realtime import hub, redis_cache
from investigation_sdk.realtime.hints import Hint
from investigation_sdk.realtime.redis_states import SHORT
from investigation_sdk.testing.proxy import FaultProxy
from investigation_sdk.testing.servers import RedisServer

from .waiting import LONG, until

Make = Callable[..., InvestigationSDK]


@tool(effect="read")
def lookup(number: int) -> int:
    return number * 2


class Asked:
    """What a handle asks the store for, from now on."""

    def __init__(self, sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: list[str] = []
        for name in ("get", "find", "aggregate", "read_events"):
            monkeypatch.setattr(sdk._recorder.backend, name, self._counting(name, getattr(sdk._recorder.backend, name)))

    def _counting(self, name: str, ask: Any) -> Any:
        async def counting(*args: Any, **options: Any) -> Any:
            self.of.append(name)
            return await ask(*args, **options)

        return counting


@pytest.fixture
def sharing(sqlite_url: str, redis_url: str, make_sdk: Make) -> Callable[..., InvestigationSDK]:
    def make(**options: Any) -> InvestigationSDK:
        return make_sdk(sqlite_url, **{"redis": redis_url, "cache_states": "redis", **options})

    return make


async def new(sdk: InvestigationSDK) -> str:
    return (await sdk.service.create_investigation("gil", "account 42", "general", {}, queue=False)).id


async def listening(sdk: InvestigationSDK) -> None:
    with contextlib.suppress(InvestigationNotFound):
        await sdk.get("019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b7e")
    await until(lambda: sdk.hub.hears, "it hears")


async def is_kept(url: str, pattern: str, many: int) -> None:
    """Wait until so much is kept: nobody waits for that."""
    import redis.asyncio

    client: Any = redis.asyncio.Redis.from_url(url)
    try:

        async def there() -> bool:
            return len(await client.keys(pattern)) == many

        await until(there, f"{many} of {pattern} are kept")
    finally:
        await client.aclose()


@contextlib.asynccontextmanager
async def under_way(sdk: InvestigationSDK) -> AsyncIterator[str]:
    """An investigation that runs, with a phase and three calls."""
    async with sdk.investigation("account 42", user_id="gil") as run, run.phase("devices"):
        for number in range(3):
            lookup(number)
        await sdk.flush()
        yield run.id


async def test_what_one_has_read_another_finds(sharing: Make, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there, driver = sharing(), sharing(), sharing(cache_states=False)
    await listening(here)
    await listening(there)
    async with under_way(driver) as other, under_way(driver) as id:
        await here.progress(other)  # the history of the type, which is each process' own
        version = (await driver.get(id)).version
        for handle in (here, there):
            await until(lambda handle=handle: handle.hub.version_of(id) == version, "all is heard of")  # type: ignore[misc]
        record = await there.get(id)
        short, full = await there.progress(id, include_tools=False), await there.progress(id)
        await is_kept(redis_url, f"investigation:*:{id}", 3)
        asked = Asked(here, monkeypatch)
        assert await here.get(id) == record
        for known, found in ((short, await here.progress(id, include_tools=False)), (full, await here.progress(id))):
            assert found.phases[0]["tools_used"] == ["lookup"]
            assert {**known.model_dump(), **clocks(known)} == {**found.model_dump(), **clocks(known)}
        assert asked.of == [], "the store was asked"
        assert len(full.tool_executions) == 3
        lookup(4)  # one more: everybody is told, and asks again
        await driver.flush()
        await until(lambda: here.hub.version_of(id) > record.version, "it is told of more")
        assert (await here.progress(id)).tool_calls == 4
        assert "find" in asked.of


def clocks(progress: Any) -> dict[str, Any]:
    """What goes on with time alone."""
    return {name: getattr(progress, name) for name in ("elapsed_ms", "current_phase", "phases")}


async def test_who_comes_later_is_not_given_what_was_before(sharing: Make, sqlite_url: str, redis_url: str) -> None:
    """Something was kept, then changed by one who tells nobody; who began to listen later cannot have heard of it."""
    there, silent = sharing(), sharing(redis=None, cache_states=False)
    await listening(there)
    id = await new(silent)
    assert (await there.get(id)).status == "created"
    await is_kept(redis_url, f"investigation:state:*:{id}", 1)
    await silent.service.cancel(id)
    late = sharing()
    await listening(late)
    assert (await late.get(id)).status == "cancelled"


async def test_what_was_kept_before_a_gap_is_not_given_after_it(
    sharing: Make, sqlite_url: str, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy("127.0.0.1", redis_server.port) as proxy:
        sdk, silent = sharing(redis=f"redis://127.0.0.1:{proxy.port}/7"), sharing(redis=None, cache_states=False)
        id = await new(silent)
        await listening(sdk)
        monkeypatch.setattr("investigation_sdk.realtime.states.OLDEST_SECONDS", 3600.0)
        assert (await sdk.get(id)).status == "created"
        proxy.refuse()
        proxy.cut_all()
        await until(lambda: not sdk.hub.hears, "it knows that it is deaf")
        await silent.service.cancel(id)
        proxy.restore()
        await until(lambda: sdk.hub.hears, "it hears again")
        assert (await sdk.get(id)).status == "cancelled"


async def test_what_is_forgotten_is_not_taken_for_quiet(
    sharing: Make, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many versions are remembered. One that it was told of and has forgotten counts as told."""
    sdk, silent = sharing(), sharing(redis=None, cache_states=False)
    await listening(sdk)
    monkeypatch.setattr("investigation_sdk.realtime.states.OLDEST_SECONDS", 3600.0)
    monkeypatch.setattr(hub, "_REMEMBERED", 2)
    id = await new(silent)
    assert (await sdk.get(id)).status == "created"
    await silent.service.cancel(id)

    async def told(of: str, sequence: int) -> None:
        sdk.hub.heard(Hint(of, sequence))

    await sdk._recorder.acall(told(id, 2))
    for name in ("a", "b"):
        await sdk._recorder.acall(told(name, 1))
    assert sdk.hub.version_of(id) == 0
    assert (await sdk.get(id)).status == "cancelled"


async def test_many_who_ask_at_once_are_one_question(sharing: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    here, driver = sharing(), sharing(cache_states=False)
    await listening(here)
    async with under_way(driver) as id:
        version = (await driver.get(id)).version
        await until(lambda: here.hub.version_of(id) == version, "all is heard of")
        asked = Asked(here, monkeypatch)
        found = await asyncio.gather(*(here.get(id) for _ in range(50)))
        assert {record.version for record in found} == {version}
        assert asked.of == ["get"]


async def test_who_polls_over_http_asks_the_store_when_something_changed(
    sharing: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk, driver = sharing(), sharing(cache_states=False)
    transport = httpx.ASGITransport(app=create_app(sdk, allow_anonymous=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=LONG) as client:
        await listening(sdk)
        async with under_way(driver) as id:
            version = (await driver.get(id)).version
            await until(lambda: sdk.hub.version_of(id) == version, "all is heard of")
            url = f"/investigation/{id}/progress?include_tools=false"
            first = await client.get(url)
            asked = Asked(sdk, monkeypatch)
            answers = [await client.get(url) for _ in range(5)]
            answers += [await client.get(url, headers={"If-None-Match": first.headers["etag"]}) for _ in range(5)]
            assert [answer.json()["version"] for answer in answers[:5]] == [version] * 5
            assert {answer.status_code for answer in answers[5:]} <= {200, 304}
            assert asked.of == []
            lookup(4)
            await driver.flush()
            await until(lambda: sdk.hub.version_of(id) > version, "it is told of more")
            assert (await client.get(url)).json()["version"] > version


async def test_what_is_over_and_what_is_anothers(sharing: Make, redis_url: str) -> None:
    here, acme, driver = sharing(), sharing(tenant_id="acme"), sharing(cache_states=False)
    await listening(here)
    await listening(acme)
    async with under_way(driver) as id:
        await here.get(id)
        await is_kept(redis_url, f"investigation:state:*:{id}", 1)
        for ask in (acme.get, acme.progress):
            with pytest.raises(InvestigationNotFound):
                await ask(id)

    async def over() -> bool:
        return (await here.get(id)).status == "completed"

    await until(over, "it is told that it is over")
    assert (await here.progress(id)).overall_progress == 100


async def test_who_asks_later_is_not_given_what_was_read_before(sharing: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question is still being answered when something changes; who is told of that does not wait for it."""
    here, other = sharing(), sharing(cache_states=False)
    await listening(here)
    id = await new(other)
    go_on, read = threading.Event(), threading.Event()
    backend: Any = here._recorder.backend
    get = backend.get

    async def slow(kind: str, id: str) -> Any:
        row = await get(kind, id)
        if not read.is_set():
            read.set()
            assert await asyncio.to_thread(go_on.wait, LONG)
        return row

    monkeypatch.setattr(backend, "get", slow)
    first = asyncio.create_task(here.get(id))
    assert await asyncio.to_thread(read.wait, LONG)
    await other.service.cancel(id)
    await until(lambda: here.hub.version_of(id) == 2, "it is told of it")
    second = asyncio.create_task(here.get(id))
    await asyncio.sleep(0.05)  # both wait for one answer
    go_on.set()
    async with asyncio.timeout(LONG):
        assert (await first).version in {1, 2}
        assert (await second).status == "cancelled"


@pytest.mark.server
async def test_what_is_not_ours_is_passed_over(sharing: Make, redis_url: str) -> None:
    import redis.asyncio

    client: Any = redis.asyncio.Redis.from_url(redis_url)
    there, driver = sharing(), sharing(cache_states=False)
    await listening(there)
    states: Any = there._look.__self__  # type: ignore[attr-defined]
    async with under_way(driver) as id, under_way(driver) as other:
        for one in (id, other):
            await there.progress(one)
        await is_kept(redis_url, f"investigation:*:{id}", 2)
        await is_kept(redis_url, f"investigation:*:{other}", 2)
        keys = [key.decode() for key in await client.keys(f"investigation:*:{id}")]
        values: tuple[Any, ...] = (None, "x", [], {"a": 1})
        for key in keys:
            mine, others = json.loads(await client.get(key)), await client.get(key.replace(id, other))
            odd = [b"\xff", b"{", b"[]", b"{}", b"null", b"[" * 10_000, others]
            odd += [json.dumps({**mine, name: value}).encode() for name in mine for value in values]
            for nonsense in odd:
                for shelf in (states._rows, *states._parts.values()):
                    shelf._kept.clear()
                for known in keys:
                    await client.delete(known)
                await client.set(key, nonsense)
                assert [call["tool"] for call in (await there.progress(id)).tool_executions] == ["lookup"] * 3, nonsense
    await client.aclose()


def test_how_much_the_phases_were_given_is_found_by_others() -> None:
    parts = Parts((), many=3, sizes={"read input files": 7.0})
    assert SHORT.read(json.loads(json.dumps(SHORT.written(parts))), "x") == parts._replace(
        phases=[], calls=[], changes=[]
    )


def test_it_needs_redis(sqlite_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cache_states='redis' needs redis="):
        InvestigationSDK(sqlite_url, cache_states="redis")


DRIVER = """
import sys, time
from investigation_sdk import InvestigationSDK
from tests.realtime.test_redis_states import lookup
with InvestigationSDK(sys.argv[1], redis=sys.argv[2]) as sdk, sdk.attach(sys.argv[3]) as run, run.phase("devices"):
    end = time.monotonic() + float(sys.argv[4])
    while time.monotonic() < end:
        lookup(1)
        time.sleep(0.002)
"""


@pytest.mark.server
@pytest.mark.timeout(180)
async def test_nobody_gets_less_than_it_was_told_of(
    postgres_store: str, make_sdk: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process works; two ask all the time. Redis is killed meanwhile, started again, and suspended."""
    caplog.set_level(logging.WARNING, "investigation_sdk.realtime")
    monkeypatch.setattr(redis_cache, "REST_SECONDS", 0.5)
    with RedisServer() as redis:
        readers = [make_sdk(postgres_store, redis=redis.url, cache_states="redis") for _ in range(2)]
        plain = make_sdk(postgres_store)
        id = await new(plain)
        for reader in readers:
            await listening(reader)
        command = ("-c", DRIVER, postgres_store, redis.url, id, "6")
        driver = await asyncio.create_subprocess_exec(sys.executable, *command, env=os.environ)
        stop = asyncio.Event()
        answers = await asyncio.gather(
            *(asyncio.create_task(asked_all_the_time(reader, id, stop)) for reader in readers),
            asyncio.create_task(troubled(redis, readers, driver, stop)),
        )
        assert all(many > 100 for many in answers[:2]), answers
        assert driver.returncode == 0
        for reader in readers:
            assert (await reader.get(id)).status == "completed"
            assert (await reader.progress(id)).overall_progress == 100
    said = [record.message for record in caplog.records if "neither found nor kept" in record.message]
    assert 1 <= len(said) <= 2 * len(readers), said  # once for each handle and time that it was away


async def asked_all_the_time(sdk: InvestigationSDK, id: str, stop: asyncio.Event) -> int:
    many = 0
    while not stop.is_set():
        told = sdk.hub.version_of(id)
        record = await sdk.get(id)
        assert record.version >= told, "it got less than it was told of"
        told = sdk.hub.version_of(id)
        progress = await sdk.progress(id, include_tools=many % 10 == 0)
        assert progress.version >= told, "progress is of less than it was told of"
        many += 1
        await asyncio.sleep(0)
    return many


async def troubled(
    redis: RedisServer, readers: list[InvestigationSDK], driver: asyncio.subprocess.Process, stop: asyncio.Event
) -> int:
    try:
        await asyncio.sleep(1.0)
        redis.kill()
        await asyncio.sleep(1.0)
        redis.start()
        for reader in readers:
            await until(lambda reader=reader: reader.hub.hears, "it hears again")  # type: ignore[misc]
        async with asyncio.timeout(LONG):
            await driver.wait()
    finally:
        stop.set()
        if driver.returncode is None:
            driver.send_signal(signal.SIGKILL)
    return 0
