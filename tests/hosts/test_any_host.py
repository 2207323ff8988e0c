"""The asynchronous face under asyncio and under trio, written once, with anyio: whose scopes cancel at every wait."""

import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from investigation_sdk import (
    InvestigationCancelled,
    InvestigationPaused,
    InvestigationSDK,
    InvestigationState,
    PhaseState,
    ToolState,
    current_tool,
    phase,
    propagate,
    tool,
)
from investigation_sdk.testing import SimulatedCrash, assert_state_path, assert_tools_called, crash_at, use_backend

BEGUN = ["created", "queued", "initializing", "running"]
ENDED = ["completing", "completed"]
Make = Callable[..., InvestigationSDK]
Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs an ``async def`` under a host, for 30 seconds at most."""

    def run_main(main: Callable[[], Any]) -> Any:
        async def bounded() -> Any:
            with anyio.fail_after(30):
                return await main()

        return anyio.run(bounded, backend=request.param)

    return run_main


@tool
async def look_up(n: int) -> int:
    await anyio.lowlevel.checkpoint()
    return n * 2


@tool
def look_up_sync(n: int) -> int:
    return n * 3


@tool
def walk(n: int) -> Iterator[int]:
    yield from range(n)


@tool
async def awalk(n: int) -> AsyncGenerator[int]:
    for i in range(n):
        await anyio.lowlevel.checkpoint()
        yield i


@tool(effect="unsafe")
async def pay(n: int) -> str:
    return f"paid {n}"


@tool
async def hang() -> None:
    await anyio.sleep_forever()


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - it comes true on another thread
        await anyio.sleep(0.005)


def test_the_whole_face(run: Run, url: str, make_sdk: Make) -> None:
    sdk = make_sdk(url)

    async def main() -> None:
        async with sdk:
            async with sdk.investigation("host", key="k", phases=["a", "b"]) as investigation:
                async with investigation.phase("a") as a:
                    assert await look_up(1) == 2
                    assert look_up_sync(1) == 3
                    assert list(walk(2)) == [0, 1]
                    assert [i async for i in awalk(3)] == [0, 1, 2]
                    assert await pay(5) == "paid 5"
                    a.output_data = "done"
                await investigation.checkpoint({"at": 1})
                assert await phase("b")(look_up)(2) == 4
                investigation.record("my.note", {"at": 2})
                assert await sdk.flush() == 0
                investigation.result = "well"
            id = investigation.id
            assert (await sdk.get(id)).result == "well"
            found = await sdk.find(key="k")
            assert found is not None
            assert found.id == id
            assert [i.id for i in await sdk.list()] == [id]
            assert [p.status for p in await sdk.phases(id)] == [PhaseState.COMPLETED] * 2
            calls = [("look_up", {"n": 1}), ("look_up_sync", {"n": 1}), ("walk", {"n": 2}), ("awalk", {"n": 3})]
            await assert_tools_called(sdk, id, [*calls, ("pay", {"n": 5}), ("look_up", {"n": 2})])
            await assert_state_path(sdk, id, [*BEGUN, *ENDED])
            streamed = [event.sequence async for event in sdk.iter_events(id)]
            assert streamed == [e.sequence for e in await sdk.events(id)] == list(range(1, len(streamed) + 1))
            assert (await sdk.verify(id)).ok
            async with sdk.investigation("host", key="k") as again:
                assert again.finished
            created = await sdk.service.create_investigation("gil", "outside", "general")
            async with sdk.attach(created.id) as attached:
                assert await look_up(3) == 6
            assert (await sdk.get(attached.id)).status == "completed"
        assert sdk._recorder.io.loop is None
        await sdk.aclose()

    run(main)


def test_hooks_are_waited_for(run: Run, sdk: InvestigationSDK) -> None:
    seen: list[str] = []

    @sdk.service.on_state(InvestigationState.COMPLETED)
    async def hook(record: Any, event: Any) -> None:
        seen.append(record.id)

    async def main() -> str:
        async with sdk, sdk.investigation("hooks") as investigation:
            pass
        return investigation.id

    assert [run(main)] == seen


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


def test_parallel_tools(run: Run, sdk: InvestigationSDK) -> None:
    async def main() -> str:
        async with (
            sdk.investigation("parallel") as investigation,
            investigation.phase("p") as p,
            anyio.create_task_group() as group,
        ):
            for n in range(10):
                group.start_soon(look_up, n)
                group.start_soon(anyio.to_thread.run_sync, look_up_sync, n)
        return p.id + investigation.id

    both = run(main)
    phase_id, id = both[:36], both[36:]
    calls = sdk.sync.tools(id)
    assert {c.phase_id for c in calls} == {phase_id}
    assert sorted((c.tool_name, c.output_result) for c in calls) == sorted(
        [*(("look_up", n * 2) for n in range(10)), *(("look_up_sync", n * 3) for n in range(10))]
    )
    assert sdk.sync.verify(id).ok


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


def test_propagate(run: Run, sdk: InvestigationSDK) -> None:
    async def where() -> str:
        await anyio.lowlevel.checkpoint()
        before = await look_up(1)
        async with anyio.create_task_group() as group:
            group.start_soon(look_up, 2)
        with anyio.move_on_after(0.02):
            await anyio.sleep_forever()
        return f"{before} {current_tool().recording}"

    async def fails() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("as it is")

    async def main() -> str:
        async with sdk.investigation("propagate") as investigation:
            bound, bad = propagate(where), propagate(fails)
        assert await bound() == "2 False"
        with pytest.raises(ValueError, match="as it is"):
            await bad()
        with anyio.move_on_after(0.02) as scope:
            await propagate(anyio.sleep_forever)()
        assert scope.cancelled_caught
        await sdk.flush()
        return investigation.id

    calls = sdk.sync.tools(run(main))
    assert [c.input_parameters["n"] for c in calls] == [1, 2]  # late: behind the block, in its context


def test_an_async_generator_that_is_left_early(run: Run, sdk: InvestigationSDK) -> None:
    async def main() -> str:
        async with sdk.investigation("early") as investigation:
            async with contextlib.aclosing(awalk(10)) as items:
                async for i in items:
                    if i == 2:
                        break
            other: Any = awalk(10)
            await anext(other)

            async def close() -> None:
                await other.aclose()

            async with anyio.create_task_group() as group:
                group.start_soon(close)
            assert not current_tool().recording
            with anyio.move_on_after(0.02):
                async for _ in tool(_forever)():
                    pass
        return investigation.id

    calls = sdk.sync.tools(run(main))
    assert [(c.output_result or {}).get("count") for c in calls] == [3, 1, None]
    assert [c.status.value for c in calls] == ["completed", "completed", "interrupted"]


async def _forever() -> AsyncIterator[int]:
    yield 1
    await anyio.sleep_forever()


def test_testing_helpers(run: Run, sdk: InvestigationSDK) -> None:
    async def main() -> None:
        with use_backend(sdk, "memory://"):
            with pytest.raises(SimulatedCrash), crash_at("tool.completed"):
                async with sdk.investigation("crash", key="c"):
                    await look_up(1)
            record = await sdk.find(key="c")
            assert record is not None
            assert record.status == "running"
            async with sdk.attach(record.id) as again:
                assert again.attempt == 2

    run(main)


def test_recorded_results_are_given_back(run: Run, sqlite_url: str, make_sdk: Make) -> None:
    sdk = make_sdk(sqlite_url)
    ran: list[int] = []

    @tool(effect="read")
    async def ask(n: int) -> int:
        ran.append(n)
        await anyio.lowlevel.checkpoint()
        return n * 2

    async def main() -> None:
        with pytest.raises(SimulatedCrash), crash_at("tool.started", nth=2):
            async with sdk.investigation("crash", key="k"):
                assert await ask(1) == 2
                await ask(2)
        async with sdk.investigation("crash", key="k") as again:
            assert await ask(1) == 2
            assert await ask(2) == 4
        assert again.attempt == 2

    run(main)
    assert ran == [1, 2]


def test_one_run_after_another_on_one_sdk(sdk: InvestigationSDK) -> None:
    async def main() -> str:
        async with sdk.investigation("again") as investigation:
            await look_up(1)
            await pay(1)
        return investigation.id

    ids = [anyio.run(main, backend=backend) for backend in ("trio", "asyncio", "trio", "trio", "asyncio")]
    assert all(sdk.sync.verify(id).ok and sdk.sync.get(id).status == "completed" for id in ids)


def test_hosts_at_once_in_one_investigation(sdk: InvestigationSDK) -> None:
    """Their tasks share commits, and each is woken on its own loop."""
    together = threading.Barrier(5, timeout=20)

    async def calls() -> None:
        async with anyio.create_task_group() as group:
            for n in range(20):
                group.start_soon(look_up, n)
                group.start_soon(pay, n)

    def host(backend: str) -> None:
        together.wait()
        anyio.run(calls, backend=backend)

    def plain() -> None:
        together.wait()
        for n in range(20):
            look_up_sync(n)

    with sdk.investigation("at once") as investigation:
        threads = [threading.Thread(target=propagate(host), args=(h,)) for h in ("trio", "asyncio") * 2]
        threads.append(threading.Thread(target=propagate(plain)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    calls_made = sdk.sync.tools(investigation.id, limit=1000)
    assert len(calls_made) == 180
    assert {c.status for c in calls_made} == {ToolState.COMPLETED}
    assert sdk.sync.verify(investigation.id).ok
