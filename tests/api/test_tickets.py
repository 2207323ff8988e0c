"""Tickets of browsers, and watching over a WebSocket."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from investigation_sdk import InvestigationSDK, Principal, Role
from investigation_sdk.api import create_app
from investigation_sdk.api.tickets import Tickets
from investigation_sdk.ids import uuid7

GIL = Principal(id="gil", roles=frozenset({Role.VIEWER}), tenant_id="acme", on_behalf_of="ana")
SECRET = b"s" * 32


def test_a_ticket_is_for_one_investigation_and_a_moment() -> None:
    tickets, id = Tickets(SECRET), str(uuid7())
    soon = int(time.time()) + 600
    ticket = tickets.issue(GIL, id, soon)
    assert tickets.holder(ticket, id) == GIL
    assert tickets.holder(ticket, str(uuid7())) is None
    assert tickets.holder(tickets.issue(GIL, id, int(time.time()) - 1), id) is None
    assert Tickets(b"t" * 32).holder(ticket, id) is None
    body, _, signature = ticket.partition(".")
    admin = tickets.issue(GIL.model_copy(update={"roles": frozenset({Role.ADMIN})}), id, soon).partition(".")[0]
    for forged in ("", ".", body, f"{admin}.{signature}", f"{body}.{signature[:-1]}", f"{body}.é", "é.é", "x" * 10**6):
        assert tickets.holder(forged, id) is None, forged[:50]


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
