"""Alerts: what rules find, made into what is told once, when it begins and when it is over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from investigation_sdk.clock import to_datetime
from investigation_sdk.storage.backend import Backend


class Severity(StrEnum):
    """How soon somebody should look."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """What a rule found in one round.

    Attributes:
        key: Names it, the same in every round: ``stuck:<id>``. One alert for each key.
        message: In a sentence: what, which, since when.
        weak: Not enough to begin an alert, but enough to keep one: what lies between two thresholds.
    """

    key: str
    severity: Severity
    message: str
    investigation_id: str | None = None
    value: float | None = None
    threshold: float | None = None
    weak: bool = False


class Partial(list[Finding]):
    """What a rule found that could not see all: alerts on what is not among it stay as they are."""


class Alert(BaseModel):
    """What sinks are given, twice: when it fires, and when it is resolved.

    Attributes:
        key: The same in both, and in later alerts on the same thing.
        rule: Name of the rule.
        value, threshold: What was measured, and the bound it is beyond, where the rule has such; durations in seconds.
        since: When it was first seen.
        resolved_at: When it was seen to be over; None while it fires.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    key: str
    rule: str
    state: Literal["firing", "resolved"]
    severity: Severity
    message: str
    investigation_id: str | None = None
    value: float | None = None
    threshold: float | None = None
    since: datetime
    resolved_at: datetime | None = None


class Look(NamedTuple):
    """What a rule looks at."""

    backend: Backend
    tenant: str
    now: int
    """µs."""


class Rule(Protocol):
    """Looks for one kind of thing. One that raises is logged; its alerts stay as they are.

    One with ``everywhere = True`` is asked in each process that has a monitor, not only in the one that looks for
    all: it finds what is wrong with its process, under keys that name it.
    """

    @property
    def name(self) -> str:
        """Part of its alerts."""
        ...

    async def find(self, look: Look) -> Sequence[Finding]:
        """All that it finds now, or a :class:`Partial`; on the I/O thread, so it is not to block."""
        ...


class _Open:
    """A finding that was seen: how often in a row, and how often it was missing since."""

    __slots__ = ("finding", "fired", "missing", "seen", "since")

    def __init__(self, finding: Finding, now: int) -> None:
        self.finding = finding
        self.since = now
        self.seen = 0
        self.missing = 0
        self.fired = False


class AlertBook:
    """What is known of the alerts of one rule.

    Args:
        fire_after: Rounds in a row in which something is found before it fires.
        resolve_after: Rounds in a row in which it is not found before it is resolved.
    """

    def __init__(self, rule: str, *, fire_after: int = 1, resolve_after: int = 2) -> None:
        self._rule = rule
        self._fire_after = fire_after
        self._resolve_after = resolve_after
        self._open: dict[str, _Open] = {}

    @property
    def firing(self) -> list[Alert]:
        """Those that fire now."""
        return [self._alert(known) for known in self._open.values() if known.fired]

    def forget(self) -> None:
        """Know nothing, and tell nobody: another process looks now."""
        self._open.clear()

    def update(self, found: Iterable[Finding], now: int) -> list[Alert]:
        """What one round found; the alerts that fire or are resolved by it. By a :class:`Partial`, none is resolved."""
        changed: list[Alert] = []
        present: set[str] = set()
        for finding in found:
            known = self._open.get(finding.key)
            if finding.weak and (known is None or not known.fired):
                continue
            if known is None:
                known = self._open[finding.key] = _Open(finding, now)
            present.add(finding.key)
            known.finding, known.missing = finding, 0
            known.seen += 1
            if not known.fired and known.seen >= self._fire_after:
                known.fired = True
                changed.append(self._alert(known))
        if isinstance(found, Partial):
            return changed
        for key in [key for key in self._open if key not in present]:
            known = self._open[key]
            known.missing += 1
            if known.fired and known.missing < self._resolve_after:
                continue
            del self._open[key]
            if known.fired:
                changed.append(self._alert(known, now))
        return changed

    def _alert(self, known: _Open, resolved: int | None = None) -> Alert:
        finding = known.finding
        return Alert(
            key=finding.key,
            rule=self._rule,
            state="firing" if resolved is None else "resolved",
            severity=finding.severity,
            message=finding.message,
            investigation_id=finding.investigation_id,
            value=finding.value,
            threshold=finding.threshold,
            since=to_datetime(known.since),
            resolved_at=None if resolved is None else to_datetime(resolved),
        )
