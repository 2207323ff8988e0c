"""Spans: one for each block around an investigation, each phase and each call whose body ran.

Samplers, processors, exporters and instruments are code of others, that runs in the middle of a call. Where it raises,
what it was told is dropped: no method that the recording calls raises, and what else is to be told still is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry._logs import get_logger_provider
from opentelemetry.context import Context
from opentelemetry.metrics import get_meter_provider
from opentelemetry.trace import Link, SpanContext, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from investigation_sdk.domain.events import Event
from investigation_sdk.domain.usage import add_exactly
from investigation_sdk.errors import LeaseLost
from investigation_sdk.telemetry import conventions as names
from investigation_sdk.telemetry.attributes import Attributes, error_of
from investigation_sdk.telemetry.current import Current, Lasting
from investigation_sdk.telemetry.dropped import dropped
from investigation_sdk.telemetry.incoming import CARRIED
from investigation_sdk.telemetry.logs import Logs
from investigation_sdk.telemetry.metrics import Metrics
from investigation_sdk.telemetry.setup import Telemetry

_adding = threading.RLock()  # the garbage collector may run a tool in there
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
    def heard(self) -> tuple[bool, bool]:
        """Whether anybody listens, and whether to metrics: an SDK, where the API's own providers do nothing."""
        options = self._options
        measured = _listens(options.meter_provider or get_meter_provider())
        others = options.tracer_provider or otel.get_tracer_provider(), options.logger_provider or get_logger_provider()
        return measured or any(_listens(provider) for provider in others), measured

    def start(self, name: str, attributes: dict[str, Any], context: Context | None, links: Sequence[Link]) -> otel.Span:
        """A new span; not current. One that is of nothing where it cannot be made."""
        try:
            return self.tracer.start_span(name, context, SpanKind.INTERNAL, attributes, links)
        except Exception as failed:
            dropped("a span", failed)
            return otel.INVALID_SPAN


def _listens(provider: object) -> bool:
    module = type(provider).__module__
    return not module.startswith("opentelemetry.") or module.startswith("opentelemetry.sdk.")


class BlockTrace(Lasting):
    """What is traced of one block: see :class:`investigation_sdk.engine.tracing.Trace`."""

    __slots__ = (
        "_begun", "_counted", "_heard", "_over", "_parent", "_paused", "common", "id", "measured", "on", "open",
        "taken", "type", "usage",
    )  # fmt: skip

    def __init__(self, on: OpenTelemetryTracer) -> None:
        super().__init__(otel.INVALID_SPAN)
        self.on: OpenTelemetryTracer = on
        self._parent: Context = otel_context.get_current()
        self._begun: float = 0.0
        self._counted: bool = False
        self._heard: bool = False
        self._over: bool = False
        self._paused: float = 0.0
        self.measured: bool = False
        self.id: str = ""
        self.type: str = ""
        self.common: dict[str, Any] = {}
        self.usage: dict[str, Any] = {}
        self.open: set[PhaseSpan] = set()
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

        A block has one span. Where it began to create an investigation, and drives one that was there, that is said.
        """
        self.id = investigation_id
        self.type = investigation_type
        self._begun = time.monotonic()
        try:
            attributes = self.on.attributes.block(investigation_id, investigation_type, attempt)
            self.common = self.on.attributes.common(investigation_id)
            self._heard, self.measured = self.on.heard
            before, around = _earlier(earlier), otel.get_current_span(self._parent).get_span_context()
            if self.taken:
                self.span.set_attributes(attributes)
                if before is not None and around.span_id != before.span_id:
                    self.span.add_link(before)
            elif not self._over:
                parent = self._parent
                links: Sequence[Link] = ()
                if before is not None and not around.is_valid and attempt == 1:
                    parent = otel.set_span_in_context(otel.NonRecordingSpan(before), parent)
                elif before is not None and around.span_id != before.span_id:
                    links = (Link(before),)
                name = f"{names.INVOKE_WORKFLOW} {investigation_type}"
                self.span: otel.Span = self.on.start(name, attributes, parent, links)
                self.taken.add(self.span)
            return _headers(otel.set_span_in_context(self.span, Context()))
        except Exception as failed:
            dropped("the trace of a block", failed)
            return None

    def unopened(self, investigation_id: str | None, error: str | None) -> None:
        """The block drives nothing."""
        self._over = True
        outcome = "finished_before" if error is None else "not_opened"
        attributes = {} if investigation_id is None else self.on.attributes.common(investigation_id)
        self.finish({**attributes, names.OUTCOME: outcome}, error)

    def enter(self) -> None:
        """The block is entered."""
        super().enter()
        self._counted = True
        try:
            self.on.metrics.entered(self.type)
        except Exception as failed:
            dropped("a metric of blocks", failed)

    def leave(self) -> None:
        """The block is left, and with it what was entered in it and not left."""
        for phase in self.open:
            phase.left = True
        super().leave()

    def paused(self, seconds: float) -> None:
        """So long it waited for the end of a pause."""
        self._paused += seconds

    def used(self, usage: Mapping[str, Any]) -> None:
        """So much was used."""
        with _adding:
            for name, amount in usage.items():
                if name == "cost_estimate":
                    self.usage[name] = add_exactly(self.usage.get(name, Decimal(0)), Decimal(amount))
                else:
                    self.usage[name] = self.usage.get(name, 0) + amount

    def end(self, event_type: str, data: Mapping[str, Any]) -> None:
        """The block is left."""
        for phase in list(self.open):  # their ends are recorded with that of the investigation
            phase.end("phase.interrupted", {})
        error = error_of(data)
        self._over = True
        attributes = self.on.attributes.usage(self.usage)
        attributes[names.OUTCOME] = event_type.rpartition(".")[2]
        if self._paused:
            attributes[names.PAUSED] = self._paused
        self.finish(attributes, error)
        if event_type == "investigation.failed":
            self.on.logs.failed(names.INVESTIGATION_FAILED, self.span, data, self.common)
        if not self._counted:
            return
        self._counted = False
        try:
            seconds = time.monotonic() - self._begun - self._paused
            self.on.metrics.left(self.type, max(0.0, seconds), event_type, error)
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


class PhaseSpan(Lasting):
    """Of a phase."""

    __slots__ = ("_block",)

    def __init__(self, block: BlockTrace, span: otel.Span) -> None:
        super().__init__(span)
        self._block = block
        block.taken.add(span)
        block.open.add(self)

    def end(self, event_type: str, data: Mapping[str, Any]) -> None:
        """The phase is left, if its block was not. Its duration is measured where its event is durable."""
        block = self._block
        if self in block.open:
            block.open.discard(self)
            block.taken.discard(self.span)
            self.finish({names.OUTCOME: event_type.rpartition(".")[2]}, error_of(data), _ended_at(data))


class CallSpan(Current):
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
        outcome = "completed"
        attributes = on.attributes.outcome(data)
        if "usage" in data:
            block.used(data["usage"])
        if event_type != "tool.completed":
            attributes[names.OUTCOME] = outcome = event_type.rpartition(".")[2]
            if event_type == "tool.failed":
                error = error_of(data)
                on.logs.failed(names.TOOL_EXCEPTION, self.span, data, block.common)
        self.finish(attributes, error, _ended_at(data))
        if not block.measured:
            return
        try:
            on.metrics.called(self._tool, data, outcome, error)
        except Exception as failed:
            dropped("a metric of calls", failed)


class AddedSpan(CallSpan):
    """Of a call, made by a framework, which has entered it and will end it."""

    __slots__ = ()

    def enter(self) -> None:
        """It is current already."""

    def finish(self, attributes: dict[str, Any], error: str | None, end: int | None = None) -> None:
        """Say how it went, unless the framework has ended it."""
        try:
            if attributes and self.span.is_recording():
                self.span.set_attributes(attributes)
        except Exception as failed:
            dropped("the end of a span", failed)


def _made_for(span: otel.Span, tool: str) -> bool:
    """Whether a framework made this span for a call of this tool, and no call was added to it before: what runs the
    tool more than once in one span of its own, such as a retry, has a span of ours for each other time."""
    if not span.is_recording():
        return False
    attributes: Any = getattr(span, "attributes", None)  # the SDK's spans can be read; the API promises it not
    if not attributes or names.CALL_ID in attributes:
        return False
    genai = attributes.get(names.OPERATION) == names.EXECUTE_TOOL and attributes.get(names.TOOL_NAME) == tool
    return bool(genai or (attributes.get(names.OI_KIND) == "TOOL" and attributes.get(names.OI_TOOL) == tool))


def _ended_at(data: Mapping[str, Any]) -> int | None:
    """When, as the event has it, in ns since the epoch."""
    time: int | None = data.get("completed_at")
    return None if time is None else time * 1000


def _earlier(noted: Mapping[str, Any]) -> SpanContext | None:
    """The span that is stored of an earlier attempt, or of the creation."""
    known = _W3C.extract({name: str(noted[name]) for name in CARRIED if name in noted}, Context())
    before = otel.get_current_span(known).get_span_context()
    return before if before.is_valid else None


def _headers(context: Context) -> dict[str, str] | None:
    if not otel.get_current_span(context).get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context)
    return {name: carrier[name] for name in CARRIED if name in carrier} or None
