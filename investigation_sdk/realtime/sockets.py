"""WebSockets and server-sent events: whoever watches, over whatever framework."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import weakref
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Mapping
from datetime import timedelta
from typing import Any

from investigation_sdk.arguments import COUNT, DURATION, DURATION_OR_NONE, check
from investigation_sdk.domain.records import Investigation
from investigation_sdk.errors import AccessDenied, BackendUnavailable, InvalidArgument, InvestigationNotFound
from investigation_sdk.ids import Id, canonical
from investigation_sdk.realtime.access import Authorise, Recheck, answered, is_of_tenant, may_watch, within_reach
from investigation_sdk.realtime.clients import (
    BAD_CURSOR,
    BAD_CURSORS,
    DENIED,
    FINISHED,
    NO_CURSORS,
    NOT_FOUND,
    OLD,
    UNAVAILABLE,
    UNDECIDED,
    Client,
)
from investigation_sdk.realtime.cursors import IN_MESSAGE, Cursors, position, positions
from investigation_sdk.realtime.ending import ended
from investigation_sdk.realtime.envelope import END, EVENT_TYPES, HEARTBEAT, Message, of_progress, of_stream
from investigation_sdk.realtime.following import Following
from investigation_sdk.realtime.live import LiveReader
from investigation_sdk.realtime.rooms import Rooms
from investigation_sdk.realtime.selecting import Selection
from investigation_sdk.realtime.streaming import EventStream, sent
from investigation_sdk.realtime.watching import Socket, Watch, first_text, until_gone
from investigation_sdk.security.roles import Action

_log = logging.getLogger("investigation_sdk.realtime")


class InvestigationWebSocketManager:
    """Rooms of clients that watch investigations live, over WebSockets or server-sent events.

    A client gets every event behind its cursor, in order and each once, then those that come, as JSON objects:
    ``type``, ``investigation_id``, ``update_type``, ``timestamp``, ``data``, ``sequence`` and what else the log says.
    The cursor is the ``sequence`` of the last event that it has.

    Made and used on any asyncio loop. One for each SDK is enough.

    Args:
        sdk: Whose investigations are watched.
        max_queue: Events that may wait for one client. Whoever takes them more slowly is told ``resync_required``,
            with its cursor, and closed: that harms nobody else.
        heartbeat: Between two signs of life where nothing happens; roles are looked at again then, too.
        authorise: Whether a principal may watch an investigation. None: who may read it, by the table of roles.
        recheck: The principal as it is now, None where it may nothing any more; asked once in each interval of a
            heartbeat, however much happens, and by :meth:`roles_changed`. None: a principal stays what it was when
            it came.
        max_age: How long a client is served before it is told to connect again, and so says again who it is; for where
            there is no `recheck`. It goes on where it was. None: for any time.
    """

    EVENT_TYPES: Mapping[str, str] = EVENT_TYPES

    def __init__(
        self,
        sdk: LiveReader,
        *,
        max_queue: int = 256,
        heartbeat: timedelta = timedelta(seconds=20),
        authorise: Authorise | None = None,
        recheck: Recheck | None = None,
        max_age: timedelta | None = None,
    ) -> None:
        check(max_queue=(max_queue, COUNT), heartbeat=(heartbeat, DURATION), max_age=(max_age, DURATION_OR_NONE))
        self._sdk = sdk
        self._max_queue = max_queue
        self._heartbeat = heartbeat.total_seconds()
        self._authorise: Authorise = authorise or may_watch
        self._by_table = authorise is None
        self._recheck = recheck
        self._max_age = math.inf if max_age is None else max_age.total_seconds()
        self._rooms: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Rooms] = weakref.WeakKeyDictionary()
        self._watching: weakref.WeakSet[Watch] = weakref.WeakSet()

    @property
    def sdk(self) -> LiveReader:
        """Whose investigations are watched."""
        return self._sdk

    # ---- serving

    async def serve(
        self, websocket: Socket, investigation_id: Id, *, principal: Any, after: int | str | None = None
    ) -> None:
        """Accept, replay what is behind `after`, follow live, until the investigation ends or either side closes.

        Closes with 1000 at the end of the investigation, 4400 for an `after` that cannot be, 4403 where the principal
        may not watch it, or no longer, 4404 where there is none of its tenant's, 4408 where the client is too slow,
        4409 after `max_age`, and 4503 where the store does not answer.

        Args:
            websocket: Not yet accepted.
            investigation_id: Which one.
            principal: Who watches.
            after: The sequence of the last event that is known, or its text as a query has it; None and 0: all.
        """
        watch = Watch(principal, self._max_queue)
        await websocket.accept()
        await self._over(websocket, watch, self._follow_one(watch, investigation_id, after))

    async def serve_many(
        self,
        websocket: Socket,
        *,
        principal: Any,
        investigation_type: str | None = None,
        user_id: str | None = None,
        after: Mapping[str, int] | str | None = None,
    ) -> None:
        """As :meth:`serve`, for all investigations of a type or of a user that the principal may watch, those that
        begin later included, until either side closes.

        Each comes in its own order; between two there is none. Those that are under way come from their beginning.
        By the table of roles, who may read only its own follows only its own; it is closed with 4403 where it asks
        for others', where it may read nothing, and as soon as that is so.

        Args:
            websocket: Not yet accepted.
            principal: Who watches.
            investigation_type: Of this type; None: of any.
            user_id: Of this user; None: of anybody.
            after: To go on: the sequence of the last event that is known, by investigation, or the JSON of that as a
                query has it; ``"message"``: the client sends it as its first message, as it may be too long for a
                URL. It may name ``since``, an id: of what was begun before that and is not named, all is known. What
                was begun since is given, too; without it, since the newest that is named and there. Of what is over,
                the newest 10,000. What the client is told as ``cursors`` is such an object: what ended long ago is
                not in it.
        """
        watch = Watch(principal, self._max_queue)
        await websocket.accept()
        named = await first_text(websocket) if after == IN_MESSAGE else after
        cursors = None if named is None and after == IN_MESSAGE else positions(named)
        if cursors is None:
            with contextlib.suppress(Exception):  # it is gone
                await websocket.close(*(BAD_CURSORS if named is not None else NO_CURSORS))
            return
        tenant = self._sdk.tenant or getattr(principal, "tenant_id", None)
        selection = Selection(investigation_type, user_id, tenant)
        await self._over(websocket, watch, self._follow_many(watch, selection, cursors))

    async def stream(self, investigation_id: Id, *, principal: Any, after: int | str = 0) -> EventStream:
        """The same as server-sent events: what answers the request.

        Each event has its sequence as ``id``, so that a browser that comes again names it as ``Last-Event-ID``: pass
        that as `after`. The last one is ``stream.end``: a browser is to close then, or it comes again.

        Returns:
            A response to give to a framework of ASGI, such as Starlette or FastAPI's ``app.mount``; or the text of a
            ``text/event-stream``, where it is iterated over.

        Raises:
            InvestigationNotFound: there is none of its tenant's.
            AccessDenied: this principal may not watch it.
            InvalidArgument: `after` is no sequence of this investigation.
        """
        watch, id = Watch(principal, self._max_queue), canonical(investigation_id)
        record = await self._here().record(id, self._sdk.tenant)
        if not await self._allowed(watch, record):
            if not is_of_tenant(principal, record):
                raise InvestigationNotFound(f"There is no investigation {id} in this store.", investigation_id=id)
            who = str(getattr(principal, "id", ""))
            raise AccessDenied(
                f"{who!r} may not watch investigation {id}.",
                action=Action.READ.value,
                principal_id=who,
                investigation_id=id,
            )
        cursor = position(after)
        if cursor is None or cursor > record.version:
            raise InvalidArgument(
                f"after={str(after)[:100]} is no sequence of investigation {id}: a number from 0 to {record.version}, "
                "that of its last event",
                argument="after",
                investigation_id=id,
            )
        return EventStream(watch.client, self._texts(watch, id, cursor))

    async def _texts(self, watch: Watch, id: str, cursor: int) -> AsyncGenerator[str]:
        self._watching.add(watch)
        follow = asyncio.create_task(self._follow_one(watch, id, cursor))
        try:
            async for message in self._messages(watch):
                number = f"id: {message.sequence}\n" if message.sequence else ""
                yield f"{number}event: {message.type}\ndata: {message.text}\n\n"
                watch.client.was_sent(message)
            why = watch.client.closing or FINISHED
            end = of_stream(END, code=why.code, reason=why.reason)
            yield f"event: {end.type}\ndata: {end.text}\n\n"
        finally:
            await ended([follow])
            self._here().leave(watch.client)

    async def _over(self, websocket: Socket, watch: Watch, following: Coroutine[Any, Any, None]) -> None:
        """Send what there is to a client, and see whether it is still there."""
        self._watching.add(watch)
        follow = asyncio.create_task(following)
        try:
            await sent(watch.client, self._send(websocket, watch), until_gone(websocket))
        finally:
            await ended([follow])
            self._here().leave(watch.client)

    async def _send(self, websocket: Socket, watch: Watch) -> None:
        client = watch.client
        with contextlib.suppress(Exception):  # it is gone, in whatever way the server tells that
            async for message in self._messages(watch):
                await websocket.send_text(message.text)
                client.was_sent(message)
            why = client.closing or FINISHED
            await websocket.close(why.code, why.reason)

    async def _messages(self, watch: Watch) -> AsyncGenerator[Message]:
        """What is to be sent, and a sign of life where there is nothing; ends with the stream."""
        client, now = watch.client, asyncio.get_running_loop().time
        began = checked = now()
        while True:
            message = client.take()
            if message is not None:
                yield message
            elif client.closing is not None:
                return
            elif not await client.wait(self._heartbeat):
                yield of_stream(HEARTBEAT, cursors=client.sent) if watch.one else of_stream(HEARTBEAT)
            if now() - checked >= self._heartbeat:  # however much there is to be sent
                checked = now()
                await self._check_again(watch)
            if now() - began >= self._max_age:
                client.resync(OLD)

    # ---- following

    async def _guarded(self, client: Client, following: Awaitable[None]) -> None:
        """Whatever keeps a client from what it follows is told to it: it would wait for ever."""
        try:
            await following
        except InvestigationNotFound:
            client.close(NOT_FOUND)
        except BackendUnavailable:
            client.resync(UNAVAILABLE)
        except Exception:
            _log.exception("A client cannot follow what it asked for; it is closed.")
            client.resync(UNAVAILABLE)

    async def _follow_one(self, watch: Watch, investigation_id: Id, after: int | str | None) -> None:
        async def follow() -> None:
            id = watch.one = canonical(investigation_id)
            cursor = position(after)
            client.sent[id] = cursor or 0  # from here it would go on, should the store not answer
            if watch.principal is None:
                client.close(DENIED)
                return
            record = await self._here().record(id, self._sdk.tenant)
            if not await self._allowed(watch, record):
                client.close(DENIED if is_of_tenant(watch.principal, record) else NOT_FOUND)
            elif cursor is None:
                client.close(BAD_CURSOR)
            else:
                await self._here().follow(client, record, cursor, lambda _, __: client.close(FINISHED))

        client = watch.client
        await self._guarded(client, follow())

    async def _follow_many(self, watch: Watch, asked: Selection, cursors: Cursors) -> None:
        client = watch.client
        selection = watch.selection = self._selected(watch.principal, asked)
        if selection is None:
            client.close(DENIED)
            return
        following = Following(watch, selection, cursors, self._here(), self._allowed)
        await self._guarded(client, following.run(functools.partial(self._guarded, client)))

    # ---- who may

    def _selected(self, principal: Any, asked: Selection) -> Selection | None:
        """What of a selection there is for a principal; None where that is nothing, now and later."""
        if principal is None:
            return None
        return within_reach(principal, asked) if self._by_table else asked

    async def _allowed(self, watch: Watch, record: Investigation) -> bool:
        while record.id not in watch.client.denied and (principal := watch.principal) is not None:
            if not await answered(self._authorise(principal, record)):
                return False
            if watch.principal == principal:  # or it became another one meanwhile
                watch.records[record.id] = record
                return True
        return False

    async def _check_again(self, watch: Watch) -> None:
        """Roles may have changed since it came. What cannot be told is not allowed."""
        try:
            await self._check(watch)
        except Exception:
            _log.exception("Whether a client may still watch cannot be told; it is closed.")
            watch.client.resync(UNDECIDED)

    async def _check(self, watch: Watch) -> None:
        if self._recheck is not None:
            watch.principal = await answered(self._recheck(watch.principal))
        asked = watch.selection
        if watch.principal is None or (asked is not None and self._selected(watch.principal, asked) is None):
            watch.client.refuse(DENIED)
            return
        for record in list(watch.records.values()):
            if not await answered(self._authorise(watch.principal, record)):
                watch.records.pop(record.id, None)
                watch.client.deny(record.id)
                self._here().leave_one(watch.client, record.id)
                if watch.one == record.id:
                    watch.client.refuse(DENIED)

    async def roles_changed(self, principal_id: str | None = None) -> None:
        """Look again at once whether those who watch still may; of one principal, or of all.

        To be called on the loop that serves them.
        """
        for watch in list(self._watching):
            if watch.client.closing is None and principal_id in (None, getattr(watch.principal, "id", None)):
                await self._check_again(watch)

    # ---- saying

    async def broadcast_progress_update(self, investigation_id: Id, update_type: str, data: Mapping[str, Any]) -> None:
        """Tell all who watch an investigation in this process something that is not in its log."""
        id = canonical(investigation_id)
        self._here().announce(id, of_progress(id, update_type, data))

    async def send_to_investigation_room(self, investigation_id: Id, event: Mapping[str, Any]) -> None:
        """Send an object of your own to all who watch an investigation in this process."""
        id = canonical(investigation_id)
        message = of_stream(str(event.get("type", "message")), **{k: v for k, v in event.items() if k != "type"})
        self._here().announce(id, message)

    def _here(self) -> Rooms:
        loop = asyncio.get_running_loop()
        rooms = self._rooms.get(loop)
        if rooms is None or rooms.hub is not self._sdk.hub:
            rooms = self._rooms[loop] = Rooms(self._sdk.hub, self._max_queue)
        return rooms
