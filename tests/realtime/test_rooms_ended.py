"""How watching ends before the investigation does: who is slow, who may not any more, who is there for long."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from investigation_sdk import InvestigationSDK
from investigation_sdk.realtime.clients import TOO_SLOW

from .serving import User
from .waiting import LONG, until
from .world import World, drive, everything, logged, stored

pytestmark = pytest.mark.timeout(180)


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
