"""What a client is sent that takes nothing for a while: nothing is lost that it cannot ask for again."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from investigation_sdk import InvestigationCancelled, InvestigationSDK, InvestigationWebSocketManager, Principal, Role
from investigation_sdk.realtime.hints import Hint

from .waiting import LONG, until

GIL = Principal(id="gil", roles=frozenset({Role.VIEWER}))
MAX = 8


class Stuck:
    """A WebSocket whose client takes nothing until it is told to."""

    def __init__(self) -> None:
        self.takes = asyncio.Event()
        self.waits = False
        self.sent: list[dict[str, Any]] = []
        self.closed: tuple[int, str | None] | None = None

    async def accept(self) -> None: ...

    async def receive(self) -> Any:
        await asyncio.Event().wait()

    async def send_text(self, data: str) -> None:
        self.waits = True
        await self.takes.wait()
        self.sent.append(json.loads(data))

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        self.closed = code, reason

    def sequences(self) -> list[int]:
        return [message["sequence"] for message in self.sent if "sequence" in message]


@pytest.fixture
def sdk(make_sdk: Callable[..., InvestigationSDK]) -> InvestigationSDK:
    return make_sdk("memory://")


@asynccontextmanager
async def watched(sdk: InvestigationSDK, id: str, after: int) -> AsyncIterator[tuple[Stuck, Any]]:
    """One who watches, is in the room, and takes nothing."""
    rooms = InvestigationWebSocketManager(sdk, max_queue=MAX, heartbeat=timedelta(hours=1))
    socket = Stuck()
    socket.takes.set()
    serving = asyncio.create_task(rooms.serve(socket, id, principal=GIL, after=after))
    await until(lambda: any(message["type"] == "stream.caught_up" for message in socket.sent), "it has caught up")
    socket.takes.clear()
    socket.waits = False
    yield socket, next(iter(rooms._watching)).client
    socket.takes.set()
    async with asyncio.timeout(LONG):
        await serving


async def test_the_end_is_delivered_however_much_waits(sdk: InvestigationSDK) -> None:
    with pytest.raises(InvestigationCancelled):
        async with sdk.investigation("account 42") as run, watched(sdk, run.id, 0) as (socket, client):
            run.record("fraud.sign", {})
            await until(lambda: socket.waits, "it is being sent one")
            for number in range(MAX - 1):
                run.record("fraud.sign", {"number": number})
            await until(lambda: len(client._queue) == MAX - 1, "they wait")
            await sdk.service.cancel(run.id)  # it is paused, which is the last place, and then cancelled
            await until(lambda: len(client._queue) > MAX, "the end waits behind all the others")
    assert socket.closed == (1000, "the investigation has ended")
    assert socket.sequences() == list(range(1, socket.sequences()[-1] + 1))
    assert "investigation.cancelled" in {message["type"] for message in socket.sent}


async def test_what_belongs_to_the_end_is_no_reason_to_forget_it(sdk: InvestigationSDK) -> None:
    """Whoever drove it lets go of it behind the end: one more event."""
    async with sdk.investigation("account 42") as run:
        watching = watched(sdk, run.id, 0)
        socket, client = await watching.__aenter__()
        run.record("fraud.sign", {})
        await until(lambda: socket.waits, "it is being sent one")
        for number in range(MAX - 1):
            run.record("fraud.sign", {"number": number})
        await until(lambda: len(client._queue) == MAX - 1, "they wait")
    version = (await sdk.get(run.id)).version
    await until(lambda: client.cursors.get(run.id, version) == version, "all of it waits")
    await watching.__aexit__(None, None, None)
    assert socket.closed == (1000, "the investigation has ended")
    assert socket.sequences() == list(range(1, version + 1))


async def test_beyond_that_it_is_told_to_come_again(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("account 42") as run:
        async with watched(sdk, run.id, 0) as (socket, client):
            for number in range(2 * MAX):
                run.record("fraud.sign", {"number": number})
            await until(lambda: client.closing is not None, "it is too slow")
        last = socket.sent[-1]
        assert (last["type"], last["cursor"]) == ("resync_required", socket.sequences()[-1])
        assert socket.closed is not None
        assert socket.closed[0] == 4408


@pytest.mark.parametrize("replayed", [True, False], ids=["replayed", "live"])
async def test_what_it_may_not_see_any_more_is_not_sent_whatever_waits(sdk: InvestigationSDK, replayed: bool) -> None:
    """It follows many, and takes nothing while it loses one of them: it gets nothing more of that."""
    roles = {Role.VIEWER}
    rooms = InvestigationWebSocketManager(
        sdk,
        max_queue=MAX,
        heartbeat=timedelta(hours=1),
        recheck=lambda _: Principal(id="gil", roles=frozenset(roles)),
    )
    socket = Stuck()
    async with sdk.investigation("account 42", user_id="ann") as run:
        for number in range(5 * MAX if replayed else 1):
            run.record("fraud.sign", {"number": number})
        await sdk.flush()
        serving = asyncio.create_task(rooms.serve_many(socket, principal=GIL))
        await until(lambda: socket.waits, "it is being sent one")
        (watch,) = rooms._watching
        if replayed:
            await until(lambda: len(watch.client._queue) == MAX, "as many wait as may")
        else:
            socket.takes.set()
            await until(lambda: any(one["type"] == "stream.caught_up" for one in socket.sent), "it has caught up")
            socket.takes.clear()
            run.record("fraud.sign", {})
            await until(lambda: socket.waits and watch.client.cursors[run.id] > socket.sequences()[-1], "one waits")
        had = len(socket.sequences())
        roles.clear()
        roles.add(Role.INVESTIGATOR)
        await rooms.roles_changed()
        run.record("fraud.secret", {})
        await sdk.flush()
        own = await sdk.service.create_investigation("gil", "account 7", "general", queue=False)
        socket.takes.set()
        await until(lambda: any(one.get("investigation_id") == own.id for one in socket.sent), "it gets its own")
        run.record("fraud.secret", {})
    other = await sdk.service.create_investigation("gil", "account 8", "general", queue=False)
    await until(lambda: any(one.get("investigation_id") == other.id for one in socket.sent), "it goes on")
    of_anns = [one for one in socket.sent if one.get("investigation_id") == run.id and "sequence" in one]
    assert len(of_anns) <= had + 1, "what was being sent, and no more"
    assert "fraud.secret" not in {one["type"] for one in of_anns}
    assert socket.closed is None
    await _gone(serving)


async def test_what_ends_while_it_is_behind_comes_once(sdk: InvestigationSDK) -> None:
    """It follows many. One of them ends, and is taken up again, while all of it still waits for the client."""
    rooms = InvestigationWebSocketManager(sdk, max_queue=64, heartbeat=timedelta(hours=1))
    socket = Stuck()
    serving = asyncio.create_task(rooms.serve_many(socket, principal=GIL))
    await until(lambda: bool(rooms._watching), "it is watching")
    run = await sdk.service.create_investigation("ann", "account 42", "general", queue=False)
    await until(lambda: socket.waits, "it is being sent one")
    (watch,) = rooms._watching
    async with sdk.attach(run.id) as attached:
        for number in range(10):
            attached.record("fraud.sign", {"number": number})
    version = (await sdk.get(run.id)).version
    await until(lambda: run.id not in watch.client.cursors, "it has left the room, which is over")
    # as a hint that comes late says it, so that it is looked at again
    for sequence in range(1, 4):
        sdk.hub.heard(Hint(run.id, version + sequence))
    other = await sdk.service.create_investigation("ann", "account 7", "general", queue=False)
    await until(lambda: other.id in watch.client.cursors, "it is in another room")
    socket.takes.set()
    await until(lambda: any(one.get("investigation_id") == other.id for one in socket.sent), "it gets the other")
    of_run = [one["sequence"] for one in socket.sent if one.get("investigation_id") == run.id and "sequence" in one]
    assert of_run == list(range(1, version + 1))
    await _gone(serving)


async def _gone(serving: asyncio.Task[None]) -> None:
    serving.cancel()
    await asyncio.wait([serving], timeout=LONG)
    assert serving.done(), f"for {LONG:g} s, it was still served"
