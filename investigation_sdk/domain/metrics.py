"""What many investigations add up to: rates, durations, transitions. Pure, and of bounded size."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from pydantic import BaseModel

from investigation_sdk.domain.records import Usage
from investigation_sdk.domain.states import InvestigationState

_ACCURACY: Final = 0.01
_GAMMA: Final = (1 + _ACCURACY) / (1 - _ACCURACY)
_LOG_GAMMA: Final = math.log(_GAMMA)
_QUANTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
_REASONS: Final = 20
_OTHER: Final = "(others)"


class Sketch:
    """Durations, of which quantiles can be told to within 1 %, in memory that grows with the logarithm of their range.

    Source: C. Masson, J. E. Rim, H. K. Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error
    Guarantees", VLDB 2019, https://www.vldb.org/pvldb/vol12/p2195-masson.pdf
    """

    __slots__ = ("_buckets", "count", "most", "total")

    def __init__(self) -> None:
        self.count: int = 0
        self.total: float = 0.0
        self.most: float = 0.0
        self._buckets: Counter[int | None] = Counter()

    def add(self, value: float) -> None:
        """One duration, at least 0, in any unit."""
        self.count += 1
        self.total += value
        self.most = max(self.most, value)
        self._buckets[math.ceil(math.log(value) / _LOG_GAMMA) if value > 0 else None] += 1

    def quantile(self, q: float) -> float:
        """The value at or below which the share `q` of them is, 0 to 1; 0 where there are none."""
        rank = q * (self.count - 1)
        seen = 0
        for index in sorted(self._buckets, key=lambda i: -math.inf if i is None else i):
            seen += self._buckets[index]
            if seen > rank:
                return 0.0 if index is None else min(self.most, 2 * _GAMMA**index / (_GAMMA + 1))
        return 0.0

    def summary(self) -> dict[str, float]:
        """``count``, ``avg``, ``p50``, ``p95``, ``p99`` and ``max``."""
        figures = {"count": float(self.count), "avg": self.total / self.count if self.count else 0.0}
        return figures | {name: self.quantile(q) for name, q in _QUANTILES} | {"max": self.most}


class MetricsReport(BaseModel):
    """What the investigations that were created in a time add up to.

    Attributes:
        started: How many there are.
        completed, failed, cancelled: How many of them are that now.
        completion_rate: Completed, of those that are one of the three; None where none is.
        phase_durations_ms: By phase: ``count``, ``avg``, ``p50``, ``p95``, ``p99``, ``max`` of phases that were left,
            ms; quantiles to within 1 %.
        tool_success_rate: By tool: calls that completed, of those that completed or failed.
        transitions: How often, by ``"running->paused"``; ``"->created"`` is creation.
        time_in_state_ms: By state that was left again, as `phase_durations_ms`.
        transitions_by: By transition, how often by whom; ``""`` is the SDK itself.
        reasons: By transition, how often with which reason; beyond 20 reasons of one transition ``"(others)"``.
        failure_kinds: By kind, how often one failed.
        usage: What they reported, summed exactly.
    """

    started: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    completion_rate: float | None = None
    phase_durations_ms: dict[str, dict[str, float]] = {}
    tool_success_rate: dict[str, float] = {}
    transitions: dict[str, int] = {}
    time_in_state_ms: dict[str, dict[str, float]] = {}
    transitions_by: dict[str, dict[str, int]] = {}
    reasons: dict[str, dict[str, int]] = {}
    failure_kinds: dict[str, int] = {}
    usage: Usage = Usage(tokens_used=0, api_calls_made=0, cost_estimate=Decimal(0))


class Change:
    """One change of state, as its event says."""

    __slots__ = ("actor", "at", "before", "kind", "new", "reason")

    def __init__(
        self, at: int, before: str | None, new: str, actor: str | None, reason: str | None, kind: str | None
    ) -> None:
        self.at: int = at
        self.before: str | None = before
        self.new: str = new
        self.actor: str | None = actor
        self.reason: str | None = reason
        self.kind: str | None = kind


class Metrics:
    """Adds up; what is added may come in any order, but for the changes of one investigation."""

    def __init__(self) -> None:
        self._states: Counter[str] = Counter()
        self._phases: defaultdict[str, Sketch] = defaultdict(Sketch)
        self._tools: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._times: defaultdict[str, Sketch] = defaultdict(Sketch)
        self._by: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._reasons: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._kinds: Counter[str] = Counter()
        self._tokens = self._calls = 0
        self._cost = Decimal(0)

    def investigation(self, status: str, tokens: int, calls: int, cost: Decimal) -> None:
        """One investigation, as it is now."""
        self._states[status] += 1
        self._tokens += tokens
        self._calls += calls
        self._cost += cost

    def phase(self, name: str, duration_ms: float) -> None:
        """A phase that was left."""
        self._phases[name].add(duration_ms)

    def tool(self, name: str, status: str, calls: int) -> None:
        """Calls of a tool that are in a state."""
        self._tools[name][status] += calls

    def changes(self, changes: Iterable[Change]) -> None:
        """All changes of state of one investigation, in order."""
        since: int | None = None
        for change in changes:
            way = f"{change.before or ''}->{change.new}"
            self._by[way][change.actor or ""] += 1
            if change.reason is not None:
                reasons = self._reasons[way]
                known = change.reason in reasons or len(reasons) < _REASONS
                reasons[change.reason if known else _OTHER] += 1
            if change.kind is not None:
                self._kinds[change.kind] += 1
            if change.before is not None and since is not None:
                self._times[change.before].add((change.at - since) / 1000)
            since = change.at

    def report(self) -> MetricsReport:
        """What it adds up to."""
        states = self._states
        completed, failed, cancelled = (
            states[state.value]
            for state in (InvestigationState.COMPLETED, InvestigationState.FAILED, InvestigationState.CANCELLED)
        )
        over = completed + failed + cancelled
        ended = {tool: (n["completed"], n["completed"] + n["failed"]) for tool, n in self._tools.items()}
        return MetricsReport(
            started=states.total(),
            completed=completed,
            failed=failed,
            cancelled=cancelled,
            completion_rate=completed / over if over else None,
            phase_durations_ms={name: sketch.summary() for name, sketch in sorted(self._phases.items())},
            tool_success_rate={tool: well / n for tool, (well, n) in sorted(ended.items()) if n},
            transitions={way: by.total() for way, by in sorted(self._by.items())},
            time_in_state_ms={state: sketch.summary() for state, sketch in sorted(self._times.items())},
            transitions_by={way: dict(by.most_common()) for way, by in sorted(self._by.items())},
            reasons={way: dict(n.most_common()) for way, n in sorted(self._reasons.items())},
            failure_kinds=dict(self._kinds.most_common()),
            usage=Usage(tokens_used=self._tokens, api_calls_made=self._calls, cost_estimate=self._cost),
        )
