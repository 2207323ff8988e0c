"""The HTTP API, asked over ASGI."""

import json
import logging
import math
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI, HTTPException

from investigation_sdk import BackendUnavailable, ConfigurationError, InvestigationSDK, Principal, tool
from investigation_sdk.api import create_app, create_router
from investigation_sdk.api.problems import MAX_BODY
from investigation_sdk.clock import now_us
from investigation_sdk.engine.tracker import ProgressTracker
from investigation_sdk.ids import uuid7

ADMIN = {"Authorization": "root admin acme"}
NEW = {"investigation_type": "fraud", "subject": "account 42"}


@tool
def look() -> dict[str, Any]:
    return {"nan": math.nan, "bytes": b"\xff"}


def said(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem details of an answer."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    return body


async def submitted(client: httpx.AsyncClient, **more: Any) -> str:
    answer = await client.post("/investigations", json={**NEW, **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def ran(sdk: InvestigationSDK, client: httpx.AsyncClient) -> str:
    id = await submitted(client)
    async with sdk.attach(id) as run:
        async with run.phase("devices"):
            look()
        run.result = {"value": math.inf}
    return id


async def test_a_whole_investigation_is_read(sdk: InvestigationSDK, client: httpx.AsyncClient) -> None:
    id = await ran(sdk, client)
    record = (await client.get(f"/investigation/{id}")).json()
    assert (record["status"], record["user_id"], record["tenant_id"]) == ("completed", "gil", "acme")
    progress = (await client.get(f"/investigation/{id}/progress?include_events=true")).json()
    assert (progress["overall_progress"], progress["tool_executions"][0]["tool"]) == (100, "look")
    assert [event["sequence"] for event in progress["events"]] == list(range(1, progress["version"] + 1))
    assert [phase["phase_name"] for phase in (await client.get(f"/investigation/{id}/phases")).json()] == ["devices"]
    (call,) = (await client.get(f"/investigation/{id}/tools?status_filter=completed")).json()
    assert call["tool_name"] == "look"
    assert "nan" in json.dumps(call["output_result"])
    assert (await client.get(f"/investigation/{id}/tools?agent_filter=nobody")).json() == []
    created = (await client.get(f"/investigation/{id}/events?event_type=investigation.created")).json()
    assert [event["actor"] for event in created] == ["gil"]
    assert (await client.get("/investigations/metrics")).json()["completed"] == 1


async def test_lists_go_on_by_the_link(client: httpx.AsyncClient) -> None:
    ids = [await submitted(client) for _ in range(5)]
    seen: list[str] = []
    url: str | None = "/investigations?limit=2&status=queued&status=created"
    while url is not None:
        answer = await client.get(url)
        seen += [one["id"] for one in answer.json()]
        url = answer.links.get("next", {}).get("url")
    assert seen == ids[::-1]
    events = await client.get(f"/investigation/{ids[0]}/events?limit=1")
    following = await client.get(events.links["next"]["url"])
    assert [one["sequence"] for one in events.json() + following.json()] == [1, 2]


async def test_lists_are_of_what_was_created_in_a_time(client: httpx.AsyncClient) -> None:
    ids = [await submitted(client, user_id=user) for user in ("ana", "gil", "ana")]

    async def listed(**query: Any) -> list[str]:
        answer = await client.get("/investigations", params=query)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()]

    assert await listed(user_id="ana") == [ids[2], ids[0]]
    assert await listed(created_after="2000-01-01T00:00:00Z", created_before="2001-01-01T00:00:00Z") == []
    assert await listed(created_after="2000-01-01T00:00:00Z", created_before="2100-01-01T00:00:00+02:00") == ids[::-1]
    assert await listed(created_after="2100-01-01T00:00:00Z") == []
    assert await listed(investigation_type="other") == []
    said(await client.get("/investigations", params={"created_after": "2026-11-25T10:00:00"}), 422)  # of which zone?


async def test_snapshots_come_in_pages_newest_first(sdk: InvestigationSDK, client: httpx.AsyncClient) -> None:
    id = await submitted(client)
    async with sdk.attach(id) as run:
        for _ in range(3):
            await run.checkpoint({})
    url: str | None = f"/investigation/{id}/snapshots?limit=1"
    found: list[dict[str, Any]] = []
    while url is not None:
        answer = await client.get(url)
        found += answer.json()
        url = answer.links.get("next", {}).get("url")
    assert found
    assert [one["id"] for one in found] == [one.id for one in await sdk.snapshots(id)]
    assert {one["investigation_id"] for one in found} == {id}
    assert all(one["state_data"] and one["snapshot_type"] for one in found)


async def test_steering_and_what_is_not_allowed(client: httpx.AsyncClient) -> None:
    id = await submitted(client)
    refused = said(await client.post(f"/investigation/{id}/pause"), 409)
    assert (refused["error"], refused["current"]) == ("InvalidStateTransition", "queued")
    assert refused["investigation_id"] == id
    assert set(refused["allowed"]) == {"initializing", "cancelled"}
    done = await client.post(f"/investigation/{id}/cancel?reason=by+phone")
    assert (done.status_code, done.json()["status"]) == (200, "cancelled")
    for verb in ("resume", "retry"):
        assert said(await client.post(f"/investigation/{id}/{verb}"), 409)["allowed"] == []
    (event,) = (await client.get(f"/investigation/{id}/events?event_type=investigation.cancelled")).json()
    assert event["actor"] == "gil"
    assert "by phone" in json.dumps(event)


async def test_a_change_by_hand_is_for_admins_and_wants_a_reason(client: httpx.AsyncClient) -> None:
    path = f"/investigation/{await submitted(client)}/transition?new_state=cancelled"
    assert "admin" in said(await client.post(path + "&reason=x"), 403)["detail"]
    assert "reason" in said(await client.post(path, headers=ADMIN), 422)["detail"]
    done = await client.post(path + "&reason=x", headers=ADMIN)
    assert (done.status_code, done.json()["status"], done.json()["allowed"]) == (200, "cancelled", [])


async def test_what_does_not_exist_and_what_is_anothers(client: httpx.AsyncClient) -> None:
    id, unknown = await submitted(client), str(uuid7())
    beta = {"Authorization": "eve admin beta"}
    for path in ("", "/progress", "/tools", "/events", "/phases", "/snapshots", "/events/stream"):
        nowhere = said(await client.get(f"/investigation/{unknown}{path}"), 404)["detail"].replace(unknown, id)
        assert said(await client.get(f"/investigation/{id}{path}", headers=beta), 404)["detail"] == nowhere
        said(await client.get(f"/investigation/not-an-id{path}"), 404)
    assert (await client.get("/investigations", headers=beta)).json() == []
    said(await client.get("/nothing/here"), 404)


async def test_nobody_is_let_in_without_saying_who(client: httpx.AsyncClient) -> None:
    answer = await client.get("/investigations", headers={"Authorization": ""})
    assert said(answer, 401)["detail"] == "Say who you are."
    assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/health", "/ready"):
        assert (await client.get(path, headers={"Authorization": ""})).json()["status"] == "ok"


async def test_who_balances_load_is_told_that_the_store_does_not_answer(
    sdk: InvestigationSDK, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: Any, **__: Any) -> None:
        raise BackendUnavailable("postgresql://u:hunter2@db")

    monkeypatch.setattr(sdk, "list", failing)
    for path, status in (("/ready", 503), ("/health", 200)):
        answer = await client.get(path, headers={"Authorization": ""})
        assert answer.status_code == status, path
        assert "hunter2" not in answer.text
    said(await client.get("/investigations?limit=0"), 422)


async def test_bad_input_is_described_and_not_sent_back(client: httpx.AsyncClient) -> None:
    secret = {**NEW, "priority": "hunter2", "password": "hunter2"}
    answer = await client.post("/investigations", json=secret)
    problem = said(answer, 422)
    assert {tuple(one["loc"]) for one in problem["errors"]} == {("body", "priority"), ("body", "password")}
    assert "hunter2" not in answer.text
    said(await client.get("/investigations?limit=0"), 422)
    said(await client.get("/investigations?after=x"), 422)
    said(await client.post("/investigations", content=b"{"), 422)


async def test_long_bodies_are_refused_whatever_their_header_says(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 65536 + 2):
            yield b" " * 65536

    said(await client.post("/investigations", content=b" " * (MAX_BODY + 1)), 413)
    said(await client.post("/investigations", content=chunks()), 413)


async def test_errors_of_the_store_tell_nothing_of_it(
    sdk: InvestigationSDK, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    id = await submitted(client)
    caplog.set_level(logging.CRITICAL)
    for error, status in ((BackendUnavailable("postgresql://u:hunter2@db"), 503), (KeyError("hunter2"), 500)):

        async def failing(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(ProgressTracker, "at_unless", failing)
            answer = await client.get(f"/investigation/{id}/progress")
        said(answer, status)
        assert "hunter2" not in answer.text


async def test_progress_that_is_known_is_not_sent_again(
    sdk: InvestigationSDK, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await submitted(client)
    async with sdk.attach(id) as run, run.phase("devices"):
        await sdk.flush()
        now = now_us()
        monkeypatch.setattr("investigation_sdk.engine.tracker.now_us", lambda: now)
        url = f"/investigation/{id}/progress"
        first = await client.get(url)
        known = {"If-None-Match": f'"other", {first.headers["etag"]}'}
        again = await client.get(url, headers=known)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        tag = first.headers["etag"]
        for header in (f'{tag}, W/"1.11.9-other"', "*", f' W/"1.10.x", {tag} , "y"'):
            again = await client.get(url, headers={"If-None-Match": header})
            assert (again.status_code, again.headers["etag"]) == (304, tag), header
        for lines in ((tag, '"x"'), ('"x"', tag), ('"x"', '"y"')):  # RFC 9110, section 5.3: one list
            again = await client.get(url, headers=[("If-None-Match", line) for line in lines])
            assert again.status_code == (304 if tag in lines else 200), lines
        look()
        await sdk.flush()
        changed = await client.get(url, headers=known)
        assert changed.status_code == 200
        assert changed.headers["etag"] != first.headers["etag"]
        newest = {"If-None-Match": changed.headers["etag"]}
        assert (await client.get(url, headers=newest)).status_code == 304
        for other in ("?include_tools=false", "?include_events=true"):
            assert (await client.get(url + other, headers=newest)).status_code == 200, other
        now += 5_000_000  # what is not recorded, such as an estimate, is not older than that
        assert (await client.get(url, headers=newest)).status_code == 200
    ended = await client.get(url)
    now += 3_600_000_000
    assert (await client.get(url, headers={"If-None-Match": ended.headers["etag"]})).status_code == 304


async def test_events_are_streamed_from_a_cursor(sdk: InvestigationSDK, client: httpx.AsyncClient) -> None:
    id = await ran(sdk, client)
    answer = await client.get(f"/investigation/{id}/events/stream", headers={"Last-Event-ID": "3"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    numbers = [int(line[4:]) for line in answer.text.splitlines() if line.startswith("id: ")]
    assert numbers == list(range(4, (await sdk.get(id)).version + 1))


def test_a_router_is_not_open_by_accident(sdk: InvestigationSDK) -> None:
    for make in (create_router, create_app):
        with pytest.raises(ConfigurationError, match="allow_anonymous=True"):
            make(sdk)
        with pytest.raises(ConfigurationError, match="not both"):
            make(sdk, authenticate=lambda: None, allow_anonymous=True)
        with pytest.raises(ConfigurationError, match="32 bytes"):
            make(sdk, allow_anonymous=True, ticket_secret=b"short")


async def test_what_is_no_principal_is_not_let_in(sdk: InvestigationSDK) -> None:
    transport = httpx.ASGITransport(app=create_app(sdk, authenticate=lambda: {"id": "root", "roles": ["admin"]}))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        said(await client.get("/investigations"), 401)


async def test_anonymous_callers_are_operators(sdk: InvestigationSDK) -> None:
    transport = httpx.ASGITransport(app=create_app(sdk, allow_anonymous=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        id = await submitted(client)
        assert (await client.post(f"/investigation/{id}/cancel")).status_code == 200
        said(await client.post(f"/investigation/{id}/transition?new_state=queued&reason=x"), 403)


@pytest.mark.parametrize(
    ("status", "detail", "title", "told"),
    [
        (403, {"code": "no", "need": ["x"]}, "Forbidden", '{"code": "no", "need": ["x"]}'),
        (400, ["é", 1], "Bad Request", '["é", 1]'),
        (403, {"at": UUID(int=1)}, "Forbidden", '{"at": "00000000-0000-0000-0000-000000000001"}'),
        (403, {(1, 2): "a key that JSON has not"}, "Forbidden", None),
        (401, "half a pair: \ud800", "Unauthorized", "half a pair: ?"),
        (499, "gone", "Client Error", "gone"),
        (599, "away", "Error", "away"),
    ],
)
async def test_whatever_authenticate_raises_is_a_problem(
    sdk: InvestigationSDK, status: int, detail: Any, title: str, told: str | None
) -> None:
    async def refusing() -> Principal:
        raise HTTPException(status, detail)

    for make in (_alone, _mounted):
        transport = httpx.ASGITransport(app=make(sdk, refusing))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            problem = said(await client.get("/investigations"), status)
        assert (problem["title"], problem.get("detail")) == (title, told), make.__name__


def _alone(sdk: InvestigationSDK, authenticate: Callable[..., Any]) -> FastAPI:
    return create_app(sdk, authenticate=authenticate)


def _mounted(sdk: InvestigationSDK, authenticate: Callable[..., Any]) -> FastAPI:
    app = FastAPI()
    app.include_router(create_router(sdk, authenticate=authenticate))
    return app
