"""Log events of OpenTelemetry: failures, where a span event would have been; those are being deprecated."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from opentelemetry import trace as otel
from opentelemetry._logs import LoggerProvider, LogRecord, SeverityNumber, get_logger
from opentelemetry.context import Context

from investigation_sdk.telemetry import conventions as names
from investigation_sdk.telemetry.dropped import dropped


class Logs:
    """Emits log events."""

    def __init__(self, provider: LoggerProvider | None) -> None:
        self._logger = get_logger(*names.SCOPE, logger_provider=provider, schema_url=names.SCHEMA_URL)

    def failed(self, name: str, span: otel.Span, data: Mapping[str, Any], common: Mapping[str, Any]) -> None:
        """Something failed: `data` is that of the event which records it, masked as there, without its traceback."""
        try:
            self._emit(name, span, data.get("error") or {}, common)
        except Exception as failed:
            dropped("a log event", failed)

    def _emit(self, name: str, span: otel.Span, error: Mapping[str, Any], common: Mapping[str, Any]) -> None:
        attributes = {
            **common,
            names.EXCEPTION_TYPE: str(error.get("type", "")),
            names.EXCEPTION_MESSAGE: str(error.get("message", "")),
        }
        self._logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                context=otel.set_span_in_context(span, Context()),
                severity_number=SeverityNumber.ERROR,
                severity_text="ERROR",
                event_name=name,
                attributes=attributes,
            )
        )
