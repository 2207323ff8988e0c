"""How long finished investigations are kept: the oldest one's age, and the rule that it be bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from investigation_sdk.clock import to_datetime
from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.storage.commit import Query, Where
from investigation_sdk.telemetry.monitor.alerts import Finding, Look, Severity
from investigation_sdk.telemetry.monitor.options import name_option, time_option

_MICROSECOND: Final = timedelta(microseconds=1)
_ENDS: Final = (InvestigationState.COMPLETED, InvestigationState.FAILED, InvestigationState.CANCELLED)
_PAGE: Final = 100
_PAGES: Final = 10


async def oldest_ended(look: Look, investigation_type: str | None = None) -> tuple[InvestigationRow, int] | None:
    """Of the investigations that are finished, the one that ended first, and when, in µs; None where there is none.

    Stores find by status in the order of creation. What was created after the earliest end that is known cannot have
    ended before it, so this reads those only that were under way together with the oldest. Where these are more than
    a thousand of one status, the first thousand count.
    """
    of = () if investigation_type is None else (Where("investigation_type", "=", investigation_type),)
    oldest: tuple[InvestigationRow, int] | None = None
    for status in _ENDS:
        async for row in _in_order(look, (Where("status", "=", status.value), *of)):
            if oldest is not None and row.created_at >= oldest[1]:
                break
            ended = _ended_at(row)
            if oldest is None or ended < oldest[1]:
                oldest = row, ended
    return oldest


async def _in_order(look: Look, wheres: tuple[Where, ...]) -> AsyncIterator[InvestigationRow]:
    tenant = (Where("tenant_id", "=", look.tenant),) if look.tenant else ()
    after: tuple[str, str] | None = None
    limit = 1  # mostly the second one was created after the first had ended
    for _ in range(_PAGES):
        rows = await look.backend.find(Query("investigation", (*wheres, *tenant), after=after, limit=limit))
        for row in rows:
            if isinstance(row, InvestigationRow):
                yield row
        if len(rows) < limit:
            return
        after, limit = (rows[-1].id, rows[-1].id), _PAGE


def _ended_at(row: InvestigationRow) -> int:
    ended = row.failed_at if row.status == InvestigationState.FAILED.value else row.completed_at
    return row.updated_at if ended is None else ended  # what is cancelled has its last event's time alone


@dataclass(frozen=True, slots=True)
class RetentionOverdue:
    """A finished investigation that is still there longer than `after` after it ended; resolved when there is none.

    One alert, which names the oldest; with an `investigation_type`, of that type alone, for types that are kept for
    different times.

    Raises:
        ConfigurationError: `after` is not positive.
    """

    after: timedelta
    investigation_type: str | None = None
    name: str = "retention_overdue"

    def __post_init__(self) -> None:
        name_option("RetentionOverdue", self.name)
        time_option("RetentionOverdue", "after", self.after)

    async def find(self, look: Look) -> Sequence[Finding]:
        """See :class:`~investigation_sdk.telemetry.monitor.alerts.Rule`."""
        oldest = await oldest_ended(look, self.investigation_type)
        if oldest is None or look.now - oldest[1] <= self.after // _MICROSECOND:
            return []
        row, ended = oldest
        age = (look.now - ended) / 1e6
        message = (
            f"Investigation {row.id} ({row.investigation_type}) ended on {to_datetime(ended):%Y-%m-%d %H:%M:%S} UTC "
            f"and is still there, {timedelta(seconds=round(age))} later; it was to be kept for {self.after}."
        )
        key = self.name if self.investigation_type is None else f"{self.name}:{self.investigation_type}"
        return [Finding(key, Severity.WARNING, message, row.id, age, self.after.total_seconds())]
