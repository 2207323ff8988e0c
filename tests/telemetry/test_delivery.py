"""Alerts on their way: threads that end, sinks that end themselves, processes that fork or lose the lease."""

import contextlib
import os
import signal
import threading
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from investigation_sdk import InvestigationSDK
from investigation_sdk.errors import ConfigurationError
from investigation_sdk.telemetry.monitor import (
    Alert,
    CallbackSink,
    Deaf,
    Failed,
    Finding,
    Look,
    Monitor,
    Severity,
    Stuck,
)
from investigation_sdk.telemetry.monitor.sinks import Delivery, close_all
from tests.telemetry.watching import Clock, told, watching


def alert(key: str) -> Alert:
    since = datetime(2026, 1, 2, tzinfo=UTC)
    return Alert(key=key, rule="r", state="firing", severity=Severity.INFO, message="m", since=since)


def senders() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "investigation-alerts"}


def test_a_closed_one_leaves_no_thread_and_may_be_used_again() -> None:
    got: list[str] = []
    before = senders()
    delivery = Delivery(CallbackSink(lambda alert: got.append(alert.key)))
    for key in ("1", "2"):
        delivery.put(alert(key))
        (thread,) = senders() - before
        close_all([delivery], 30)
        thread.join(30)
        assert not thread.is_alive()
    assert got == ["1", "2"]


def test_sinks_that_hang_are_waited_for_together(caplog: pytest.LogCaptureFixture) -> None:
    go = threading.Event()
    waits: list[float] = []

    class Slow(Delivery):
        def drain(self, timeout: float) -> bool:
            waits.append(timeout)
            return super().drain(timeout)

    slow = [Slow(CallbackSink(lambda alert: go.wait(60))) for _ in range(3)]
    for delivery in slow:
        delivery.put(alert("k"))
    close_all(slow, 0.2)
    assert 0 < waits[0] <= 0.2
    assert waits[1:] == [0, 0]
    assert caplog.text.count("CallbackSink has still 1 alerts to send") == 3
    go.set()
    close_all(slow, 60)


def test_a_sink_that_would_end_its_thread_does_not(caplog: pytest.LogCaptureFixture) -> None:
    got: list[str] = []

    def ends(alert: Alert) -> None:
        got.append(alert.key)
        raise SystemExit

    delivery = Delivery(CallbackSink(ends))
    for key in ("1", "2"):
        delivery.put(alert(key))
    assert delivery.drain(60)
    assert got == ["1", "2"]
    assert caplog.text.count("could not send the alert") == 2
    close_all([delivery], 60)


def _wait_for(child: int) -> None:
    end = time.monotonic() + 60
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)


class Always:
    """A rule that finds one thing, always."""

    name = "always"

    async def find(self, look: Look) -> Sequence[Finding]:
        return [Finding("always", Severity.INFO, "as ever")]


async def test_a_forked_child_sends_what_it_finds_and_not_what_its_parent_found(
    lite: InvestigationSDK, clock: Clock
) -> None:
    go = threading.Event()
    got: list[str] = []

    parent = os.getpid()

    def slow(alert: Alert) -> None:
        got.append(alert.key)
        if os.getpid() == parent:
            go.wait(60)

    sink = CallbackSink(slow)
    monitor = Monitor(lite, rules=[Always()], sinks=[sink], clock=clock)
    assert len(await monitor.look()) == 1
    owner = monitor._owner
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12: forking with threads
        child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            got.clear()
            known = f"{len(monitor.firing)} {monitor._owner == owner}"
            delivery = monitor._deliveries[0]
            delivery.put(alert("child"))
            os.write(writes, f"{known} {delivery.drain(30)} {got}".encode())
        os._exit(0)
    os.close(writes)
    _wait_for(child)
    assert os.read(reads, 1000) == b"0 False True ['child']"
    os.close(reads)
    go.set()
    assert len(monitor.firing) == 1
    await monitor.aclose()


async def failed(sdk: InvestigationSDK) -> None:
    with pytest.raises(ValueError, match="no"):
        async with sdk.investigation("s"):
            raise ValueError("no")


async def test_monitors_with_different_rules_do_not_keep_each_other_from_looking(
    lite: InvestigationSDK, other: InvestigationSDK, clock: Clock
) -> None:
    await failed(lite)
    stuck, fails = watching(lite, clock, Stuck()), watching(other, clock, Failed())
    shorter = watching(other, clock, Failed(within=timedelta(hours=1)))
    assert await stuck.look() == []
    assert len(await fails.look()) == len(await shorter.look()) == 1
    same = watching(lite, clock, Deaf({"x": lambda: True}), Failed())  # what is asked everywhere makes no difference
    assert await same.look() == []
    for monitor in (stuck, fails, shorter, same):
        await monitor.aclose()


async def test_monitors_of_one_name_look_one_at_a_time(lite: InvestigationSDK, clock: Clock) -> None:
    await failed(lite)
    first = Monitor(lite, rules=[Stuck()], sinks=[], name="mine", clock=clock)
    second = Monitor(lite, rules=[Failed()], sinks=[], name="mine", clock=clock)
    assert await first.look() == await second.look() == []
    await first.aclose()
    assert len(await second.look()) == 1
    await second.aclose()
    for name in ("", "a:b"):
        with pytest.raises(ConfigurationError, match=f"Monitor: name='{name}'"):
            Monitor(lite, name=name)


async def test_one_that_looks_no_more_forgets_what_it_knew(
    lite: InvestigationSDK, other: InvestigationSDK, clock: Clock
) -> None:
    await failed(lite)
    deaf = Deaf({"redis": lambda: False})
    first, second = watching(lite, clock, Failed(), deaf), watching(other, clock, Failed())
    assert len(await first.look()) == 2
    lease = first._lease
    assert lease is not None
    await lite._recorder.acall(lite._recorder.backend.release(lease))
    assert [told.state for told in await second.look()] == ["firing"]
    assert [await first.look() for _ in range(3)] == [[], [], []]
    assert [one.rule for one in first.firing] == ["deaf"]  # its own
    await second.aclose()
    assert second.firing == []
    assert told([one for one in await first.look() if one.rule == "failed"])[0][1] == "firing"
    await first.aclose()
