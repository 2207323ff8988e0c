"""What is trio's own: its nurseries, Ctrl-C, generators that it finalises, guest mode, and the end of a run."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from investigation_sdk import InvestigationCancelled, InvestigationSDK, ToolState, tool
from investigation_sdk.engine import hosts
from investigation_sdk.engine.waiting import Waiter, wake


@tool
async def look_up(n: int) -> int:
    await trio.lowlevel.checkpoint()
    return n * 2


@tool
def look_up_sync(n: int) -> int:
    return n * 3


@tool
async def hang() -> None:
    await trio.sleep_forever()


def test_nurseries_and_threads(sdk: InvestigationSDK) -> None:
    async def main() -> str:
        async with sdk.investigation("nurseries") as investigation, trio.open_nursery() as nursery:
            for n in range(5):
                nursery.start_soon(look_up, n)
                nursery.start_soon(trio.to_thread.run_sync, look_up_sync, n)
                nursery.start_soon(trio.to_thread.run_sync, trio.from_thread.run, look_up, n)
        return investigation.id

    calls = sdk.sync.tools(trio.run(main))
    assert len(calls) == 15
    assert {c.status for c in calls} == {ToolState.COMPLETED}


def test_a_stop_in_nested_nurseries(sdk: InvestigationSDK) -> None:
    @tool
    async def hangs(begun: trio.Event) -> None:
        begun.set()
        await trio.sleep_forever()

    async def deep(investigation: Any) -> None:
        begun = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hangs, begun)
            await begun.wait()
            nursery.start_soon(investigation.cancel, "enough")

    async def main() -> None:
        async with sdk.investigation("nested") as investigation, trio.open_nursery() as nursery:
            nursery.start_soon(deep, investigation)
            nursery.start_soon(trio.sleep_forever)

    with pytest.raises(InvestigationCancelled) as stopped:
        trio.run(main)
    assert stopped.value.investigation_id is not None
    (call,) = sdk.sync.tools(stopped.value.investigation_id)
    assert call.status is ToolState.INTERRUPTED


def test_what_a_nursery_raises_is_recorded_for_what_it_is(sdk: InvestigationSDK) -> None:
    async def fails() -> None:
        raise ValueError("no such host")

    @tool
    async def in_a_nursery() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails)
            nursery.start_soon(trio.sleep_forever)

    async def main() -> str:
        async with sdk.investigation("groups") as investigation:
            with pytest.raises(ExceptionGroup):
                await in_a_nursery()
        return investigation.id

    (call,) = sdk.sync.tools(trio.run(main))
    assert call.status is ToolState.FAILED
    assert str(call.error_message).endswith("nursery (1 sub-exception); ValueError: no such host")


@pytest.mark.parametrize("where", ["in a tool", "waiting for a commit", "waiting for the end of a pause"])
def test_ctrl_c(sqlite_url: str, make_sdk: Callable[..., InvestigationSDK], where: str) -> None:
    sdk = make_sdk(sqlite_url)
    ids: list[str] = []

    async def main() -> None:
        async with sdk.investigation("ctrl-c") as investigation:
            ids.append(investigation.id)
            await look_up(0)
            if where == "waiting for the end of a pause":
                await sdk.service.pause(investigation.id)
            if where == "waiting for a commit":
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                while True:
                    await look_up(1)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            await hang()

    before = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as raised:
            trio.run(main)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert raised.type is KeyboardInterrupt
    record = sdk.sync.get(ids[0])
    assert record.status == "failed"
    (event,) = sdk.sync.events(ids[0], event_type="investigation.failed")
    assert event.event_data["kind"] == "interrupted"
    assert sdk.sync.verify(ids[0]).ok
    if where == "in a tool":
        assert [c.status.value for c in sdk.sync.tools(ids[0])] == ["completed", "interrupted"]
    with sdk.investigation("the SDK goes on"):
        assert look_up_sync(1) == 3


SIGTERM = """
    import signal, sys, trio
    from investigation_sdk import InvestigationSDK, tool

    signal.signal(signal.SIGINT, signal.default_int_handler if sys.argv[2] == "ctrl-c" else signal.SIG_IGN)

    @tool
    async def hang():
        print(run.id, flush=True)
        await trio.sleep_forever()

    async def main():
        global run
        async with InvestigationSDK(sys.argv[1]) as sdk, sdk.investigation("terminated") as run, run.phase("p"):
            await hang()

    trio.run(main)
"""


@pytest.fixture
def terminated(tmp_path: Path, sqlite_url: str) -> Callable[[str], tuple[str, int, str]]:
    """Ends a program that waits in a tool with SIGTERM; the investigation's id, the exit code, and what it said."""

    def run(interrupts: str) -> tuple[str, int, str]:
        script = tmp_path / "terminated.py"
        script.write_text(textwrap.dedent(SIGTERM), encoding="utf-8")
        command = [sys.executable, "-W", "error", str(script), sqlite_url, interrupts]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        id = process.stdout.readline().strip()
        process.terminate()
        _, errors = process.communicate(timeout=30)
        return id, process.returncode, errors

    return run


def test_sigterm_leaves_the_blocks_as_ctrl_c_does(
    lite: InvestigationSDK, terminated: Callable[[str], tuple[str, int, str]]
) -> None:
    id, code, errors = terminated("ctrl-c")
    assert code != 0
    assert errors.strip().endswith("KeyboardInterrupt")
    assert "TrioInternalError" not in errors
    (event,) = lite.sync.events(id, event_type="investigation.failed")
    assert event.event_data["kind"] == "interrupted"
    assert [c.status.value for c in lite.sync.tools(id)] == ["interrupted"]


def test_sigterm_where_ctrl_c_is_ignored_ends_the_process(
    lite: InvestigationSDK, terminated: Callable[[str], tuple[str, int, str]]
) -> None:
    id, code, errors = terminated("ignored")
    assert (code, errors) == (-signal.SIGTERM, "")
    with lite.attach(id) as taken_over:  # at once: its owner is provably dead
        assert taken_over.attempt == 2


def test_an_async_generator_that_trio_finalises(sdk: InvestigationSDK) -> None:
    @tool
    async def walk(n: int) -> AsyncIterator[int]:
        for i in range(n):
            await trio.lowlevel.checkpoint()
            yield i

    async def main() -> str:
        async with sdk.investigation("garbage") as investigation:
            forgotten: Any = walk(5)
            await anext(forgotten)
            with pytest.warns(ResourceWarning, match="garbage collected"):
                forgotten = gc.collect()
            left_to_the_end: Any = walk(6)
            await anext(left_to_the_end)
            await anext(left_to_the_end)
            await trio.sleep(0.02)
            kept.append(left_to_the_end)
        return investigation.id

    kept: list[Any] = []
    id = trio.run(main)
    assert sdk.sync.flush() == 0
    calls = {c.input_parameters["n"]: c for c in sdk.sync.tools(id)}
    assert (calls[5].output_result["count"], calls[5].output_result["exhausted"]) == (1, False)
    assert (calls[6].output_result["count"], calls[6].output_result["exhausted"]) == (2, False)
    assert sdk.sync.verify(id).ok


def test_guest_mode(sdk: InvestigationSDK) -> None:
    """trio as a guest of asyncio's loop: tasks of both on one thread, each awaits what is its own."""

    async def guest() -> str:
        async with sdk.investigation("guest") as investigation:
            assert await look_up(1) == 2
        return investigation.id

    @tool
    async def native(n: int) -> int:
        await asyncio.sleep(0)
        return n

    async def host() -> list[str]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done.set_result,
        )
        async with sdk.investigation("host") as investigation:
            for n in range(5):
                assert await native(n) == n
        return [(await done).unwrap(), investigation.id]

    assert [len(sdk.sync.tools(id)) for id in asyncio.run(host())] == [1, 5]


def test_asyncio_inside_a_task_of_trio(sdk: InvestigationSDK) -> None:
    @tool
    async def native(n: int) -> int:
        await asyncio.sleep(0)
        return n

    async def main() -> str:
        async with sdk.investigation("inside") as investigation:
            assert asyncio.run(native(1)) == 1  # blocks trio's loop, as it always does
            assert await look_up(1) == 2
        return investigation.id

    assert len(sdk.sync.tools(trio.run(main))) == 2


def test_each_loop_is_woken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    posted: list[object] = []
    post = hosts._TrioLoop.call_soon_threadsafe

    def counted(loop: Any, callback: Callable[..., object], *args: Any) -> None:
        posted.append(loop)
        post(loop, callback, *args)

    monkeypatch.setattr(hosts._TrioLoop, "call_soon_threadsafe", counted)
    error = ValueError("refused")
    woken: list[object] = []

    async def wait(waiter: Waiter) -> None:
        try:
            await waiter.wait_async()
            woken.append(None)
        except ValueError as raised:
            woken.append(raised)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            waiters = [Waiter(blocking=False) for _ in range(10)]
            for waiter in waiters:
                nursery.start_soon(wait, waiter)
            with trio.move_on_after(0.01):
                await Waiter(blocking=False).wait_async()
            resolved = [(waiter, error if n % 2 else None) for n, waiter in enumerate(waiters)]
            await trio.to_thread.run_sync(wake, resolved)

    trio.run(main)
    assert len(posted) == 1
    assert sorted(map(str, woken)) == ["None"] * 5 + ["refused"] * 5


def test_a_run_that_ended_is_not_woken() -> None:
    async def main() -> Waiter:
        return Waiter(blocking=False)

    waiter = trio.run(main)
    wake([(waiter, None)])
    assert waiter.error is None


def test_only_who_runs_trio_is_hosted_by_it() -> None:
    async def main() -> None:
        assert hosts.running_loop() == hosts.running_loop()
        assert hosts.trio_runs_this_thread()
        seen: list[object] = []

        def elsewhere() -> None:
            seen.append(hosts.trio_runs_this_thread())
            with pytest.raises(RuntimeError, match="no running event loop"):
                hosts.running_loop()

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await trio.to_thread.run_sync(thread.join)
        assert seen == [False]

    trio.run(main)
    with pytest.raises(RuntimeError, match="no running event loop"):
        hosts.running_loop()


def test_neither_trio_nor_anyio_is_loaded_by_the_sdk() -> None:
    code = """
        import asyncio, sys
        from investigation_sdk import InvestigationSDK, tool
        @tool
        async def step(): ...
        async def main():
            async with InvestigationSDK("memory://") as sdk, sdk.investigation("s") as run, run.phase("p"):
                await step()
        asyncio.run(main())
        print([m for m in ("trio", "anyio", "sniffio") if m in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr
