"""What is current: a span is, while its code runs in the context that entered it.

No token is kept, as it may not cross a ``yield``: leaving puts back the context that was there. So a generator, a
thread or a task that outlives its block disturbs nobody. Blocks and phases may be left in another order than they were
entered, or never: what is put back is what is around them and not left yet.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode

from investigation_sdk.telemetry import conventions as names
from investigation_sdk.telemetry.dropped import dropped


class Current:
    """A span that is current while it is entered. No method raises."""

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
            now = otel_context.get_current()
            if now is self._inside or otel.get_current_span(now) is self.span or self._is_around(now):
                otel_context.attach(around)
        except Exception as failed:
            dropped("what runs after a span", failed)
        self._around = self._inside = None

    def _is_around(self, now: Context) -> bool:
        """Whether what is current was entered inside of this, and not left: it is over with it."""
        inner = innermost.get()
        while inner is not None and inner.around is not None and otel.get_current_span(now) is inner.span:
            now = inner.around
            inner = inner.outer
            if otel.get_current_span(now) is self.span:
                innermost.set(inner)
                return True
        return False

    def finish(self, attributes: dict[str, Any], error: str | None, end: int | None = None) -> None:
        """Say how it went, and end the span: at a time in ns since the epoch, or now."""
        span = self.span
        try:
            if error is not None:
                attributes[names.ERROR_TYPE] = error
                span.set_status(Status(StatusCode.ERROR))
            if attributes:
                span.set_attributes(attributes)
            span.end(end)
        except Exception as failed:
            dropped("the end of a span", failed)


class Lasting(Current):
    """Of a block or a phase, which know what they were entered in."""

    __slots__ = ("around", "left", "outer")

    def __init__(self, span: otel.Span) -> None:
        super().__init__(span)
        self.around: Context | None = None
        self.outer: Lasting | None = None
        self.left: bool = False

    def enter(self) -> None:
        """What runs next in this context belongs to it."""
        super().enter()
        self.around = self._around
        outer = innermost.get()
        if outer is not None:
            outer.settle()  # else those that were left would stay in memory, one behind the other
        self.outer = outer
        innermost.set(self)

    def settle(self) -> None:
        """Of what it was entered in, forget what was left since."""
        outer = self.outer
        while outer is not None and outer.left:
            around = self.around
            if around is not None and outer.around is not None and otel.get_current_span(around) is outer.span:
                self.around = outer.around
            self.outer = outer = outer.outer

    def leave(self) -> None:
        """It is left, as is what it is the last to be left of."""
        self.left = True
        try:
            before = now = otel_context.get_current()
            inner = innermost.get()
            while inner is not None and inner.left:
                if inner.around is not None and otel.get_current_span(now) is inner.span:
                    now = inner.around
                inner = inner.outer
            innermost.set(inner)
            if now is not before:
                otel_context.attach(now)
        except Exception as failed:
            dropped("what runs after a span", failed)


innermost: ContextVar[Lasting | None] = ContextVar("investigation_span", default=None)
