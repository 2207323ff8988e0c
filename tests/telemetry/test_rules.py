"""Rules where much is wrong at once, and options that will not do."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.domain.rows import InvestigationRow, ToolRow
from investigation_sdk.errors import ConfigurationError
from investigation_sdk.telemetry.monitor import (
    Deaf,
    Degraded,
    Failed,
    Finding,
    HighRetryRate,
    Look,
    Monitor,
    Partial,
    RetentionOverdue,
    Severity,
    Stuck,
    rules,
)
from investigation_sdk.telemetry.monitor.alerts import AlertBook
from tests.telemetry.watching import Clock, told, watching


@tool
async def slow(seconds: float) -> None:
    await asyncio.sleep(seconds)


@tool
async def quick(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def fail(sdk: InvestigationSDK, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ValueError, match="no"):
            async with sdk.investigation("s"):
                raise ValueError("no")


async def test_those_that_fail_later_resolve_none(
    sdk: InvestigationSDK, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "_PAGE", 40)
    monitor = watching(sdk, clock, Failed())
    old = sdk.investigation("old")
    first = await old.__aenter__()
    await fail(sdk, 100)
    assert len(await monitor.look()) == 100
    no = ValueError("no")
    await old.__aexit__(ValueError, no, None)
    assert told(await monitor.look()) == [(f"failed:{first.id}", "firing")]
    await fail(sdk, 19)
    assert len(await monitor.look()) == 19
    assert [await monitor.look() for _ in range(2)] == [[], []]
    assert len(monitor.firing) == 120
    await monitor.aclose()


async def test_what_is_not_seen_is_not_resolved(
    sdk: InvestigationSDK, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "_PAGE", 2)
    monkeypatch.setattr(rules, "_PAGES", 2)
    monitor = watching(sdk, clock, Failed())
    await fail(sdk, 3)
    assert len(await monitor.look()) == 3
    await fail(sdk, 6)
    assert len(await monitor.look()) == 4  # the newest four of nine
    assert [await monitor.look() for _ in range(3)] == [[], [], []]
    assert len(monitor.firing) == 7
    await monitor.aclose()


def test_a_partial_round_resolves_none() -> None:
    book = AlertBook("r", resolve_after=1)
    one, two = Finding("1", Severity.INFO, "one"), Finding("2", Severity.INFO, "two")
    assert len(book.update([one], 0)) == 1
    assert told(book.update(Partial([two]), 0)) == [("2", "firing")]
    assert told(book.update([two], 0)) == [("1", "resolved")]


async def test_many_that_are_slow_as_ever_hide_none_that_is_stuck(
    sdk: InvestigationSDK, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "_PAGE", 5)
    async with sdk.investigation("before"):
        await slow(0.05)
    (before,) = await sdk.tools((await sdk.list(limit=1))[0].id)
    recorder = sdk._recorder
    row = await recorder.acall(recorder.backend.get("tool", before.id))
    assert isinstance(row, ToolRow)
    await recorder.acall(recorder.backend.put_rows([row._replace(duration_ms=3_600_000)]))

    async def run(call: Callable[[float], Awaitable[None]], begun: asyncio.Event) -> None:
        async with sdk.investigation("s") as investigation:
            ids.append(investigation.id)
            begun.set()
            await call(60)

    ids: list[str] = []
    running: list[asyncio.Task[None]] = []
    for call in (*[slow] * 12, quick):
        begun = asyncio.Event()
        running.append(asyncio.create_task(run(call, begun)))
        await asyncio.wait_for(begun.wait(), 60)
    for id in ids:
        for _ in range(6000):
            if await sdk.tools(id):
                break
            await asyncio.sleep(0.01)
    clock.move(timedelta(minutes=10))
    monitor = watching(sdk, clock, Stuck())
    assert told(await monitor.look()) == [(f"stuck:{ids[-1]}", "firing")]
    await monitor.aclose()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_one_that_waits_for_its_next_try_is_not_stuck(sdk: InvestigationSDK, clock: Clock) -> None:
    record = await sdk.service.create_investigation("gil", "s", "fraud")
    await sdk.flush()
    recorder = sdk._recorder
    row = await recorder.acall(recorder.backend.get("investigation", record.id))
    assert isinstance(row, InvestigationRow)
    waits = row._replace(status="retrying", claimable_at=row.updated_at + 3_600_000_000)
    await recorder.acall(recorder.backend.put_rows([waits]))
    monitor = watching(sdk, clock, Stuck(floor=timedelta(minutes=5)))
    for _ in range(6):
        clock.move(timedelta(minutes=10))
        assert await monitor.look() == []
    clock.move(timedelta(minutes=10))
    (alert,) = await monitor.look()
    assert alert.key == f"stuck:{record.id}"
    assert "is retrying and has had no event for 0:10:" in alert.message
    await monitor.aclose()


async def test_a_retry_rate_that_is_never_cleared(sdk: InvestigationSDK, clock: Clock) -> None:
    monitor = watching(sdk, clock, HighRetryRate(share=0.5, clear=0, least=1))
    async with sdk.investigation("s", investigation_type="calm"):
        pass
    (found,) = await HighRetryRate(share=0.5, clear=0, least=1).find(_look(sdk, clock))
    assert (found.weak, found.value) == (True, 0)
    assert found.message == "0 of 1 investigations of type calm were retried within 1:00:00."
    assert await monitor.look() == []
    await monitor.aclose()


def _look(sdk: InvestigationSDK, clock: Clock) -> Look:
    return Look(sdk._recorder.backend, "", clock())


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        (Failed, {"within": timedelta(0)}, r"Failed: within=.* is no timedelta longer than 0"),
        (Failed, {"within": 3600}, "Failed: within=3600 is no timedelta"),
        (Failed, {"name": ""}, "Failed: name='' is no text"),
        (Stuck, {"floor": -timedelta(1)}, "Stuck: floor="),
        (Stuck, {"factor": float("nan")}, "Stuck: factor=nan is no number that is at least 0"),
        (Stuck, {"factor": True}, "Stuck: factor=True is no number"),
        (HighRetryRate, {"share": 30}, "HighRetryRate: share=30 is no number that is at least 0 and at most 1"),
        (HighRetryRate, {"clear": -1}, "HighRetryRate: clear=-1"),
        (HighRetryRate, {"least": 0}, "HighRetryRate: least=0 is no whole number from 1"),
        (HighRetryRate, {"within": timedelta(0)}, "HighRetryRate: within="),
        (Degraded, {"factor": float("inf")}, "Degraded: factor=inf is no number that is at least 1"),
        (Degraded, {"history": timedelta(0)}, "Degraded: history="),
        (Degraded, {"least": 2.5}, "Degraded: least=2.5"),
        (Deaf, {"listeners": {"redis": True}}, "listener 'redis' is no function"),
        (RetentionOverdue, {"after": timedelta(0)}, "RetentionOverdue: after="),
    ],
)
def test_options_that_will_not_do(rule: Callable[..., object], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        rule(**options)


def test_rounds_that_will_not_do(lite: InvestigationSDK) -> None:
    with pytest.raises(ConfigurationError, match="Monitor: fire_after=0 is no whole number from 1"):
        Monitor(lite, fire_after=0)
    with pytest.raises(ConfigurationError, match="Monitor: resolve_after=0"):
        Monitor(lite, resolve_after=0)
