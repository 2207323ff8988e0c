"""What leaves the process: a receiver that speaks OTLP over HTTP gets spans, metrics and log events, decoded here."""

import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.telemetry import Telemetry
from tests.telemetry import airline

_REQUESTS: dict[str, Any] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what it is sent, by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: dict[str, list[Any]] = {path: [] for path in _REQUESTS}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.got["/v1/traces"]
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        request = _REQUESTS[self.path]()
        request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got[self.path].append(request)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on stderr."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(30)


@tool
def look_up(name: str) -> str:
    if not name:
        raise LookupError("nobody of no name")
    return name.upper()


def test_a_receiver_gets_all_of_it(
    receiver: Receiver, make_sdk: Callable[..., InvestigationSDK], sqlite_url: str
) -> None:
    tracers, loggers = TracerProvider(), LoggerProvider()
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(receiver.url("/v1/traces"))))
    loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(receiver.url("/v1/logs"))))
    meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(receiver.url("/v1/metrics")), 1e9)])
    sdk = make_sdk(sqlite_url, telemetry=Telemetry(tracers, meters, loggers))
    with sdk.investigation("s", investigation_type="fraud") as investigation, investigation.phase("p"):
        look_up("ann")
        with pytest.raises(LookupError):
            look_up("")
    for provider in (tracers, loggers, meters):
        provider.force_flush()
        provider.shutdown()

    spans = receiver.spans
    assert [span.name for span in spans] == [
        "execute_tool look_up",
        "execute_tool look_up",
        "investigation.phase p",
        "invoke_workflow fraud",
    ]
    assert len({span.trace_id for span in spans}) == 1
    assert [span.parent_span_id for span in spans] == [spans[2].span_id, spans[2].span_id, spans[3].span_id, b""]
    scopes = {
        (scope.scope.name, scope.schema_url)
        for request in receiver.got["/v1/traces"]
        for resource in request.resource_spans
        for scope in resource.scope_spans
    }
    assert scopes == {("investigation_sdk", "https://opentelemetry.io/schemas/1.44.0")}
    (record,) = [
        record
        for request in receiver.got["/v1/logs"]
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    assert (record.event_name, record.span_id) == ("gen_ai.execute_tool.exception", spans[1].span_id)
    metrics = {
        metric.name
        for request in receiver.got["/v1/metrics"]
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert {"gen_ai.execute_tool.duration", "investigation.transitions", "investigation.recorder.queue"} <= metrics


def told(span: Any) -> airline.Told:
    parent = int.from_bytes(span.parent_span_id, "big") or None
    attributes = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}
    id, failed = int.from_bytes(span.span_id, "big"), span.status.code == span.status.STATUS_CODE_ERROR
    times = span.start_time_unix_nano, span.end_time_unix_nano
    return airline.Told(span.name, id, parent, attributes, *times, failed)


async def test_a_receiver_gets_every_span_of_real_runs(
    receiver: Receiver, make_sdk: Callable[..., InvestigationSDK], runs: list[dict[str, Any]]
) -> None:
    tracers = TracerProvider()
    exporter = OTLPSpanExporter(receiver.url("/v1/traces"))
    tracers.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=10_000))
    sdk = make_sdk("memory://", telemetry=Telemetry(tracers))
    ids = await airline.record(sdk, runs)
    tracers.force_flush()
    tracers.shutdown()
    calls = await airline.compare(sdk, ids, [told(span) for span in receiver.spans])
    assert calls == sum(len(run["calls"]) for run in runs)
    assert len(receiver.got["/v1/traces"]) > 1
