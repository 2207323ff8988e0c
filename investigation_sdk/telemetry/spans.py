"""Spans: one for each block around an investigation, each phase and each call whose body ran.

A span is current only while its code runs in the context that entered it, and no token is kept: leaving puts back
the context that was there. So a generator, a thread or a task that outlives its block disturbs nobody.

Samplers, processors, exporters and instruments are code of others, that runs in the middle of a call. Where it raises,
what it was told is dropped: no method that the recording calls raises, and what else is to be told still is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry._logs import get_logger_provider
from opentelemetry.context import Context
from opentelemetry.metrics import get_meter_provider
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from investigation_sdk.domain.events import Event
from investigation_sdk.errors import LeaseLost
from investigation_sdk.telemetry import conventions as names
from investigation_sdk.telemetry.attributes import Attributes, error_of
from investigation_sdk.telemetry.dropped import dropped
from investigation_sdk.telemetry.incoming import CARRIED
from investigation_sdk.telemetry.logs import Logs
from investigation_sdk.telemetry.metrics import Metrics
from investigation_sdk.telemetry.setup import Telemetry

_W3C = TraceContextTextMapPropagator()  # what is stored is of one form, whatever the process sends to others


class OpenTelemetryTracer:
    """OpenTelemetry, as the recording is told of it: see :class:`investigation_sdk.engine.tracing.Tracer`."""

    def __init__(self, options: Telemetry, metrics: Metrics) -> None:
        self._options = options
        self.tracer: otel.Tracer = otel.get_tracer(*names.SCOPE, options.tracer_provider, names.SCHEMA_URL)
        self.attributes: Attributes = Attributes(*options.names, content=options.content)
        self.logs: Logs = Logs(options.logger_provider)
        self.metrics: Metrics = metrics

    def trace(self) -> BlockTrace:
        """For a block that is about to be entered in this context."""
        return BlockTrace(self)

    @property
    def heard(self) -> bool:
        """Whether anybody listens: an SDK, where the API's own providers do nothing."""
        options = self._options
        return any(
            not type(provider).__module__.startswith("opentelemetry.")
            or type(provider).__module__.startswith("opentelemetry.sdk.")
            for provider in (
                options.tracer_provider or otel.get_tracer_provider(),
                options.meter_provider or get_meter_provider(),
                options.logger_provider or get_logger_provider(),
            )
        )

    def start(self, name: str, attributes: dict[str, Any], context: Context | None, links: Sequence[Link]) -> otel.Span:
        """A new span; not current. One that is of nothing where it cannot be made."""
        try:
            return self.tracer.start_span(name, context, SpanKind.INTERNAL, attributes, links)
        except Exception as failed:
            dropped("a span", failed)
            return otel.INVALID_SPAN


class _Current:
    """Makes a span current, and puts back what was."""

    __slots__ = ("_around", "_inside", "span")

    def __init__(self, span: otel.Span) -> None:
        self.span: otel.Span = span
        self._around: Context | None = None
        self._inside: Context | None = None

    def enter(self) -> None:
        """What runs next in this context belongs to it; where there is nothing to belong to, nothing changes."""
        try:
            if self.span.get_span_context().is_valid:
                around = otel_context.get_current()
                self._inside = inside = otel.set_span_in_context(self.span, around)
                otel_context.attach(inside)
                self._around = around
        except Exception as failed:
            dropped("what runs inside of a span", failed)

    def leave(self) -> None:
        """The context that was there is back, unless this one is left elsewhere than where it was entered."""
        around = self._around
        if around is None:
            return
        try:
            # mostly it is the very context; else whoever added to it, such as baggage, added to what is left
            if otel_context.get_current() is self._inside or otel.get_current_span() is self.span:
                otel_context.attach(around)
        except Exception as failed:
            dropped("what runs after a span", failed)
        self._around = self._inside = None

    def finish(self, attributes: dict[str, Any], error: str | None) -> None:
        """Say how it went, and end the span."""
        span = self.span
        try:
            if error is not None:
                attributes[names.ERROR_TYPE] = error
                span.set_status(Status(StatusCode.ERROR))
            if attributes:
                span.set_attributes(attributes)
            span.end()
        except Exception as failed:
            dropped("the end of a span", failed)


class BlockTrace(_Current):
    """What is traced of one block: see :class:`investigation_sdk.engine.tracing.Trace`."""

    __slots__ = ("_begun", "_counted", "_heard", "_parent", "common", "id", "on", "taken", "type")

    def __init__(self, on: OpenTelemetryTracer) -> None:
        super().__init__(otel.INVALID_SPAN)
        self.on: OpenTelemetryTracer = on
        self._parent: Context = otel_context.get_current()
        self._begun: float = 0.0
        self._counted: bool = False
        self._heard: bool = False
        self.id: str = ""
        self.type: str = ""
        self.common: dict[str, Any] = {}
        self.taken: set[otel.Span] = set()
        """Spans that say already what they are of: this block, a phase or a call that runs now."""

    def carrier(self) -> dict[str, str] | None:
        """The trace around the block."""
        try:
            return _headers(self._parent)
        except Exception as failed:
            dropped("the trace around a block", failed)
            return None

    def begin(
        self, investigation_id: str, investigation_type: str, attempt: int, earlier: Mapping[str, Any]
    ) -> dict[str, str] | None:
        """Start the attempt's span.

        Its parent is the span that is current around the block. Where there is none, a first attempt goes on with the
        trace in which the investigation was created, and a later one begins a new trace. A span of an earlier
        attempt, or of the creation, that is not the parent is linked.
        """
        self.id = investigation_id
        self.type = investigation_type
        self._begun = time.monotonic()
        try:
            attributes = self.on.attributes.block(investigation_id, investigation_type, attempt)
            self.common = self.on.attributes.common(investigation_id)
            self._heard = self.on.heard
            parent, links = self._related(attempt, earlier)
            name = f"{names.INVOKE_WORKFLOW} {investigation_type}"
            self.span: otel.Span = self.on.start(name, attributes, parent, links)
            self.taken = {self.span}
            return _headers(otel.set_span_in_context(self.span, Context()))
        except Exception as failed:
            dropped("the trace of a block", failed)
            return None

    def _related(self, attempt: int, earlier: Mapping[str, Any]) -> tuple[Context, Sequence[Link]]:
        known = _W3C.extract({name: str(earlier[name]) for name in CARRIED if name in earlier}, Context())
        before = otel.get_current_span(known).get_span_context()
        around = otel.get_current_span(self._parent).get_span_context()
        if not before.is_valid:
            return self._parent, ()
        if not around.is_valid and attempt == 1:
            return otel.set_span_in_context(otel.NonRecordingSpan(before), self._parent), ()
        return self._parent, () if around.span_id == before.span_id else (Link(before),)

    def enter(self) -> None:
        """The block is entered."""
        super().enter()
        self._counted = True
        try:
            self.on.metrics.entered(self.type)
        except Exception as failed:
            dropped("a metric of blocks", failed)

    def end(self, event_type: str, data: Mapping[str, Any]) -> None:
        """The block is left."""
        error = error_of(data)
        self.finish({names.OUTCOME: event_type.rpartition(".")[2]}, error)
        if event_type == "investigation.failed":
            self.on.logs.failed(names.INVESTIGATION_FAILED, self.span, data, self.common)
        if not self._counted:
            return
        self._counted = False
        try:
            self.on.metrics.left(self.type, time.monotonic() - self._begun, event_type, error)
            if data.get("kind") == LeaseLost.__name__:
                self.on.metrics.lost(self.type)
        except Exception as failed:
            dropped("a metric of blocks", failed)

    def phase(self, started: Event) -> PhaseSpan:
        """A phase is entered."""
        data = started.data
        attributes = self.on.attributes.phase(self.common, data)
        return PhaseSpan(self, self.on.start(f"{names.PHASE} {data['name']}", attributes, None, ()))

    def call(self, started: Event) -> CallSpan | None:
        """A body begins to run; None where nobody listens."""
        if not self._heard:
            return None
        try:
            return self._call(started)
        except Exception as failed:
            dropped("a call", failed)
            return None

    def _call(self, started: Event) -> CallSpan:
        on = self.on
        data = started.data
        tool = data["tool"]
        if "again" in data:
            on.metrics.retried(tool)
        around = otel_context.get_current()
        span = otel.get_current_span(around)
        if span not in self.taken and _made_for(span, tool):
            span.set_attributes(on.attributes.added(self.id, started))
            return AddedSpan(self, tool, span)
        attributes = on.attributes.call(self.id, started)
        return CallSpan(self, tool, on.start(f"{names.EXECUTE_TOOL} {tool}", attributes, around, ()))


class PhaseSpan(_Current):
    """Of a phase."""

    __slots__ = ("_block",)

    def __init__(self, block: BlockTrace, span: otel.Span) -> None:
        super().__init__(span)
        self._block = block
        block.taken.add(span)

    def end(self, event_type: str, data: Mapping[str, Any]) -> None:
        """The phase is left. Its duration is measured where its event is durable."""
        self._block.taken.discard(self.span)
        self.finish({names.OUTCOME: event_type.rpartition(".")[2]}, error_of(data))


class CallSpan(_Current):
    """Of a call, made by us."""

    __slots__ = ("_block", "_tool")

    def __init__(self, block: BlockTrace, tool: str, span: otel.Span) -> None:
        super().__init__(span)
        self._block = block
        self._tool = tool
        block.taken.add(span)

    def end(self, event_type: str, data: Mapping[str, Any]) -> None:
        """The body has ended."""
        block = self._block
        on = block.on
        block.taken.discard(self.span)
        error = None
        attributes = on.attributes.outcome(data)
        if event_type != "tool.completed":
            attributes[names.OUTCOME] = event_type.rpartition(".")[2]
            if event_type == "tool.failed":
                error = error_of(data)
                on.logs.failed(names.TOOL_EXCEPTION, self.span, data, block.common)
        self.finish(attributes, error)
        try:
            on.metrics.called(self._tool, data, error)
        except Exception as failed:
            dropped("a metric of calls", failed)


class AddedSpan(CallSpan):
    """Of a call, made by a framework, which has entered it and will end it."""

    __slots__ = ()

    def enter(self) -> None:
        """It is current already."""

    def finish(self, attributes: dict[str, Any], error: str | None) -> None:
        """Say how it went, unless the framework has ended it."""
        try:
            if attributes and self.span.is_recording():
                self.span.set_attributes(attributes)
        except Exception as failed:
            dropped("the end of a span", failed)


def _made_for(span: otel.Span, tool: str) -> bool:
    """Whether a framework made this span for a call of this tool."""
    if not span.is_recording():
        return False
    attributes: Any = getattr(span, "attributes", None)  # the SDK's spans can be read; the API promises it not
    if not attributes:
        return False
    genai = attributes.get(names.OPERATION) == names.EXECUTE_TOOL and attributes.get(names.TOOL_NAME) == tool
    return bool(genai or (attributes.get(names.OI_KIND) == "TOOL" and attributes.get(names.OI_TOOL) == tool))


def _headers(context: Context) -> dict[str, str] | None:
    if not otel.get_current_span(context).get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context)
    return {name: carrier[name] for name in CARRIED if name in carrier} or None
