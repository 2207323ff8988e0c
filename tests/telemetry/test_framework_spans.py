"""Where a framework made a span for a call, that span says what we know, and there is no second one."""

import pytest
from opentelemetry.trace import StatusCode

from investigation_sdk import InvestigationSDK, current_tool, tool
from tests.telemetry.collected import Collected, own, parent, said


@tool
def look_up(name: str) -> str:
    return name.upper()


@tool
def factorial(n: int) -> int:
    return 1 if n == 0 else n * factorial(n - 1)


async def test_a_framework_that_made_a_span_for_the_call_is_added_to(traced: InvestigationSDK, otel: Collected) -> None:
    tracer = otel.tracer_provider.get_tracer("framework")
    names = (
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look_up"},
        {"openinference.span.kind": "TOOL", "tool.name": "look_up"},
    )
    async with traced.investigation("s") as investigation:
        for attributes in names:
            with tracer.start_as_current_span("theirs", attributes=attributes):
                assert look_up("a") == "A"
        with tracer.start_as_current_span("of another tool", attributes={**names[0], "gen_ai.tool.name": "other"}):
            assert look_up("a") == "A"
    calls = [call.id for call in await traced.tools(investigation.id)]
    theirs = otel.named("theirs")
    ours = otel.one("execute_tool look_up")
    found = [said(span)["investigation.tool.call_id"] for span in theirs] + [said(ours)["gen_ai.tool.call.id"]]
    assert sorted(found) == sorted(calls)
    assert [said(span)["investigation.id"] for span in theirs] == [investigation.id] * 2
    assert parent(otel.one("execute_tool look_up")) == own(otel.one("of another tool"))


def test_a_framework_span_is_of_one_call_alone(traced: InvestigationSDK, otel: Collected) -> None:
    """Of a tool that calls itself, the inner calls are not the one for which the framework made it; nor is a later
    call, as of a framework that tries again. What runs after the framework has ended its span is nobody's but ours."""
    tracer = otel.tracer_provider.get_tracer("framework")
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "factorial"}
    with traced.investigation("s") as investigation:
        with tracer.start_as_current_span("theirs", attributes=attributes, end_on_exit=False) as span:
            assert factorial(2) == 2
            assert factorial(0) == 1
            span.end()
            assert factorial(0) == 1
        calls = [call.id for call in traced.sync.tools(investigation.id)]
    inner, middle, second, after = otel.named("execute_tool factorial")
    assert parent(inner) == own(middle)
    assert {parent(one) for one in (middle, second, after)} == {own(otel.one("theirs"))}
    shown = [said(one)["gen_ai.tool.call.id"] for one in (middle, inner, second, after)]
    assert [said(otel.one("theirs"))["investigation.tool.call_id"], *shown] == calls


def test_a_framework_gets_what_its_call_reported(traced: InvestigationSDK, otel: Collected) -> None:
    tracer = otel.tracer_provider.get_tracer("framework")

    @tool(effect="read", version="4")
    def measure() -> None:
        current_tool().report(tokens_used=3)
        raise ValueError("no")

    with traced.investigation("s") as investigation:
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "measure"}
        with tracer.start_as_current_span("theirs", attributes=attributes, set_status_on_exception=False) as span:
            with pytest.raises(ValueError, match="no"):
                measure()
            assert span.is_recording(), "the framework ends its own"
    theirs = otel.one("theirs")
    assert otel.named("execute_tool measure") == []
    assert said(theirs) == attributes | {
        "investigation.id": investigation.id,
        "investigation.tool.call_id": next(iter(traced.sync.tools(investigation.id))).id,
        "investigation.tool.effect": "read",
        "investigation.tool.version": "4",
        "investigation.usage.tokens_used": 3,
        "investigation.outcome": "failed",
    }
    assert theirs.status.status_code is StatusCode.UNSET, "whether it failed is the framework's to say"


def test_a_tool_that_calls_itself_has_a_span_for_each_call(traced: InvestigationSDK, otel: Collected) -> None:
    with traced.investigation("s"):
        assert factorial(3) == 6
    inner, *_ = spans = otel.named("execute_tool factorial")
    assert len({own(span) for span in spans}) == 4
    assert [parent(span) for span in spans[:-1]] == [own(span) for span in spans[1:]]
    assert said(inner)["gen_ai.tool.call.id"] != said(spans[-1])["gen_ai.tool.call.id"]
