"""What a test's OpenTelemetry collects: spans, metrics and log events in memory."""

from typing import Any, NamedTuple

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from investigation_sdk.telemetry import Telemetry


class Collected(NamedTuple):
    """What a test's OpenTelemetry collects."""

    tracer_provider: TracerProvider
    meter_provider: MeterProvider
    logger_provider: LoggerProvider
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader
    records: InMemoryLogRecordExporter

    def options(self, **more: Any) -> Telemetry:
        return Telemetry(self.tracer_provider, self.meter_provider, self.logger_provider, **more)

    @property
    def spans(self) -> list[ReadableSpan]:
        """Those that have ended, in the order of their ends."""
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Of one instrument: attributes and value of each series; of a histogram (count, sum)."""
        data = self.reader.get_metrics_data()
        found: list[tuple[dict[str, Any], Any]] = []
        if data is None:
            return found
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        for point in metric.data.data_points:
                            value = point.value if hasattr(point, "value") else (point.count, point.sum)
                            found.append((dict(point.attributes or {}), value))
        return found

    def series(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and attributes of every series there is."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return [
            (metric.name, dict(point.attributes or {}))
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        ]


def parent(span: ReadableSpan) -> int | None:
    """Id of the span around it."""
    return None if span.parent is None else span.parent.span_id


def own(span: ReadableSpan) -> int:
    """Its id."""
    assert span.context is not None
    return int(span.context.span_id)


def said(span: ReadableSpan) -> dict[str, Any]:
    """Its attributes."""
    return dict(span.attributes or {})
