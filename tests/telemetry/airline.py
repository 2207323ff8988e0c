"""The real runs of an agent, recorded again; and their spans, compared with their events one by one."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from investigation_sdk import InvestigationSDK, tool
from tests.telemetry.collected import own, parent, said

CLOSES = {"tool.completed", "tool.failed", "tool.interrupted"}
SLACK = 1_000_000
"""ns; events have µs, and of two clocks one may be set while the other runs."""


class Told(NamedTuple):
    """What a span says, wherever it was collected; times in ns since the epoch."""

    name: str
    id: int
    parent: int | None
    attributes: dict[str, Any]
    start: int
    end: int
    failed: bool


def collected(spans: Iterable[ReadableSpan]) -> list[Told]:
    """Of spans that an exporter in this process was given."""
    return [
        Told(
            span.name,
            own(span),
            parent(span),
            said(span),
            span.start_time or 0,
            span.end_time or 0,
            span.status.status_code is StatusCode.ERROR,
        )
        for span in spans
    ]


async def record(sdk: InvestigationSDK, runs: list[dict[str, Any]]) -> list[str]:
    """All of them at the same time; their ids."""

    async def run(line: dict[str, Any]) -> str:
        scope = sdk.investigation(line["instruction"], investigation_type="airline")
        async with scope as investigation, investigation.phase("conversation"):
            for call in line["calls"]:

                def body(call: dict[str, Any] = call, **arguments: Any) -> Any:
                    return call["output"]

                body.__name__ = call["tool"]
                tool(ignore=["call"])(body)(**call["arguments"])
        return investigation.id

    return await asyncio.gather(*map(run, runs))


async def compare(sdk: InvestigationSDK, ids: list[str], spans: list[Told]) -> int:
    """Each call has one span, with the ids, the outcome, the error, the times and the place that its events give. How
    many there are."""
    calls = {s.attributes["gen_ai.tool.call.id"]: s for s in spans if s.name.startswith("execute_tool ")}
    blocks = {s.attributes["investigation.id"]: s for s in spans if s.name == "invoke_workflow airline"}
    phases = {s.attributes["investigation.phase.id"]: s for s in spans if s.name == "investigation.phase conversation"}
    assert len(spans) == len(calls) + len(blocks) + len(phases)
    assert sorted(blocks) == sorted(ids)
    seen = 0
    for id in ids:
        async for event in sdk.iter_events(id):
            if event.event_type == "tool.started":
                seen += 1
                span = calls[event.id]
                assert span.name == f"execute_tool {event.event_data['tool']}"
                assert span.attributes["gen_ai.conversation.id"] == id
                assert span.parent == phases[event.event_data["phase"]].id
                assert phases[event.event_data["phase"]].parent == blocks[id].id
                assert span.start >= event.event_data["started_at"] * 1000 >= blocks[id].start - SLACK
            elif event.event_type in CLOSES:
                ended_as(event.event_type, event.event_data, calls[event.event_data["call"]])
            elif event.event_type in {"phase.completed", "phase.failed"}:
                phase = phases[event.event_data["id"]]
                assert phase.attributes["investigation.outcome"] == event.event_type.rpartition(".")[2]
                assert phase.end == event.event_data["completed_at"] * 1000 <= blocks[id].end
                assert phase.failed == (event.event_type == "phase.failed")
    assert seen == len(calls)
    return seen


def ended_as(event_type: str, data: Mapping[str, Any], span: Told) -> None:
    """A call's span ended when the event that closes it says, and as it says."""
    outcome = event_type.rpartition(".")[2]
    assert span.attributes.get("investigation.outcome", "completed") == outcome
    assert span.failed == (outcome == "failed")
    assert span.attributes.get("error.type") == (data["error"]["type"] if outcome == "failed" else None)
    assert span.end == data["completed_at"] * 1000
    # both clocks are read at both ends; between them others may run
    assert span.end - span.start >= data["duration_ms"] * 1_000_000 - SLACK
