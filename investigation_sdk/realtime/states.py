"""States that are kept in the process while it hears of every change: asked again, they cost no look at the store."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.domain.states import ENDED
from investigation_sdk.engine.reading import get_row
from investigation_sdk.engine.sight import Sight
from investigation_sdk.realtime.hub import Hub
from investigation_sdk.storage.backend import Backend

OLDEST_SECONDS: Final = 5.0
"""A hint may be lost: nothing older is given, however quiet it is."""

_MOST: Final = 1000


class States:
    """Rows of investigations that are under way, each as of its version. To be used on the I/O thread."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._kept: OrderedDict[str, tuple[InvestigationRow, float]] = OrderedDict()

    async def get_row(self, backend: Backend, investigation_id: str, sight: Sight) -> InvestigationRow:
        """See :func:`investigation_sdk.engine.reading.get_row`."""
        hub = self._hub
        hub.start()
        row, until = self._kept.get(investigation_id, (None, 0.0))
        fresh = row is not None and row.version >= hub.version_of(investigation_id) and time.monotonic() < until
        if row is not None and fresh and hub.hears:
            return sight.admit(row, investigation_id)
        hears, asked = hub.hears, time.monotonic()
        row = await get_row(backend, investigation_id, sight)
        self._kept.pop(investigation_id, None)
        if hears and row.status not in ENDED:
            self._kept[investigation_id] = row, asked + OLDEST_SECONDS
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return row
