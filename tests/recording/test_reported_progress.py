"""Progress that is reported while something runs: seen by others, never in the log but with the next event."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_sdk import BackendUnavailable, InvestigationSDK, PhasePlan, current_tool, phase, tool
from investigation_sdk.domain.fold import Fold
from investigation_sdk.engine import progressing
from investigation_sdk.engine.reading import to_event
from investigation_sdk.storage.commit import Advance
from investigation_sdk.testing.faults import Fault, FaultyBackend
from tests.domain.harness import World


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"after 60 s still not: {what}"
        time.sleep(0.01)


def percents(sdk: InvestigationSDK, id: str) -> tuple[int, int]:
    progress = sdk.sync.progress(id, include_tools=False)
    return progress.overall_progress, progress.phases[0]["progress"]


def test_what_a_phase_reports_is_seen_before_anything_is_recorded(sdk: InvestigationSDK) -> None:
    with sdk.investigation("x", phases=("a", "b")) as investigation:
        with investigation.phase("a") as part:
            sdk.sync.flush()
            version = sdk.sync.get(investigation.id).version
            part.progress(0.5)
            until(lambda: percents(sdk, investigation.id) == (25, 50), "25 and 50 percent")
            part.progress(0.2)
            part.progress(0.61)
            until(lambda: percents(sdk, investigation.id) == (30, 61), "30 and 61 percent")
            assert sdk.sync.get(investigation.id).version == version
            assert sdk.sync.get(investigation.id).progress_percentage == 30
            assert sdk.sync.phases(investigation.id)[0].progress_percentage == 61
        left = sdk.sync.events(investigation.id, event_type="phase.completed")[0]
        assert left.metadata == {"progress": {part.id: 61}}
    types = {event.event_type for event in sdk.sync.iter_events(investigation.id)}
    assert "progress.update" not in types
    assert sdk.sync.verify(investigation.id).ok


def test_a_tool_reports_a_part_of_its_phase(sdk: InvestigationSDK) -> None:
    @tool(effect="idempotent")
    def ip_geolocation() -> None:
        current_tool().report(progress=0.6)
        until(lambda: percents(sdk, investigation.id) == (40, 40), "40 percent, as in the plan's example")

    @tool
    def vpn_detection() -> None:
        """Finds nothing."""

    plan = PhasePlan("network_analysis", tools=("vpn_detection", "ip_geolocation", "proxy_detection", "tor_check"))
    with sdk.investigation("x", phases=(plan,)) as investigation, investigation.phase("network_analysis"):
        vpn_detection()
        ip_geolocation()
        assert percents(sdk, investigation.id) == (50, 50)


def test_what_was_reported_rides_in_the_next_event(url: str, make_sdk: Callable[..., InvestigationSDK]) -> None:
    sdk = make_sdk(url)

    @tool
    def look() -> None:
        """Finds nothing."""

    with sdk.investigation("x", phases=("a",)) as investigation, investigation.phase("a") as part:
        part.progress(0.4)
        look()
        part.progress(0.7)
        look()
        sdk.sync.flush()
        rides = [event.metadata["progress"] for event in sdk.sync.iter_events(investigation.id) if event.metadata]
        assert rides == [{part.id: 40}, {part.id: 70}]
        assert percents(sdk, investigation.id) == (70, 70)
        backend = sdk._recorder.backend  # pyright: ignore[reportPrivateUsage]
        stored = sdk._recorder.call(backend.read_events(investigation.id))  # pyright: ignore[reportPrivateUsage]
    fold = Fold(investigation.id)
    for event in stored:
        fold.apply(to_event(event))
    assert (fold.progress, fold.phases["a"].progress, fold.phases["a"].reported) == (70, 70, 70)


@pytest.mark.parametrize("said", [7, [], {"x": 5}, {"phase": -1}, {"phase": 101}, {"phase": "50"}, {"phase": True}])
def test_odd_things_in_a_log_are_not_progress(said: Any) -> None:

    world = World()
    world.create(phases=[{"id": "phase", "name": "a"}])
    world.claim()
    token = world.fold.token
    assert token is not None
    world.start_phase("a", token)
    event = world.fact("note.recorded", {}, token)
    event.metadata = {"progress": said}
    world.fold.apply(event)
    assert world.fold.progress == 0


def test_ten_thousand_reports_are_one_write(
    make_sdk: Callable[..., InvestigationSDK], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progressing, "INTERVAL", 3600.0)
    backend = FaultyBackend(MemoryBackend())
    sdk = make_sdk(backend)
    told: list[Mapping[str, Any]] = []
    sdk._recorder.observe_progress(lambda _, data: told.append(data))  # pyright: ignore[reportPrivateUsage]
    with sdk.investigation("x", phases=("a",)) as investigation, investigation.phase("a") as part:
        for n in range(10_000):
            part.progress(n / 10_000)
        until(lambda: bool(told), "told once")
        assert len(told) == 1
        assert len(backend.advances) <= 1
        assert len(sdk._recorder._progressing._sessions) <= 1  # pyright: ignore[reportPrivateUsage]
        investigation.record("my.note")
        sdk.sync.flush()
        assert percents(sdk, investigation.id) == (99, 99)
    sdk.sync.close()
    assert (len(told), len(backend.advances) <= 1) == (1, True)
    (update,) = told
    assert update.keys() == {"overall_progress", "current_phase", "phases"}
    assert update["phases"][0]["name"] == "a"


def test_a_store_that_takes_no_progress_harms_nobody(make_sdk: Callable[..., InvestigationSDK]) -> None:
    class Refusing(FaultyBackend):
        tried = 0

        async def advance(self, advances: Any) -> None:
            self.tried += 1
            raise BackendUnavailable("planned")

    backend = Refusing(MemoryBackend())
    sdk = make_sdk(backend)
    with sdk.investigation("x", phases=("a",)) as investigation, investigation.phase("a") as part:
        part.progress(0.3)
        until(lambda: backend.tried == 1, "tried once")
        part.progress(0.4)
        until(lambda: backend.tried == 2, "tried again with the next report")
        assert percents(sdk, investigation.id) == (0, 0)
    assert percents(sdk, investigation.id) == (100, 100)


def test_an_observer_that_fails_is_logged_and_the_others_are_told(
    sdk: InvestigationSDK, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def fails(id: str, data: Mapping[str, Any]) -> None:
        raise ValueError("broken observer")

    recorder = sdk._recorder  # pyright: ignore[reportPrivateUsage]
    recorder.observe_progress(fails)
    recorder.observe_progress(lambda id, _: told.append(id))
    with sdk.investigation("x", phases=("a",)) as investigation, investigation.phase("a") as part:
        part.progress(0.3)
        until(lambda: told == [investigation.id], "told")
    assert "An observer of progress failed" in caplog.text


def test_a_commit_that_is_under_way_is_not_overtaken(make_sdk: Callable[..., InvestigationSDK]) -> None:
    """It was sealed before the report: written after it, it would take the report back."""
    backend = FaultyBackend(MemoryBackend())
    sdk = make_sdk(backend)
    with sdk.investigation("x", phases=("a",)) as investigation, investigation.phase("a") as part:
        session = sdk._recorder.sessions.get(investigation.id)  # pyright: ignore[reportPrivateUsage]
        assert session is not None
        sdk.sync.flush()
        backend.plan.commits = {len(backend.batches) + 1: Fault("hang")}
        investigation.record("my.note")
        until(lambda: session.in_flight is not None, "a commit that hangs")
        part.progress(0.5)
        until(lambda: not session.news, "looked at")
        assert backend.advances == []
        backend.release_hanging()
        until(lambda: percents(sdk, investigation.id) == (50, 50), "50 percent")
    last = [one for batch in backend.advances for one in batch]
    assert last[:1] == [Advance("investigation", investigation.id, 1, 50)]


def test_what_was_reported_is_no_difference_between_rows_and_log(sdk: InvestigationSDK) -> None:
    with sdk.investigation("x", phases=("a",)) as investigation, investigation.phase("a") as part:
        for n in range(10):
            part.progress(n / 10)
            time.sleep(0.002)  # a mark is set when it is said, and the event comes later
    report = sdk.sync.check(investigation.id)
    assert report.ok, report.problems


def test_outside_an_investigation_it_says_nothing() -> None:

    with phase("a") as run:
        run.progress(0.5)
    current_tool().report(progress=0.5)
