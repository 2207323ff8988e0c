"""Results of tools in Redis: shared by processes, and no more than faster."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.realtime import redis_cache
from investigation_sdk.realtime.redis_cache import store_name
from investigation_sdk.testing.proxy import FaultProxy
from investigation_sdk.testing.servers import RedisServer

Make = Callable[..., InvestigationSDK]
ran: Counter[int] = Counter()


@pytest.fixture(autouse=True)
def _forget() -> None:
    ran.clear()


@tool(effect="read", cache=timedelta(hours=1))
def lookup(number: int) -> int:
    ran[number] += 1
    return number * 2


def is_kept(url: str, many: int) -> None:
    """Wait until so many results are kept: nobody waits for that."""
    import redis

    end = time.monotonic() + 60
    with redis.Redis.from_url(url) as client:
        while len(client.keys("investigation:result:*")) != many:
            assert time.monotonic() < end, f"after 60 s, not {many} results are kept"
            time.sleep(0.01)


def sources(sdk: InvestigationSDK, *numbers: int) -> list[str]:
    """How each call got its result."""
    with sdk.investigation("account 42") as investigation:
        assert [lookup(number) for number in numbers] == [number * 2 for number in numbers]
    sdk.sync.flush(10)
    return [call.source for call in sdk.sync.tools(investigation.id)]


def test_processes_share_them(sqlite_url: str, redis_url: str, make_sdk: Make) -> None:
    here, there = (make_sdk(sqlite_url, redis=redis_url) for _ in range(2))
    assert sources(here, 1, 2) == ["executed", "executed"]
    is_kept(redis_url, 2)
    assert sources(there, 1, 2, 3) == ["cached", "cached", "executed"]
    assert ran == {1: 1, 2: 1, 3: 1}


def test_another_store_shares_nothing(sqlite_url: str, redis_url: str, make_sdk: Make) -> None:
    assert sources(make_sdk(sqlite_url, redis=redis_url), 7) == ["executed"]
    assert sources(make_sdk(sqlite_url.replace("cases", "others"), redis=redis_url), 7) == ["executed"]


@pytest.mark.parametrize("how", ["killed", pytest.param("black hole", marks=pytest.mark.server)])
def test_without_redis_it_is_slower_and_right(
    how: str, sqlite_url: str, make_sdk: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING, "investigation_sdk.realtime")
    monkeypatch.setattr(redis_cache, "REST_SECONDS", 0.0)
    with RedisServer() as server, FaultProxy("127.0.0.1", server.port) as proxy:
        sdk = make_sdk(sqlite_url, redis=f"redis://:hush@127.0.0.1:{proxy.port}/0".replace(":hush@", ""))
        assert sources(sdk, 1) == ["executed"]
        is_kept(server.url, 1)
        assert sources(sdk, 1) == ["cached"]
        if how == "killed":
            server.kill()
        else:
            proxy.black_hole()
        assert sources(sdk, 1, 1, 2) == ["executed", "executed", "executed"]
        warned = [record.message for record in caplog.records if "neither found nor kept" in record.message]
        assert len(warned) == 1
        assert "Redis at 127.0.0.1" in warned[0]
        if how == "killed":
            server.start()
        else:
            proxy.restore()
            proxy.cut_all()
        until = time.monotonic() + 60
        while "cached" not in sources(sdk, 3, 3):
            assert time.monotonic() < until, "after 60 s, nothing is found again"
        assert any("found and kept again" in record.message for record in caplog.records)
        sdk.sync.close()


def test_what_is_not_ours_is_passed_over(sqlite_url: str, redis_url: str, make_sdk: Make) -> None:
    import redis

    sdk = make_sdk(sqlite_url, redis=redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        assert sources(sdk, 1) == ["executed"]
        is_kept(redis_url, 1)
        (key,) = client.keys("investigation:result:*")
        for nonsense in (b"\xff", b"{", b'{"$type":"os.system","value":"id"}', b'{"$type":'):
            client.set(key, nonsense)
            assert sources(sdk, 1) == ["executed"], nonsense
            sdk.sync.close()


def test_names_of_stores_hold_nothing_secret() -> None:
    named = store_name("postgresql://gil:hush@db:5432/cases?schema=a&password=hush", None)
    assert "hush" not in named
    assert named != store_name("postgresql://gil:hush@db:5432/cases?schema=b", None)
    assert named == store_name("postgresql://eve:other@db:5432/cases", {"schema": "a"})
    assert store_name("memory://", None) != store_name("memory://", None)
    assert store_name(object(), None) != store_name(object(), None)
