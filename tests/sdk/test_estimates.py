"""When an investigation may be done: by what the store has of its type."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.domain.estimate import History, PastRun, Span
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow
from investigation_sdk.engine import history
from investigation_sdk.storage.commit import Query, Where


@tool
def look() -> None:
    """Finds nothing."""


async def past(sdk: InvestigationSDK, count: int, investigation_type: str = "fraud") -> None:
    for _ in range(count):
        async with sdk.investigation("x", investigation_type=investigation_type, phases=("a", "b")) as investigation:
            for name in ("a", "b"):
                async with investigation.phase(name):
                    look()


@pytest.fixture(autouse=True)
def read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT_SECONDS", -1.0)
    monkeypatch.setattr(history, "_UNINTERRUPTED", 0.0)  # runs of a millisecond are mostly begin and end


async def test_by_past_runs_of_its_type(sdk: InvestigationSDK) -> None:
    await past(sdk, 2)
    await past(sdk, 4, "other")
    async with sdk.investigation("now", investigation_type="fraud", phases=("a", "b")) as investigation:
        assert (await sdk.progress(investigation.id)).estimate is None
        await past(sdk, 2)
        before = datetime.now(UTC)
        async with investigation.phase("a"):
            pass
        async with investigation.phase("b"):
            # the first phase may have been so slow here that past runs say nothing
            during = await sdk.progress(investigation.id)
    done = await sdk.progress(investigation.id)
    assert (done.estimate, done.estimated_completion) == (None, None)
    estimate = during.estimate
    if estimate is not None:
        assert estimate.basis == f"{estimate.runs} past runs of fraud"
        assert 3 <= estimate.runs <= 4
        assert before - timedelta(seconds=1) <= estimate.earliest <= estimate.likely <= estimate.latest
        assert during.estimated_completion == estimate.likely


async def test_past_runs_are_read_as_they_were(sdk: InvestigationSDK) -> None:
    await past(sdk, 3)
    with pytest.raises(ValueError, match="broken"):
        async with sdk.investigation("failed", investigation_type="fraud"):
            raise ValueError("broken")
    async with sdk.investigation("resumed", investigation_type="fraud", key="k") as first:
        await sdk.service.pause(first.id)
        await sdk.service.resume(first.id)
    backend = sdk._recorder.backend  # pyright: ignore[reportPrivateUsage]
    found = await sdk._recorder.acall(history.read(backend, "", "fraud"))  # pyright: ignore[reportPrivateUsage]
    assert [sorted(one.phases) for one in found.runs] == [[], ["a", "b"], ["a", "b"], ["a", "b"]]
    for one in found.runs[1:]:
        assert 0 <= one.phases["a"].began <= one.phases["a"].ended <= one.phases["b"].ended <= one.total
        assert [percent for percent, _ in one.phases["a"].marks] == [50]
    assert not (await sdk._recorder.acall(history.read(backend, "", "nothing"))).runs  # pyright: ignore[reportPrivateUsage]


async def test_numbers_of_what_it_was_given_are_read(sdk: InvestigationSDK) -> None:
    async def investigate(sites: list[str]) -> str:
        given = {"depth": 2, "deep": True, "name": "x", "none": 0, "huge": 10**400}
        async with sdk.investigation(
            "x", investigation_type="audit", phases=("a", "b"), configuration=given, metadata={"cost": 0.5}
        ) as investigation:
            async with investigation.phase("a", input_data={"sites": sites, "inner": {"n": 3}}) as phase:
                phase.output_data = {"files": 1000 * len(sites)}
                during = await sdk.progress(investigation.id)
                assert during.estimate is None
            async with investigation.phase("b", input_data=[1, 2, 3]) as phase:
                phase.output_data = 7
        return investigation.id

    id = await investigate(["p", "q"])
    backend = sdk._recorder.backend  # pyright: ignore[reportPrivateUsage]
    read = await sdk._recorder.acall(history.read(backend, "", "audit"))  # pyright: ignore[reportPrivateUsage]
    given = {"configuration depth": 2, "metadata cost": 0.5, "a input sites": 2}
    assert [one.sizes for one in read.runs] == [given | {"a output files": 2000}]
    assert read.sized
    row = await sdk._recorder.acall(backend.get("investigation", id))  # pyright: ignore[reportPrivateUsage]
    of_this = Query("phase", (Where("investigation_id", "=", id),), "phase_order")
    rows = await sdk._recorder.acall(backend.find(of_this))  # pyright: ignore[reportPrivateUsage]
    phases = [one for one in rows if isinstance(one, PhaseRow)]
    assert isinstance(row, InvestigationRow)
    inside = phases[0]._replace(completed_at=None)
    assert history.sizes(row) == {"configuration depth": 2, "metadata cost": 0.5}
    assert history.sizes_of_phases([inside]) == {"a input sites": 2}, "what it gives is known when it was left"
    for broken in ("[" * 4000, "{", '{"n": NaN, "m": -1}', '{"n": 1}' + " " * 4096):
        assert not history.sizes_of_phases([inside._replace(input_data=broken)])
    many = "{" + ",".join(f'"n{n}": 1' for n in range(100)) + "}"
    assert len(history.sizes_of_phases([inside._replace(input_data=many)])) == 12


async def test_who_is_given_more_is_told_to_take_longer(sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [PastRun(n * 1e9, {"a": Span(0, n * 1e9)}, {"a input files": n}) for n in (1.0, 2.0, 3.0, 5.0)]

    async def known(*_: object) -> History:
        return History(runs)

    monkeypatch.setattr(history, "read", known)
    for files in (2, 4):
        async with (
            sdk.investigation("x", investigation_type="audit", phases=("a",)) as investigation,
            investigation.phase("a", input_data={"files": files}),
        ):
            now = datetime.now(UTC)
            estimate = (await sdk.progress(investigation.id)).estimate
        assert estimate is not None
        assert abs(estimate.likely - now - timedelta(seconds=1000 * files)) < timedelta(seconds=60)


async def test_runs_that_paused_do_not_count(sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_UNINTERRUPTED", 1.1)
    await past(sdk, 3)
    backend = sdk._recorder.backend  # pyright: ignore[reportPrivateUsage]
    assert not (await sdk._recorder.acall(history.read(backend, "", "fraud"))).runs  # pyright: ignore[reportPrivateUsage]


async def test_only_the_newest_are_asked_and_whole_ones(sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_RUNS", 4)
    monkeypatch.setattr(history, "_MAX_PHASES", 5)
    await past(sdk, 6)
    backend = sdk._recorder.backend  # pyright: ignore[reportPrivateUsage]
    found = await sdk._recorder.acall(history.read(backend, "", "fraud"))  # pyright: ignore[reportPrivateUsage]
    assert [sorted(one.phases) for one in found.runs] == [["a", "b"]] * 2


async def test_a_tenants_runs_are_its_own(url: str, make_sdk: Callable[..., InvestigationSDK]) -> None:
    sdk = make_sdk(url, tenant_id="a")
    await past(sdk, 3)
    backend = sdk._recorder.backend  # pyright: ignore[reportPrivateUsage]
    for tenant, runs in (("a", 3), ("b", 0), ("", 0)):
        found = await sdk._recorder.acall(history.read(backend, tenant, "fraud"))  # pyright: ignore[reportPrivateUsage]
        assert len(found.runs) == runs


async def test_they_are_kept_for_a_while(sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT_SECONDS", 3600.0)
    recorder = sdk._recorder  # pyright: ignore[reportPrivateUsage]
    await past(sdk, 1)
    histories = history.Histories()
    first = await recorder.acall(histories.of(recorder.backend, "", "fraud"))
    await past(sdk, 1)
    assert await recorder.acall(histories.of(recorder.backend, "", "fraud")) is first
    for n in range(300):
        await recorder.acall(histories.of(recorder.backend, "", str(n)))
    assert len(histories._known) == 256  # pyright: ignore[reportPrivateUsage]
    assert len((await recorder.acall(histories.of(recorder.backend, "", "fraud"))).runs) == 2
