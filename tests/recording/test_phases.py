"""Phases: as blocks and decorators, alone and at the same time, and what is refused."""

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_sdk import InvestigationSDK, PhaseError, PhasePlan, PhaseState, current_investigation, phase, tool
from investigation_sdk.domain.records import InvestigationPhase
from investigation_sdk.testing.faults import Fault, FaultyBackend, Plan


async def only_phase(sdk: InvestigationSDK, id: str) -> InvestigationPhase:
    (found,) = await sdk.phases(id)
    return found


async def warnings(sdk: InvestigationSDK, id: str) -> list[dict[str, Any]]:
    return [e.event_data for e in await sdk.events(id, event_type="recorder.warning")]


async def test_a_phase_is_durable_before_its_block_goes_on(lite: InvestigationSDK, other: InvestigationSDK) -> None:
    async with lite.investigation("durable") as investigation:
        async with investigation.phase("p", input_data={"a": 1}) as p:
            seen = await only_phase(other, investigation.id)
            assert (seen.id, seen.status, seen.input_data) == (p.id, PhaseState.RUNNING, {"a": 1})
            assert (await other.get(investigation.id)).current_phase == "p"
            p.output_data = [1, 2]
        seen = await only_phase(other, investigation.id)
        assert (seen.status, seen.output_data, seen.progress_percentage) == (PhaseState.COMPLETED, [1, 2], 100)
        assert seen.duration_ms is not None
        assert seen.started_at is not None
        assert seen.completed_at is not None
        assert seen.started_at <= seen.completed_at


def test_a_sync_phase_is_durable_before_its_block_goes_on(lite: InvestigationSDK, other: InvestigationSDK) -> None:
    with lite.investigation("durable") as investigation:
        with investigation.phase("p"):
            (seen,) = other.sync.phases(investigation.id)
            assert seen.status is PhaseState.RUNNING
        (seen,) = other.sync.phases(investigation.id)
        assert seen.status is PhaseState.COMPLETED


async def test_as_a_decorator(sdk: InvestigationSDK) -> None:
    @phase("sync", weight=2)
    def work(n: int) -> int:
        """Work."""
        return n + 1

    @phase("async")
    async def awork(n: int) -> int:
        return n + 2

    assert (work.__name__, work.__doc__, list(inspect.signature(work).parameters)) == ("work", "Work.", ["n"])
    assert inspect.iscoroutinefunction(awork)
    assert (work(1), await awork(1)) == (2, 3)  # outside an investigation
    async with sdk.investigation("decorated") as investigation:
        assert (work(1), await awork(1)) == (2, 3)

        @investigation.phase("own")
        async def own() -> None: ...

        await own()
    assert [(p.phase_name, p.status) for p in await sdk.phases(investigation.id)] == [
        (name, PhaseState.COMPLETED) for name in ("sync", "async", "own")
    ]


def test_a_generator_cannot_be_a_phase() -> None:
    with pytest.raises(TypeError, match=r"phase\('p'\) cannot decorate 'steps', a generator; use `with phase"):

        @phase("p")
        def steps() -> Iterator[int]:
            yield 1


async def test_outside_an_investigation_a_phase_does_nothing() -> None:
    with phase("p") as p:
        p.output_data = object()
        p.progress(0.5)
        assert (p.id, p.name, p.completed_before, p.previous_output) == ("", "p", False, None)
    async with phase("p") as ap:
        assert ap.id == ""
    with pytest.raises(ValueError, match="x"), phase("p"):
        raise ValueError("x")


async def test_concurrent_phases(sdk: InvestigationSDK) -> None:
    both = asyncio.Barrier(2)

    @tool
    async def where() -> None: ...

    async def part(name: str) -> str:
        async with phase(name) as p:
            await both.wait()
            await where()
            return p.id

    async with sdk.investigation("concurrent") as investigation:
        ids = list(await asyncio.gather(part("a"), part("b")))
    assert [p.id for p in await sdk.phases(investigation.id)] == ids
    assert {c.phase_id for c in await sdk.tools(investigation.id)} == set(ids)
    assert await warnings(sdk, investigation.id) == []


async def test_two_open_phases_of_one_name(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("twice") as investigation:
        async with investigation.phase("p"):
            with pytest.raises(PhaseError) as refused:
                async with investigation.phase("p"):
                    raise AssertionError("must not run")
        assert refused.value.phase_name == "p"
        assert refused.value.investigation_id == investigation.id
        assert investigation.id in str(refused.value)
        assert "'p'" in str(refused.value)
        assert "open already" in str(refused.value)
        assert "two names" in str(refused.value)
    assert (await only_phase(sdk, investigation.id)).status is PhaseState.COMPLETED
    assert await warnings(sdk, investigation.id) == []


async def test_a_phase_that_was_completed_cannot_be_entered_again(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("again") as investigation:
        async with investigation.phase("p"):
            pass
        with pytest.raises(PhaseError, match=r"completed already in this attempt.*'p 2'"):
            async with investigation.phase("p"):
                raise AssertionError("must not run")
    assert (await only_phase(sdk, investigation.id)).status is PhaseState.COMPLETED


async def test_a_phase_that_failed_may_be_tried_again(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("retry") as investigation:
        with pytest.raises(OSError, match="first"):
            async with investigation.phase("p"):
                raise OSError("first")
        async with investigation.phase("p") as p:
            assert not p.completed_before
    found = await only_phase(sdk, investigation.id)
    assert (found.status, found.error_details) == (PhaseState.COMPLETED, None)
    types = [e.event_type for e in await sdk.events(investigation.id) if e.event_type.startswith("phase.")]
    assert types == ["phase.started", "phase.failed", "phase.started", "phase.completed"]


async def test_a_phase_inside_a_phase_is_recorded_with_a_warning(sdk: InvestigationSDK) -> None:
    @tool
    def where() -> None: ...

    async with sdk.investigation("nested") as investigation, investigation.phase("outer") as outer:
        async with investigation.phase("inner") as inner:
            where()
        where()
    assert [p.status for p in await sdk.phases(investigation.id)] == [PhaseState.COMPLETED] * 2
    assert [c.phase_id for c in await sdk.tools(investigation.id)] == [inner.id, outer.id]
    (warning,) = await warnings(sdk, investigation.id)
    assert warning["kind"] == "nested_phase"
    assert "'inner'" in warning["message"]
    assert "'outer'" in warning["message"]


@pytest.mark.parametrize("error", [None, ValueError("x")])
async def test_phases_left_open_at_the_end(sdk: InvestigationSDK, error: Exception | None) -> None:
    left = contextlib.AsyncExitStack()
    with contextlib.suppress(ValueError):
        async with sdk.investigation("open") as investigation:
            await left.enter_async_context(investigation.phase("forgotten"))
            if error is not None:
                raise error
    (interrupted,) = await sdk.events(investigation.id, event_type="phase.interrupted")
    assert interrupted.event_data["kind"] == "outlived"
    assert (await only_phase(sdk, investigation.id)).status is PhaseState.PENDING
    assert (await sdk.get(investigation.id)).status == ("completed" if error is None else "failed")
    await left.aclose()  # too late: a late fact
    (late,) = await sdk.events(investigation.id, event_type="phase.completed")
    assert late.metadata["late"] is True
    assert (await only_phase(sdk, investigation.id)).status is PhaseState.PENDING
    assert current_investigation() is None
    assert (await sdk.verify(investigation.id)).ok


async def test_plan_and_skip(sdk: InvestigationSDK) -> None:
    @tool(name="vpn")
    def vpn() -> None: ...

    plan: list[str | PhasePlan] = [PhasePlan("a", tools=[vpn, "geo"]), "b", PhasePlan("c", weight=3)]
    async with sdk.investigation("planned", phases=plan) as investigation:
        investigation.plan("d", PhasePlan("e", weight=0.5))
        async with investigation.phase("b"):
            pass
        assert (await sdk.get(investigation.id)).progress_percentage == 15  # 1 of 6.5
        investigation.skip_phase("c", "not needed")
        async with investigation.phase("unplanned"):
            pass
    names = {p.phase_name: p.status.value for p in await sdk.phases(investigation.id)}
    assert names == {
        "a": "pending",
        "b": "completed",
        "c": "skipped",
        "d": "pending",
        "e": "pending",
        "unplanned": "completed",
    }
    (skipped,) = await sdk.events(investigation.id, event_type="phase.skipped")
    assert skipped.event_data["reason"] == "not needed"
    created = (await sdk.events(investigation.id, event_type="investigation.created"))[0]
    assert created.event_data["phases"][0]["tools"] == ["vpn", "geo"]
    assert (await sdk.get(investigation.id)).progress_percentage == 100


async def test_only_what_is_still_to_come_can_be_skipped(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("skip") as investigation:
        async with investigation.phase("p"):
            with pytest.raises(PhaseError, match="running and cannot be skipped"):
                investigation.skip_phase("p")
        with pytest.raises(PhaseError, match="completed and cannot be skipped"):
            investigation.skip_phase("p")
        investigation.skip_phase("q")
        async with investigation.phase("q"):  # needed after all
            pass
    assert [p.status for p in await sdk.phases(investigation.id)] == [PhaseState.COMPLETED] * 2


async def test_mistyped_phases(sdk: InvestigationSDK) -> None:
    with pytest.raises(ValueError, match="two planned phases are called 'a'"):
        sdk.investigation("x", phases=("a", PhasePlan("a")))
    with pytest.raises(ValueError, match="greater than 0"):
        PhasePlan("a", weight=0)
    async with sdk.investigation("x") as investigation:
        with pytest.raises(ValueError, match="two planned phases are called 'b'"):
            investigation.plan("b", "b")
        for name, weight, message in (("", 1, "is not text with something in it"), ("p", -1, "greater than 0")):
            with pytest.raises(ValueError, match=message):
                async with investigation.phase(name, weight=weight):
                    raise AssertionError("must not run")
    assert await sdk.phases(investigation.id) == []


class Trouble(Exception):
    """Something of the user's."""


async def test_the_exception_of_a_phase_is_raised_unchanged_and_described(sdk: InvestigationSDK) -> None:
    raised = Trouble("provider down")
    with pytest.raises(Trouble) as found:
        async with sdk.investigation("fails") as investigation, investigation.phase("p") as p:
            p.output_data = "partial"
            raise raised
    assert found.value is raised
    failed = await only_phase(sdk, investigation.id)
    assert (failed.status, failed.output_data) == (PhaseState.FAILED, "partial")
    assert failed.error_details is not None
    assert failed.error_details["type"] == f"{__name__}.Trouble"
    assert failed.error_details["message"] == "provider down"
    assert "test_phases.py" in failed.error_details["traceback"]
    assert "raise raised" in failed.error_details["traceback"]
    record = await sdk.get(investigation.id)
    assert (record.status, record.failure_kind) == ("failed", "error")
    assert record.error_message == f"{__name__}.Trouble: provider down"


def test_a_sync_phase_does_not_swallow(sdk: InvestigationSDK) -> None:
    raised = Trouble("provider down")
    with pytest.raises(Trouble) as found, sdk.investigation("fails") as investigation, investigation.phase("p"):
        raise raised
    assert found.value is raised
    (failed,) = sdk.sync.phases(investigation.id)
    assert failed.status is PhaseState.FAILED


async def test_a_cancelled_phase_goes_back_to_pending(sdk: InvestigationSDK) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with phase("p"):
            entered.set()
            await asyncio.sleep(60)

    async with sdk.investigation("cancelled") as investigation:
        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (interrupted,) = await sdk.events(investigation.id, event_type="phase.interrupted")
    assert interrupted.event_data["kind"] == "CancelledError"
    assert (await only_phase(sdk, investigation.id)).status is PhaseState.PENDING


async def test_who_gives_up_entering_a_phase_may_enter_it_later(make_sdk: Callable[..., InvestigationSDK]) -> None:
    plan = Plan()
    sdk = make_sdk(FaultyBackend(MemoryBackend(), plan))

    @tool(effect="unsafe")
    async def pays() -> None:
        raise AssertionError("must not run")

    async with sdk.investigation("gives up") as investigation:
        plan.outage = Fault("delay", 0.3)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), investigation.phase("p"):
                raise AssertionError("must not run")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await pays()
        plan.outage = None
        async with investigation.phase("p"):
            pass
    interrupted = await sdk.events(investigation.id, event_type=["phase.interrupted", "tool.interrupted"])
    assert [e.event_data["kind"] for e in interrupted] == ["not_entered", "not_started"]
    assert (await only_phase(sdk, investigation.id)).status is PhaseState.COMPLETED
    assert (await sdk.verify(investigation.id)).ok


async def test_phases_left_in_another_order(sdk: InvestigationSDK) -> None:
    @tool
    def where() -> None: ...

    async with sdk.investigation("order") as investigation:
        a, b = investigation.phase("a"), investigation.phase("b")
        first = await a.__aenter__()
        second = await b.__aenter__()
        await a.__aexit__(None, None, None)
        where()
        await b.__aexit__(None, None, None)
        where()
    assert first.id != second.id
    assert [c.phase_id for c in await sdk.tools(investigation.id)] == [second.id, None]


async def test_input_and_output_of_any_size_and_kind(sdk: InvestigationSDK) -> None:
    given, out = {"rows": ["x" * 100] * 50}, {"rows": ["y" * 100] * 50}
    async with sdk.investigation("payloads") as investigation:
        async with investigation.phase("big", input_data=given) as p:
            p.output_data = out
        async with investigation.phase("none") as p:
            p.output_data = None
    big, none = await sdk.phases(investigation.id)
    assert (big.input_data, big.output_data) == (given, out)
    assert (none.input_data, none.output_data) == (None, None)
