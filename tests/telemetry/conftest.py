"""An OpenTelemetry of its own for each test: spans, metrics and log events in memory."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from investigation_sdk import InvestigationSDK
from tests.telemetry.collected import Collected
from tests.telemetry.watching import Clock

DATA = Path(os.environ.get("INVESTIGATION_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture
def otel() -> Iterator[Collected]:
    spans, reader, records = InMemorySpanExporter(), InMemoryMetricReader(), InMemoryLogRecordExporter()
    tracers, meters, loggers = TracerProvider(), MeterProvider([reader]), LoggerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
    yield Collected(tracers, meters, loggers, spans, reader, records)
    tracers.shutdown()
    meters.shutdown()
    loggers.shutdown()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory://", "memory://?writer=true", "sqlite"])
def traced(
    request: pytest.FixtureRequest, otel: Collected, sqlite_url: str, make_sdk: Callable[..., InvestigationSDK]
) -> InvestigationSDK:
    """An SDK that reports to it, on each kind of embedded store."""
    url = sqlite_url if request.param == "sqlite" else request.param
    return make_sdk(url, telemetry=otel.options())


@pytest.fixture
def runs() -> list[dict[str, Any]]:
    """The real runs of an agent, or a skip."""
    path = DATA / "airline_agent_runs.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there; INVESTIGATION_TEST_DATA names the folder that has it")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
