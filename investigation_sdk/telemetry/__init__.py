"""What operators see in their OpenTelemetry: spans, metrics and log events of investigations."""

from investigation_sdk.telemetry.setup import Telemetry

__all__ = ["Telemetry"]
