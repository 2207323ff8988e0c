"""What rooms tell that is not in the log: progress, and announcements."""

import asyncio
import json
import threading
from typing import Any

import pytest

from .waiting import LONG
from .world import World, everything, logged, stored

pytestmark = pytest.mark.timeout(180)


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
