"""Sinks: where alerts go. Each is served by a thread of its own, from a queue that is bounded."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from investigation_sdk.telemetry import conventions as names
from investigation_sdk.telemetry.monitor.alerts import Alert, Severity

_log = logging.getLogger("investigation_sdk.alerts")
_LEVELS: Final = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.ERROR: logging.ERROR}

MAX_WAITING: Final = 1000
"""Alerts that wait for one sink; beyond it the oldest are dropped, and that is logged."""


class Sink(Protocol):
    """Takes alerts, one after another."""

    def send(self, alert: Alert) -> None:
        """Tell somebody. It may take its time; one that raises is logged, and the next alert is sent."""
        ...


class LogSink:
    """Writes alerts to the log ``investigation_sdk.alerts``, with the members of the alert in the record's `alert`."""

    def send(self, alert: Alert) -> None:
        """One record; what is resolved is information."""
        level = _LEVELS[alert.severity] if alert.state == "firing" else logging.INFO
        extra: dict[str, Any] = {"alert": alert.model_dump(mode="json")}
        if alert.investigation_id:
            extra["investigation_id"] = alert.investigation_id
        _log.log(level, "%s: %s", alert.state, alert.message, extra=extra)


class CallbackSink:
    """Calls a function with each alert."""

    def __init__(self, function: Callable[[Alert], Any]) -> None:
        self._function = function

    def send(self, alert: Alert) -> None:
        """Call it."""
        self._function(alert)


class OpenTelemetrySink:
    """Emits a log event ``investigation.alert`` for each alert.

    Args:
        logger_provider: Of the OpenTelemetry SDK; None: the global one.
    """

    def __init__(self, logger_provider: Any = None) -> None:
        from opentelemetry._logs import get_logger

        self._logger = get_logger(*names.SCOPE, logger_provider=logger_provider, schema_url=names.SCHEMA_URL)

    def send(self, alert: Alert) -> None:
        """One event, its attributes under ``investigation.alert.*``."""
        from opentelemetry._logs import LogRecord, SeverityNumber

        numbers = {
            Severity.INFO: SeverityNumber.INFO,
            Severity.WARNING: SeverityNumber.WARN,
            Severity.ERROR: SeverityNumber.ERROR,
        }
        members = alert.model_dump(mode="json", exclude_none=True)
        record = LogRecord(
            timestamp=time.time_ns(),
            severity_number=numbers[alert.severity],
            severity_text=alert.severity.value.upper(),
            body=alert.message,
            event_name=names.ALERT,
            attributes={f"{names.ALERT}.{name}": value for name, value in members.items()},
        )
        self._logger.emit(record)


class Delivery:
    """Hands alerts to one sink, on a daemon thread that is there from the first alert until it is closed."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.forked()

    def forked(self) -> None:
        """Begin anew. In a forked child: the parent sends what waits there, and its thread is not in this process."""
        self._waiting: deque[Alert] = deque(maxlen=MAX_WAITING)
        self._changed = threading.Condition()
        self._busy = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def put(self, alert: Alert) -> None:
        """To be sent next; never blocks."""
        with self._changed:
            if len(self._waiting) == MAX_WAITING:
                _log.warning("%s is slower than the alerts; the oldest are dropped.", type(self._sink).__name__)
            self._waiting.append(alert)
            self._closed = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="investigation-alerts", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    self._thread = None
                    return
                alert = self._waiting.popleft()
                self._busy = True
            try:
                self._sink.send(alert)
            except BaseException:  # also SystemExit: who raises it here ends nothing but this thread, in silence
                of = {"investigation_id": alert.investigation_id} if alert.investigation_id else {}
                _log.exception("%s could not send the alert %s.", type(self._sink).__name__, alert.key, extra=of)

    def close(self) -> None:
        """End the thread as soon as all is sent; an alert that comes later starts another."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def drain(self, timeout: float) -> bool:
        """Wait until all is sent, so many seconds at most; whether it is."""
        with self._changed:
            if self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout):
                return True
            left = len(self._waiting) + self._busy
        _log.warning("%s has still %d alerts to send; nobody waits for it.", type(self._sink).__name__, left)
        return False


def close_all(deliveries: Sequence[Delivery], timeout: float) -> None:
    """Close them, and wait until all is sent, so many seconds at most for all of them together."""
    end = time.monotonic() + timeout
    for delivery in deliveries:
        delivery.close()
    for delivery in deliveries:
        delivery.drain(max(0.0, end - time.monotonic()))
