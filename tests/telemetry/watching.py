"""Monitors whose time is what the test says it is."""

from datetime import timedelta

from investigation_sdk import InvestigationSDK
from investigation_sdk.clock import now_us
from investigation_sdk.telemetry.monitor import Alert, Monitor, Rule


class Clock:
    """Real time, moved."""

    def __init__(self) -> None:
        self.moved = 0

    def __call__(self) -> int:
        return now_us() + self.moved

    def move(self, by: timedelta) -> None:
        self.moved += by // timedelta(microseconds=1)


def watching(sdk: InvestigationSDK, clock: Clock, *rules: Rule) -> Monitor:
    """A monitor that looks when it is told to, with no sinks."""
    return Monitor(sdk, rules=rules or None, sinks=[], clock=clock)


def told(alerts: list[Alert]) -> list[tuple[str, str]]:
    """Their keys and states."""
    return [(alert.key, alert.state) for alert in alerts]
