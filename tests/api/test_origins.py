"""Whose pages may open WebSockets and send commands: a browser sends cookies to whoever a page names, and says
whose page it is."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient, WebSocketDenialResponse

from investigation_sdk import ConfigurationError, InvestigationSDK, Principal, Role
from investigation_sdk.api import create_app, create_router

DESK = "https://desk.example.com"


async def by_cookie(connection: HTTPConnection) -> Principal:
    """As a browser authenticates, whoever's page it shows."""
    if connection.cookies.get("session") != "s3":
        raise HTTPException(401, "Log in.")
    return Principal(id="gil", roles=frozenset({Role.OPERATOR}))


@contextlib.contextmanager
def client_of(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://api.example.com", cookies={"session": "s3"}) as client:
        yield client


@pytest.fixture
def watched(sdk: InvestigationSDK) -> str:
    with sdk.investigation("account 42", user_id="gil") as run:
        pass
    return run.id


def opens(client: TestClient, path: str, *origins: str) -> bool:
    """Whether a page of that origin gets a WebSocket; it is told why not."""
    headers: Any = httpx.Headers([("Origin", origin) for origin in origins])
    try:
        with client.websocket_connect(urljoin("ws://api.example.com", path), headers=headers) as socket:
            socket.receive()
            return True
    except WebSocketDenialResponse as denied:
        answer = denied
    assert answer.status_code == 403
    assert repr(origins[0])[1:20] in answer.json()["detail"]
    assert "allowed_origins=" in answer.json()["detail"]
    return False


def test_a_page_of_another_host_opens_nothing(sdk: InvestigationSDK, watched: str) -> None:
    mounted = FastAPI()
    mounted.include_router(create_router(sdk, authenticate=by_cookie), prefix="/fraud")
    for app, prefix in ((create_app(sdk, authenticate=by_cookie), ""), (mounted, "/fraud")):
        with client_of(app) as client:
            paths = [f"{prefix}/investigation/{watched}/ws"]
            ticket = client.post(f"{prefix}/investigation/{watched}/ticket").json()["ticket"]
            paths.append(f"{prefix}/investigation/{watched}/ws/ticket?ticket={ticket}")
            foreign = (DESK, "null", "http://api.example.com.evil.com", "http://api.example.com:81", "x", "http://[")
            for path in paths:
                for origin in foreign:
                    assert not opens(client, path, origin), (path, origin)
                assert not opens(client, path, "http://api.example.com", DESK), "two of them"
            assert not opens(client, f"{prefix}/investigations/ws", DESK)
            assert not opens(client, f"{prefix}/investigations/ws/ticket?ticket=x", DESK)
            assert opens(client, paths[1]), "no browser, and refusals have not used its ticket up"
            for own in ("http://api.example.com", "https://API.example.com", "http://api.example.com:80"):
                assert opens(client, paths[0], own), own


def test_a_page_of_another_host_sends_no_command(sdk: InvestigationSDK) -> None:
    """A form of any page is sent with cookies, and without asking."""
    with client_of(create_app(sdk, authenticate=by_cookie)) as client:
        fraud = {"investigation_type": "fraud", "subject": "account 42"}
        made = client.post("/investigations", json=fraud)
        path = f"/investigation/{made.json()['id']}"
        assert client.post("/investigations", json=fraud, headers={"Origin": DESK}).status_code == 403
        form: dict[str, Any] = {"content": "a=b", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
        for origin in (DESK, "null", "http://api.example.com:81"):
            form["headers"]["Origin"] = origin
            for command in (f"{path}/cancel", f"{path}/ticket"):
                answer = client.post(command, **form)
                assert answer.status_code == 403, (command, origin)
                assert answer.headers["content-type"] == "application/problem+json"
                assert f"{origin!r} may neither open WebSockets nor send commands here" in answer.json()["detail"]
                assert "allowed_origins=" in answer.json()["detail"]
            assert client.get(path, headers={"Origin": origin}).json()["status"] == "queued", "reading changes nothing"
        own = client.post(f"{path}/cancel", headers={"Origin": "http://api.example.com"})
        assert (own.status_code, own.json()["status"]) == (200, "cancelled")
    with client_of(create_app(sdk, authenticate=by_cookie, allowed_origins=[DESK])) as client:
        for origin, status in ((DESK, 201), ("http://api.example.com", 403)):
            assert client.post(f"{path}/ticket", headers={"Origin": origin}).status_code == status, origin


@pytest.mark.parametrize("plain", [True, False])
def test_a_page_without_tls_is_not_of_a_host_with_it(sdk: InvestigationSDK, watched: str, plain: bool) -> None:
    """The other way round, a proxy has ended TLS."""
    ws, http = ("ws", "http") if plain else ("wss", "https")
    with client_of(create_app(sdk, authenticate=by_cookie)) as client:
        for origin, passes in (("https://api.example.com", True), ("http://api.example.com", plain)):
            socket = f"{ws}://api.example.com/investigation/{watched}/ws"
            assert opens(client, socket, origin) is passes, origin
            ticket = f"{http}://api.example.com/investigation/{watched}/ticket"
            answer = client.post(ticket, headers={"Origin": origin})
            assert answer.status_code == (201 if passes else 403), origin


def test_port_0_is_a_port(sdk: InvestigationSDK, watched: str) -> None:
    path = f"/investigation/{watched}/ws"
    for allowed in (None, ["http://api.example.com"]):
        with client_of(create_app(sdk, authenticate=by_cookie, allowed_origins=allowed)) as client:
            assert opens(client, path, "http://api.example.com:80")
            assert not opens(client, path, "http://api.example.com:0")


def test_pages_that_are_allowed(sdk: InvestigationSDK, watched: str) -> None:
    path = f"/investigation/{watched}/ws"
    with client_of(create_app(sdk, authenticate=by_cookie, allowed_origins=[DESK, "http://localhost:3000"])) as client:
        for origin in (DESK, f"{DESK}:443", "http://localhost:3000"):
            assert opens(client, path, origin), origin
        for origin in ("http://desk.example.com", "http://localhost", "http://api.example.com"):
            assert not opens(client, path, origin), origin
        assert opens(client, path)
    with client_of(create_app(sdk, authenticate=by_cookie, allowed_origins=["*"])) as client:
        assert opens(client, path, DESK)
        assert opens(client, path, "null")


@pytest.mark.parametrize("wrong", ["desk.example.com", "https://desk.example.com/app", "ftp://x", "https://u@x", ""])
def test_what_is_no_origin_is_refused(make_sdk: Callable[..., InvestigationSDK], wrong: str) -> None:
    for make in (create_router, create_app):
        with pytest.raises(ConfigurationError, match="scheme, host"):
            make(make_sdk("memory://"), allow_anonymous=True, allowed_origins=[wrong])
    with pytest.raises(ConfigurationError, match="give a list"):
        create_router(make_sdk("memory://"), allow_anonymous=True, allowed_origins=DESK)
