"""The real runs of an agent, recorded again; and their spans, compared with their events one by one."""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan

from investigation_sdk import InvestigationSDK, tool
from tests.telemetry.collected import own, parent, said


class Told(NamedTuple):
    """What a span says, wherever it was collected."""

    name: str
    id: int
    parent: int | None
    attributes: dict[str, Any]


def collected(spans: Iterable[ReadableSpan]) -> list[Told]:
    """Of spans that an exporter in this process was given."""
    return [Told(span.name, own(span), parent(span), said(span)) for span in spans]


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
    """Each call has one span, with the ids, the outcome and the place that its events give. How many there are."""
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
            elif event.event_type == "tool.completed":
                assert "investigation.outcome" not in calls[event.event_data["call"]].attributes
    assert seen == len(calls)
    return seen
