"""Which investigations somebody follows who follows more than one: those of a type, of a user, or all."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.domain.states import ENDED, InvestigationState
from investigation_sdk.engine.sight import equals
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.ids import lower_bound, time_of, uuid7
from investigation_sdk.realtime.hints import Hint
from investigation_sdk.realtime.hub import Hub, rows_of
from investigation_sdk.storage.commit import Query, Where

_PAGE: Final = 1000
_OVERLAP_MS: Final = 600_000
"""Ids are made by many clocks: so much may one be behind another."""

MOST_MISSED: Final = 10_000
"""Of what was begun since a client was here last, the newest; whoever missed more lists it."""

_LOOK_SECONDS: Final = 1.0
"""Between two looks for what other processes have begun, where no broker is heard; each client looks for itself."""

_UNDERWAY: Final = tuple(str(state) for state in InvestigationState if state not in ENDED)


@dataclass(frozen=True)
class Selection:
    """What is followed.

    Attributes:
        investigation_type: Of this type; None: of any.
        user_id: Of this user; None: of anybody.
        tenant: Of this tenant, empty where it has none; None: of any.
        after: The sequence of the last event that is known, by investigation.
    """

    investigation_type: str | None = None
    user_id: str | None = None
    tenant: str | None = None
    after: Mapping[str, int] = field(default_factory=dict[str, int])

    def holds(self, row: InvestigationRow) -> bool:
        """Whether it is one of them."""
        return (
            self.investigation_type in (None, row.investigation_type)
            and self.user_id in (None, row.user_id)
            and self.tenant in (None, row.tenant_id)
        )

    def wheres(self) -> list[Where]:
        """As conditions on rows."""
        return [
            *equals("investigation_type", self.investigation_type),
            *equals("user_id", self.user_id),
            *equals("tenant_id", self.tenant),
        ]


class Directory:
    """Finds what is selected: what is under way, and whatever begins. To be used on the I/O thread."""

    def __init__(self, hub: Hub, selection: Selection) -> None:
        self._hub = hub
        self._selection = selection
        self._followed: set[str] = set()
        self._done: dict[str, int] = {}
        self._heard: set[str] = set()
        self._wake = asyncio.Event()
        self._forget: Callable[[], None] = hub.on_hint(self._hint)
        self._since = _behind(uuid7())
        self._first = True

    def close(self) -> None:
        """Look no more."""
        self._forget()

    def ended(self, id: str, sequence: int) -> None:
        """It is followed no more, and known up to there; should it be taken up again, it is found again."""
        self._followed.discard(id)
        self._done[id] = sequence

    def _hint(self, hint: Hint) -> None:
        id = hint.investigation_id
        if hint.sequence > self._done.get(id, 0) and id not in self._followed:
            self._heard.add(id)
            self._wake.set()

    async def next(self) -> Sequence[InvestigationRow]:
        """Those that are to be followed now, once there are any."""
        while True:
            try:
                rows = await self._look()
            except BackendUnavailable:
                rows = []
            new = [row for row in rows if row.id not in self._followed and row.version > self._done.get(row.id, 0)]
            self._followed |= {row.id for row in new}
            if new:
                return new
            self._wake.clear()
            if not self._heard:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(_LOOK_SECONDS, self._hub.look_seconds)):
                        await self._wake.wait()

    async def _look(self) -> list[InvestigationRow]:
        heard, self._heard = self._heard, set()
        if heard:
            return await self._named(heard)
        wheres = self._selection.wheres()
        known = await self._named(self._selection.after) if self._first else []
        if known:  # what is not there, or not for it, says nothing of when it was here last
            self._since = min(self._since, _behind(max(row.id for row in known)))
        rows = await self._all([*wheres, Where("status", "in", _UNDERWAY)])
        recent = await self._all([*wheres, Where("id", ">=", self._since)], MOST_MISSED)
        if self._first and not self._selection.after:  # what was over before is not asked for
            self._done = {row.id: row.version for row in recent if row.status in ENDED}
        rows += known
        self._first = False
        self._since = max(self._since, _behind(uuid7()))
        self._done = {id: sequence for id, sequence in self._done.items() if id >= self._since}
        return list({row.id: row for row in (*rows, *recent)}.values())

    async def _named(self, ids: Iterable[str]) -> list[InvestigationRow]:
        return [row for row in await rows_of(self._hub.recorder.backend, ids) if self._selection.holds(row)]

    async def _all(self, wheres: Sequence[Where], most: float = math.inf) -> list[InvestigationRow]:
        found: list[InvestigationRow] = []
        after: tuple[str, str] | None = None
        while True:
            query = Query("investigation", tuple(wheres), "id", descending=True, after=after, limit=_PAGE)
            rows = [row for row in await self._hub.recorder.backend.find(query) if isinstance(row, InvestigationRow)]
            found += rows
            if len(rows) < _PAGE or len(found) >= most:
                return found
            after = (rows[-1].id, rows[-1].id)


def _behind(id: str) -> str:
    return lower_bound((time_of(id) - _OVERLAP_MS) * 1000)
