"""A trace comes in over HTTP, and goes on with who runs the investigation."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from starlette.types import ASGIApp, Receive, Scope, Send

from investigation_sdk import AsyncInvestigationRun, InvestigationSDK, InvestigationState
from investigation_sdk.api import create_app
from tests.telemetry.collected import Collected, own, parent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1", "baggage": "secret=1"}
NEW = {"investigation_type": "fraud", "subject": "account 42"}


async def submitted(app: ASGIApp, headers: dict[str, str]) -> str:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
        answer = await client.post("/investigations", json=NEW, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def worked(sdk: InvestigationSDK, *ids: str) -> None:
    @sdk.investigator("fraud")
    async def fraud(run: AsyncInvestigationRun) -> int:
        return 1

    async with sdk.worker():
        for id in ids:
            record = await sdk.wait(id, timeout=60)
            assert record.status == InvestigationState.COMPLETED
    await asyncio.wait_for(sdk.flush(), 60)


async def test_a_requests_trace_reaches_the_workers_span(traced: InvestigationSDK, otel: Collected) -> None:
    app = create_app(traced, allow_anonymous=True)
    id = await submitted(app, HEADERS)
    assert not trace.get_current_span().get_span_context().is_valid
    await worked(traced, id)
    block = otel.one("invoke_workflow fraud")
    assert block.context is not None
    assert format(block.context.trace_id, "032x") == TRACE
    assert format(parent(block) or 0, "016x") == SPAN
    assert block.context.trace_state["vendor"] == "1"
    (created,) = await traced.events(id, event_type="investigation.created")
    assert created.metadata["trace"] == {"traceparent": HEADERS["traceparent"], "tracestate": "vendor=1"}


@pytest.mark.parametrize("traceparent", ["", "00-xyz", f"00-{'0' * 32}-{SPAN}-01", "é"])
async def test_what_is_no_trace_changes_nothing(traced: InvestigationSDK, otel: Collected, traceparent: str) -> None:
    headers: Any = {"traceparent": traceparent.encode()}
    id = await submitted(create_app(traced, allow_anonymous=True), headers)
    await worked(traced, id)
    assert parent(otel.one("invoke_workflow fraud")) is None
    (created,) = await traced.events(id, event_type="investigation.created")
    assert "trace" not in created.metadata


async def test_a_span_of_the_application_is_nearer_than_the_header(traced: InvestigationSDK, otel: Collected) -> None:
    tracer, inner = otel.tracer_provider.get_tracer("application"), create_app(traced, allow_anonymous=True)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with tracer.start_as_current_span("POST /investigations"):
            await inner(scope, receive, send)

    await worked(traced, await submitted(app, HEADERS))
    assert parent(otel.one("invoke_workflow fraud")) == own(otel.one("POST /investigations"))


async def test_without_telemetry_nothing_is_stored(make_sdk: Callable[..., InvestigationSDK]) -> None:
    sdk = make_sdk("memory://", telemetry=False)
    id = await submitted(create_app(sdk, allow_anonymous=True), HEADERS)
    (created,) = await sdk.events(id, event_type="investigation.created")
    assert "trace" not in created.metadata
