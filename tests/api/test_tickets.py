"""Tickets of browsers, and watching over a WebSocket."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from investigation_sdk import InvestigationSDK, Principal, Role
from investigation_sdk.api import create_app, create_router
from investigation_sdk.api import tickets as ticketing
from investigation_sdk.api.tickets import Tickets
from investigation_sdk.ids import uuid7
from investigation_sdk.testing.proxy import FaultProxy
from investigation_sdk.testing.servers import RedisServer

GIL = Principal(id="gil", roles=frozenset({Role.VIEWER}), tenant_id="acme", on_behalf_of="ana")
SECRET = b"s" * 32


async def test_a_ticket_is_for_one_investigation_and_a_moment() -> None:
    tickets, id = Tickets(SECRET), str(uuid7())
    soon = int(time.time()) + 600
    ticket = tickets.issue(GIL, id, soon, "here")
    assert await tickets.redeemed(ticket, id, "there") is None
    assert await tickets.redeemed(ticket, str(uuid7()), "here") is None
    assert await tickets.redeemed(tickets.issue(GIL, id, int(time.time()) - 1, "here"), id, "here") is None
    assert await Tickets(b"t" * 32).redeemed(ticket, id, "here") is None
    body, _, signature = ticket.partition(".")
    admin = tickets.issue(GIL.model_copy(update={"roles": frozenset({Role.ADMIN})}), id, soon, "here")
    admin = admin.partition(".")[0]
    for forged in ("", ".", body, f"{admin}.{signature}", f"{body}.{signature[:-1]}", f"{body}.é", "é.é", "x" * 10**6):
        assert await tickets.redeemed(forged, id, "here") is None, forged[:50]
    assert await tickets.redeemed(ticket, id, "here") == GIL, "what was refused has not used it up"
    assert await tickets.redeemed(ticket, id, "here") is None, "it was used"
    assert await tickets.redeemed(tickets.issue(GIL, id, soon, "here"), id, "here") == GIL


async def test_what_is_remembered_of_used_tickets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that are too old nothing; where too many are not, no further one is taken."""
    monkeypatch.setattr(ticketing, "_MOST_USED", 3)
    tickets, id, now = Tickets(SECRET), str(uuid7()), time.time()
    monkeypatch.setattr("investigation_sdk.api.tickets.time", SimpleNamespace(time=lambda: now))

    async def use(left: int) -> bool:
        return await tickets.redeemed(tickets.issue(GIL, id, int(now) + left, "here"), id, "here") is not None

    assert [await use(left) for left in (900, 60, 60, 60)] == [True, True, True, False]
    now += 100
    assert [await use(60) for _ in range(3)] == [True, True, False]
    assert len(tickets._used) == 3


async def test_a_ticket_is_good_once_in_all_processes_that_share_redis(
    redis_server: RedisServer, sqlite_url: str, make_sdk: Callable[..., InvestigationSDK]
) -> None:
    with FaultProxy("127.0.0.1", redis_server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/7"
        sdks = [make_sdk(sqlite_url, redis=url) for _ in range(2)]
        here, there = (Tickets(SECRET, None, sdk.hub.first) for sdk in sdks)
        alone, id, soon = Tickets(SECRET), str(uuid7()), int(time.time()) + 60
        ticket = here.issue(GIL, id, soon, "x")
        answers = await asyncio.gather(*(tickets.redeemed(ticket, id, "x") for tickets in (here, there, here, there)))
        assert sorted(map(str, answers)) == sorted(map(str, [GIL, None, None, None]))
        assert await alone.redeemed(ticket, id, "x") == GIL, "without Redis, once in each process"
        proxy.black_hole()
        ticket = here.issue(GIL, id, soon, "x")
        uses = [await tickets.redeemed(ticket, id, "x") for tickets in (here, here, there)]
        assert uses == [GIL, None, GIL], "while Redis is away, too"
        proxy.restore()
        proxy.cut_all()
        for sdk in sdks:
            await sdk.aclose()


async def _gil(role: str = "viewer") -> Principal:
    return Principal(id="gil", roles=frozenset({Role(role)}))


@pytest.fixture
def client(sdk: InvestigationSDK) -> Iterator[TestClient]:
    with TestClient(create_app(sdk, authenticate=_gil, ticket_secret=SECRET)) as client:
        yield client


def received(socket: Any) -> list[int]:
    """The sequences of all events until the server closes."""
    numbers: list[int] = []
    with pytest.raises(WebSocketDisconnect) as closed:
        while True:
            message = json.loads(socket.receive_text())
            numbers += [message["sequence"]] if message.get("sequence") else []
    assert closed.value.code == 1000, closed.value
    return numbers


def test_watching_with_a_ticket_and_with_ones_own_authentication(sdk: InvestigationSDK, client: TestClient) -> None:
    with sdk.investigation("account 42", user_id="gil") as run:
        pass
    version = sdk.sync.get(run.id).version
    given = client.post(f"/investigation/{run.id}/ticket")
    assert given.status_code == 201
    ticket = given.json()["ticket"]
    with client.websocket_connect(f"/investigation/{run.id}/ws/ticket?ticket={ticket}&after=1") as socket:
        assert received(socket) == list(range(2, version + 1))
    with client.websocket_connect(f"/investigation/{run.id}/ws") as socket:
        assert received(socket) == list(range(1, version + 1))


def test_without_a_good_ticket_nothing_is_shown(sdk: InvestigationSDK, client: TestClient) -> None:
    with sdk.investigation("account 42") as run:
        pass
    for query in ("", "?ticket=x.y"):
        for id in (run.id, "not-an-id"):
            with client.websocket_connect(f"/investigation/{id}/ws/ticket{query}") as socket:
                with pytest.raises(WebSocketDisconnect) as closed:
                    socket.receive_text()
                assert closed.value.code == 4401
    assert client.post(f"/investigation/{uuid7()}/ticket").status_code == 404


def test_a_ticket_opens_no_more_than_its_holder_may_see(sdk: InvestigationSDK, client: TestClient) -> None:
    with sdk.investigation("account 42", user_id="ana") as run:
        pass
    assert client.post(f"/investigation/{run.id}/ticket?role=investigator").status_code == 403
    with client.websocket_connect(f"/investigation/{run.id}/ws?role=investigator") as socket:
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.code == 4403


def _eve(*roles: Role) -> Callable[[], Awaitable[Principal]]:
    async def eve() -> Principal:
        return Principal(id="eve", roles=frozenset(roles))

    return eve


@pytest.mark.parametrize("how", ["by prefix", "by mount", "by name"])
def test_a_ticket_of_one_api_does_not_open_another_one(make_sdk: Callable[..., InvestigationSDK], how: str) -> None:
    """They share a secret, and who is an admin of one is nobody to the other."""
    app = FastAPI()
    for name, roles in (("fraud", [Role.ADMIN]), ("hr", [])):
        audience = name if how == "by name" else None
        router = create_router(
            make_sdk("memory://"), authenticate=_eve(*roles), ticket_secret=SECRET, ticket_audience=audience
        )
        if how == "by mount":
            mounted = FastAPI()
            mounted.include_router(router)
            app.mount(f"/{name}", mounted)
        else:
            app.include_router(router, prefix=f"/{name}")
    with TestClient(app) as client:
        id = client.post("/fraud/investigations", json={"investigation_type": "t", "subject": "s"}).json()["id"]
        for opened in ("investigations", f"investigation/{id}"):
            ticket = client.post(f"/fraud/{opened}/ticket").json()["ticket"]
            with client.websocket_connect(f"/fraud/{opened}/ws/ticket?ticket={ticket}") as socket:
                assert json.loads(socket.receive_text())["sequence"] == 1
            with client.websocket_connect(f"/hr/{opened}/ws/ticket?ticket={ticket}") as socket:
                with pytest.raises(WebSocketDisconnect) as closed:
                    socket.receive_text()
                assert closed.value.code == 4401


def test_one_api_at_two_paths_by_its_name(sdk: InvestigationSDK) -> None:
    router = create_router(sdk, authenticate=_gil, ticket_secret=SECRET, ticket_audience="fraud")
    app = FastAPI()
    app.include_router(router, prefix="/v1")
    app.include_router(router, prefix="/v2")
    with sdk.investigation("account 42") as run:
        pass
    with TestClient(app) as client:
        ticket = client.post(f"/v1/investigation/{run.id}/ticket").json()["ticket"]
        with client.websocket_connect(f"/v2/investigation/{run.id}/ws/ticket?ticket={ticket}") as socket:
            assert received(socket)
