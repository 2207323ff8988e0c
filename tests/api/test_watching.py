"""Watching through the mounted API, with real clients of a real server: rooms of many, and roles that change."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from websockets.exceptions import InvalidStatus

from investigation_sdk import ConfigurationError, InvestigationSDK, InvestigationWebSocketManager, Principal, Role
from investigation_sdk.api import create_app, create_router

from .mounted import LONG, Service, ids, is_caught_up, received, the_end

pytestmark = pytest.mark.timeout(180)


async def test_a_type_and_a_user_are_followed(service: Service) -> None:
    """Each sees what it may read of what it asks for, what begins later included; and nothing else."""
    made = {name: await service.new(*of) for name, of in (("g", ("gil", "fraud")), ("a", ("ann", "fraud")))}
    asked = {
        "user=vera": "g a g2 a2 b",
        "user=vera&investigation_type=fraud": "g a g2 a2",
        "user=vera&user_id=ann": "a a2 b",
        "user=gil": "g g2",
        "user=ann&user_id=ann&investigation_type=fraud": "a a2",
    }
    async with contextlib.AsyncExitStack() as stack:
        sockets = {path: await stack.enter_async_context(service.joined(f"investigations/ws?{path}")) for path in asked}
        made |= {
            "b": await service.new("ann", "breach"),
            "a2": await service.new("ann"),
            "g2": await service.new("gil"),
        }
        for query, wanted in asked.items():
            seen: set[str] = set()
            async with asyncio.timeout(LONG):
                while not seen >= {made[name] for name in wanted.split()}:
                    seen |= ids([json.loads(await sockets[query].recv())])
            assert seen == {made[name] for name in wanted.split()}, query


async def test_many_go_on_from_their_cursors(service: Service) -> None:
    id = await service.new()
    async with service.joined("investigations/ws?user=gil") as connection:
        await received(connection, is_caught_up)
    async with service.sdk.attach(id) as run, run.phase("devices"):
        pass
    version = (await service.sdk.get(id)).version
    async with service.joined(f"investigations/ws?user=gil&after={quote(json.dumps({id: 1}))}") as connection:
        found = await received(connection, lambda message: message.get("sequence") == version)
    assert [message["sequence"] for message in found if "sequence" in message] == list(range(2, version + 1))


async def test_who_may_not_is_told_at_once(service: Service) -> None:
    id = await service.new()
    service.users["nil"] = Principal(id="nil")
    refused = [
        ("investigations/ws?user=gil&user_id=ann", 4403, "not allowed"),
        ("investigations/ws?user=nil", 4403, "not allowed"),
        (f"investigation/{id}/ws?user=ann", 4403, "not allowed"),
        (f"investigation/{id}/ws?user=eve", 4404, "no such"),
        ("investigations/ws/ticket?ticket=x.y", 4401, "no ticket"),
    ]
    cursors = ("-1", "1e3", "abc", "99", "9" * 19, "9" * 5000, "%D9%A1", "true")
    refused += [(f"investigation/{id}/ws?user=gil&after={cursor}", 4400, "a number from 0 to") for cursor in cursors]
    of_many = [
        "1",
        "[]",
        "{",
        '{"x":1}',
        "[" * 999,
        *(f'{{"{id}":{cursor}}}' for cursor in ("-1", '"x"', "true", "99")),
    ]
    refused += [(f"investigations/ws?user=gil&after={quote(given)}", 4400, "JSON object of") for given in of_many]
    for path, code, reason in refused:
        async with service.joined(path) as connection:
            found, closed, why = await the_end(connection)
            assert (found, closed) == ([], code), path[:200]
            assert reason in str(why), path[:200]
    for path in ("investigations/ws", f"investigation/{id}/ws"):
        with pytest.raises(InvalidStatus):
            async with service.joined(f"{path}?user=nobody"):
                pass


async def test_a_ticket_for_many_is_about_what_it_was_asked_for(service: Service) -> None:
    id = await service.new()
    assert (await service.post("/investigations/ticket?user=gil&user_id=ann")).status_code == 403
    given = await service.post("/investigations/ticket?user=gil&investigation_type=fraud")
    assert given.status_code == 201
    path = f"investigations/ws/ticket?ticket={given.json()['ticket']}"
    async with service.joined(f"{path}&investigation_type=fraud") as connection:
        assert ids(await received(connection, is_caught_up)) == {id}
    for changed in ("", "&investigation_type=breach", "&investigation_type=fraud&user_id=ann"):
        async with service.joined(path + changed) as connection:
            assert (await the_end(connection))[:2] == ([], 4401)


async def test_who_loses_a_role_gets_nothing_more(service: Service) -> None:
    """One investigation, many, and by a ticket: each is closed with the same code, and what comes later is not sent."""
    id = await service.new()
    ticket = (await service.post(f"/investigation/{id}/ticket?user=gil")).json()["ticket"]
    paths = [
        "investigations/ws?user=gil",
        f"investigation/{id}/ws?user=gil",
        f"investigation/{id}/ws/ticket?ticket={ticket}",
    ]
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(service.joined(path)) for path in paths]
        other = await stack.enter_async_context(service.joined("investigations/ws?user=vera"))
        for connection in (*sockets, other):
            await received(connection, is_caught_up)
        service.users["gil"] = Principal(id="gil")
        service.roles_changed("gil")
        async with service.sdk.attach(id) as run, run.phase("devices"):
            pass
        for connection in sockets:
            assert await the_end(connection) == ([], 4403, "not allowed")
        await received(other, lambda message: message.get("new_state") == "completed")


async def test_who_may_see_less_sees_less_from_then_on(service: Service) -> None:
    """A viewer, who sees all, becomes an investigator, who sees its own; it stays connected."""
    gils, veras = await service.new("gil"), await service.new("vera")
    async with service.joined("investigations/ws?user=vera") as connection:
        seen: set[str] = set()
        async with asyncio.timeout(LONG):
            while seen != {gils, veras}:
                seen |= ids([json.loads(await connection.recv())])
        service.users["vera"] = Principal(id="vera", roles=frozenset({Role.INVESTIGATOR}))
        service.roles_changed("vera")
        await service.sdk.service.cancel(gils)
        new_of_gil, new_of_vera = await service.new("gil"), await service.new("vera")
        await service.sdk.service.cancel(veras)
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(LONG):
            while not ids(found) >= {new_of_vera, veras}:
                found.append(json.loads(await connection.recv()))
        assert gils not in ids(found)
        assert new_of_gil not in ids(found)


async def test_roles_are_asked_for_again_however_much_there_is_to_send(
    sqlite_url: str, make_sdk: Callable[..., InvestigationSDK]
) -> None:
    """Nobody says that roles changed, and a long log is being replayed."""
    with Service(make_sdk(sqlite_url), heartbeat=timedelta(seconds=0.05)).up() as service:
        id = await service.new()

        def work() -> None:
            with service.sdk.attach(id) as run:
                for _ in range(700):
                    run.record("fraud.sign", {"filler": "x" * 30_000})

        await asyncio.to_thread(work)
        async with service.joined(f"investigation/{id}/ws?user=gil") as connection:
            await received(connection, lambda message: message["type"] == "fraud.sign")
            del service.users["gil"]
            await asyncio.sleep(0.2)
            found, code, why = await the_end(connection)
            assert (code, why) == (4403, "not allowed")
            assert len(found) < 450, "of 700: what the connection had taken already, and no more"


async def test_where_it_cannot_be_told_who_may_watch_nothing_is_sent(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    id = await service.new()

    def fails(_: Principal) -> Principal:
        raise OSError("the directory of users is away")

    async with service.joined(f"investigation/{id}/ws?user=gil") as connection:
        await received(connection, is_caught_up)
        service.rooms._recheck = fails
        service.roles_changed()
        (told,), code, why = await the_end(connection)
    assert (told["type"], told["cursor"], code) == ("resync_required", 1, 4503)
    assert "who may watch" in str(why)
    assert any("may still watch" in record.message for record in caplog.records)


async def test_another_tenants_principals_are_not_let_in(make_sdk: Callable[..., InvestigationSDK]) -> None:
    with Service(make_sdk("memory://", tenant_id="acme"), heartbeat=timedelta(seconds=0.1)).up() as service:
        async with service.joined("investigations/ws?user=eve") as connection:
            assert (await received(connection, lambda _: True))[0]["type"] == "heartbeat"
        with pytest.raises(InvalidStatus) as refused:
            async with service.joined("investigations/ws?user=gil"):
                pass
    assert refused.value.response.status_code == 403


def test_rooms_are_of_the_same_sdk(sqlite_url: str, make_sdk: Callable[..., InvestigationSDK]) -> None:
    rooms = InvestigationWebSocketManager(make_sdk(sqlite_url))
    for make in (create_router, create_app):
        with pytest.raises(ConfigurationError, match="of another SDK"):
            make(make_sdk(sqlite_url), allow_anonymous=True, rooms=rooms)
