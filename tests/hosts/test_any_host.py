"""The asynchronous face under asyncio and under trio, written once, with anyio: whose scopes cancel at every wait."""

import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from investigation_sdk import (
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
from tests.hosts.rig import BEGUN, ENDED, Make, Run, awalk, look_up, look_up_sync, pay, walk


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
