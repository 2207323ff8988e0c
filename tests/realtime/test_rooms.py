"""Rooms, with real clients of a real server: what is behind a cursor, once and in order, then what comes."""

import asyncio
import json
import threading
import urllib.parse
from collections.abc import Callable

import pytest

from .waiting import LONG, until
from .world import World, drive, everything, logged, lookup, stored

pytestmark = pytest.mark.timeout(180)


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


async def test_clients_that_go_leave_nothing(world: World) -> None:
    id = await world.new()
    async with world.joined(id) as connection:
        assert json.loads(await connection.recv())["sequence"] == 1
    rooms = next(iter(world.rooms._rooms.values()))
    await until(lambda: not rooms._rooms, "its room is closed")
    await until(lambda: not world.sdk.hub._waiting, "nobody waits for its news")
