"""A part of OpenTelemetry fails: the agent gets its value, or its own error, and the record is complete."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.metrics import ExemplarFilter, MeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult

from investigation_sdk import InvestigationSDK, LeaseLost, tool
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.telemetry import Telemetry, dropped
from investigation_sdk.telemetry.metrics import Metrics, metrics_of
from tests.telemetry.collected import Collected, said

Make = Callable[..., InvestigationSDK]


class Broken(RuntimeError):
    """Of telemetry, never to be seen by an agent."""


class BreaksAtStart(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise Broken("on_start")


class BreaksAtEnd(SpanProcessor):
    def on_end(self, span: Any) -> None:
        raise Broken("on_end")


class BreaksForSampling(Sampler):
    def should_sample(self, *given: Any, **named: Any) -> SamplingResult:
        raise Broken("should_sample")

    def get_description(self) -> str:
        return "breaks"


class BreaksForLogs(LogRecordProcessor):
    def on_emit(self, log_record: Any) -> None:
        raise Broken("on_emit")

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


class BreaksForMetrics(ExemplarFilter):
    def should_sample(self, *given: Any, **named: Any) -> bool:
        raise Broken("exemplar")


def _processor(processor: SpanProcessor) -> Telemetry:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return Telemetry(tracer_provider=provider)


def _logs() -> Telemetry:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(BreaksForLogs())
    return Telemetry(tracer_provider=TracerProvider(shutdown_on_exit=False), logger_provider=provider)


FAILING: Mapping[str, tuple[Callable[[], Telemetry], str]] = {
    "at start": (lambda: _processor(BreaksAtStart()), "a span"),
    "at end": (lambda: _processor(BreaksAtEnd()), "the end of a span"),
    "sampler": (
        lambda: Telemetry(tracer_provider=TracerProvider(BreaksForSampling(), shutdown_on_exit=False)),
        "a span",
    ),
    "logs": (_logs, "a log event"),
    "metrics": (
        lambda: Telemetry(
            tracer_provider=TracerProvider(shutdown_on_exit=False),
            meter_provider=MeterProvider(exemplar_filter=BreaksForMetrics(), shutdown_on_exit=False),
        ),
        "a metric of calls",
    ),
}


@tool
def look(name: str) -> str:
    return name.upper()


@tool
async def ask(name: str) -> str:
    await asyncio.sleep(0)
    return look(name)


@tool
def refuse() -> None:
    raise KeyError("mine")


@tool
async def stream() -> Any:
    yield 1
    yield 2


paid: list[int] = []


@tool(effect="unsafe")
def pay(amount: int) -> str:
    paid.append(amount)
    return "receipt"


async def _work(sdk: InvestigationSDK) -> list[str]:
    """All that there is to trace; the types of the events."""
    paid.clear()
    async with sdk.investigation("good", key="k") as good:
        async with good.phase("first"):
            assert look("a") == "A"
            assert await ask("b") == "B"
            assert [value async for value in stream()] == [1, 2]
            assert pay(3) == "receipt"
        with pytest.raises(KeyError, match="mine"):
            refuse()
    with pytest.raises(KeyError, match="mine"):
        async with sdk.investigation("bad") as bad, bad.phase("first"):
            refuse()
    async with sdk.investigation("good", key="k") as again:
        assert again.finished
    assert paid == [3]
    return [event.event_type for id in (good.id, bad.id) for event in await sdk.events(id)]


@pytest.mark.parametrize("url", ["memory://", "memory://?writer=true"])
@pytest.mark.parametrize("part", FAILING)
async def test_the_agent_and_the_record_are_not_concerned(
    part: str, url: str, make_sdk: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dropped, "_said", set())
    expected = await _work(make_sdk("memory://", telemetry=False))
    options, what = FAILING[part]
    sdk = make_sdk(url, telemetry=options())
    assert await asyncio.wait_for(_work(sdk), 60) == expected
    assert not sdk._recorder._heartbeat.driven
    said = [r.getMessage() for r in caplog.records if r.name == "investigation_sdk.telemetry"]
    assert sum(f"OpenTelemetry failed, and {what} is not reported" in line for line in said) == 1, said
    assert len(set(said)) == len(said) <= 4


async def test_what_does_not_fail_is_still_told(otel: Collected, make_sdk: Make) -> None:
    otel.tracer_provider.add_span_processor(BreaksAtEnd())
    await _work(make_sdk("memory://", telemetry=otel.options()))
    assert len(otel.named("execute_tool pay")) == 1
    assert len(otel.records.get_finished_logs()) == 3
    assert sum(value[0] for _, value in otel.points("gen_ai.execute_tool.duration")) == 7
    assert [value for _, value in otel.points("investigation.active")] == [0]


class EndsBadly:
    """A tracing system that does not do as it is told, with an error that nobody may keep from going on."""

    def trace(self) -> "EndsBadly":
        return self

    def carrier(self) -> None: ...

    def begin(self, *given: Any) -> None: ...

    def enter(self) -> None: ...

    def leave(self) -> None: ...

    def unopened(self, investigation_id: str | None, error: str | None) -> None: ...

    def paused(self, seconds: float) -> None: ...

    def used(self, usage: Mapping[str, Any]) -> None: ...

    def phase(self, started: Event) -> "EndsBadly":
        return self

    def call(self, started: Event) -> None: ...

    def end(self, event_type: str, data: Mapping[str, Any]) -> None:
        raise KeyboardInterrupt


def test_a_block_lets_go_whatever_its_trace_raises(make_sdk: Make) -> None:
    sdk = make_sdk("memory://", telemetry=False)
    sdk._recorder.tracer = EndsBadly()
    with pytest.raises(KeyboardInterrupt), sdk.investigation("s") as investigation:
        assert investigation.id in sdk._recorder._heartbeat.driven
    assert not sdk._recorder._heartbeat.driven
    types = [event.event_type for event in sdk.sync.events(investigation.id)]
    assert types[-2:] == ["investigation.completed", "investigation.released"]


TOO_OLD = """
import logging, sys
import opentelemetry.trace, opentelemetry.sdk.trace
from opentelemetry.sdk.trace import TracerProvider
opentelemetry.trace.set_tracer_provider(TracerProvider())
if sys.argv[1] == "no log events":
    for name in [name for name in sys.modules if name.startswith("opentelemetry._logs")]:
        del sys.modules[name]
    sys.modules["opentelemetry._logs"] = None
else:
    import opentelemetry.metrics
    def get_meter(name, version="", meter_provider=None): raise AssertionError
    opentelemetry.metrics.get_meter = get_meter
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
from investigation_sdk import ConfigurationError, InvestigationSDK, tool
from investigation_sdk.telemetry import Telemetry

@tool
def refuse():
    raise ValueError("mine")

for _ in range(2):
    sdk = InvestigationSDK("memory://")
    for _ in range(2):
        try:
            with sdk.investigation("s") as investigation:
                refuse()
        except ValueError as error:
            types = [event.event_type for event in sdk.sync.events(investigation.id)]
            print(error, sdk._recorder.tracer, "tool.failed" in types)
try:
    InvestigationSDK("memory://", telemetry=Telemetry())
except ConfigurationError as error:
    print("refused", error)
"""


@pytest.mark.parametrize("how", ["no log events", "other arguments"])
def test_one_that_is_too_old_reports_nothing_and_breaks_nobody(how: str) -> None:
    done = subprocess.run([sys.executable, "-c", TOO_OLD, how], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    (warned,) = (line for line in lines if line.startswith("WARNING"))
    assert "anything, which needs opentelemetry-api 1.39 or newer, is not reported" in warned
    assert lines.count("mine None True") == 4, [line for line in lines if line.startswith("mine")]
    refused = [line for line in lines if line.startswith("refused")]
    assert len(refused) == (how == "no log events")
    assert all("needs opentelemetry-api 1.39 or newer: pip install" in line for line in refused)


def test_threads_that_begin_at_once_are_measured_once(otel: Collected, make_sdk: Make) -> None:
    """What makes the instruments is held up, so that the others come while it does."""
    made: list[Metrics] = []
    slow = threading.Event()
    meter = otel.meter_provider.get_meter

    def get_meter(*given: Any, **named: Any) -> Any:
        slow.wait(0.2)
        return meter(*given, **named)

    otel.meter_provider.get_meter = get_meter  # type: ignore[method-assign]
    sdks = [make_sdk("memory://", telemetry=otel.options()) for _ in range(2)]

    def begin(sdk: InvestigationSDK) -> None:
        with sdk.investigation("s"):
            look("a")
        tracer = sdk._recorder.tracer
        assert tracer is not None
        made.append(tracer.metrics)  # type: ignore[attr-defined]

    threads = [threading.Thread(target=begin, args=(sdk,)) for sdk in sdks for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    assert len(made) == 8
    assert set(map(id, made)) == {id(metrics_of(otel.meter_provider))}
    counted = {of["investigation.state.new"]: value for of, value in otel.points("investigation.transitions")}
    assert counted["completed"] == 8
    assert len(otel.named("invoke_workflow general")) == 8


async def test_what_is_stored_is_no_matter_of_the_propagator_of_the_process(
    otel: Collected, make_sdk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OTEL_PROPAGATORS=none, or b3, have it."""
    monkeypatch.setattr("opentelemetry.propagate.propagator", CompositePropagator([]))
    sdk = make_sdk("memory://", telemetry=otel.options())
    with pytest.raises(KeyError):
        async with sdk.investigation("s", key="k") as first:
            refuse()
    async with sdk.investigation("s", key="k"):
        pass
    before, after = otel.named("invoke_workflow general")
    assert before.context is not None
    assert [link.context.span_id for link in after.links] == [before.context.span_id]
    note, _ = [e.metadata for e in await sdk.events(first.id) if e.event_type == "investigation.started"]
    assert note is not None
    assert f"{before.context.trace_id:032x}" in note["trace"]["traceparent"]


async def test_a_block_that_learns_at_its_end_that_it_lost_its_lease(otel: Collected, make_sdk: Make) -> None:
    sdk = make_sdk("memory://", telemetry=otel.options())
    with pytest.raises(LeaseLost):
        async with sdk.investigation("s") as investigation:
            await sdk.service.transition_state(investigation.id, InvestigationState.FAILED, actor="ann")
    assert said(otel.one("invoke_workflow general"))["investigation.outcome"] == "released"
    assert otel.points("investigation.lease.lost") == [({"investigation.type": "general"}, 1)]
