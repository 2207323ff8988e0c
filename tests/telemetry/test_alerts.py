"""Each alert fires and resolves; none fires where all is well. Time is what the test says it is."""

import asyncio
import os
import socket
from datetime import timedelta

import pytest

from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.clock import now_us
from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.telemetry.monitor import (
    Alert,
    Deaf,
    Degraded,
    Failed,
    HighRetryRate,
    Monitor,
    RetentionOverdue,
    Severity,
    Stuck,
)
from tests.telemetry.watching import Clock, told, watching


@tool
async def nap(seconds: float = 0) -> None:
    await asyncio.sleep(seconds)


async def test_failed(sdk: InvestigationSDK, clock: Clock) -> None:
    with pytest.raises(ValueError, match="no"):
        async with sdk.investigation("s", key="k", investigation_type="fraud") as investigation:
            raise ValueError("no")
    monitor = watching(sdk, clock, Failed())
    (alert,) = await monitor.look()
    assert told([alert]) == [(f"failed:{investigation.id}", "firing")]
    assert alert.message == f"Investigation {investigation.id} (fraud) failed with kind error."
    assert (alert.severity, alert.investigation_id) == (Severity.ERROR, investigation.id)
    assert await monitor.look() == []
    assert monitor.firing == [alert]
    async with sdk.investigation("s", key="k", investigation_type="fraud"):
        pass
    assert await monitor.look() == []  # one round is not yet the end of it
    (over,) = await monitor.look()
    assert (over.state, over.key, over.since) == ("resolved", alert.key, alert.since)
    assert over.resolved_at is not None
    assert monitor.firing == []
    await monitor.aclose()


async def test_stuck_in_a_tool_and_then_not(sdk: InvestigationSDK, clock: Clock) -> None:
    monitor = watching(sdk, clock, Stuck(floor=timedelta(minutes=5)))
    async with sdk.investigation("s") as investigation:
        running = asyncio.create_task(nap(60))
        for _ in range(200):
            await asyncio.sleep(0.01)
            if await sdk.tools(investigation.id):
                break
        assert await monitor.look() == []
        clock.move(timedelta(minutes=4))
        assert await monitor.look() == []
        clock.move(timedelta(minutes=2))
        (alert,) = await monitor.look()
        assert told([alert]) == [(f"stuck:{investigation.id}", "firing")]
        assert "is running and has had no event for 0:06:" in alert.message
        assert alert.message.endswith(": tool nap.")
        assert alert.threshold == 300
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await monitor.look()
    assert told(await monitor.look()) == [(alert.key, "resolved")]


async def test_a_tool_that_is_slow_as_ever_is_not_stuck(sdk: InvestigationSDK, clock: Clock) -> None:
    monitor = watching(sdk, clock, Stuck(floor=timedelta(milliseconds=1), factor=3))
    async with sdk.investigation("before"):
        for _ in range(5):
            await nap(0.05)
    async with sdk.investigation("s", phases=["p"]) as investigation:
        running = asyncio.create_task(nap(60))
        for _ in range(200):
            await asyncio.sleep(0.001)
            if await sdk.tools(investigation.id):
                break
        updated = (await sdk.get(investigation.id)).updated_at
        clock.moved = int(updated.timestamp() * 1e6) + 100_000 - now_us()
        assert await monitor.look() == []  # 0.1 s: less than three times the usual 0.05
        clock.move(timedelta(seconds=10))
        (alert,) = await monitor.look()
        assert alert.threshold is not None
        assert 0.14 < alert.threshold < 10
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_paused_is_not_stuck(sdk: InvestigationSDK, clock: Clock) -> None:
    record = await sdk.service.create_investigation("gil", "s", "fraud")
    async with sdk.attach(record.id):
        await sdk.service.pause(record.id)
        clock.move(timedelta(days=3))
        monitor = watching(sdk, clock, Stuck())
        assert await monitor.look() == []
        await sdk.service.resume(record.id)
        clock.move(timedelta(minutes=6))
        assert told(await monitor.look()) == [(f"stuck:{record.id}", "firing")], "it is only the pause that keeps it"


async def test_a_high_retry_rate_resolves_below_its_lower_threshold(sdk: InvestigationSDK, clock: Clock) -> None:
    async def one(n: int, *, again: bool) -> None:
        if again:
            with pytest.raises(ValueError, match="no"):
                async with sdk.investigation("s", key=f"k{n}", investigation_type="fraud"):
                    raise ValueError("no")
        async with sdk.investigation("s", key=f"k{n}", investigation_type="fraud"):
            pass

    monitor = watching(sdk, clock, HighRetryRate(share=0.5, clear=0.3, least=4))
    for n in range(3):
        await one(n, again=True)
    assert await monitor.look() == []  # too few
    await one(3, again=False)
    (alert,) = await monitor.look()
    assert alert.message == "3 of 4 investigations of type fraud were retried within 1:00:00."
    assert (alert.value, alert.threshold) == (0.75, 0.5)
    for n in range(4, 8):
        await one(n, again=False)
    for _ in range(3):  # 3 of 8: between the two
        assert await monitor.look() == []
    assert len(monitor.firing) == 1
    for share, fires in ((0.5, []), (0.375, [("high_retry_rate:fraud", "firing")])):  # each looks, by another name
        rule = HighRetryRate(share=share, clear=0.3, least=4)
        assert told(await Monitor(sdk, rules=[rule], sinks=[], clock=clock, name=f"of {share}").look()) == fires
    for n in range(8, 12):
        await one(n, again=False)
    await monitor.look()
    assert told(await monitor.look()) == [("high_retry_rate:fraud", "resolved")]


async def took(sdk: InvestigationSDK, number: int, *, seconds: int, completed_at: int) -> None:
    """So many investigations that took that long, and were completed at that time, in µs."""
    recorder = sdk._recorder
    for _ in range(number):
        async with sdk.investigation("s", investigation_type="fraud") as investigation:
            pass
        await sdk.flush()
        row = await recorder.acall(recorder.backend.get("investigation", investigation.id))
        assert isinstance(row, InvestigationRow)
        moved = row._replace(started_at=completed_at - seconds * 1_000_000, completed_at=completed_at)
        await recorder.acall(recorder.backend.put_rows([moved]))


async def test_degraded(sdk: InvestigationSDK, clock: Clock) -> None:
    monitor = watching(sdk, clock, Degraded(recent=timedelta(hours=1), history=timedelta(days=1), least=5))
    hour = 3_600_000_000
    begin = now_us()
    await took(sdk, 6, seconds=10, completed_at=begin + hour)
    clock.move(timedelta(hours=1, minutes=30))
    assert await monitor.look() == []
    clock.move(timedelta(hours=4))
    await took(sdk, 6, seconds=25, completed_at=begin + 5 * hour)
    (alert,) = await monitor.look()
    assert alert.key == "degraded:fraud"
    assert alert.value == pytest.approx(2.5, rel=0.05)
    assert "take 2.5 times as long as they did: median 2" in alert.message
    clock.move(timedelta(hours=2))
    await monitor.look()
    assert told(await monitor.look()) == [("degraded:fraud", "resolved")]


async def test_what_takes_longer_than_recent_is_seen_when_it_completes(sdk: InvestigationSDK, clock: Clock) -> None:
    hour = 3_600_000_000
    begin = now_us()
    monitor = watching(sdk, clock, Degraded())
    await took(sdk, 12, seconds=3000, completed_at=begin + 3000 * 1_000_000)
    clock.move(timedelta(hours=3))
    assert await monitor.look() == []
    await took(sdk, 12, seconds=5 * 3600, completed_at=begin + 5 * hour)
    clock.move(timedelta(hours=2, minutes=30))
    (alert,) = await monitor.look()
    assert alert.value == pytest.approx(6, rel=0.05)
    clock.move(timedelta(days=1))
    await monitor.look()
    assert told(await monitor.look()) == [("degraded:fraud", "resolved")]


async def test_deaf(lite: InvestigationSDK, clock: Clock) -> None:
    hears = {"redis": True, "broken": True}

    def broken() -> bool:
        if not hears["broken"]:
            raise ConnectionError
        return True

    monitor = watching(lite, clock, Deaf({"redis": lambda: hears["redis"], "broken": broken}))
    assert await monitor.look() == []
    hears.update(redis=False, broken=False)
    here = f"{socket.gethostname().replace('.', '-')}:{os.getpid()}"
    assert told(await monitor.look()) == [(f"deaf:redis@{here}", "firing"), (f"deaf:broken@{here}", "firing")]
    assert f"The listener redis of process {os.getpid()} on " in monitor.firing[0].message
    hears.update(redis=True, broken=True)
    await monitor.look()
    assert told(await monitor.look()) == [(f"deaf:redis@{here}", "resolved"), (f"deaf:broken@{here}", "resolved")]


async def test_each_process_tells_of_its_own_deafness(
    lite: InvestigationSDK, other: InvestigationSDK, clock: Clock
) -> None:
    """Also the one that another keeps from looking at the investigations."""
    with pytest.raises(ValueError, match="no"):
        async with lite.investigation("s"):
            raise ValueError("no")
    hears = Deaf({"redis": lambda: True})
    first, second = (
        watching(lite, clock, Failed(), hears),
        watching(other, clock, Failed(), Deaf({"redis": lambda: False})),
    )
    assert [alert.rule for alert in await first.look()] == ["failed"]
    assert [alert.rule for alert in await second.look()] == ["deaf"]
    await first.aclose()
    await second.aclose()


async def test_nothing_fires_on_a_healthy_run_of_100_investigations(sdk: InvestigationSDK, clock: Clock) -> None:
    rules = Stuck(), HighRetryRate(), Degraded(), RetentionOverdue(timedelta(hours=2))
    monitor = watching(sdk, clock, *rules, Deaf({"hints": lambda: sdk.hearing().deaf is None}))
    alerts: list[Alert] = []

    async def one(n: int) -> None:
        async with sdk.investigation(f"s{n}", investigation_type="ab"[n % 2], key=f"k{n}") as investigation:
            for phase in ("first", "second"):
                async with investigation.phase(phase):
                    await nap(0.001 * (n % 7))
            if n % 10 == 3:
                pausing = asyncio.create_task(investigation.pause())
                for _ in range(3000):
                    await asyncio.sleep(0.01)
                    if (await sdk.get(investigation.id)).status == "paused":
                        break
                alerts.extend(await monitor.look())
                await sdk.service.resume(investigation.id)
                await asyncio.wait_for(pausing, 60)
            if n % 10 == 7 and investigation.attempt == 1:
                raise ConnectionError("that happens")

    async def until_it_is_done(n: int) -> None:
        try:
            await one(n)
        except ConnectionError:
            await one(n)
        if n % 20 == 0:
            alerts.extend(await monitor.look())

    await asyncio.gather(*map(until_it_is_done, range(100)))
    failed = watching(sdk, clock, Failed())  # not before: what fails is told, also where it is retried at once
    for _ in range(3):
        alerts += await monitor.look() + await failed.look()
        clock.move(timedelta(minutes=20))
    assert alerts == []
    found = await sdk.metrics(since=timedelta(hours=1))
    assert found.completed == 100
    assert (found.transitions["running->paused"], found.transitions["failed->retrying"]) == (10, 10)
