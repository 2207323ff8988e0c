"""What a new user does wrong: each answer says what to do."""

from typing import Any

import httpx
from fastapi import FastAPI

from investigation_sdk import InvestigationSDK, Principal, Role
from investigation_sdk.api import create_router


def said(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem of an answer."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    return problem


async def test_mistakes_are_answered_with_what_to_do(sdk: InvestigationSDK) -> None:
    """As in an application of one's own, whose own answers are other ones."""
    id = (await sdk.service.create_investigation("gil", "account 42", "general", queue=False)).id

    async def own(userid: str = "") -> Principal:
        assert userid in {"", "7"}
        return Principal(id="gil", roles=frozenset({Role.OPERATOR}))

    mounted = FastAPI()
    mounted.include_router(create_router(sdk, authenticate=own), prefix="/fraud")
    transport = httpx.ASGITransport(app=mounted)
    async with httpx.AsyncClient(transport=transport, base_url="http://test/fraud", timeout=60) as client:
        for method, path, allowed in (
            ("DELETE", f"/investigation/{id}", "GET"),
            ("GET", f"/investigation/{id}/pause", "POST"),
            ("PUT", "/investigations", "GET, POST"),
        ):
            answer = await client.request(method, path)
            assert said(answer, 405)["detail"] == f"{method} is not possible here; these are: {allowed}."
            assert answer.headers["allow"] == allowed
        for kind in ("text/plain", "application/xml; charset=utf-8", ""):
            answer = await client.post("/investigations", content="{}", headers={"Content-Type": kind})
            assert "Send Content-Type: application/json" in said(answer, 415)["detail"]
        answer = await client.post("/investigations", content="{bad", headers={"Content-Type": "application/json"})
        assert "property name enclosed in double quotes" in said(answer, 422)["detail"]
        for query, meant in (("limt=5", "limit"), ("Status=failed", "status"), ("created_befor=x", "created_before")):
            detail = said(await client.get(f"/investigations?{query}"), 422)["detail"]
            assert detail == f"There is no parameter {query.partition('=')[0]!r} in the query. Is {meant!r} meant?"
        for query in ("utm_source=mail", "userid=7", "limit=5&status=queued"):
            assert (await client.get(f"/investigations?{query}")).status_code == 200, query
        assert "query limit: " in said(await client.get("/investigations?limit=0"), 422)["detail"]
        stream = f"/investigation/{id}/events/stream"
        answer = await client.get(stream, headers={"Last-Event-ID": "bogus"})
        assert "after=bogus is no sequence" in said(answer, 422)["detail"]
