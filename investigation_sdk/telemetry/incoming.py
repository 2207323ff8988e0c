"""Traces that come in: of a request whose headers name one, where nothing in the process has taken it up."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator, Mapping
from typing import Final

CARRIED: Final = ("traceparent", "tracestate")
"""W3C Trace Context. Nothing else is taken from strangers, such as baggage."""


@contextlib.contextmanager
def going_on(headers: Mapping[str, str]) -> Generator[None]:
    """What is recorded in this block belongs to the trace of these headers, where OpenTelemetry is loaded.

    A span that is current already, such as that of an instrumented application, stays; so does what headers cannot
    say: where they are no W3C headers, nothing changes.
    """
    if "traceparent" not in headers or "opentelemetry.trace" not in sys.modules:
        yield
        return
    from opentelemetry import context, trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if trace.get_current_span().get_span_context().is_valid:
        yield
        return
    token = context.attach(
        TraceContextTextMapPropagator().extract({name: headers[name] for name in CARRIED if name in headers})
    )
    try:
        yield
    finally:
        context.detach(token)
