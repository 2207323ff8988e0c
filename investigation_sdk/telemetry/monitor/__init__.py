"""The monitor: finds what failed, is stuck, is retried often or takes longer than it did, and tells."""

from investigation_sdk.telemetry.monitor.alerts import Alert, Finding, Look, Partial, Rule, Severity
from investigation_sdk.telemetry.monitor.monitor import Monitor
from investigation_sdk.telemetry.monitor.retention import RetentionOverdue
from investigation_sdk.telemetry.monitor.rules import Deaf, Degraded, Failed, HighRetryRate, Stuck
from investigation_sdk.telemetry.monitor.sinks import CallbackSink, LogSink, OpenTelemetrySink, Sink
from investigation_sdk.telemetry.monitor.webhook import WebhookSink

__all__ = [
    "Alert",
    "CallbackSink",
    "Deaf",
    "Degraded",
    "Failed",
    "Finding",
    "HighRetryRate",
    "LogSink",
    "Look",
    "Monitor",
    "OpenTelemetrySink",
    "Partial",
    "RetentionOverdue",
    "Rule",
    "Severity",
    "Sink",
    "Stuck",
    "WebhookSink",
]
