"""Processes tell each other where to look. Here two handles on one store, each with its own connections."""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from investigation_sdk import ConfigurationError, InvestigationPaused, InvestigationSDK, tool
from investigation_sdk.realtime import listening, redis
from investigation_sdk.realtime.hints import MAX_BYTES, Hint, read, written
from investigation_sdk.telemetry.monitor import Deaf, Monitor
from investigation_sdk.testing.proxy import FaultProxy
from investigation_sdk.testing.servers import RedisServer

from .waiting import LONG, until

Make = Callable[..., InvestigationSDK]


@tool(effect="read")
def lookup(number: int) -> int:
    return number * 2


def drive(sdk: InvestigationSDK, id: str, calls: int = 8) -> None:
    with sdk.attach(id) as investigation, investigation.phase("devices"):
        for number in range(calls):
            lookup(number)


async def new(sdk: InvestigationSDK) -> str:
    return (await sdk.service.create_investigation("gil", "account 42", "general", {}, queue=False)).id


async def hears(sdk: InvestigationSDK) -> None:
    """Have it listen, and wait until it does."""
    await sdk._recorder.acall(_start(sdk))
    await until(lambda: sdk.hearing().deaf is None, f"it hears: {sdk.hearing()}")


async def _start(sdk: InvestigationSDK) -> None:
    sdk._hub.start()


def never_looks(sdk: InvestigationSDK) -> None:
    """What it gets, it gets by hints."""
    sdk._hub.safety_seconds = sdk._hub.poll_seconds = 3600.0


async def collected(sdk: InvestigationSDK, id: str) -> list[int]:
    async with asyncio.timeout(LONG):
        return [event.sequence async for event in sdk.tail(id)]


async def test_what_one_records_another_hears(place: tuple[str, dict[str, str]], make_sdk: Make) -> None:
    here, there = (make_sdk(place[0], **place[1]) for _ in range(2))
    never_looks(here)
    await hears(here)
    id = await new(there)
    following = asyncio.create_task(collected(here, id))
    await asyncio.to_thread(drive, there, id)
    found = await following
    assert found == list(range(1, len(found) + 1))
    assert here.hearing() == (here._hub._broker.name, None)  # type: ignore[union-attr]


async def test_what_is_said_last_is_said_before_it_closes(place: tuple[str, dict[str, str]], make_sdk: Make) -> None:
    """A process that ends at once is heard, too."""
    here = make_sdk(place[0], **place[1])
    never_looks(here)
    await hears(here)
    for _ in range(5):
        there = make_sdk(place[0], **place[1])
        id = await new(there)
        following = asyncio.create_task(collected(here, id))
        await asyncio.to_thread(drive, there, id, 1)
        await there.aclose()
        await following


async def test_progress_travels_and_is_not_in_the_log(place: tuple[str, dict[str, str]], make_sdk: Make) -> None:
    here, there = (make_sdk(place[0], **place[1]) for _ in range(2))
    await hears(here)
    heard: list[Hint] = []

    async def listen() -> None:
        here._hub.on_hint(heard.append)

    await here._recorder.acall(listen())
    id = await new(there)
    there._hub.progress(id, {"phase": "devices", "progress": 40})
    await until(lambda: any(hint.progress for hint in heard), "progress is heard")
    assert [dict(hint.progress) for hint in heard if hint.progress] == [{"phase": "devices", "progress": 40}]
    assert len([event async for event in there.iter_events(id)]) == 1


async def test_an_owner_hears_of_a_pause_at_once(sqlite_url: str, redis_url: str, make_sdk: Make) -> None:
    """Without committing anything meanwhile, and long before its heartbeat."""
    ttl = timedelta(hours=1)
    owner, other = (make_sdk(sqlite_url, redis=redis_url, lease_ttl=ttl, on_pause="raise") for _ in range(2))
    with pytest.raises(InvestigationPaused):
        async with owner.investigation("account 42") as investigation:
            await until(lambda: owner.hearing() == ("redis", None), "it hears")
            await other.service.pause(investigation.id, "look at this first")
            await until(lambda: investigation.state == "paused", "it knows that it is paused")
            await investigation.checkpoint("here")


async def test_redis_is_lost_and_found_again(
    sqlite_url: str, redis_server: RedisServer, make_sdk: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """It is slower meanwhile, and misses nothing; one line says so, and another that it is over."""
    caplog.set_level(logging.INFO, "investigation_sdk.realtime")
    with FaultProxy("127.0.0.1", redis_server.port) as proxy:
        url = f"redis://:hush@127.0.0.1:{proxy.port}/5".replace(":hush@", "")
        here, there = (make_sdk(sqlite_url, redis=url) for _ in range(2))
        await hears(here)
        proxy.refuse()
        proxy.cut_all()
        await until(lambda: here.hearing().deaf is not None, "it says that it is deaf")
        assert "Redis at 127.0.0.1" in str(here.hearing().deaf)
        monitor = Monitor(here, rules=[Deaf({"hints": lambda: here.hearing().deaf is None})], sinks=[], resolve_after=1)
        assert [(alert.rule, alert.state) for alert in await monitor.look()] == [("deaf", "firing")]
        id = await new(there)
        following = asyncio.create_task(collected(here, id))
        await asyncio.to_thread(drive, there, id)
        found = await following
        assert found == list(range(1, len(found) + 1))
        proxy.restore()
        await until(lambda: here.hearing().deaf is None, "it hears again")
        assert [(alert.rule, alert.state) for alert in await monitor.look()] == [("deaf", "resolved")]
        await monitor.aclose()
        never_looks(here)
        id = await new(there)
        following = asyncio.create_task(collected(here, id))
        await asyncio.to_thread(drive, there, id, 2)
        await following
        said = [r.message for r in caplog.records]
    assert 1 <= sum("are not sent" in line or "are heard by" in line for line in said) <= 2, said  # one a handle
    assert any("heard again by redis" in line for line in said)


async def test_a_listener_that_hears_nothing_knows_it(
    sqlite_url: str, redis_server: RedisServer, make_sdk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stays, and nothing comes: what it sends to itself tells."""
    monkeypatch.setattr(listening, "PING_SECONDS", 0.2)
    monkeypatch.setattr(redis, "TIMEOUT_SECONDS", 0.5)
    with FaultProxy("127.0.0.1", redis_server.port) as proxy:
        sdk = make_sdk(sqlite_url, redis=f"redis://127.0.0.1:{proxy.port}/5")
        await hears(sdk)
        proxy.black_hole()
        await until(lambda: sdk.hearing().deaf is not None, "it says that it is deaf")
        proxy.restore()
        await until(lambda: sdk.hearing().deaf is None, "it hears again")


async def test_what_is_no_hint_is_passed_over(redis_url: str, sqlite_url: str, make_sdk: Make) -> None:
    import redis.asyncio

    here, there = (make_sdk(sqlite_url, redis=redis_url) for _ in range(2))
    never_looks(here)
    await hears(here)
    client: Any = redis.asyncio.Redis.from_url(redis_url)
    for nonsense in (b"\xff\xfe", b"[]", b"{}", b'{"id": 5, "seq": 1}', b'{"id":"x","seq":"y"}', b"x" * 2_000_000):
        assert await client.publish("investigation:hints", nonsense) >= 1
    await client.aclose()
    id = await new(there)
    following = asyncio.create_task(collected(here, id))
    await asyncio.to_thread(drive, there, id, 2)
    await following


def test_a_hint_is_small() -> None:
    id = "019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b7e"
    hint = Hint(id, 2**62)
    text = written(hint)
    assert text is not None
    assert read(text) == hint
    assert read(text.encode()) == hint
    assert set(json.loads(text)) == {"id", "seq"}
    assert written(Hint(id, 0, {"phase": "x" * MAX_BYTES})) is None
    assert read("x" * (MAX_BYTES + 1)) is None


def test_urls_that_cannot_be(sqlite_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Redis at host:1: .*write\s+redis://user:password@host") as refused:
        InvestigationSDK(sqlite_url, redis="http://u:hush@host:1")
    assert "hush" not in str(refused.value)
    with pytest.raises(ConfigurationError, match="redis=5 is not text"):
        InvestigationSDK(sqlite_url, redis=5)  # type: ignore[arg-type]
