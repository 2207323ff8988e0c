"""Who follows many, while things happen: during a look at the store, while one is entered, while the store is away."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from investigation_sdk import BackendUnavailable, InvestigationSDK, InvestigationWebSocketManager, Principal
from investigation_sdk.domain.records import Investigation
from investigation_sdk.domain.states import ENDED
from investigation_sdk.realtime import clients, directory
from investigation_sdk.realtime.clients import Client
from investigation_sdk.storage.commit import Query

from .many import GIL, Socket, following, looked_at_often, one
from .waiting import LONG, until


@pytest.fixture
def sdk(make_sdk: Callable[..., InvestigationSDK], monkeypatch: pytest.MonkeyPatch) -> InvestigationSDK:
    return looked_at_often(make_sdk, monkeypatch)


class Gate:
    """Holds one answer of the store: of a look for what is under way, or of a question for an id."""

    def __init__(self, sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[str] | None = None
        self.looks = 0
        self._armed = ""
        self._opened = False
        self._find = sdk._recorder.backend.find
        monkeypatch.setattr(sdk._recorder.backend, "find", self.find)

    async def find(self, query: Query) -> Sequence[Any]:
        rows = await self._find(query)
        fields = {where.field for where in query.where}
        self.looks += "status" in fields
        if self._armed in fields:
            self._armed, self.rows = "", [row.id for row in rows]
            await until(lambda: self._opened, "the gate opens")
        return rows

    def arm(self, field: str) -> None:
        self._armed = field

    def open(self) -> None:
        self._opened = True

    async def hold(self) -> None:
        self.arm("status")
        await until(lambda: self.rows is not None, "a look is held")

    async def release(self) -> None:
        """Until what was read is told, and two looks more."""
        self.open()
        seen = self.looks
        await until(lambda: self.looks > seen + 2, "the looks go on")


@pytest.fixture
def gate(sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(sdk, monkeypatch)


async def begun(sdk: InvestigationSDK) -> str:
    return (await sdk.service.create_investigation("gil", "account 7", "general", queue=False)).id


async def completes(sdk: InvestigationSDK, id: str) -> None:
    async with sdk.attach(id) as run:
        run.record("fraud.sign", {})


async def fails(sdk: InvestigationSDK, id: str) -> None:
    with contextlib.suppress(ValueError):
        async with sdk.attach(id):
            raise ValueError("no")


async def followed_and_old(sdk: InvestigationSDK, socket: Socket, client: Client) -> str:
    """One under way that was begun before the client's `since`."""
    id = await begun(sdk)
    await until(lambda: bool(socket.of(id)), "it is seen")
    await until(lambda: client.since is not None and client.since > id, "it is old")
    return id


async def got_each_once(sdk: InvestigationSDK, socket: Socket, id: str) -> None:
    version = (await sdk.get(id)).version
    await until(lambda: len(socket.of(id)) >= version, f"it is sent {version} events")
    assert socket.of(id) == list(range(1, version + 1))


async def test_one_that_begins_during_a_look_comes_once(sdk: InvestigationSDK, gate: Gate) -> None:
    """It was told of by its hint, and is found again by the look after: older than `since` by its end."""
    socket = Socket()
    async with following(sdk, socket) as client:
        await until(lambda: client.since is not None, "it has come: what is held is no look of its own")
        await gate.hold()
        id = await begun(sdk)
        await until(lambda: bool(socket.of(id)), "its hint tells of it")
        await gate.release()
        await until(lambda: client.since is not None and client.since > id, "it is old")
        await completes(sdk, id)
        await until(lambda: id not in client.sent, "it is forgotten")
        seen = gate.looks
        await until(lambda: gate.looks > seen + 2, "it is looked for again")
        later = await one(sdk)
        await until(lambda: bool(socket.of(later)), "whatever there was before it is sent")
        await got_each_once(sdk, socket, id)


async def test_one_that_ends_during_a_look_is_no_news(sdk: InvestigationSDK, gate: Gate) -> None:
    socket = Socket()
    async with following(sdk, socket) as client:
        id = await followed_and_old(sdk, socket, client)
        await gate.hold()
        assert gate.rows == [id], "the look has seen it under way"
        await completes(sdk, id)
        await until(lambda: bool(socket.of(id)) and id not in client.sent, "it is sent, and forgotten")
        await gate.release()
        later = await one(sdk)
        await until(lambda: bool(socket.of(later)), "whatever there was before it is sent")
        await got_each_once(sdk, socket, id)


async def test_one_that_fails_during_a_look_and_is_retried_goes_on(
    sdk: InvestigationSDK, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = Socket()
    async with following(sdk, socket) as client:
        id = await followed_and_old(sdk, socket, client)
        await gate.hold()
        await fails(sdk, id)
        await until(lambda: client.is_over(id), "it is over")
        monkeypatch.setattr(directory, "_LOOK_SECONDS", 3600.0)  # no look finds what its hint does not tell
        gate.open()
        later = await begun(sdk)
        await until(lambda: bool(socket.of(later)), "it goes on")
        await until(lambda: client.since is not None and client.since > id, "that look is over")
        await sdk.service.retry(id)
        await got_each_once(sdk, socket, id)


async def test_what_is_told_of_one_that_ended_since_it_was_asked_for(
    sdk: InvestigationSDK, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look found it meanwhile, and another one began: its end is still known."""
    monkeypatch.setattr(directory, "_LOOK_SECONDS", 3600.0)  # but for the first, looks are ours
    rooms = InvestigationWebSocketManager(sdk, heartbeat=timedelta(hours=1))
    socket = Socket()
    async with following(sdk, socket, rooms) as client:
        await until(lambda: any(room.directory._groups for room in rooms._rooms.values()), "it follows")
        (group,) = next(iter(rooms._rooms.values())).directory._groups.values()
        await until(group.ready.is_set, "the first look is over")

        async def look() -> None:
            await sdk._recorder.acall(group._look())

        gate.arm("id")
        id = await begun(sdk)

        async def is_old() -> bool:
            await look()
            return client.since is not None and client.since > id

        await until(lambda: gate.rows == [id], "what its hint tells of is asked for")
        await until(is_old, "a look finds it, another one that it is old")
        await until(lambda: bool(socket.of(id)), "it is seen")
        await completes(sdk, id)
        await until(lambda: id not in client.sent, "it is forgotten")
        await look()
        gate.open()
        later = await one(sdk)
        await until(lambda: bool(socket.of(later)), "whatever there was before it is sent")
        await got_each_once(sdk, socket, id)


async def test_who_could_not_enter_all_that_it_missed_is_told_no_newer_since(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may watch cannot be told for a moment: the client comes again, and gets it then."""
    away, asked, waits = True, asyncio.Event(), asyncio.Event()
    missed = ""

    async def authorise(_: Principal, record: Investigation) -> bool:
        if record.id == missed and away:
            asked.set()
            await waits.wait()
            raise ConnectionError("the permissions")
        return True

    socket = Socket()
    async with following(sdk, socket) as client:
        await one(sdk)
        await until(lambda: client.since is not None and len(client.sent) == 0, "it is told since when")
        socket.cursors = {"since": client.since}
    missed, other = await one(sdk), await one(sdk)
    send_text, sending = socket.send_text, asyncio.Event()

    async def held(data: str) -> None:
        """Why it is closed is told some time after it is known."""
        sending.set()
        await until(lambda: all(watch.client.closing is not None for watch in rooms._watching), "it is to be closed")
        await asyncio.sleep(0.05)
        await send_text(data)

    monkeypatch.setattr(socket, "send_text", held)
    rooms = InvestigationWebSocketManager(sdk, heartbeat=timedelta(hours=1), authorise=authorise)
    async with following(sdk, socket, rooms):
        async with asyncio.timeout(LONG):
            await asked.wait()
            await sending.wait()
        group = next(iter(next(iter(rooms._rooms.values())).directory._groups.values()))
        since = group._since
        await until(lambda: group._since > since, "a look has told what is newer")
        waits.set()
        await until(lambda: socket.closed is not None, "it is closed")
        assert socket.closed is not None
        assert socket.closed[0] == 4503
        assert socket.cursors["since"] < missed, "what it was told at last"
    away = False
    monkeypatch.setattr(socket, "send_text", send_text)
    async with following(sdk, socket, rooms):
        await got_each_once(sdk, socket, missed)
        await got_each_once(sdk, socket, other)


@pytest.mark.parametrize("remembered", [0, 1000], ids=["forgotten", "remembered"])
async def test_one_that_is_retried_again_while_it_is_entered(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    """What was found is older than what its log says by then; the client did nothing wrong."""
    monkeypatch.setattr(clients, "MOST_FAILED", remembered)
    held, waits = asyncio.Event(), asyncio.Event()
    waits.set()

    async def authorise(_: Principal, record: Investigation) -> bool:
        if record.status not in ENDED:
            held.set()
            await waits.wait()
        return True

    rooms = InvestigationWebSocketManager(sdk, heartbeat=timedelta(hours=1), authorise=authorise)
    socket = Socket()
    async with following(sdk, socket, rooms) as client:
        id = await one(sdk, fails=True)
        await until(lambda: client.is_over(id) if remembered else id not in client.sent, "it is over")
        await until(lambda: bool(socket.of(id)), "it is sent")
        waits.clear()
        held.clear()
        await sdk.service.retry(id)
        async with asyncio.timeout(LONG):
            await held.wait()
        await fails(sdk, id)
        await sdk.service.retry(id)
        version = (await sdk.get(id)).version
        waits.set()
        await until(lambda: socket.closed is not None or socket.of(id)[-1] == version, "it goes on")
        assert socket.closed is None
        await completes(sdk, id)
        version = (await sdk.get(id)).version
        await until(lambda: socket.of(id)[-1] == version, "to its end")
        assert len(socket.of(id)) == len(set(socket.of(id))), "each once"


async def test_who_comes_while_the_store_is_away_is_told(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await one(sdk)
    backend = sdk._recorder.backend
    find = backend.find

    async def away(_: Query) -> Sequence[Any]:
        raise BackendUnavailable("away")

    monkeypatch.setattr(backend, "find", away)
    socket = Socket({id: 1})
    rooms = InvestigationWebSocketManager(sdk, heartbeat=timedelta(hours=1))
    async with asyncio.timeout(LONG):
        await rooms.serve_many(socket, principal=GIL, after=dict(socket.cursors))
    assert socket.closed is not None
    assert socket.closed[0] == 4503
    assert socket.cursors == {id: 1}, "it is told to go on from there"
    monkeypatch.setattr(backend, "find", find)
    async with following(sdk, socket, rooms):
        await until(lambda: bool(socket.of(id)), "it goes on once the store answers")
