"""Who drives an investigation: claims, releases, takeovers, leases; two recorders on one SQLite file."""

import asyncio
import os
import subprocess
import sys
import threading
from datetime import timedelta

import pytest

from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk import (
    InvestigationBusy,
    InvestigationCancelled,
    InvestigationFinished,
    InvestigationPaused,
    InvestigationState,
    LeaseLost,
    ToolState,
    tool,
)
from investigation_sdk.domain.owners import describe
from investigation_sdk.engine import ownership
from investigation_sdk.engine.ownership import Owner, new_owner, provably_dead, retire
from investigation_sdk.storage.commit import Lease
from tests.engine.rig import until


@tool
async def lookup(n):
    return {"n": n}


@pytest.fixture
def path(sqlite_url):
    return sqlite_url.removeprefix("sqlite:///")


async def types(sdk, id, after=0):
    return [event.event_type async for event in sdk.iter_events(id, after=after)]


async def raw(path, work):
    """Something that is done to the store by another program."""
    backend = SQLiteBackend(path)
    await backend.open()
    try:
        return await work(backend)
    finally:
        await backend.close()


async def give_lease_to(path, id, owner, *, ttl):
    async def work(backend):
        holder = await backend.holder(id)
        if holder is not None:
            await backend.release(holder)
        return await backend.claim(id, owner, ttl=ttl)

    lease = await raw(path, work)
    assert lease is not None
    return lease


def owner_in(text):
    """The parts of an owner's text; pid is an int."""
    machine, boot, namespace, pid, started, nonce = text.split("/")
    return Owner(machine, boot, namespace, int(pid), started, nonce)


def elsewhere():
    """An owner on another machine, of which nothing can be seen from here."""
    return str(Owner("other.machine", "boot", "ns", 4711, "1", "nonce"))


async def test_claimed_and_released_are_in_the_log(lite):
    async with lite.investigation("s") as investigation:
        assert investigation.attempt == 1
    events = [event async for event in lite.iter_events(investigation.id)]
    (claimed,) = [event for event in events if event.event_type == "investigation.claimed"]
    (released,) = [event for event in events if event.event_type == "investigation.released"]
    assert released.event_data == {"token": claimed.id}
    assert owner_in(claimed.event_data["owner"]).pid == os.getpid()
    assert (await lite.verify(investigation.id)).ok


async def test_the_claim_is_durable_before_the_block_begins(lite, other):
    async with lite.investigation("s") as investigation:
        events = await types(other, investigation.id)
        assert "investigation.claimed" in events
        assert events[-1] == "investigation.started"


async def test_another_owner_makes_it_busy(lite, other):
    async with lite.investigation("s") as investigation:
        with pytest.raises(InvestigationBusy) as busy:
            async with other.attach(investigation.id, wait=timedelta(0)):
                pytest.fail("two owners")
        assert busy.value.investigation_id == investigation.id
        assert owner_in(busy.value.owner).pid == os.getpid()
        assert busy.value.expires_at.tzinfo is not None
        assert f"process {os.getpid()}" in str(busy.value)
        with pytest.raises(InvestigationBusy):
            async with lite.attach(investigation.id, wait=timedelta(0)):  # nor in the same process
                pytest.fail("two owners")
        await lookup(1)
    with pytest.raises(InvestigationFinished):
        async with other.attach(investigation.id):
            pytest.fail("it is finished")


async def test_waiting_for_the_owner_to_leave(lite, other, caplog):
    left = asyncio.Event()

    async def second(id):
        with pytest.raises(InvestigationFinished):
            async with other.attach(id, wait=timedelta(seconds=30)):
                pytest.fail("it is finished")
        left.set()

    async with lite.investigation("s") as investigation:
        task = asyncio.create_task(second(investigation.id))
        await until(lambda: "waiting up to" in caplog.text)
        assert not left.is_set()
    await asyncio.wait_for(task, 20)


@pytest.fixture
def process():
    running = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield running
    running.kill()
    running.wait()


async def test_a_dead_owner_is_succeeded_at_once(lite, path, process):
    id = (await lite.service.create_investigation("u", "s", "t")).id
    alive = mine(pid=process.pid, started=ownership._started(process.pid) or "", nonce="n")
    await give_lease_to(path, id, alive, ttl=3_600_000_000)
    with pytest.raises(InvestigationBusy):
        async with lite.attach(id, wait=timedelta(0)):
            pytest.fail("it lives")
    process.kill()
    await asyncio.to_thread(process.wait)
    async with lite.attach(id, wait=timedelta(0)) as second:
        assert second.attempt == 1


async def test_the_lease_of_an_owner_elsewhere_has_to_run_out(lite, other, path):
    id = (await lite.service.create_investigation("u", "s", "t")).id
    await give_lease_to(path, id, elsewhere(), ttl=400_000)
    with pytest.raises(InvestigationBusy, match="process 4711 on other"):
        async with other.attach(id, wait=timedelta(0)):
            pytest.fail("it may live")
    async with other.attach(id, wait=timedelta(seconds=30)):
        await lookup(1)
    assert (await other.get(id)).status is InvestigationState.COMPLETED


async def test_the_heartbeat_keeps_a_short_lease(sqlite_url, make_sdk, other):
    lite = make_sdk(sqlite_url, lease_ttl=timedelta(seconds=0.5))
    async with lite.investigation("s") as investigation:
        for _ in range(8):  # longer than two leases
            with pytest.raises(InvestigationBusy):
                async with other.attach(investigation.id, wait=timedelta(0)):
                    pytest.fail("two owners")
            await asyncio.sleep(0.15)
        await lookup(1)


async def test_the_heartbeat_keeps_the_lease_of_one_that_is_paused(sqlite_url, make_sdk, other):
    lite = make_sdk(sqlite_url, lease_ttl=timedelta(seconds=0.5))
    async with lite.investigation("s") as investigation:
        await other.service.pause(investigation.id)
        task = asyncio.create_task(investigation.checkpoint(1))
        for _ in range(8):
            with pytest.raises(InvestigationBusy):
                async with other.attach(investigation.id, wait=timedelta(0)):
                    pytest.fail("two owners")
            await asyncio.sleep(0.15)
        await other.service.resume(investigation.id)
        await asyncio.wait_for(task, 20)


async def test_a_stale_owner_loses_its_commands_and_keeps_its_facts(lite, other, path):
    begun, go = asyncio.Event(), asyncio.Event()

    @tool
    async def slow():
        begun.set()
        await go.wait()
        return "late"

    with pytest.raises(LeaseLost):
        async with lite.investigation("s") as investigation:
            task = asyncio.create_task(slow())
            await begun.wait()
            await give_lease_to(path, investigation.id, "nobody/knows/whom/1/2/3", ttl=1)
            async with other.attach(investigation.id) as second:
                await lookup(1)
                go.set()
                assert await task == "late"
                async with second.phase("mine"):
                    pass
            async with investigation.phase("theirs"):
                pytest.fail("it is another's")
    (call,) = await lite.tools(investigation.id, tool="slow")
    assert call.status is ToolState.COMPLETED
    assert call.output_result == "late"
    late = [e async for e in lite.iter_events(investigation.id, event_type="tool.completed") if e.metadata]
    assert [dict(event.metadata or {}) for event in late] == [{"late": True, "stale": True}]
    assert [phase.phase_name for phase in await lite.phases(investigation.id)] == ["mine"]
    assert (await lite.get(investigation.id)).status is InvestigationState.COMPLETED
    assert (await lite.verify(investigation.id)).ok


async def test_a_pause_from_another_handle_holds_the_owner_and_a_resume_wakes_it(lite, other):
    async with lite.investigation("s") as investigation:
        await other.service.pause(investigation.id, "look at this")
        await lookup(1)  # its commit learns of it; its value is given
        task = asyncio.create_task(lookup(2))
        await asyncio.sleep(0.05)
        assert not task.done()
        await other.service.resume(investigation.id)
        assert await asyncio.wait_for(task, 20) == {"n": 2}
    states = [e.new_state async for e in lite.iter_events(investigation.id, event_type="state.transition")]
    assert states.count(InvestigationState.PAUSED) == 1


def test_a_pause_holds_a_blocking_owner_too(lite, other):
    with lite.investigation("s") as investigation:
        other.sync.service.pause(investigation.id)
        investigation.checkpoint(0)  # its commit learns of it
        done = threading.Event()

        def work():
            investigation.checkpoint(1)
            done.set()

        thread = threading.Thread(target=work)
        thread.start()
        assert not done.wait(0.05)
        other.sync.service.resume(investigation.id)
        assert done.wait(20)
        thread.join()


async def test_where_pauses_raise_the_block_is_left_and_can_be_driven_again(sqlite_url, make_sdk, other):
    lite = make_sdk(sqlite_url, on_pause="raise")
    with pytest.raises(InvestigationPaused):
        async with lite.investigation("s") as investigation:
            await other.service.pause(investigation.id)
            await lookup(1)
            await lookup(2)
    record = await other.get(investigation.id)
    assert record.status is InvestigationState.PAUSED
    await other.service.resume(investigation.id)  # nobody drives it: a request
    await other.service.resume(investigation.id)
    assert (await types(other, investigation.id)).count("investigation.resume_requested") == 1
    assert (await other.get(investigation.id)).status is InvestigationState.PAUSED
    async with other.attach(investigation.id, wait=timedelta(0)) as second:
        assert second.state is InvestigationState.RUNNING
        await lookup(3)
    assert (await other.get(investigation.id)).status is InvestigationState.COMPLETED


async def test_cancelled_from_outside(lite, other):
    with pytest.raises(InvestigationCancelled):
        async with lite.investigation("s") as investigation:
            await other.service.cancel(investigation.id)
            assert await lookup(1) == {"n": 1}
            await lookup(2)
            pytest.fail("it went on")
    assert (await lite.get(investigation.id)).status is InvestigationState.CANCELLED
    assert len(await lite.tools(investigation.id)) == 1
    with pytest.raises(InvestigationCancelled):
        async with other.attach(investigation.id):
            pytest.fail("it is cancelled")


async def test_a_transition_from_outside_takes_it_from_its_owner(lite, other):
    with pytest.raises(LeaseLost):
        async with lite.investigation("s") as investigation:
            await other.service.transition_state(investigation.id, InvestigationState.FAILED, "enough")
            await lookup(1)
            await investigation.checkpoint(1)
    assert (await lite.get(investigation.id)).status is InvestigationState.FAILED
    async with other.attach(investigation.id, wait=timedelta(0)) as second:
        assert second.attempt == 2


async def test_of_many_that_take_over_at_once_each_drives_alone(sqlite_url, make_sdk):
    sdks = [make_sdk(sqlite_url) for _ in range(3)]
    id = (await sdks[0].service.create_investigation("u", "s", "t")).id
    inside: list[int] = []

    async def attend(sdk):
        try:
            async with sdk.attach(id, wait=timedelta(seconds=30)):
                inside.append(1)
                assert len(inside) == 1
                await asyncio.sleep(0.02)
                inside.pop()
                raise RuntimeError("not yet")
        except RuntimeError:
            pass

    await asyncio.gather(*(attend(sdk) for sdk in sdks))
    assert (await types(sdks[0], id)).count("investigation.claimed") == 3
    assert (await sdks[0].verify(id)).ok


# ---- provably dead


def mine(**changes):
    return str(owner_in(new_owner())._replace(**changes))


@pytest.mark.parametrize(
    ("owner", "dead"),
    [
        (lambda: mine(nonce="unknown"), True),
        (mine, False),
        (lambda: mine(machine="elsewhere.1"), False),
        (lambda: mine(boot="another boot"), True),
        (lambda: mine(machine="elsewhere.1", boot="another boot"), False),
        (lambda: mine(boot=""), False),
        (lambda: mine(pid_namespace="another"), False),
        (lambda: mine(pid_namespace=""), False),
        (lambda: mine(started=""), False),
        (lambda: mine(started="12345"), True),
        (lambda: mine(pid=2**22 + 1), True),
        (lambda: mine(pid="x"), False),
        (lambda: "no owner of ours", False),
        (lambda: "", False),
    ],
)
def test_who_is_provably_dead(owner, dead):
    assert provably_dead(owner()) is dead


def test_a_name_without_a_machine_id_may_be_that_of_another_host(monkeypatch):
    monkeypatch.setattr(ownership, "machine", lambda: "app.")
    assert not provably_dead(mine(boot="another boot"))
    assert provably_dead(mine(nonce="unknown"))
    assert provably_dead(mine(pid=2**22 + 1))


def test_a_claim_that_was_given_up_is_dead():
    owner = new_owner()
    assert not provably_dead(owner)
    retire(owner)
    assert provably_dead(owner)


def test_a_zombie_is_dead():
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    started = ownership._started(process.pid)
    process.stdout.read()
    try:
        for _ in range(1000):
            if ownership._started(process.pid) is None:
                break
            threading.Event().wait(0.01)
        assert provably_dead(mine(pid=process.pid, started=started or "1"))
    finally:
        process.wait()
        process.stdout.close()


def test_an_owner_for_people():
    assert describe(elsewhere()) == "process 4711 on other"
    assert describe("whatever") == "whatever"
    assert Lease("r", "o", 1).version is None
