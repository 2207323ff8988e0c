"""Keys, taking over, and pointing an application at another store."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import pytest

from investigation_sdk import (
    InvestigationBusy,
    InvestigationCancelled,
    InvestigationFinished,
    InvestigationInterrupt,
    InvestigationSDK,
    InvestigationState,
    ToolState,
    phase,
    tool,
)
from investigation_sdk.testing import SimulatedCrash, assert_state_path, assert_tools_called, crash_at, use_backend

Make = Callable[..., InvestigationSDK]


@tool
def step(n: int) -> int:
    return n


@tool(effect="unsafe")
def pay(n: int) -> int:
    return n


async def finished(sdk: InvestigationSDK) -> str:
    async with sdk.investigation("first", key="k") as investigation:
        assert not investigation.finished
        investigation.result = {"risk": 0.9}
    return investigation.id


async def test_a_finished_key_is_returned(sdk: InvestigationSDK) -> None:
    id = await finished(sdk)
    version = (await sdk.get(id)).version
    async with sdk.investigation("again", key="k") as investigation:
        assert investigation.finished
        assert (investigation.id, investigation.subject, investigation.result) == (id, "first", {"risk": 0.9})
    with sdk.investigation("again", key="k") as blocking:
        assert blocking.finished
    assert (await sdk.get(id)).version == version
    assert len(await sdk.list()) == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda i: step(1),
        lambda i: pay(1),
        lambda i: i.phase("p").__enter__(),
        lambda i: phase("p").__enter__(),
        lambda i: i.checkpoint(1),
        lambda i: i.record("my.note"),
        lambda i: i.report(tokens_used=1),
        lambda i: i.skip_phase("p"),
        lambda i: i.plan("p"),
        lambda i: i.pause(),
        lambda i: i.cancel(),
    ],
)
def test_nothing_new_runs_in_a_finished_one(use: Callable[[Any], Any]) -> None:
    with InvestigationSDK("memory://") as sdk:
        with sdk.investigation("first", key="k") as investigation:
            investigation.result = 7
        with (
            pytest.raises(InvestigationFinished, match="on_finished='new'") as found,
            sdk.investigation("again", key="k") as again,
        ):
            with pytest.raises(InvestigationInterrupt):
                use(again)
            use(again)
            raise AssertionError("must not go on")
        assert (found.value.result, found.value.investigation_id) == (7, investigation.id)


async def test_a_finished_key_begins_anew_or_is_an_error(sdk: InvestigationSDK) -> None:
    first = await finished(sdk)
    async with sdk.investigation("anew", key="k", on_finished="new") as investigation:
        assert not investigation.finished
        assert investigation.id != first
        with pytest.raises(InvestigationBusy, match=investigation.id):  # now the newest is unfinished, and driven here
            async with sdk.investigation("thrice", key="k", on_finished="new"):
                raise AssertionError("must not run")
    with pytest.raises(InvestigationFinished, match=investigation.id) as error:
        async with sdk.investigation("error", key="k", on_finished="error"):
            raise AssertionError("must not run")
    assert error.value.result is None
    with pytest.raises(ValueError, match="on_finished='retrun'"):
        sdk.investigation("x", key="k", on_finished="retrun")  # type: ignore[arg-type]


@pytest.mark.parametrize("on_finished", ["return", "new", "error"])
async def test_an_unfinished_key_is_gone_on_with(
    sdk: InvestigationSDK, on_finished: Literal["return", "new", "error"]
) -> None:
    with pytest.raises(OSError, match="x"):
        async with sdk.investigation("first", key="k") as investigation:
            raise OSError("x")
    async with sdk.investigation("again", key="k", on_finished=on_finished) as again:
        assert (again.id, again.attempt, again.finished) == (investigation.id, 2, False)
    record = await sdk.get(investigation.id)
    assert (record.status, record.subject, record.retry_count) == (InvestigationState.COMPLETED, "first", 1)
    warnings = (await sdk.events(investigation.id, event_type="recorder.warning"))[:]
    assert [w.event_data["kind"] for w in warnings] == ["subject_changed"]
    assert "'again'; it stays 'first'" in warnings[0].event_data["message"]


async def test_a_cancelled_key(sdk: InvestigationSDK) -> None:
    with pytest.raises(InvestigationCancelled):
        async with sdk.investigation("first", key="k") as first:
            await first.cancel()
    for on_finished in ("return", "error"):
        with pytest.raises(InvestigationCancelled, match=first.id):
            async with sdk.investigation("again", key="k", on_finished=on_finished):
                raise AssertionError("must not run")
    async with sdk.investigation("anew", key="k", on_finished="new") as second:
        assert second.id != first.id


async def test_keys_are_of_a_type_and_a_tenant(url: str, sqlite_url: str, make_sdk: Make) -> None:
    here, there = make_sdk(sqlite_url, tenant_id="here"), make_sdk(sqlite_url, tenant_id="there")
    async with (
        here.investigation("a", key="k") as a,
        there.investigation("b", key="k") as b,
        here.investigation("c", key="k", investigation_type="other") as c,
    ):
        pass
    assert len({a.id, b.id, c.id}) == 3
    found = await there.find(key="k")
    assert found is not None
    assert (found.id, found.tenant_id) == (b.id, "there")
    assert {i.id for i in await here.list()} == {a.id, c.id}


async def test_a_crashed_one_is_taken_over_at_once(sdk: InvestigationSDK) -> None:
    with crash_at("tool.completed", nth=2), pytest.raises(SimulatedCrash):
        async with sdk.investigation("crash", key="k") as investigation, investigation.phase("p"):
            step(1)
            step(2)
            raise AssertionError("must not run")
    assert (await sdk.get(investigation.id)).status == "running"
    async with sdk.attach(investigation.id, wait=timedelta(0)) as again:
        assert again.attempt == 2
        async with again.phase("p"):
            step(3)
    await assert_state_path(
        sdk,
        investigation.id,
        [
            *("created", "queued", "initializing", "running", "failed"),
            *("retrying", "initializing", "running", "completing", "completed"),
        ],
    )
    states = {c.input_parameters["n"]: c.status for c in await sdk.tools(investigation.id)}
    assert states.pop(2, ToolState.INTERRUPTED) is ToolState.INTERRUPTED  # its start may have been lost too
    assert states == {1: ToolState.COMPLETED, 3: ToolState.COMPLETED}
    failed = (await sdk.events(investigation.id, event_type="investigation.failed"))[0]
    assert failed.event_data["kind"] == "crashed"
    assert (await sdk.verify(investigation.id)).ok


async def test_an_unsafe_call_that_crashed_is_unknown(sdk: InvestigationSDK) -> None:
    with crash_at("tool.completed"), pytest.raises(SimulatedCrash):
        async with sdk.investigation("crash") as investigation:
            pay(1)
    async with sdk.attach(investigation.id):
        pass
    (call,) = await sdk.tools(investigation.id)
    assert call.status is ToolState.UNKNOWN


def test_points_of_a_crash_are_checked() -> None:
    with (
        pytest.raises(ValueError, match=r"crash_at\('tool.complete'\): there are .*tool.completed"),
        crash_at("tool.complete"),
    ):
        pass
    with pytest.raises(ValueError, match="counting begins with 1"), crash_at("tool.started", nth=0):
        pass


async def test_a_live_owner_is_waited_for(lite: InvestigationSDK, other: InvestigationSDK) -> None:
    async with lite.investigation("busy") as investigation:
        with pytest.raises(InvestigationBusy, match=investigation.id) as busy:
            async with other.attach(investigation.id, wait=timedelta(0)):
                raise AssertionError("must not run")
        assert f"process {os.getpid()}" in str(busy.value)
        assert busy.value.expires_at.tzinfo is not None
        step(1)
    assert (await lite.get(investigation.id)).status == "completed"
    with pytest.raises(InvestigationFinished):
        async with other.attach(investigation.id):
            raise AssertionError("must not run")


async def test_use_backend(sdk: InvestigationSDK, tmp_path: Any) -> None:
    async with sdk.investigation("before") as before:
        step(1)
    with use_backend(sdk, f"sqlite:///{tmp_path}/another.db") as same:
        assert same is sdk
        assert len(await sdk.list()) == 0
        async with sdk.investigation("inside") as inside:
            step(2)
        await assert_tools_called(sdk, inside.id, [("step", {"n": 2})])
        with use_backend(sdk, "memory://"):
            assert len(await sdk.list()) == 0
        assert [i.id for i in await sdk.list()] == [inside.id]
    assert [i.id for i in await sdk.list()] == [before.id]


async def test_hooks_follow_use_backend_and_are_called_once(sdk: InvestigationSDK) -> None:
    seen: list[str] = []

    @sdk.service.on_state(InvestigationState.COMPLETED)
    def on_end(investigation: Any, event: Any) -> None:
        seen.append(investigation.subject)

    for name in ("a", "b"):
        with use_backend(sdk, "memory://"):
            async with sdk.investigation(f"other {name}"):
                pass
        async with sdk.investigation(f"mine {name}"):
            pass
    assert sdk.service._hooks.drain()
    assert seen == ["other a", "mine a", "other b", "mine b"]


async def test_assertions_say_what_was_recorded(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("assertions") as investigation:
        step(1)
        pay(2)
    await assert_tools_called(sdk, investigation.id, ["step", "pay"])
    await assert_tools_called(sdk, investigation.id, [("pay", {"n": 2}), "step"], ordered=False)
    for expected in (["pay", "step"], [("step", {"n": 9})], ["step", "step"]):
        with pytest.raises(AssertionError, match=r"step\(n=1\)\n  pay\(n=2\)"):
            await assert_tools_called(sdk, investigation.id, expected)
    with pytest.raises(AssertionError, match="running -> completing -> completed, not created"):
        await assert_state_path(sdk, investigation.id, ["created", "failed"])
