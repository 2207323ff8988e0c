"""What is finished is not kept longer than its users say: the age of the oldest, and the rule that it be bounded."""

import contextlib
from collections.abc import Callable
from datetime import timedelta

import pytest

from investigation_sdk import ConfigurationError, InvestigationSDK, InvestigationState
from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.storage.commit import Query
from investigation_sdk.telemetry.monitor import RetentionOverdue, Severity
from investigation_sdk.telemetry.monitor.alerts import Look
from investigation_sdk.telemetry.monitor.retention import oldest_ended
from tests.telemetry.collected import Collected
from tests.telemetry.watching import Clock, told, watching

Make = Callable[..., InvestigationSDK]
DAY = timedelta(days=1)
AGE = "investigation.retention.oldest_age"


async def one(sdk: InvestigationSDK, kind: str = "fraud", *, fails: bool = False) -> str:
    """A finished investigation."""
    with contextlib.ExitStack() as stack:
        if fails:
            stack.enter_context(pytest.raises(ValueError, match="no"))
        async with sdk.investigation("s", investigation_type=kind) as investigation:
            id = investigation.id
            if fails:
                raise ValueError("no")
    await sdk.flush()
    return id


async def removed(sdk: InvestigationSDK, *ids: str) -> None:
    """As a job does that removes what was kept long enough."""
    backend = sdk._recorder.backend
    for id in ids:
        row = await sdk._recorder.acall(backend.get("investigation", id))
        assert isinstance(row, InvestigationRow)
        assert await sdk._recorder.acall(backend.delete([(id, row.version)])) == 1


async def test_what_is_kept_too_long_fires_once_and_is_resolved_when_it_is_gone(
    sdk: InvestigationSDK, clock: Clock
) -> None:
    monitor = watching(sdk, clock, RetentionOverdue(30 * DAY))
    first, second = await one(sdk), await one(sdk, fails=True)
    async with sdk.investigation("not finished"):
        clock.move(29 * DAY)
        assert await monitor.look() == []
        clock.move(2 * DAY)
        (alert,) = await monitor.look()
        assert told([alert]) == [("retention_overdue", "firing")]
        assert (alert.severity, alert.investigation_id) == (Severity.WARNING, first)
        assert alert.message.startswith(f"Investigation {first} (fraud) ended on 20")
        assert alert.message.endswith(" later; it was to be kept for 30 days, 0:00:00.")
        assert alert.threshold == 30 * 86400
        assert alert.value == pytest.approx(31 * 86400, abs=300)
        assert await monitor.look() == []
        await removed(sdk, first)
        for _ in range(3):
            assert await monitor.look() == []  # the other one, which failed, is still there: the same alert
        assert [alert.investigation_id for alert in monitor.firing] == [second]
        await removed(sdk, second)
        assert await monitor.look() == []
        assert told(await monitor.look()) == [("retention_overdue", "resolved")]
        clock.move(300 * DAY)
        assert await monitor.look() == []  # what is not finished is not overdue


async def test_types_are_kept_for_different_times(sdk: InvestigationSDK, clock: Clock) -> None:
    monitor = watching(sdk, clock, RetentionOverdue(30 * DAY, "fraud"), RetentionOverdue(10 * DAY, "abuse"))
    await one(sdk, "fraud")
    await one(sdk, "abuse")
    clock.move(11 * DAY)
    assert told(await monitor.look()) == [("retention_overdue:abuse", "firing")]
    clock.move(20 * DAY)
    assert told(await monitor.look()) == [("retention_overdue:fraud", "firing")]


def test_a_period_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"after=datetime.timedelta\(0\) is no timedelta longer than 0"):
        RetentionOverdue(timedelta(0))


async def test_the_oldest_is_the_one_that_ended_first(sdk: InvestigationSDK, clock: Clock) -> None:
    """Not the one that was created first: of many that overlap, in any of the three states that are an end."""
    look = Look(sdk._recorder.backend, "", clock())
    assert await sdk._recorder.acall(oldest_ended(look)) is None
    async with sdk.investigation("created first, ends last") as long:
        cancelled = await sdk.service.create_investigation("gil", "s", "fraud")
        with pytest.raises(ValueError, match="no"):
            async with sdk.investigation("created before the others") as failed:
                ended = [await one(sdk) for _ in range(3)]
                raise ValueError("no")
        await sdk.service.cancel(cancelled.id)
    await sdk.flush()
    order = [*ended, failed.id, cancelled.id, long.id]
    found: list[str] = []
    while oldest := await sdk._recorder.acall(oldest_ended(look)):
        found.append(oldest[0].id)
        await removed(sdk, oldest[0].id)
    assert found == order


async def test_few_are_read_to_find_it(lite: InvestigationSDK, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(300):
        await one(lite)
    backend = lite._recorder.backend
    find, read = backend.find, [0, 0]

    async def counting(query: Query) -> object:
        rows = await find(query)
        read[0] += 1
        read[1] += len(rows)
        return rows

    monkeypatch.setattr(backend, "find", counting)
    await lite._recorder.acall(oldest_ended(Look(backend, "", clock())))
    assert read[0] <= 4
    assert read[1] <= 101


async def test_the_gauge_is_the_age_that_the_last_round_found(
    lite: InvestigationSDK, make_sdk: Make, sqlite_url: str, otel: Collected, clock: Clock
) -> None:
    sdk = make_sdk(sqlite_url, telemetry=otel.options())
    first, second = watching(sdk, clock, RetentionOverdue(DAY)), watching(sdk, clock, RetentionOverdue(DAY))
    await first.look()
    assert otel.points(AGE) == []
    await one(lite)
    assert otel.points(AGE) == []  # an export asks no store
    clock.move(2 * DAY)
    await one(lite)
    (alert,) = await first.look()
    assert await second.look() == []
    assert otel.points(AGE) == [({}, alert.value)]
    await first.aclose()
    assert otel.points(AGE) == []  # nobody looks
    clock.move(DAY)
    (again,) = await second.look()
    assert alert.value is not None
    assert again.value == pytest.approx(alert.value + 86400, abs=300)
    assert otel.points(AGE) == [({}, again.value)]
    listed = await sdk.list(limit=2)
    assert {record.status for record in listed} == {InvestigationState.COMPLETED}
    await removed(sdk, *(record.id for record in listed))
    await second.look()
    assert otel.points(AGE) == []
    await second.aclose()


async def test_a_store_that_does_not_answer_for_the_gauge_hinders_no_rule(
    make_sdk: Make, otel: Collected, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(look: Look) -> None:
        raise ConnectionError

    sdk = make_sdk("memory://", telemetry=otel.options())
    await one(sdk, fails=True)
    monkeypatch.setattr("investigation_sdk.telemetry.monitor.monitor.oldest_ended", broken)
    async with sdk.investigation("s"):
        pass
    assert len(await watching(sdk, clock).look()) == 1
    assert "The age of the oldest finished investigation could not be found." in caplog.text
    assert otel.points(AGE) == []
