"""States that are kept: given out while nothing changes, as long as every change is heard of."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from investigation_sdk import ConfigurationError, InvestigationNotFound, InvestigationSDK, tool
from investigation_sdk.testing.proxy import FaultProxy
from investigation_sdk.testing.servers import RedisServer

from .waiting import until

Make = Callable[..., InvestigationSDK]


@tool(effect="read")
def lookup(number: int) -> int:
    return number * 2


def counted(sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the rows that are asked of the store from now on."""
    asked: list[str] = []
    backend: Any = sdk._recorder.backend
    get = backend.get

    async def counting(kind: str, id: str) -> Any:
        asked.append(id)
        return await get(kind, id)

    monkeypatch.setattr(backend, "get", counting)
    return asked


async def ready(sdk: InvestigationSDK, id: str) -> None:
    await sdk.get(id)
    await until(lambda: sdk.hub.hears, "it hears")
    await sdk.get(id)


async def test_it_is_asked_when_something_changed(
    place: tuple[str, dict[str, str]], make_sdk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = make_sdk(place[0], **place[1], cache_states=True), make_sdk(place[0], **place[1])
    monkeypatch.setattr("investigation_sdk.realtime.states.OLDEST_SECONDS", 3600.0)
    record = await there.service.create_investigation("gil", "account 42", "general", {}, queue=False)
    await ready(here, record.id)
    asked = counted(here, monkeypatch)
    assert [(await here.get(record.id)).version for _ in range(10)] == [record.version] * 10
    assert asked == []
    async with there.attach(record.id) as investigation:

        async def up_to_date() -> bool:
            return (await here.get(record.id)).status == "running"

        await until(up_to_date, "it is seen to run")
        known = len(asked)
        assert known >= 1
        with pytest.raises(InvestigationNotFound):
            await make_sdk(place[0], tenant_id="acme").get(investigation.id)

    async def over() -> bool:
        return (await here.get(record.id)).status == "completed"

    await until(over, "it is seen to be over")
    before = len(asked)
    await here.get(record.id)
    assert len(asked) == before + 1, "what is over is not kept"


@pytest.mark.parametrize("shared", [True, "redis"])
async def test_reported_progress_does_not_go_back(
    redis_url: str, sqlite_url: str, make_sdk: Make, monkeypatch: pytest.MonkeyPatch, shared: Any
) -> None:
    """It is in no event. Two processes that keep states are asked in turn, and neither says less than the other did."""
    monkeypatch.setattr("investigation_sdk.realtime.states.OLDEST_SECONDS", 3600.0)
    monkeypatch.setattr("investigation_sdk.realtime.states.SETTLED_SECONDS", 0.0)
    drives = make_sdk(sqlite_url, redis=redis_url)
    keep = [make_sdk(sqlite_url, redis=redis_url, cache_states=shared) for _ in range(2)]
    async with drives.investigation("account 42", phases=["p"]) as run, run.phase("p") as phase:
        await drives.flush()
        for sdk in keep:
            await ready(sdk, run.id)
            await sdk.progress(run.id, include_tools=False)
        for percent in (20, 40):
            before = [sdk.hub.moved_at(run.id) for sdk in keep]
            phase.progress(percent / 100)

            async def written(percent: int = percent) -> bool:
                return (await drives.get(run.id)).progress_percentage == percent

            await until(written, "it is in the row")
            await until(lambda: all(s.hub.moved_at(run.id) > b for s, b in zip(keep, before, strict=True)), "both hear")  # noqa: B023 - awaited here
            drives.hub.progress(run.id, {})  # heard behind the write, however slow this machine is

            async def up_to_date(percent: int = percent) -> bool:
                return [(await s.progress(run.id, include_tools=False)).overall_progress for s in keep] == [percent] * 2

            await until(up_to_date, "both say it")


async def test_what_is_read_while_progress_is_written_is_not_kept(
    redis_url: str, sqlite_url: str, make_sdk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("investigation_sdk.realtime.states.OLDEST_SECONDS", 7200.0)
    monkeypatch.setattr("investigation_sdk.realtime.states.SETTLED_SECONDS", 3600.0)
    sdk = make_sdk(sqlite_url, redis=redis_url, cache_states=True)
    moves, other = [await sdk.service.create_investigation("gil", "a", "general", {}, queue=False) for _ in range(2)]
    for record in (moves, other):
        await ready(sdk, record.id)
    sdk.hub.progress(moves.id, {"overall_progress": 20})
    await until(lambda: sdk.hub.moved_at(moves.id) > 0, "it is heard")
    asked = counted(sdk, monkeypatch)
    for _ in range(3):
        await sdk.get(moves.id)
        await sdk.get(other.id)
    assert asked == [moves.id] * 3


async def test_who_is_deaf_asks_the_store(
    sqlite_url: str, redis_server: RedisServer, make_sdk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy("127.0.0.1", redis_server.port) as proxy:
        sdk = make_sdk(sqlite_url, redis=f"redis://127.0.0.1:{proxy.port}/6", cache_states=True)
        other = make_sdk(sqlite_url)
        record = await other.service.create_investigation("gil", "account 42", "general", {}, queue=False)
        await ready(sdk, record.id)
        asked = counted(sdk, monkeypatch)
        await sdk.get(record.id)
        assert asked == []
        proxy.refuse()
        proxy.cut_all()
        await until(lambda: not sdk.hub.hears, "it knows that it is deaf")
        await other.service.cancel(record.id)  # nobody tells
        assert (await sdk.get(record.id)).status == "cancelled"
        assert asked == [record.id]


async def test_alone_nothing_is_kept(sqlite_url: str, make_sdk: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk, other = make_sdk(sqlite_url, cache_states=True), make_sdk(sqlite_url)
    record = await other.service.create_investigation("gil", "account 42", "general", {}, queue=False)
    assert (await sdk.get(record.id)).status == "created"
    await other.service.cancel(record.id)
    assert (await sdk.get(record.id)).status == "cancelled"
    await asyncio.sleep(0)


def test_it_is_a_flag(sqlite_url: str) -> None:
    with pytest.raises(ConfigurationError, match="cache_states='yes' is not True, False or 'redis'"):
        InvestigationSDK(sqlite_url, cache_states="yes")  # type: ignore[arg-type]
