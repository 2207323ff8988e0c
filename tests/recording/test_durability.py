"""What is on disk when a call returns, and while it runs: looked at through a second handle on the same file."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from investigation_sdk import Durability, InvestigationSDK, ToolState, tool

Make = Callable[..., InvestigationSDK]


def states(sdk: InvestigationSDK, id: str) -> list[str]:
    return [c.status.value for c in sdk.sync.tools(id)]


@tool
def read(n: int) -> int:
    return n


@tool
async def aread(n: int) -> int:
    return n


@pytest.mark.parametrize("durability", [Durability.SYNC, Durability.STRICT, "sync"])
async def test_a_completion_is_durable_when_the_call_returns(
    sqlite_url: str, make_sdk: Make, other: InvestigationSDK, durability: Any
) -> None:
    sdk = make_sdk(sqlite_url, durability=durability)

    @tool
    def items() -> Iterator[int]:
        yield from range(3)

    @tool
    def fails() -> None:
        raise OSError("x")

    async with sdk.investigation("sync") as investigation:
        read(1)
        assert states(other, investigation.id) == ["completed"]
        await aread(2)
        assert states(other, investigation.id) == ["completed"] * 2
        list(items())
        assert states(other, investigation.id) == ["completed"] * 3
        with pytest.raises(OSError, match="x"):
            fails()
        assert states(other, investigation.id) == ["completed"] * 3 + ["failed"]


@pytest.mark.parametrize("effect", ["unsafe", "idempotent"])
async def test_the_start_of_a_tool_with_an_effect_is_durable_before_its_body_runs(
    lite: InvestigationSDK, other: InvestigationSDK, effect: Any
) -> None:
    seen: list[list[str]] = []

    @tool(effect=effect)
    def pays() -> None:
        seen.append(states(other, investigation.id))

    @tool(effect=effect)
    async def apays() -> None:
        seen.append(states(other, investigation.id))

    @tool(effect=effect)
    def pays_each() -> Iterator[int]:
        seen.append(states(other, investigation.id))
        yield 1

    @tool(effect=effect)
    async def apays_each() -> Any:
        seen.append(states(other, investigation.id))
        yield 1

    async with lite.investigation("effects") as investigation:
        pays()
        await apays()
        list(pays_each())
        assert [i async for i in apays_each()] == [1]
    done, running = "completed", "running"
    assert seen == [[*[done] * n, running] for n in range(4)]


async def test_in_strict_every_start_is_durable_before_the_body_runs(
    sqlite_url: str, make_sdk: Make, other: InvestigationSDK
) -> None:
    sdk = make_sdk(sqlite_url, durability=Durability.STRICT)
    seen: list[list[str]] = []

    @tool
    def reads() -> None:
        seen.append(states(other, investigation.id))

    async with sdk.investigation("strict") as investigation:
        reads()
    assert seen == [["running"]]


async def test_a_running_call_is_soon_visible_without_anybody_waiting(
    lite: InvestigationSDK, other: InvestigationSDK
) -> None:
    """While the body blocks its loop: the start leaves by itself."""
    seen: list[str] = []

    @tool(effect="read")
    async def slow() -> None:
        deadline = time.monotonic() + 5
        while not seen and time.monotonic() < deadline:
            seen.extend(states(other, investigation.id))

    @tool
    def sync_slow() -> None:
        deadline = time.monotonic() + 5
        while len(seen) < 2 and time.monotonic() < deadline:
            seen[1:] = states(other, investigation.id)[1:]

    async with lite.investigation("visible") as investigation:
        await slow()
        sync_slow()
    assert seen == ["running", "running"]


async def test_a_fast_call_costs_one_commit(make_sdk: Make) -> None:
    from investigation_backends.memory import MemoryBackend
    from investigation_sdk.testing.faults import FaultyBackend

    backend = FaultyBackend(MemoryBackend())
    sdk = make_sdk(backend)
    async with sdk.investigation("commits"):
        before = len(backend.batches)
        for n in range(10):
            await aread(n)
        after = len(backend.batches)
    assert 10 <= after - before <= 13  # a slow machine may let a start go on its own


async def test_batched_waits_for_nothing_and_flush_makes_it_durable(make_sdk: Make) -> None:
    from investigation_backends.memory import MemoryBackend
    from investigation_sdk.testing.faults import Fault, FaultyBackend, Plan

    plan = Plan()
    sdk = make_sdk(FaultyBackend(MemoryBackend(), plan), durability=Durability.BATCHED)

    @tool(effect="unsafe")
    async def pays() -> None: ...

    async with sdk.investigation("batched") as investigation:
        plan.outage = Fault("hang")
        for n in range(20):
            assert await aread(n) == n
            assert read(n) == n
        assert await sdk.flush(0.05) > 0
        assert len(await sdk.tools(investigation.id)) == 0
        plan.outage = None
        sdk._recorder.backend.release_hanging()  # type: ignore[attr-defined]
        assert await sdk.flush() == 0
        assert [c.status for c in await sdk.tools(investigation.id)] == [ToolState.COMPLETED] * 40
        await pays()  # an unsafe start waits in any mode
        await aread(1)
    assert len(await sdk.tools(investigation.id)) == 42


async def test_batched_is_durable_at_the_end_of_a_phase(
    sqlite_url: str, make_sdk: Make, other: InvestigationSDK
) -> None:
    sdk = make_sdk(sqlite_url, durability=Durability.BATCHED)
    async with sdk.investigation("batched") as investigation:
        async with investigation.phase("p"):
            for n in range(10):
                await aread(n)
        assert states(other, investigation.id) == ["completed"] * 10
        for n in range(10):
            await aread(n)
    assert states(other, investigation.id) == ["completed"] * 20


BATCHED = """
import sys, time
from investigation_sdk import InvestigationSDK, tool

sdk = InvestigationSDK(sys.argv[1], durability="batched")

@tool
def read(n):
    return n

investigation = sdk.investigation("exit").__enter__()
print(investigation.id, flush=True)
for n in range(50):
    read(n)
if sys.argv[2] == "wait":
    print("waiting", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["exit", "wait"])
def test_batched_is_durable_when_the_process_ends(sqlite_url: str, other: InvestigationSDK, how: str) -> None:
    """At exit, and on SIGTERM."""
    with subprocess.Popen(
        [sys.executable, "-c", BATCHED, sqlite_url, how], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        id = process.stdout.readline().strip()
        if how == "wait":
            assert process.stdout.readline() == "waiting\n"
            os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=20)
    assert states(other, id) == ["completed"] * 50


def test_the_mode_may_come_from_the_environment(
    sqlite_url: str, make_sdk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVESTIGATION_DURABILITY", "batched")
    assert make_sdk(sqlite_url)._options.durability is Durability.BATCHED
    assert make_sdk(sqlite_url, durability="strict")._options.durability is Durability.STRICT
    monkeypatch.setenv("INVESTIGATION_DURABILITY", "batchd")
    with pytest.raises(ValueError, match=r"'batchd'.*'sync', 'strict', 'batched'"):
        make_sdk(sqlite_url)


async def test_many_calls_at_once_are_all_there(lite: InvestigationSDK, other: InvestigationSDK) -> None:
    async with lite.investigation("many") as investigation:
        await asyncio.gather(*(aread(n) for n in range(300)))
        assert len(await other.tools(investigation.id, status=ToolState.COMPLETED, limit=1000)) == 300
