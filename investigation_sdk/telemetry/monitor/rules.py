"""The rules that come with the SDK. What each compares is said in its docstring; times are timedeltas."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import ClassVar, Final

from investigation_sdk.clock import to_datetime
from investigation_sdk.domain.metrics import Sketch
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, ToolRow
from investigation_sdk.domain.states import InvestigationState, ToolState
from investigation_sdk.engine.ownership import machine
from investigation_sdk.errors import ConfigurationError
from investigation_sdk.ids import lower_bound
from investigation_sdk.storage.commit import Aggregate, Query, Where
from investigation_sdk.telemetry.monitor.alerts import Finding, Look, Partial, Severity
from investigation_sdk.telemetry.monitor.options import count_option, name_option, number_option, time_option

_MICROSECOND: Final = timedelta(microseconds=1)
_WORKS: Final = ("initializing", "running", "completing", "retrying")
_PAGE: Final = 1000
_PAGES: Final = 10
_SAMPLE: Final = 500


def _of_tenant(look: Look) -> tuple[Where, ...]:
    return (Where("tenant_id", "=", look.tenant),) if look.tenant else ()


def _created(look: Look, ago: timedelta) -> tuple[Where, ...]:
    return (Where("id", ">=", lower_bound(look.now - ago // _MICROSECOND)),)


async def _pages(look: Look, query: Query) -> AsyncIterator[tuple[Sequence[object], bool]]:
    """All that match, page by page, and whether there is more after the last one that is read."""
    for number in range(1, _PAGES + 1):
        rows = await look.backend.find(replace(query, limit=_PAGE))
        full = len(rows) == _PAGE
        yield rows, full and number == _PAGES
        if not full:
            return
        query = replace(query, after=(rows[-1].id, rows[-1].id))


def _spoken(us: float) -> str:
    return str(timedelta(seconds=round(us / 1e6)))


@dataclass(frozen=True, slots=True)
class Failed:
    """Investigations that are failed, and became so within `within`. One that is retried is resolved.

    Of more than 10 000, the newest are found, and none is resolved until there are fewer.
    """

    within: timedelta = timedelta(hours=24)
    name: str = "failed"

    def __post_init__(self) -> None:
        name_option("Failed", self.name)
        time_option("Failed", "within", self.within)

    async def find(self, look: Look) -> Sequence[Finding]:
        """See :class:`~investigation_sdk.telemetry.monitor.alerts.Rule`."""
        since = look.now - self.within // _MICROSECOND
        wheres = (Where("status", "=", InvestigationState.FAILED.value), Where("failed_at", ">=", since))
        found: list[Finding] = []
        async for rows, more in _pages(look, Query("investigation", (*wheres, *_of_tenant(look)), descending=True)):
            found += [
                Finding(
                    f"failed:{row.id}",
                    Severity.ERROR,
                    f"Investigation {row.id} ({row.investigation_type}) failed with kind {row.failure_kind}.",
                    row.id,
                )
                for row in rows
                if isinstance(row, InvestigationRow)
            ]
            if more:
                return Partial(found)
        return found


@dataclass(frozen=True, slots=True)
class Stuck:
    """Investigations that are worked on and have had no event for longer than ``max(floor, factor x p95)``: p95 is
    that of the last completed calls of the tool that runs now, of the slowest if several do; where none does, that
    of the open phase. Paused ones are not stuck; of one that waits for its next try, the time from then on counts.

    Of more than 10 000 that are silent for longer than `floor`, the oldest are judged, and none is resolved until
    there are fewer.
    """

    floor: timedelta = timedelta(minutes=5)
    factor: float = 3.0
    name: str = "stuck"

    def __post_init__(self) -> None:
        name_option("Stuck", self.name)
        time_option("Stuck", "floor", self.floor)
        number_option("Stuck", "factor", self.factor, 0)

    async def find(self, look: Look) -> Sequence[Finding]:
        """See :class:`~investigation_sdk.telemetry.monitor.alerts.Rule`."""
        before = look.now - self.floor // _MICROSECOND
        wheres = (Where("status", "in", _WORKS), Where("updated_at", "<", before), *_of_tenant(look))
        found: list[Finding] = []
        p95s: dict[tuple[str, str], float] = {}
        async for page, more in _pages(look, Query("investigation", wheres)):
            silent = [row for row in page if isinstance(row, InvestigationRow) and _silent_since(row) < before]
            inside = await _running(look, silent)
            for row in silent:
                finding = await self._judge(look, row, inside[row.id], p95s)
                found += [] if finding is None else [finding]
            if more:
                return Partial(found)
        return found

    async def _judge(
        self, look: Look, row: InvestigationRow, running: set[tuple[str, str]], p95s: dict[tuple[str, str], float]
    ) -> Finding | None:
        for what in running:
            if what not in p95s:
                p95s[what] = await _p95_us(look, *what)
        usual = max((p95s[what] for what in running), default=0.0)
        bound = max(self.floor / _MICROSECOND, self.factor * usual)
        since = _silent_since(row)
        silent = look.now - since
        if silent <= bound:
            return None
        inside = ", ".join(sorted(f"{kind} {name}" for kind, name in running)) or "between calls"
        return Finding(
            f"stuck:{row.id}",
            Severity.WARNING,
            f"Investigation {row.id} ({row.investigation_type}) is {row.status} and has had no event for "
            f"{_spoken(silent)}, since {to_datetime(since):%Y-%m-%d %H:%M:%S} UTC: {inside}.",
            row.id,
            silent / 1e6,
            bound / 1e6,
        )


def _silent_since(row: InvestigationRow) -> int:
    return max(row.updated_at, row.claimable_at or 0)


async def _running(look: Look, rows: Sequence[InvestigationRow]) -> dict[str, set[tuple[str, str]]]:
    """By investigation: the tools that run, else the open phase."""
    inside: dict[str, set[tuple[str, str]]] = {row.id: set() for row in rows}
    if not inside:
        return inside
    wheres = (Where("investigation_id", "in", tuple(inside)), Where("status", "=", ToolState.RUNNING.value))
    async for calls, _ in _pages(look, Query("tool", wheres)):
        for call in calls:
            if isinstance(call, ToolRow):
                inside[call.investigation_id].add(("tool", call.tool_name))
    for row in rows:
        if row.current_phase is not None and not inside[row.id]:
            inside[row.id].add(("phase", row.current_phase))
    return inside


async def _p95_us(look: Look, kind: str, name: str) -> float:
    sketch = Sketch()
    if kind == "tool":
        wheres = (Where("tool_name", "=", name), Where("status", "=", "completed"), *_of_tenant(look))
        query = Query("tool", wheres, descending=True, limit=_SAMPLE)
    else:
        wheres = (Where("phase_name", "=", name), Where("status", "=", "completed"))
        query = Query("phase", wheres, descending=True, limit=_SAMPLE)
    for row in await look.backend.find(query):
        if isinstance(row, ToolRow | PhaseRow) and row.duration_ms is not None:
            sketch.add(row.duration_ms * 1000.0)
    return sketch.quantile(0.95)


@dataclass(frozen=True, slots=True)
class HighRetryRate:
    """Types of which at least `share` of the investigations created within `within` were retried; resolved below
    `clear`, or `share` where that is lower. At least `least` must have been created."""

    share: float = 0.3
    clear: float = 0.2
    within: timedelta = timedelta(hours=1)
    least: int = 5
    name: str = "high_retry_rate"

    def __post_init__(self) -> None:
        name_option("HighRetryRate", self.name)
        number_option("HighRetryRate", "share", self.share, 0, 1)
        number_option("HighRetryRate", "clear", self.clear, 0, 1)
        time_option("HighRetryRate", "within", self.within)
        count_option("HighRetryRate", "least", self.least)

    async def find(self, look: Look) -> Sequence[Finding]:
        """See :class:`~investigation_sdk.telemetry.monitor.alerts.Rule`."""
        wheres = (*_created(look, self.within), *_of_tenant(look))
        all_of = await look.backend.aggregate(Aggregate("investigation", wheres, ("investigation_type",)))
        again = (*wheres, Where("retry_count", ">", 0))
        retried = dict(await _counts(look, Aggregate("investigation", again, ("investigation_type",))))
        found: list[Finding] = []
        for kind, count in all_of:
            again_of = retried.get(kind, 0)
            share = again_of / count
            if count >= self.least and share >= min(self.clear, self.share):
                message = f"{again_of} of {count} investigations of type {kind} were retried within {self.within}."
                weak = share < self.share
                key = f"high_retry_rate:{kind}"
                found.append(Finding(key, Severity.WARNING, message, None, share, self.share, weak))
        return found


async def _counts(look: Look, aggregate: Aggregate) -> list[tuple[str, int]]:
    return [(str(kind), int(count)) for kind, count in await look.backend.aggregate(aggregate)]


@dataclass(frozen=True, slots=True)
class Degraded:
    """Types whose investigations take longer than they did: the median time from start to completion, pauses
    included, of those completed within `recent` is at least `factor` times that of those completed within `history`
    before; resolved below `clear` times. At least `least` must have completed in each; of each, the 500 count that
    were created last, and none that was created longer than `longest` before that time began.
    """

    factor: float = 2.0
    clear: float = 1.5
    recent: timedelta = timedelta(hours=1)
    history: timedelta = timedelta(days=7)
    least: int = 10
    name: str = "degraded"
    longest: timedelta = timedelta(days=1)

    def __post_init__(self) -> None:
        name_option("Degraded", self.name)
        number_option("Degraded", "factor", self.factor, 1)
        number_option("Degraded", "clear", self.clear, 0)
        for option in ("recent", "history", "longest"):
            time_option("Degraded", option, getattr(self, option))
        count_option("Degraded", "least", self.least)

    async def find(self, look: Look) -> Sequence[Finding]:
        """See :class:`~investigation_sdk.telemetry.monitor.alerts.Rule`."""
        done = (Where("status", "=", InvestigationState.COMPLETED.value), *_of_tenant(look))
        edge = look.now - self.recent // _MICROSECOND
        recent = (Where("completed_at", ">=", edge), *_created(look, self.recent + self.longest), *done)
        all_time = self.recent + self.history
        usual_times = (
            Where("completed_at", ">=", look.now - all_time // _MICROSECOND),
            Where("completed_at", "<", edge),
            Where("id", "<", lower_bound(edge)),
            *_created(look, all_time + self.longest),
            *done,
        )
        lately = Aggregate("investigation", recent, ("investigation_type",))
        found: list[Finding] = []
        for kind, count in await _counts(look, lately):
            if count < self.least:
                continue
            of_type = Where("investigation_type", "=", kind)
            now = await _times(look, (*recent, of_type))
            before = await _times(look, (*usual_times, of_type))
            usual = before.quantile(0.5)
            ratio = now.quantile(0.5) / usual if usual and before.count >= self.least else 0.0
            if ratio < min(self.clear, self.factor):
                continue
            message = (
                f"Investigations of type {kind} take {ratio:.1f} times as long as they did: median "
                f"{now.quantile(0.5) / 1e6:.3g} s of {now.count}, {usual / 1e6:.3g} s of {before.count} before."
            )
            weak = ratio < self.factor
            found.append(Finding(f"degraded:{kind}", Severity.WARNING, message, None, ratio, self.factor, weak))
        return found


async def _times(look: Look, wheres: tuple[Where, ...]) -> Sketch:
    sketch = Sketch()
    for row in await look.backend.find(Query("investigation", wheres, descending=True, limit=_SAMPLE)):
        if isinstance(row, InvestigationRow) and row.started_at is not None and row.completed_at is not None:
            sketch.add(max(0, row.completed_at - row.started_at))
    return sketch


@dataclass(frozen=True, slots=True)
class Deaf:
    """Listeners of this process that hear nothing: of each, a function that says whether it hears. One that raises
    does not. Each process that has a monitor is told of its own, under a key that names it."""

    listeners: Mapping[str, Callable[[], bool]] = field(default_factory=dict[str, Callable[[], bool]])
    name: str = "deaf"
    everywhere: ClassVar[bool] = True

    def __post_init__(self) -> None:
        name_option("Deaf", self.name)
        for listener, hears in self.listeners.items():
            if not callable(hears):
                raise ConfigurationError(f"Deaf: what is given for the listener {listener!r} is no function")

    async def find(self, look: Look) -> Sequence[Finding]:
        """See :class:`~investigation_sdk.telemetry.monitor.alerts.Rule`."""
        found: list[Finding] = []
        host, process = machine().partition(".")[0], os.getpid()
        for name, hears in self.listeners.items():
            with contextlib.suppress(Exception):
                if hears():
                    continue
            message = f"The listener {name} of process {process} on {host} hears nothing."
            found.append(Finding(f"deaf:{name}@{host}:{process}", Severity.ERROR, message))
        return found
