"""Where pydantic-ai makes a span for a tool's call, that span says what is recorded of it, and there is no second."""

import pytest

pytest.importorskip("pydantic_ai", reason="pydantic-ai is not installed: run make test-frameworks")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent
from pydantic_ai.capabilities.instrumentation import Instrumentation
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.test import TestModel

from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.telemetry import Telemetry
from tests.frameworks.tools import asearch, search


async def test_a_call_has_one_span_which_is_the_frameworks() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    agent = Agent(
        TestModel(),
        tools=[tool(search), tool(asearch)],
        capabilities=[Instrumentation(settings=InstrumentationSettings(tracer_provider=provider))],
    )
    async with InvestigationSDK("memory://", telemetry=Telemetry(provider)) as sdk:
        async with sdk.investigation("s") as investigation, investigation.phase("p"):
            await agent.run("go")
        calls = {call.tool_name: call.id for call in await sdk.tools(investigation.id)}
    spans = [dict(span.attributes or {}) for span in exporter.get_finished_spans()]
    of_tools = [span for span in spans if span.get("gen_ai.operation.name") == "execute_tool"]
    assert set(calls) == {"search", "asearch"}
    assert {span["gen_ai.tool.name"]: span["investigation.tool.call_id"] for span in of_tools} == calls
    assert {span["investigation.id"] for span in of_tools} == {investigation.id}
    assert len(of_tools) == 2
