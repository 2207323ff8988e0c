"""Spans are what the events say: one for each block, phase and body that ran, each inside of what was around it."""

import asyncio
import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from investigation_sdk import (
    InvestigationPaused,
    InvestigationSDK,
    agent,
    current_tool,
    propagate,
    tool,
)
from tests.telemetry import airline
from tests.telemetry.collected import Collected, own, parent, said

Make = Callable[..., InvestigationSDK]


@tool(agent="registry", version="3", effect="read")
def look_up(name: str) -> str:
    return name.upper()


@tool
async def ask(name: str) -> str:
    current_tool().report(tokens_used=7, api_calls_made=2, cost_estimate=Decimal("0.5"))
    await asyncio.sleep(0)
    return look_up(name)


@tool
def refuse() -> None:
    raise ValueError("the number 4711 is secret")


async def test_a_block_its_phases_and_its_calls(traced: InvestigationSDK, otel: Collected) -> None:
    async with traced.investigation("s", investigation_type="fraud") as investigation:
        async with investigation.phase("first"):
            with agent("clerk", version="2", model="small"):
                assert await ask("a") == "A"
        look_up("outside a phase")
    block, first = otel.one("invoke_workflow fraud"), otel.one("investigation.phase first")
    asked = otel.one("execute_tool ask")
    inner, outer = otel.named("execute_tool look_up")
    assert [parent(span) for span in (block, first, asked, inner, outer)] == [
        None,
        own(block),
        own(first),
        own(asked),
        own(block),
    ]
    assert said(block) == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "fraud",
        "gen_ai.conversation.id": investigation.id,
        "investigation.id": investigation.id,
        "investigation.type": "fraud",
        "investigation.attempt": 1,
        "investigation.usage.tokens_used": 7,
        "investigation.usage.api_calls_made": 2,
        "investigation.usage.cost_estimate": 0.5,
        "investigation.outcome": "completed",
    }
    (phase,) = await traced.phases(investigation.id)
    calls = {call.id: call for call in await traced.tools(investigation.id)}
    assert said(first) == {
        "gen_ai.conversation.id": investigation.id,
        "investigation.id": investigation.id,
        "investigation.phase.id": phase.id,
        "investigation.phase.name": "first",
        "investigation.outcome": "completed",
    }
    assert said(asked) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "ask",
        "gen_ai.tool.call.id": next(id for id, call in calls.items() if call.tool_name == "ask"),
        "gen_ai.tool.type": "function",
        "gen_ai.agent.name": "clerk",
        "gen_ai.agent.version": "2",
        "gen_ai.request.model": "small",
        "gen_ai.conversation.id": investigation.id,
        "investigation.usage.tokens_used": 7,
        "investigation.usage.api_calls_made": 2,
        "investigation.usage.cost_estimate": 0.5,
    }
    assert said(inner)["gen_ai.agent.name"] == "registry"
    assert said(inner)["investigation.tool.effect"] == "read"
    assert said(inner)["investigation.tool.version"] == "3"
    assert not any(span.events for span in otel.spans)


async def test_a_failure(traced: InvestigationSDK, otel: Collected) -> None:
    with pytest.raises(ValueError, match="4711"):
        async with traced.investigation("s") as investigation, investigation.phase("p"):
            refuse()
    failed = [otel.one(n) for n in ("execute_tool refuse", "investigation.phase p", "invoke_workflow general")]
    for span in failed:
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None
        assert said(span)["error.type"] == "ValueError"
        assert said(span)["investigation.outcome"] == "failed"
        assert "4711" not in span.to_json()
    records = [data.log_record for data in otel.records.get_finished_logs()]
    assert [(record.event_name, record.span_id) for record in records] == [
        ("gen_ai.execute_tool.exception", own(failed[0])),
        ("investigation.failed", own(failed[2])),
    ]
    assert [(record.attributes or {})["exception.message"] for record in records] == ["the number 4711 is secret"] * 2


async def test_what_is_sensitive_is_masked_in_all_of_it(otel: Collected, make_sdk: Make) -> None:
    sdk = make_sdk("memory://", telemetry=otel.options(capture_content=True))

    @tool(sensitive=["password"])
    def log_in(user: str, password: str) -> str:
        if user == "eve":
            raise ValueError(f"{password} is wrong")
        return "welcome"

    async with sdk.investigation("s"):
        log_in("ann", "hunter2")
        with pytest.raises(ValueError, match="hunter2"):
            log_in("eve", "hunter2")
    good, _ = otel.named("execute_tool log_in")
    shown = json.loads(said(good)["gen_ai.tool.call.arguments"])
    assert shown["user"] == "ann"
    assert json.loads(said(good)["gen_ai.tool.call.result"]) == "welcome"
    everything = [span.to_json() for span in otel.spans]
    everything += [str(dict(data.log_record.attributes or {})) for data in otel.records.get_finished_logs()]
    assert len(everything) == 4
    assert not [text for text in everything if "hunter2" in text]


async def test_content_is_not_reported_unless_asked_for(
    traced: InvestigationSDK, otel: Collected, make_sdk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with traced.investigation("s"):
        look_up("visible only if asked for")
    assert "visible" not in "".join(span.to_json() for span in otel.spans)
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    async with make_sdk("memory://", telemetry=otel.options()).investigation("s"):
        look_up("visible now")
    assert said(otel.named("execute_tool look_up")[-1])["gen_ai.tool.call.result"] == '"VISIBLE NOW"'


async def test_openinference(otel: Collected, make_sdk: Make) -> None:
    options = otel.options(conventions="openinference", capture_content=True)
    async with make_sdk("memory://", telemetry=options).investigation("s") as investigation:
        look_up("a")
    span = said(otel.one("execute_tool look_up"))
    assert span["openinference.span.kind"] == "TOOL"
    assert (span["tool.name"], span["agent.name"], span["session.id"]) == ("look_up", "registry", investigation.id)
    assert (span["input.value"], span["output.value"]) == ('{"name":"a"}', '"A"')
    assert not [name for name in span if name.startswith("gen_ai.")]
    assert said(otel.one("invoke_workflow general"))["openinference.span.kind"] == "CHAIN"


async def test_user_spans_are_inside_of_the_call_that_made_them(traced: InvestigationSDK, otel: Collected) -> None:
    tracer = otel.tracer_provider.get_tracer("user")

    @tool
    async def fetch(n: int) -> int:
        with tracer.start_as_current_span(f"GET {n}"):
            await asyncio.sleep(0)
        return n

    async def one(n: int) -> None:
        assert await fetch(n) == n

    with tracer.start_as_current_span("around"):
        async with traced.investigation("s"), asyncio.TaskGroup() as group:
            for n in range(5):
                group.create_task(one(n))
        assert trace.get_current_span().get_span_context().span_id == own_of_current(otel)
    calls = {own(span) for span in otel.named("execute_tool fetch")}
    assert {parent(otel.one(f"GET {n}")) for n in range(5)} == calls
    assert len(calls) == 5
    assert parent(otel.one("invoke_workflow general")) == own(otel.one("around"))
    assert not trace.get_current_span().get_span_context().is_valid


def own_of_current(otel: Collected) -> int:
    """The only span that is current and has not ended is the one that is parent of the block."""
    span_id = parent(otel.one("invoke_workflow general"))
    assert span_id is not None
    return span_id


def test_generators_never_leave_a_context_behind(traced: InvestigationSDK, otel: Collected) -> None:
    tracer = otel.tracer_provider.get_tracer("user")

    @tool
    def pages(n: int) -> Any:
        for i in range(n):
            with tracer.start_as_current_span(f"page {i}"):
                pass
            yield i

    with traced.investigation("s"):
        around = otel_context.get_current()
        running = pages(3)
        assert next(running) == 0
        assert otel_context.get_current() == around
        assert list(pages(1)) == [0]
        running.close()
    left, whole = otel.named("execute_tool pages")[::-1]
    assert {parent(span) for span in otel.named("page 0")} == {own(left), own(whole)}
    assert "investigation.outcome" not in said(whole)


def test_threads_with_propagate(traced: InvestigationSDK, otel: Collected) -> None:
    with traced.investigation("s") as investigation, investigation.phase("p"):
        thread = threading.Thread(target=propagate(look_up), args=("a",))
        thread.start()
        thread.join(30)
    assert parent(otel.one("execute_tool look_up")) == own(otel.one("investigation.phase p"))


async def test_a_resume_is_a_new_trace_that_is_linked_to_the_one_before(
    traced: InvestigationSDK, otel: Collected
) -> None:
    ids: list[str] = []
    for _ in range(2):
        with pytest.raises(RuntimeError):
            async with traced.investigation("s", key="k") as investigation:
                ids.append(investigation.id)
                assert look_up("a") == "A"
                raise RuntimeError
    first, second = otel.named("invoke_workflow general")
    assert first.context is not None
    assert second.context is not None
    assert first.context.trace_id != second.context.trace_id
    assert [link.context.span_id for link in second.links] == [own(first)]
    assert said(second)["investigation.attempt"] == 2
    assert len(otel.named("execute_tool look_up")) == 1  # the second time it was given back, and did not run
    (a, b) = await traced.events(ids[0], event_type="investigation.started")
    for span, event in ((first, a), (second, b)):
        assert event.metadata["trace"]["traceparent"].split("-")[2] == format(own(span), "016x")
    assert (await traced.verify(ids[1])).ok


async def test_the_trace_of_who_creates_it_goes_on_with_who_drives_it(
    traced: InvestigationSDK, otel: Collected
) -> None:
    tracer = otel.tracer_provider.get_tracer("user")
    with tracer.start_as_current_span("POST /investigations"):
        record = await traced.service.create_investigation("gil", "s", "fraud")
    async with traced.attach(record.id):
        pass
    request, block = otel.one("POST /investigations"), otel.one("invoke_workflow fraud")
    assert request.context is not None
    assert block.context is not None
    assert parent(block) == own(request)
    assert block.context.trace_id == request.context.trace_id
    with tracer.start_as_current_span("worker"):
        other = await traced.service.create_investigation("gil", "t", "fraud")
    with tracer.start_as_current_span("another"):
        async with traced.attach(other.id):
            pass
    linked = otel.named("invoke_workflow fraud")[-1]
    assert parent(linked) == own(otel.one("another"))
    assert [link.context.span_id for link in linked.links] == [own(otel.one("worker"))]


def test_the_blocking_face_is_inside_of_the_trace_of_who_calls_it(traced: InvestigationSDK, otel: Collected) -> None:
    tracer = otel.tracer_provider.get_tracer("user")
    for make in (traced.sync.submit, lambda *of: traced.sync.service.create_investigation("gil", *of)):
        with tracer.start_as_current_span("POST") as request:
            made = make("fraud", "s")
        created = traced.sync.events(made.id, event_type="investigation.created")[0]
        assert created.metadata["trace"]["traceparent"].split("-")[2] == format(
            request.get_span_context().span_id, "016x"
        )
    apart = traced.sync.submit("fraud", "s")
    assert "trace" not in traced.sync.events(apart.id, event_type="investigation.created")[0].metadata


async def test_a_block_that_is_stopped(traced: InvestigationSDK, otel: Collected, make_sdk: Make) -> None:
    sdk = make_sdk("memory://", on_pause="raise", telemetry=otel.options())
    with pytest.raises(InvestigationPaused):
        async with sdk.investigation("s") as investigation:
            await investigation.pause()
    assert said(otel.one("invoke_workflow general"))["investigation.outcome"] == "released"
    assert otel.one("invoke_workflow general").status.status_code is StatusCode.UNSET


async def test_every_span_of_real_runs_is_an_event(
    traced: InvestigationSDK, otel: Collected, runs: list[dict[str, Any]]
) -> None:
    """862 calls of 150 runs."""
    ids = await airline.record(traced, runs)
    assert await airline.compare(traced, ids, airline.collected(otel.spans)) == sum(len(run["calls"]) for run in runs)


def test_every_span_of_the_example_is_an_event(make_sdk: Make, sqlite_url: str) -> None:
    """The demo, an investigation of this Python environment: its tools of all kinds, many at the same time."""
    script = Path(__file__).parents[2] / "examples" / "python_environment_audit.py"
    probe = textwrap.dedent(
        """
        import runpy, sys
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        sys.argv = [sys.argv[1], "--db", sys.argv[2]]
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit:
            pass
        for span in exporter.get_finished_spans():
            at = dict(span.attributes)
            print("SPAN", span.name, at.get("gen_ai.tool.call.id"), at.get("investigation.phase.id"), sep="|")
        """
    )
    run = subprocess.run(
        [sys.executable, "-c", probe, str(script), sqlite_url],
        capture_output=True, text=True, timeout=200, check=False, cwd=script.parent,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    spans = [line.split("|")[1:] for line in run.stdout.splitlines() if line.startswith("SPAN|")]
    sdk = make_sdk(sqlite_url, telemetry=False)
    (one,) = sdk.sync.list()
    events = list(sdk.sync.iter_events(one.id))
    calls = {event.id: event.event_data["tool"] for event in events if event.event_type == "tool.started"}
    phases = {event.event_data["id"] for event in events if event.event_type == "phase.started"}
    assert {call: name for name, call, _ in spans if call != "None"} == {
        id: f"execute_tool {name}" for id, name in calls.items()
    }
    assert {phase for name, _, phase in spans if name.startswith("investigation.phase ")} == phases
    assert len(spans) == len(calls) + len(phases) + 1
    assert len(calls) > 100
