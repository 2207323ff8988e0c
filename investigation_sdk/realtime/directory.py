"""Finds investigations for all who follow many: what is under way, and whatever begins.

One look at the store for all who follow the same, and one question for what all of them hear of. To be used on the
I/O thread.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.domain.states import ENDED, InvestigationState
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.ids import lower_bound, time_of, uuid7
from investigation_sdk.realtime.cursors import Cursors
from investigation_sdk.realtime.hints import Hint
from investigation_sdk.realtime.hub import Hub, rows_of
from investigation_sdk.realtime.selecting import Identity, Selection, holding, identity
from investigation_sdk.storage.commit import Query, Where

_log = logging.getLogger("investigation_sdk.realtime")

_PAGE: Final = 1000
_OVERLAP_MS: Final = 600_000
"""Ids are made by many clocks: so much may one be behind another."""

MOST_MISSED: Final = 10_000
"""Of what was begun since a client was here last, the newest; whoever missed more lists it."""

_LOOK_SECONDS: Final = 1.0
"""Between two looks for what other processes have begun, where no broker is heard."""

_IDENTITIES: Final = 10_000
"""Investigations of which it is known who follows them without a question."""

_UNDERWAY: Final = tuple(str(state) for state in InvestigationState if state not in ENDED)


class News(NamedTuple):
    """What was found."""

    rows: Sequence[InvestigationRow]
    since: str | None = None
    """What was begun before this id was found, here or before."""


Tell: TypeAlias = "Callable[[News | None], object]"
"""Called on the I/O thread with what was found; None: nothing more will be."""


class Directory:
    """See the module; for those of one loop who follow many."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._groups: dict[Selection, Group] = {}
        self._identities: OrderedDict[str, Identity] = OrderedDict()
        self._heard: set[str] = set()
        self._reading: asyncio.Task[None] | None = None
        self._forget: Callable[[], None] | None = None

    async def join(self, selection: Selection, cursors: Cursors, tell: Tell) -> News:
        """What there is for one who comes, of which it is told what is found later.

        Raises:
            BackendUnavailable: the store does not answer.
        """
        if self._forget is None:
            self._forget = self._hub.on_hint(self._hint)
        group = self._groups.get(selection)
        if group is None or group.over:
            group = self._groups[selection] = Group(self._hub, selection)
        group.members.add(tell)  # before it looks itself: what is found between the two comes twice, and never not
        try:
            await group.ready.wait()
            if group.over:
                raise BackendUnavailable("The store does not answer, or was closed: nothing is found in it.")
            return await group.first(cursors)
        except BaseException:
            self.leave(selection, tell)
            raise

    def leave(self, selection: Selection, tell: Tell) -> None:
        """It is told no more; without anybody, nothing is looked for."""
        group = self._groups.get(selection)
        if group is None:
            return
        group.members.discard(tell)
        if not group.members:
            del self._groups[selection]
            group.close()
        if not self._groups and self._forget is not None:
            self._forget()
            self._forget = None

    def ended(self, id: str, sequence: int) -> None:
        """It is not under way any more; should it be taken up again, it is news."""
        for group in self._of(id):
            group.ended(id, sequence)
        if self._hub.version_of(id) > sequence:
            self._hint(Hint(id, self._hub.version_of(id)))

    def _of(self, id: str) -> Iterable[Group]:
        """Who follows it; all, where that is not known."""
        one = self._identities.get(id)
        if one is None:
            return list(self._groups.values())
        return [group for selection in holding(one) if (group := self._groups.get(selection)) is not None]

    # ---- what is heard of

    def _hint(self, hint: Hint) -> None:
        id = hint.investigation_id
        if hint.sequence and any(id not in group.live for group in self._of(id)):
            self._heard.add(id)
            if self._reading is None or self._reading.done():
                self._reading = self._hub.spawn(self._read(), "investigation-directory")

    async def _read(self) -> None:
        """One question for all that was heard of, whoever follows it."""
        while self._heard:
            heard, self._heard = self._heard, set()
            try:
                rows = await rows_of(self._hub.recorder.backend, heard)
            except BackendUnavailable as error:  # the next look finds it
                _log.info("A look for what was heard of did not reach the store: %s", error)
                continue
            by_group: dict[Group, list[InvestigationRow]] = {}
            for row in rows:
                self._identities[row.id] = identity(row)
                for group in self._of(row.id):
                    by_group.setdefault(group, []).append(row)
            while len(self._identities) > _IDENTITIES:
                self._identities.popitem(last=False)
            for group, some in by_group.items():
                group.tell(some)


class Group:
    """Those who follow the same.

    Attributes:
        live: What is under way, and was told.
        over: It finds nothing any more.
        ready: It has looked once, or is over.
    """

    def __init__(self, hub: Hub, selection: Selection) -> None:
        self.members: set[Tell] = set()
        self.live: set[str] = set()
        self.over: bool = False
        self._hub = hub
        self._selection = selection
        self.ready: asyncio.Event = asyncio.Event()
        self._told: dict[str, int] = {}
        self._ends: tuple[dict[str, int], dict[str, int]] = {}, {}
        self._since = _behind(uuid7())
        self._task = hub.spawn(self._run(), "investigation-group")

    def close(self) -> None:
        """Look no more."""
        self._task.cancel()

    async def _run(self) -> None:
        """Look now and then for what nobody told."""
        try:
            while True:
                began = time.monotonic()
                try:
                    await self._look()
                except BackendUnavailable:
                    if not self.ready.is_set():  # whoever waits for it is told so, and comes again
                        return
                self.ready.set()
                # a slow store is not kept busy with this
                took = time.monotonic() - began
                await asyncio.sleep(max(_LOOK_SECONDS, self._hub.look_seconds, 2 * took))
        except Exception:
            _log.exception("Those who follow many cannot be told of what begins.")
        finally:
            self.over = True
            self.ready.set()
            for tell in list(self.members):
                tell(None)

    async def _look(self) -> None:
        since, now = self._since, _behind(uuid7())
        self._ends = {}, self._ends[0]  # what is read now is told before the next look but one
        underway = self._current(await self._all([Where("status", "in", _UNDERWAY)]))
        recent = self._current(await self._all([Where("id", ">=", since)], MOST_MISSED))
        underway = self._current(underway)  # some may have ended since they were read
        news = [row for row in underway if row.id not in self.live]
        self.live = {row.id for row in underway}
        news += [row for row in recent if row.id not in self.live and row.version > self._told.get(row.id, 0)]
        self._told = {row.id: row.version for row in recent}
        self._since = now
        if self.ready.is_set():  # before that, who comes looks itself, and what was over before is not asked for
            self._give(News(news, now))

    def tell(self, rows: Iterable[InvestigationRow]) -> None:
        """Tell all of what was heard of."""
        some = self._current(rows)
        self.live |= {row.id for row in some if row.status not in ENDED}
        self._told |= {row.id: row.version for row in some if row.id in self._told or row.id >= self._since}
        self._give(News(some))

    def ended(self, id: str, sequence: int) -> None:
        """It is not under way any more, as of this event: what was read before, and comes later, is no news."""
        self.live.discard(id)
        self._ends[0][id] = sequence

    def _current(self, rows: Iterable[InvestigationRow]) -> list[InvestigationRow]:
        """Without what was read before its end: those since the last look but one are known."""
        new, old = self._ends
        return [row for row in rows if row.status in ENDED or row.version > max(new.get(row.id, 0), old.get(row.id, 0))]

    def _give(self, news: News) -> None:
        for tell in list(self.members):
            tell(news)

    async def first(self, cursors: Cursors) -> News:
        """What there is for one who comes: what is under way, what it names, and what was begun since it was here."""
        since = _behind(uuid7())
        known = await self._named(cursors.sequences)
        if cursors.since is not None:
            since = min(since, cursors.since)
        elif known:  # what is not there, or not for it, says nothing of when it was here last
            since = min(since, _behind(max(row.id for row in known)))
        found = [*known, *await self._all([Where("status", "in", _UNDERWAY)])]
        if known or cursors.since is not None:  # what was over before is not asked for
            found += await self._all([Where("id", ">=", since)], MOST_MISSED)
        return News(list({row.id: row for row in found}.values()))

    async def _named(self, sequences: Mapping[str, int]) -> list[InvestigationRow]:
        rows = await rows_of(self._hub.recorder.backend, sequences)
        return [row for row in rows if self._selection.holds(row)]

    async def _all(self, wheres: Sequence[Where], most: float = math.inf) -> list[InvestigationRow]:
        found: list[InvestigationRow] = []
        after: tuple[str, str] | None = None
        where = (*self._selection.wheres(), *wheres)
        while True:
            query = Query("investigation", where, "id", descending=True, after=after, limit=_PAGE)
            rows = [row for row in await self._hub.recorder.backend.find(query) if isinstance(row, InvestigationRow)]
            found += rows
            if len(rows) < _PAGE or len(found) >= most:
                return found
            after = (rows[-1].id, rows[-1].id)


def _behind(id: str) -> str:
    return lower_bound((time_of(id) - _OVERLAP_MS) * 1000)
