"""One client: what it is still to be sent, and how far it is. Bounded: whoever does not take it is told so."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from investigation_sdk.domain.states import ENDED, TERMINAL
from investigation_sdk.realtime.cursors import told
from investigation_sdk.realtime.envelope import CURSORS, RESYNC, Message, of_stream


class Close(NamedTuple):
    """Why a stream ends."""

    code: int
    """Of the WebSocket."""
    reason: str


FINISHED = Close(1000, "the investigation has ended")
BAD_CURSOR = Close(4400, "after is no sequence of this investigation: a number from 0 to that of its last event")
BAD_CURSORS = Close(4400, 'after is no JSON object of sequences by investigation, such as {"<id>": 57}')
NO_CURSORS = Close(4400, "after=message: the first message, within 10 s, is to be the cursors as JSON")
DENIED = Close(4403, "not allowed")
NOT_FOUND = Close(4404, "there is no such investigation")
TOO_SLOW = Close(4408, "what came was not taken fast enough: connect again with after=cursor")
OLD = Close(4409, "say again who you are: connect again with after=cursor")
UNAVAILABLE = Close(4503, "the store does not answer: connect again with after=cursor")
UNDECIDED = Close(4503, "who may watch cannot be told now: connect again with after=cursor")

MOST_FAILED: Final = 1000
"""Investigations that failed, and may be taken up again, of which a client's place is remembered: the newest."""

_FORGOTTEN: Final = 100
"""So many are over, and forgotten, before a client is told its cursors."""


class Client:
    """What one client is to be sent, in order. Belongs to one loop.

    Args:
        max_queue: Events that may wait for it once it has caught up.

    Attributes:
        cursors: The sequence of the last event that was put into its queue, by investigation.
        sent: That of the last one that was taken out. What is over for good is forgotten, once `since` says so.
        since: Of what was begun before this id and is not in `sent`, it has been given all, or it is not for it.
        denied: Of these investigations it is to get nothing more, as long as it is connected.
        closing: Why the stream ends, once what is queued was taken; None while it goes on.
    """

    def __init__(self, max_queue: int) -> None:
        self.cursors: dict[str, int] = {}
        self.sent: dict[str, int] = {}
        self.since: str | None = None
        self.denied: set[str] = set()
        self.closing: Close | None = None
        self._max_queue = max_queue
        self._queue: deque[Message] = deque()
        self._latest: dict[str, Message] = {}
        self._ended: set[str] = set()
        self._over: dict[str, int] = {}
        self._failed: dict[str, None] = {}
        self._forgotten = 0
        self._resync = False
        self._wake = asyncio.Event()
        self._taken = asyncio.Event()
        self._closed = asyncio.Event()

    # ---- what comes in

    def offer(self, messages: Sequence[Message]) -> None:
        """Live events of one investigation, in order: those that it has already are passed over."""
        if self.closing is not None or (messages and messages[0].investigation_id in self.denied):
            return
        queue, cursors = self._queue, self.cursors
        for message in messages:
            if message.sequence <= cursors[message.investigation_id]:
                continue
            if len(queue) >= self._places(message):
                self.resync(TOO_SLOW)
                return
            cursors[message.investigation_id] = message.sequence
            queue.append(message)
        self._wake.set()

    def _places(self, message: Message) -> float:
        """How many may wait, this one not counted: the end of an investigation always, and what belongs to it."""
        id, state = message.investigation_id, message.new_state
        if state in ENDED:
            self._ended.add(id)
            return math.inf
        if state is not None:  # it is taken up again
            self._ended.discard(id)
        return 2 * self._max_queue if id in self._ended else self._max_queue

    def is_busy(self) -> bool:
        """Whether more waits for it than a step of its room leaves place for."""
        return self.closing is None and 2 * len(self._queue) > self._max_queue

    async def put(self, messages: Sequence[Message]) -> None:
        """Old events of one investigation, as fast as it takes them."""
        for message in messages:
            while len(self._queue) >= self._max_queue and self._wants(message.investigation_id):
                await self._next_taken()
            if not self._wants(message.investigation_id):
                return
            self.cursors[message.investigation_id] = message.sequence
            self._queue.append(message)
            self._wake.set()

    def _wants(self, id: str) -> bool:
        return self.closing is None and id not in self.denied

    async def eased(self) -> None:
        """Wait until it is not busy."""
        while self.is_busy():
            await self._next_taken()

    async def drained(self) -> None:
        """Wait until nothing is queued."""
        while self._queue and self.closing is None:
            await self._next_taken()

    async def _next_taken(self) -> None:
        self._taken.clear()
        await self._taken.wait()

    def say(self, message: Message) -> None:
        """Something about the stream, or an announcement; dropped where too much is queued."""
        if self._wants(message.investigation_id) and len(self._queue) < 2 * self._max_queue:
            self._queue.append(message)
            self._wake.set()

    def update(self, message: Message) -> None:
        """What replaces what was said before, and is not yet taken: progress."""
        if self._wants(message.investigation_id):
            self._latest[message.investigation_id] = message
            self._wake.set()

    def close(self, why: Close) -> None:
        """End the stream behind what is queued; the first reason stands."""
        if self.closing is None:
            self.closing = why
            self._closed.set()
            self._taken.set()
            self._wake.set()

    def refuse(self, why: Close) -> None:
        """End the stream now: what is queued is not for it any more."""
        self._queue.clear()
        self._latest.clear()
        self.close(why)

    def deny(self, id: str) -> None:
        """Nothing more of this investigation, what is queued included, however it comes."""
        self.denied.add(id)
        self._queue = deque(message for message in self._queue if message.investigation_id != id)
        self._latest.pop(id, None)
        self._taken.set()

    async def closed(self) -> None:
        """Wait until the stream is to end."""
        await self._closed.wait()

    def resync(self, why: Close) -> None:
        """End the stream now: what is queued is forgotten, and the client is told from where to go on."""
        if self.closing is None:
            self._queue.clear()
            self._latest.clear()
            self._resync = True
            self.close(why)

    # ---- what is over

    def known(self, id: str) -> int | None:
        """Up to where it has, or is about to be sent, one that it does not follow now; None where that is not known."""
        return self._over.get(id, self.sent.get(id))

    def is_over(self, id: str) -> bool:
        """It has, or is about to be sent, all that there was when this one was over."""
        return id in self._over

    def over(self, id: str, sequence: int, state: str | None) -> None:
        """One is over: it is forgotten once that was sent. One that failed may go on: of those, the oldest are."""
        self._over[id] = sequence
        if state not in TERMINAL:
            self._failed[id] = None
        self._forget([id])

    def goes_on(self, id: str) -> None:
        """One that was over is followed again."""
        self._over.pop(id, None)
        self._failed.pop(id, None)

    def knows_since(self, since: str) -> None:
        """Whatever was begun before `since` is followed, or over."""
        if self.since is None or since > self.since:
            self.since = since
            self._forget(list(self._over))

    def _forget(self, ids: Sequence[str]) -> None:
        too_many = len(self._failed) - MOST_FAILED
        old = set(sorted(self._failed)[:too_many]) if too_many > 0 else set[str]()
        for id in ids:
            kept = id in self._failed and id not in old
            if not kept and id < (self.since or "") and self.sent.get(id, 0) >= self._over[id]:
                self.goes_on(id)
                self.sent.pop(id, None)
                self._ended.discard(id)
                self._forgotten += 1
        if self._is_to_be_told():
            self._wake.set()

    # ---- what goes out

    async def wait(self, timeout: float) -> bool:
        """Wait until there is something to be sent, or the stream ends; whether that was so within `timeout` s."""
        self._wake.clear()
        if self._queue or self._latest or self.closing is not None or self._is_to_be_told():
            return True
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def take(self) -> Message | None:
        """What is to be sent next; None where nothing is queued: the stream is over then, if it is closing."""
        if self._is_to_be_told():
            self._forgotten = 0
            return of_stream(CURSORS, cursors=told(self.sent, self.since))
        if self._queue:
            self._taken.set()
            return self._queue.popleft()
        if self._latest:
            return self._latest.pop(next(iter(self._latest)))
        if self._resync and self.closing is not None:
            self._resync = False
            cursor = next(iter(self.sent.values())) if len(self.sent) == 1 else None
            return of_stream(RESYNC, reason=self.closing.reason, cursor=cursor, cursors=told(self.sent, self.since))
        return None

    def _is_to_be_told(self) -> bool:
        """Whether its own cursors hold much that it may forget; what it is told costs less than what that was."""
        return self.closing is None and self._forgotten > max(_FORGOTTEN, len(self.sent))

    def was_sent(self, message: Message) -> None:
        """It was sent: from here the client would go on."""
        if message.sequence:
            self.sent[message.investigation_id] = message.sequence
            if message.sequence == self._over.get(message.investigation_id):
                self._forget([message.investigation_id])
