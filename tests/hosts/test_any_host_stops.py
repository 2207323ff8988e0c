"""Pauses, cancellations and timeouts under asyncio and under trio, written once, with anyio."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from investigation_sdk import InvestigationCancelled, InvestigationPaused, InvestigationSDK, PhaseState, ToolState, tool
from investigation_sdk.testing import assert_state_path
from tests.hosts.rig import BEGUN, Make, Run, hang, look_up, look_up_sync, pay, until


def test_pause_and_resume_from_outside(run: Run, sqlite_url: str, make_sdk: Make) -> None:
    sdk, operator = make_sdk(sqlite_url), make_sdk(sqlite_url)
    done: list[object] = []

    async def main() -> str:
        async with sdk.investigation("pause") as investigation:
            operator.sync.service.pause(investigation.id, actor="gil")
            await sdk._recorder.acall(sdk._recorder.session(investigation.id))  # the owner learns of it

            async def go(work: Any) -> None:
                done.append(await work)

            async with anyio.create_task_group() as group:
                group.start_soon(go, look_up(1))
                group.start_soon(go, pay(1))
                group.start_soon(go, anyio.to_thread.run_sync(look_up_sync, 1))
                await anyio.sleep(0.05)
                assert done == []
                await anyio.to_thread.run_sync(operator.sync.service.resume, investigation.id)
            assert sorted(map(str, done)) == ["2", "3", "paid 1"]
        return investigation.id

    id = run(main)
    transitions = sdk.sync.events(id, event_type="state.transition")
    assert [e.new_state for e in transitions][-3:] == ["paused", "running", "completing"]


def test_a_wait_for_the_end_of_a_pause_may_be_cancelled(run: Run, sdk: InvestigationSDK) -> None:
    async def main() -> str:
        async with sdk.investigation("pause") as investigation:
            await sdk.service.pause(investigation.id)
            with anyio.move_on_after(0.05) as scope:
                await look_up(1)
            assert scope.cancelled_caught
            with anyio.move_on_after(0.05) as scope:
                await investigation.checkpoint(1)
            assert scope.cancelled_caught
            assert investigation.state == "paused"
            await sdk.service.resume(investigation.id)
            assert await look_up(2) == 4
        return investigation.id

    id = run(main)
    assert [c.input_parameters["n"] for c in sdk.sync.tools(id)] == [2]
    assert sdk.sync.verify(id).ok


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_a_stop_comes_out_of_a_task_group_as_itself(run: Run, url: str, make_sdk: Make, verb: str) -> None:
    sdk = make_sdk(url, on_pause="raise")
    seen: list[str] = []

    async def branch(n: int) -> None:
        try:
            await look_up(n)
            await hang()
        except Exception:
            seen.append("an ordinary except")
            raise

    async def main() -> None:
        async with sdk.investigation("stop") as investigation:
            seen.append(investigation.id)
            session = sdk._recorder.sessions.get(investigation.id)
            assert session is not None
            async with investigation.phase("p"), anyio.create_task_group() as group:
                group.start_soon(branch, 1)
                group.start_soon(branch, 2)
                await until(lambda: len(session.decided.calls) == 2)
                await getattr(sdk.service, verb)(investigation.id)
                group.start_soon(branch, 3)

    with pytest.raises(InvestigationPaused if verb == "pause" else InvestigationCancelled) as stopped:
        run(main)
    (id,) = seen
    assert stopped.value.investigation_id == id
    calls = {(c.tool_name, c.input_parameters.get("n")): c.status for c in sdk.sync.tools(id)}
    assert calls == {
        ("look_up", 1): ToolState.COMPLETED,
        ("look_up", 2): ToolState.COMPLETED,
        ("hang", None): ToolState.INTERRUPTED,
    }
    kinds = [e.event_data["kind"] for e in sdk.sync.events(id, event_type="tool.interrupted")]
    assert kinds == ["cancelled"] * 2
    (one,) = sdk.sync.phases(id)
    assert one.status is PhaseState.PENDING
    assert sdk.sync.get(id).status == {"pause": "paused", "cancel": "cancelled"}[verb]


def test_a_timeout_around_a_tool(run: Run, sdk: InvestigationSDK) -> None:
    @tool
    async def in_a_group() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            group.start_soon(anyio.sleep_forever)

    async def main() -> str:
        async with sdk.investigation("timeout") as investigation, investigation.phase("p"):
            for slow in (hang, in_a_group):
                with anyio.move_on_after(0.02) as scope:
                    await slow()
                assert scope.cancelled_caught
            assert await look_up(1) == 2
        return investigation.id

    id = run(main)
    assert [c.status.value for c in sdk.sync.tools(id)] == ["interrupted", "interrupted", "completed"]
    kinds = [e.event_data["kind"] for e in sdk.sync.events(id, event_type="tool.interrupted")]
    assert kinds == ["cancelled", "cancelled"]
    assert sdk.sync.get(id).status == "completed"


def test_a_timeout_around_the_block(run: Run, url: str, make_sdk: Make) -> None:
    """It is left in a recorded state, and let go of, though each wait in the cancelled scope would be broken off."""
    sdk = make_sdk(url)
    ids: list[str] = []

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with sdk.investigation("timeout") as investigation, investigation.phase("p"):
                ids.append(investigation.id)
                scope.deadline = anyio.current_time() + 0.02
                await hang()
        assert scope.cancelled_caught
        record = await sdk.get(ids[0])
        assert (record.status, record.error_message is not None) == ("failed", True)
        assert await sdk._recorder.acall(sdk._recorder.backend.holder(ids[0])) is None
        (phase_record,) = await sdk.phases(ids[0])
        assert phase_record.status is PhaseState.PENDING
        await sdk.service.retry(ids[0])
        async with sdk.attach(ids[0]):
            await look_up(1)
        await assert_state_path(
            sdk, ids[0], [*BEGUN, "failed", "retrying", "initializing", "running", "completing", "completed"]
        )

    run(main)
    assert [c.status.value for c in sdk.sync.tools(ids[0])] == ["interrupted", "completed"]


def test_leaving_a_block_in_a_cancelled_scope(run: Run, sdk: InvestigationSDK) -> None:
    """Nothing in it was cancelled: it ends well."""

    async def main() -> str:
        with anyio.CancelScope() as scope:
            async with sdk, sdk.investigation("cancelled") as investigation, investigation.phase("p"):
                scope.cancel()
        return investigation.id

    id = run(main)
    assert sdk._recorder.io.loop is None  # closed, too
    assert sdk.sync.get(id).status == "completed"
    (one,) = sdk.sync.phases(id)
    assert one.status is PhaseState.COMPLETED


def test_entering_is_cancelled(run: Run, sqlite_url: str, make_sdk: Make) -> None:
    sdk, other = make_sdk(sqlite_url), make_sdk(sqlite_url)

    async def main() -> str:
        with sdk.investigation("held") as held:
            with anyio.move_on_after(0.1) as scope:
                async with other.attach(held.id):
                    raise AssertionError("must not be entered")
            assert scope.cancelled_caught
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with sdk.investigation("never"):
                raise AssertionError("must not be entered")
        assert scope.cancelled_caught
        await until(lambda: not sdk._recorder._heartbeat.driven)
        return held.id

    assert sdk.sync.get(run(main)).status == "completed"
