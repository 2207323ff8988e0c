"""Rooms: one for each investigation that is watched, however many clients watch it. Its log is read once, and each
event written once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from investigation_sdk.domain.records import Investigation
from investigation_sdk.engine import queries
from investigation_sdk.engine.reading import get_row
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.sight import Sight
from investigation_sdk.errors import InvestigationError, InvestigationNotFound
from investigation_sdk.realtime.clients import BAD_CURSOR, NOT_FOUND, UNAVAILABLE, Client, Close
from investigation_sdk.realtime.directory import Directory
from investigation_sdk.realtime.ending import ended
from investigation_sdk.realtime.envelope import CAUGHT_UP, Message, of_event, of_progress, of_stream
from investigation_sdk.realtime.hints import Hint
from investigation_sdk.realtime.hub import Hub
from investigation_sdk.realtime.tail import Tail
from investigation_sdk.storage.commit import StoredEvent

T = TypeVar("T")
OnEnd = Callable[[str, str | None], object]
"""Called with the id of an investigation that has ended, and its state, when a client has all of its events."""

_log = logging.getLogger("investigation_sdk.realtime")
_PAGE: Final = 500
STEP: Final = 64
"""Events at most that are read at once for a room."""
_PACE_SECONDS: Final = 0.1
"""So long all wait at each step for those who are behind."""

UPDATES_SECONDS: Final = 0.1
"""Between two reports of progress of one investigation to one client."""


class Room:
    """Those who watch one investigation, and how far they are. Belongs to one loop."""

    def __init__(self, rooms: Rooms, id: str, version: int) -> None:
        self.id = id
        self.cursor: int = version
        self.ended: bool = False
        self.members: dict[Client, OnEnd] = {}
        self.expected: int = 0
        self._rooms = rooms
        self._task = asyncio.create_task(self._run(), name=f"investigation-room-{id}")
        self._progress: Message | None = None
        self._updating = False

    async def _run(self) -> None:
        tail = Tail(self._rooms.hub, self.id, Sight(), self.cursor, page=self._rooms.step)
        try:
            while page := await self._rooms.recorder.acall(tail.next()):
                messages = [of_event(event) for event in page]
                for client in list(self.members):
                    client.offer(messages)
                self.cursor = tail.after
                await self._paced()
            self.ended = True
            self._rooms.hub.soon(self._rooms.directory.ended, self.id, self.cursor)
            for client, on_end in list(self.members.items()):
                self.members.pop(client, None)
                on_end(self.id, tail.state)
                client.cursors.pop(self.id, None)
        except InvestigationError as error:
            self._fail(NOT_FOUND if isinstance(error, InvestigationNotFound) else UNAVAILABLE, error)
        except Exception as error:
            _log.exception("The room of investigation %s cannot go on.", self.id, extra={"investigation_id": self.id})
            self._fail(UNAVAILABLE, error)
        finally:
            self._rooms.forget(self)

    async def _paced(self) -> None:
        """Give those a moment that are busy taking: what is read faster than anybody could take would close all."""
        busy = [asyncio.ensure_future(client.eased()) for client in self.members if client.is_busy()]
        if busy:
            await asyncio.wait(busy, timeout=_PACE_SECONDS)
            await ended(busy)

    def _fail(self, why: Close, error: Exception) -> None:
        _log.warning("The room of investigation %s is closed: %s", self.id, error, extra={"investigation_id": self.id})
        for client in list(self.members):
            client.resync(why)

    def leave(self, client: Client) -> None:
        """One less; without any, nothing is read any more."""
        self.members.pop(client, None)
        client.cursors.pop(self.id, None)
        self.close_if_empty()

    def close_if_empty(self) -> None:
        """Where nobody is in it, and nobody about to enter, nothing is read."""
        if not self.members and not self.expected:
            self._task.cancel()
            self._rooms.forget(self)

    def update(self, message: Message) -> None:
        """Progress: what is newest, now and then."""
        self._progress = message
        if not self._updating:
            self._updating = True
            self._send_update()

    def _send_update(self) -> None:
        message, self._progress = self._progress, None
        self._updating = message is not None and bool(self.members)
        if message is not None:
            for client in self.members:
                client.update(message)
            asyncio.get_running_loop().call_later(UPDATES_SECONDS, self._send_update)


class Rooms:
    """The rooms of one loop.

    Args:
        max_queue: Events that may wait for one client; a step of a room is at most half of that.
    """

    def __init__(self, hub: Hub, max_queue: int) -> None:
        self.hub = hub
        self.step: int = max(1, min(STEP, max_queue // 2))
        self.recorder: Recorder = hub.recorder
        self.directory: Directory = Directory(hub)
        self._rooms: dict[str, Room] = {}
        self._forget: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()

    async def record(self, id: str, tenant: str) -> Investigation:
        """The investigation as it is.

        Raises:
            InvestigationNotFound: there is none.
        """
        return queries.investigation(await self.recorder.acall(get_row(self.recorder.backend, id, Sight(tenant))))

    async def follow(self, client: Client, record: Investigation, after: int, on_end: OnEnd) -> None:
        """Give a client all events behind `after`, and then those that come. Returns when it is in the room.

        What is old is read for it alone, as fast as it takes it; it enters in the moment in which it has all that the
        room has. So there is no gap between the two, and nothing comes twice.
        """
        await self._hear()
        if after > record.version:
            client.close(BAD_CURSOR)
            return
        client.cursors[record.id] = after
        client.sent.setdefault(record.id, after)  # of one that is taken up again, it may still be behind
        room = self._expect(record)
        try:
            while client.closing is None and record.id not in client.denied:
                page = await self._page(record.id, client.cursors[record.id])
                await client.put([of_event(event) for event in page])
                await client.drained()
                if record.id in client.denied:  # since the page was asked for
                    break
                if room.ended:  # its reader saw an end; what follows that is another room's
                    room = self._expect(record)
                if len(page) < _PAGE and client.cursors[record.id] >= room.cursor and client.closing is None:
                    room.members[client] = on_end
                    client.say(of_stream(CAUGHT_UP, investigation_id=record.id, cursor=client.cursors[record.id]))
                    return
        finally:
            if client not in room.members:
                client.cursors.pop(record.id, None)
            room.expected -= 1
            room.close_if_empty()

    def _expect(self, record: Investigation) -> Room:
        """The room of an investigation; whoever asks is about to enter."""
        room = self._rooms.get(record.id)
        if room is None:
            room = self._rooms[record.id] = Room(self, record.id, record.version)
        room.expected += 1
        return room

    async def _page(self, id: str, after: int) -> Sequence[StoredEvent]:
        return await self.recorder.acall(self.recorder.backend.read_events(id, after=after, limit=_PAGE))

    def leave(self, client: Client) -> None:
        """It is in no room any more."""
        for room in list(self._rooms.values()):
            if client in room.members:
                room.leave(client)

    def leave_one(self, client: Client, id: str) -> None:
        """It is not in this room any more."""
        room = self._rooms.get(id)
        if room is not None and client in room.members:
            room.leave(client)

    def forget(self, room: Room) -> None:
        """It is over."""
        if self._rooms.get(room.id) is room:
            del self._rooms[room.id]

    def announce(self, id: str, message: Message) -> None:
        """Say something to all in a room of this process."""
        room = self._rooms.get(id)
        if room is not None:
            for client in room.members:
                client.say(message)

    # ---- progress

    async def _hear(self) -> None:
        if self._forget is None:
            self._forget = lambda: None
            self._forget = await self.recorder.acall(_listen(self.hub, self._hint))

    def _hint(self, hint: Hint) -> None:
        if hint.progress is not None and hint.investigation_id in self._rooms:
            with contextlib.suppress(RuntimeError):  # that loop has ended
                self._loop.call_soon_threadsafe(self._update, hint)

    def _update(self, hint: Hint) -> None:
        room = self._rooms.get(hint.investigation_id)
        if room is not None and hint.progress is not None:
            room.update(of_progress(hint.investigation_id, "progress", hint.progress, "progress.update"))

    def close(self) -> None:
        """Hear no more of anything."""
        if self._forget is not None:
            self._forget()
            self._forget = None


async def _listen(hub: Hub, listener: Callable[[Hint], object]) -> Callable[[], None]:
    return hub.on_hint(listener)
