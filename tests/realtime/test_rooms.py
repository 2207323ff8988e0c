"""Rooms, with real clients of a real server: what is behind a cursor, once and in order, then what comes."""

import asyncio
import contextlib
import json
import threading
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from investigation_sdk import InvestigationSDK, InvestigationWebSocketManager, tool
from investigation_sdk.realtime.clients import TOO_SLOW

from .conftest import LONG, until
from .serving import User, application, served

pytestmark = pytest.mark.timeout(180)


@tool(effect="read")
def lookup(number: int) -> int:
    return number * 2


class World:
    """A store, a server and its users."""

    def __init__(self, sdk: InvestigationSDK, **options: Any) -> None:
        self.sdk = sdk
        self.users = {"gil": User("gil"), "eve": User("eve", frozenset()), "tom": User("tom", tenant_id="acme")}
        self.rooms = InvestigationWebSocketManager(sdk, **options)
        self.port = 0

    @contextlib.contextmanager
    def up(self) -> Iterator["World"]:
        with served(application(self.sdk, self.rooms, self.users)) as self.port:
            yield self

    @contextlib.asynccontextmanager
    async def joined(self, path: str) -> AsyncIterator[ClientConnection]:
        async with asyncio.timeout(LONG):
            connection = await connect(
                f"ws://127.0.0.1:{self.port}/{path}",
                compression=None,
                ping_interval=None,
                max_queue=None,
                open_timeout=LONG,
            )
        try:
            yield connection
        finally:
            connection.transport.abort()

    async def new(self, **given: Any) -> str:
        asked = {"user_id": "gil", "subject": "account 42", "investigation_type": "general", **given}
        record = await self.sdk.service.create_investigation(**asked, configuration={}, queue=False)
        return record.id


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.server) for name in ("sqlite", "postgres"))])
def sdk(request: pytest.FixtureRequest, make_sdk: Callable[..., InvestigationSDK]) -> InvestigationSDK:
    fixtures = {"sqlite": "sqlite_url", "postgres": "postgres_store"}
    if request.param == "memory":
        return make_sdk("memory://")
    return make_sdk(str(request.getfixturevalue(fixtures[request.param])))


@pytest.fixture
def world(sdk: InvestigationSDK) -> Iterator[World]:
    with World(sdk).up() as up:
        yield up


def drive(sdk: InvestigationSDK, id: str, calls: int = 20) -> None:
    with sdk.attach(id) as investigation, investigation.phase("devices"):
        for number in range(calls):
            lookup(number)


async def everything(connection: ClientConnection, seconds: float = LONG) -> list[dict[str, Any]]:
    """All messages, to the end of the stream."""
    found = []
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(seconds):
            while True:
                found.append(json.loads(await connection.recv()))
    return found


def logged(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if "sequence" in message]


async def stored(sdk: InvestigationSDK, id: str) -> list[int]:
    return [event.sequence async for event in sdk.iter_events(id)]


async def test_a_finished_one_is_replayed_and_closed(world: World) -> None:
    id = await world.new()
    await asyncio.to_thread(drive, world.sdk, id)
    async with world.joined(id) as connection:
        found = await everything(connection)
        assert (connection.close_code, connection.close_reason) == (1000, "the investigation has ended")
    events = [event async for event in world.sdk.iter_events(id)]
    assert [message["sequence"] for message in logged(found)] == [event.sequence for event in events]
    for message, event in zip(logged(found), events, strict=True):
        assert message["type"] == event.event_type
        assert message["investigation_id"] == id
        assert message["timestamp"] == event.event_timestamp.isoformat()
        assert message["new_state"] == event.new_state
        assert message["id"] == event.id
    kinds = {message["type"]: message["update_type"] for message in logged(found)}
    assert kinds["tool.completed"] == "tool_executed"
    assert kinds["phase.started"] == "phase_started"
    assert kinds["state.transition"] == kinds["investigation.completed"] == "state_changed"


async def test_before_during_and_after(world: World) -> None:
    """Clients that come at any time, from any place, get what is behind it, once and in order."""
    id = await world.new()
    driving = asyncio.create_task(asyncio.to_thread(drive, world.sdk, id, 300))
    found: dict[int, list[int]] = {}

    async def follow(after: int) -> None:
        async with world.joined(f"{id}?after={after}") as connection:
            found[after] = [message["sequence"] for message in logged(await everything(connection))]
            assert connection.close_code == 1000

    async def follow_later(after: int) -> None:
        async def there() -> bool:
            return (await world.sdk.get(id)).version >= after

        await until(there, f"event {after}")
        await follow(after)

    async with asyncio.timeout(2 * LONG), asyncio.TaskGroup() as group:
        for after in (0, 1, *range(40, 600, 40)):
            group.create_task(follow_later(after))
    await driving
    every = await stored(world.sdk, id)
    for after, sequences in found.items():
        assert sequences == every[after:], f"after={after}: {len(sequences)} of {len(every) - after}"


async def test_who_comes_again_gets_what_it_missed(world: World) -> None:
    id = await world.new()
    begun, go_on = threading.Event(), threading.Event()

    def drive_on_demand() -> None:
        with world.sdk.attach(id) as investigation, investigation.phase("devices"):
            lookup(1)
            begun.set()
            assert go_on.wait(LONG)
            lookup(2)

    driving = asyncio.create_task(asyncio.to_thread(drive_on_demand))
    assert await asyncio.to_thread(begun.wait, LONG)
    found: list[int] = []
    async with world.joined(id) as connection, asyncio.timeout(LONG):
        while len(found) < 3:
            message = json.loads(await connection.recv())
            found += [message["sequence"]] if "sequence" in message else []
    go_on.set()
    await driving
    async with world.joined(f"{id}?after={found[-1]}") as connection:
        found += [message["sequence"] for message in logged(await everything(connection))]
    assert found == await stored(world.sdk, id)


async def test_refusals(world: World) -> None:
    id = await world.new()
    asked = [
        ("019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b7e", 4404, "no such"),
        ("nonsense", 4404, "no such"),
        (f"{id}?after=99", 4400, "no sequence"),
        (f"{id}?after=-1", 4400, "no sequence"),
        (f"{id}?user=eve", 4403, "not allowed"),
        (f"{id}?user=nobody", 4403, "not allowed"),
        (f"{id}?user=tom", 4404, "no such"),
        ("many?after={%22x%22:1}", 4400, "no JSON object of sequences"),
    ]
    for path, code, reason in asked:
        async with world.joined(path) as connection:
            assert await everything(connection) == [], path
            assert connection.close_code == code, path
            assert reason in str(connection.close_reason), path


async def test_a_slow_one_is_told_and_harms_nobody(sdk: InvestigationSDK) -> None:
    """It takes nothing while much happens: it is told to come again, and from where. Others get everything."""
    with World(sdk, max_queue=20).up() as world:
        id = await world.new()
        filler = "x" * 20_000

        def drive_much() -> None:
            with sdk.attach(id) as investigation:
                for number in range(900):
                    investigation.record("fraud.sign", {"number": number, "filler": filler})
                    if number % 50 == 0:
                        sdk.sync.flush(LONG)

        async with world.joined(id) as quick:
            taken = asyncio.create_task(everything(quick))
            async with world.joined(f"{id}") as slow:
                slow.transport.pause_reading()
                await asyncio.to_thread(drive_much)
                await until(lambda: any(w.client.closing == TOO_SLOW for w in world.rooms._watching), "it is too slow")
                slow.transport.resume_reading()
                got = await everything(slow)
                assert slow.close_code == 4408
            quicks = [message["sequence"] for message in logged(await taken)]
        every = await stored(sdk, id)
        last = got[-1]
        assert last["type"] == "resync_required"
        slows = [message["sequence"] for message in logged(got)]
        assert last["cursor"] == slows[-1]
        assert slows == every[: len(slows)]
        assert len(slows) < len(every)
        for sequences in (quicks, slows):  # whoever was told to, goes on from its cursor: on a busy machine both
            while sequences != every:
                async with world.joined(f"{id}?after={sequences[-1]}") as again:
                    got = logged(await everything(again))
                assert got, "it came again, and got nothing"
                sequences += [message["sequence"] for message in got]


async def test_progress_is_coalesced_and_not_in_the_log(world: World) -> None:
    id = await world.new()
    async with world.joined(id) as connection:
        async with asyncio.timeout(LONG):
            while json.loads(await connection.recv())["type"] != "stream.caught_up":
                pass
        for percent in range(1000):
            world.sdk.hub.progress(id, {"percent": percent})
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(LONG):
            while not found or found[-1]["data"]["percent"] < 999:
                found.append(json.loads(await connection.recv()))
    assert {message["type"] for message in found} == {"progress.update"}
    assert len(found) < 200
    assert await stored(world.sdk, id) == [1]


async def test_what_a_phase_reports_reaches_who_watches(world: World) -> None:
    id = await world.new()
    seen = threading.Event()

    def report() -> None:
        with world.sdk.attach(id) as investigation, investigation.phase("devices") as phase:
            phase.progress(0.4)
            assert seen.wait(LONG)

    async with world.joined(id) as connection:
        async with asyncio.timeout(LONG):  # what is reported before it is in the room is not for it
            while json.loads(await connection.recv())["type"] != "stream.caught_up":
                pass
        reporting = asyncio.create_task(asyncio.to_thread(report))
        async with asyncio.timeout(LONG):
            while (message := json.loads(await connection.recv()))["type"] != "progress.update":
                pass
        seen.set()
        assert message["investigation_id"] == id
        assert message["data"]["phases"] == [{"name": "devices", "progress": 40}]
        assert "progress.update" not in [told["type"] for told in logged(await everything(connection))]
    await reporting


async def test_announcements_reach_the_room(world: World) -> None:
    id, other = await world.new(), await world.new()
    async with world.joined(id) as here, world.joined(other) as there:
        for connection in (here, there):
            async with asyncio.timeout(LONG):
                while json.loads(await connection.recv())["type"] != "stream.caught_up":
                    pass
        loop = next(iter(world.rooms._rooms))
        for told in (
            world.rooms.broadcast_progress_update(id, "phase_started", {"phase": "devices"}),
            world.rooms.send_to_investigation_room(id, {"type": "desk.note", "text": "look"}),
        ):
            asyncio.run_coroutine_threadsafe(told, loop).result(LONG)
        async with asyncio.timeout(LONG):
            update, note = json.loads(await here.recv()), json.loads(await here.recv())
        assert set(update) == {"type", "investigation_id", "update_type", "timestamp", "data"}
        assert (update["type"], update["update_type"]) == ("investigation.progress", "phase_started")
        assert (note["type"], note["text"]) == ("desk.note", "look")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await there.recv()


async def test_heartbeats_and_roles_that_change(sdk: InvestigationSDK) -> None:
    users: dict[str, Any] = {}
    options = {"heartbeat": timedelta(seconds=0.1), "recheck": lambda principal: users.get(principal.id)}
    with World(sdk, **options).up() as world:
        users.update(world.users)
        id = await world.new()
        async with world.joined(id) as connection:
            async with asyncio.timeout(LONG):
                while (message := json.loads(await connection.recv()))["type"] != "heartbeat":
                    pass
            assert message["cursors"] == {id: 1}
            users["gil"] = User("gil", frozenset())
            await everything(connection)
            assert (connection.close_code, connection.close_reason) == (4403, "not allowed")


async def test_who_is_served_for_long_comes_again_and_goes_on(sdk: InvestigationSDK) -> None:
    """Each connection is short; together they have everything, once."""
    with World(sdk, heartbeat=timedelta(seconds=0.05), max_age=timedelta(seconds=0.1)).up() as world:
        id = await world.new()
        driving = asyncio.create_task(asyncio.to_thread(drive, sdk, id, 200))
        found: list[int] = []
        codes: list[int | None] = []
        async with asyncio.timeout(LONG):
            while 1000 not in codes:
                async with world.joined(f"{id}?after={found[-1] if found else 0}") as connection:
                    got = await everything(connection)
                found += [message["sequence"] for message in logged(got)]
                codes.append(connection.close_code)
                if codes[-1] == 4409:
                    assert got[-1]["type"] == "resync_required"
                    assert got[-1]["cursor"] == (found[-1] if found else 0)
        await driving
        assert found == await stored(sdk, id)
        assert set(codes) <= {4409, 1000}


async def test_who_is_served_for_long_and_nothing_happens(sdk: InvestigationSDK) -> None:
    with World(sdk, heartbeat=timedelta(seconds=0.05), max_age=timedelta(seconds=0.1)).up() as world:
        id = await world.new()
        async with world.joined(id) as connection:
            got = await everything(connection)
        assert (connection.close_code, connection.close_reason) == (
            4409,
            "say again who you are: connect again with after=cursor",
        )
        assert (got[-1]["type"], got[-1]["cursor"]) == ("resync_required", 1)


async def test_roles_that_change_are_looked_at_when_told(sdk: InvestigationSDK) -> None:
    users: dict[str, Any] = {}
    with World(sdk, recheck=lambda principal: users.get(principal.id)).up() as world:
        id = await world.new()
        async with world.joined(id) as connection:
            assert json.loads(await connection.recv())["sequence"] == 1
            loop = next(iter(world.rooms._rooms))
            asyncio.run_coroutine_threadsafe(world.rooms.roles_changed("tom"), loop).result(LONG)
            assert json.loads(await connection.recv())["type"] == "stream.caught_up"
            asyncio.run_coroutine_threadsafe(world.rooms.roles_changed("gil"), loop).result(LONG)
            assert await everything(connection) == []
            assert connection.close_code == 4403


async def test_a_type_is_followed(world: World) -> None:
    """What is under way, and what begins later, each whole and in order; no other type, nobody else's tenant."""
    sdk = world.sdk
    over = await world.new(investigation_type="fraud")
    await asyncio.to_thread(drive, sdk, over, 1)
    under_way = await world.new(investigation_type="fraud")
    found: dict[str, list[int]] = {}
    async with world.joined("many?type=fraud") as connection:

        async def take(enough: Callable[[], bool]) -> None:
            async with asyncio.timeout(LONG):
                while not enough():
                    message = json.loads(await connection.recv())
                    if "sequence" in message:
                        found.setdefault(message["investigation_id"], []).append(message["sequence"])

        await take(lambda: under_way in found)
        later = await world.new(investigation_type="fraud")
        other = await world.new(investigation_type="breach")
        await asyncio.gather(*(asyncio.to_thread(drive, sdk, id, 10) for id in (under_way, later, other)))
        every = {id: await stored(sdk, id) for id in (under_way, later)}
        await take(lambda: all(found.get(id, []) == sequences for id, sequences in every.items()))
    assert found == every
    # what happens while nobody is connected is given to who comes again, and says what it has
    again = await world.new(investigation_type="fraud")
    await asyncio.to_thread(drive, sdk, again, 3)
    known = urllib.parse.quote(json.dumps({id: sequences[-1] for id, sequences in found.items()}))
    every[again] = await stored(sdk, again)
    async with world.joined(f"many?type=fraud&after={known}") as connection:

        async def take_again() -> None:
            async with asyncio.timeout(LONG):
                while found.get(again) != every[again]:
                    message = json.loads(await connection.recv())
                    if "sequence" in message:
                        found.setdefault(message["investigation_id"], []).append(message["sequence"])

        await take_again()
    found.pop(over, None)  # it began within the ten minutes by which clocks may differ
    assert found == every


async def test_server_sent_events(world: World) -> None:
    id = await world.new()
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(f"GET /{id}/events/stream HTTP/1.0\r\nHost: x\r\nLast-Event-ID: 1\r\n\r\n".encode())
    await asyncio.to_thread(drive, world.sdk, id, 5)
    async with asyncio.timeout(LONG):
        text = (await reader.read()).decode()
    writer.close()
    head, _, body = text.partition("\r\n\r\n")
    assert "text/event-stream" in head
    frames = [dict(line.split(": ", 1) for line in frame.split("\n")) for frame in body.split("\n\n") if frame.strip()]
    events = [frame for frame in frames if "id" in frame]
    assert [int(frame["id"]) for frame in events] == (await stored(world.sdk, id))[1:]
    assert all(json.loads(frame["data"])["type"] == frame["event"] for frame in frames)
    assert frames[-1]["event"] == "stream.end"
    assert json.loads(frames[-1]["data"])["code"] == 1000


async def test_server_sent_events_name_the_cursor_where_they_end(sdk: InvestigationSDK) -> None:
    with World(sdk, heartbeat=timedelta(seconds=0.05), max_age=timedelta(seconds=0.3)).up() as world:
        id = await world.new()
        sequences = await stored(sdk, id)
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(f"GET /{id}/events/stream HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(LONG):
            text = (await reader.read()).decode().partition("\r\n\r\n")[2]
        writer.close()
    frames = [
        dict(line.split(": ", 1) for line in frame.split("\n")) for frame in text.split("\n\n") if "event:" in frame
    ]
    told = {frame["event"]: json.loads(frame["data"]) for frame in frames}
    sent = [int(frame["id"]) for frame in frames if "id" in frame]
    assert sent == sequences[: len(sent)]
    assert told["resync_required"]["cursor"] == (sent[-1] if sent else 0)
    assert told["stream.end"]["code"] == 4409


async def test_clients_that_go_leave_nothing(world: World) -> None:
    id = await world.new()
    async with world.joined(id) as connection:
        assert json.loads(await connection.recv())["sequence"] == 1
    rooms = next(iter(world.rooms._rooms.values()))
    await until(lambda: not rooms._rooms, "its room is closed")
    await until(lambda: not world.sdk.hub._waiting, "nobody waits for its news")
