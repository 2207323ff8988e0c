"""The monitor: rules that fail or flicker, sinks, one of many on a store that looks, and a worker beside it."""

import asyncio
import logging
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest

from investigation_sdk import AsyncInvestigationRun, InvestigationSDK
from investigation_sdk.errors import ConfigurationError
from investigation_sdk.telemetry.monitor import (
    Alert,
    CallbackSink,
    Failed,
    Finding,
    Look,
    Monitor,
    OpenTelemetrySink,
    Severity,
    Sink,
)
from investigation_sdk.telemetry.monitor.alerts import AlertBook
from tests.telemetry.collected import Collected
from tests.telemetry.watching import Clock, told, watching

Make = Callable[..., InvestigationSDK]
SHARED = ["sqlite", *(pytest.param(server, marks=pytest.mark.server) for server in ("postgres", "mongo"))]
"""Stores that processes share."""


class Picky:
    """A rule that finds what it is told, or raises."""

    name = "picky"

    def __init__(self) -> None:
        self.found: list[Finding] | None = []

    async def find(self, look: Look) -> list[Finding]:
        if self.found is None:
            raise RuntimeError("no idea")
        return self.found


async def test_a_rule_that_fails_leaves_its_alerts_as_they_are(
    lite: InvestigationSDK, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    rule = Picky()
    monitor = watching(lite, clock, rule)
    rule.found = [Finding("picky:1", Severity.INFO, "one")]
    assert told(await monitor.look()) == [("picky:1", "firing")]
    rule.found = None
    for _ in range(5):
        assert await monitor.look() == []
    assert "The rule picky failed" in caplog.text
    assert len(monitor.firing) == 1


def test_what_flickers_does_not_fire() -> None:
    book = AlertBook("r", fire_after=3, resolve_after=2)
    one = Finding("k", Severity.INFO, "one")
    for round_ in ([one], [one], [], [one], [one], [], [], [one]):
        assert book.update(round_, 0) == []
    assert book.update([one], 0) == []
    assert told(book.update([one], 0)) == [("k", "firing")]
    for round_ in ([], [one], [], [one]):
        assert book.update(round_, 0) == []
    assert book.update([], 0) == []
    assert told(book.update([], 5)) == [("k", "resolved")]


async def test_sinks_are_told_in_order_and_never_wait_for_each_other(
    lite: InvestigationSDK, clock: Clock, otel: Collected, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[Alert] = []

    def broken(alert: Alert) -> None:
        raise ConnectionError("nobody there")

    rule = Picky()
    sinks: list[Sink] = [CallbackSink(broken), CallbackSink(got.append), OpenTelemetrySink(otel.logger_provider)]
    monitor = Monitor(lite, rules=[rule], sinks=sinks, clock=clock, resolve_after=1)
    rule.found = [Finding(f"picky:{n}", Severity.WARNING, f"the {n}th", "an id", n, 1) for n in range(5)]
    await monitor.look()
    rule.found = []
    await monitor.look()
    await monitor.aclose()
    keys = [f"picky:{n}" for n in range(5)]
    assert told(got) == [(key, state) for state in ("firing", "resolved") for key in keys]
    assert caplog.text.count("CallbackSink could not send the alert") == 10
    records = [data.log_record for data in otel.records.get_finished_logs()]
    assert [record.event_name for record in records] == ["investigation.alert"] * 10
    attributes = dict(records[3].attributes or {})
    assert attributes["investigation.alert.key"] == "picky:3"
    assert attributes["investigation.alert.value"] == 3


async def test_the_log_is_the_usual_sink(lite: InvestigationSDK, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="no"):
        async with lite.investigation("s") as investigation:
            raise ValueError("no")

    def told() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.name == "investigation_sdk.alerts"]

    async with Monitor(lite, every=timedelta(milliseconds=20)):
        for _ in range(1500):
            if told():  # it fires first, and is told then
                break
            await asyncio.sleep(0.02)
    (record,) = told()
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith(f"firing: Investigation {investigation.id}")
    assert record.__dict__["alert"]["rule"] == "failed"
    assert record.__dict__["investigation_id"] == investigation.id


@pytest.mark.parametrize("url", SHARED, indirect=True)
async def test_one_of_many_looks(url: str, make_sdk: Make, clock: Clock) -> None:
    sdk = make_sdk(url)
    with pytest.raises(ValueError, match="no"):
        async with sdk.investigation("s"):
            raise ValueError("no")
    first, second = watching(sdk, clock), watching(make_sdk(url), clock)
    assert len(await first.look()) == 1
    assert await second.look() == []
    await first.aclose()
    assert len(await second.look()) == 1
    await second.aclose()


KILLED = """
import asyncio, sys
from investigation_sdk import InvestigationSDK
from investigation_sdk.telemetry.monitor import Monitor

async def main():
    async with InvestigationSDK(sys.argv[1]) as sdk, Monitor(sdk, sinks=[]) as monitor:
        while monitor._lease is None:
            await asyncio.sleep(0.01)
        print("watching", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_killed_one_is_succeeded_at_once(sqlite_url: str, lite: InvestigationSDK, clock: Clock) -> None:
    with pytest.raises(ValueError, match="no"):
        async with lite.investigation("s"):
            raise ValueError("no")
    monitor = watching(lite, clock)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, sqlite_url, stdout=pipe)
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"watching\n"
        assert await monitor.look() == []
    finally:
        process.kill()
        await asyncio.wait_for(process.communicate(), 60)
    assert len(await monitor.look()) == 1


async def test_it_runs_beside_a_worker(lite: InvestigationSDK) -> None:
    got: asyncio.Queue[Alert] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    sink = CallbackSink(lambda alert: loop.call_soon_threadsafe(got.put_nowait, alert))

    @lite.investigator("fraud")
    async def fails(run: AsyncInvestigationRun) -> None:
        raise LookupError("no such account")

    every = timedelta(milliseconds=20)
    async with lite.worker(), Monitor(lite, rules=[Failed()], sinks=[sink], every=every):
        made = await lite.submit("fraud", "account 42")
        alert = await asyncio.wait_for(got.get(), 60)
    assert told([alert]) == [(f"failed:{made.id}", "firing")]


def test_too_often_is_refused(lite: InvestigationSDK) -> None:
    with pytest.raises(ConfigurationError, match="at least 10 ms"):
        Monitor(lite, every=timedelta(0))
