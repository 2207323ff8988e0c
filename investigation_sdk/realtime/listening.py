"""Listening: one process at one broker, watched. A listener that hears nothing is told from one to whom nobody
speaks by what it sends to itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
import uuid
from collections.abc import Callable
from typing import Final

from investigation_sdk.realtime.brokers import Broker, BrokerLost
from investigation_sdk.realtime.ending import ended
from investigation_sdk.realtime.hints import Hint, read, written

_log = logging.getLogger("investigation_sdk.realtime")

PING_SECONDS: Final = 5.0
"""Between two messages to itself; one that is not heard before the next is sent means deafness."""

GATHER_SECONDS: Final = 0.01
"""Hints of so long are sent together, one for each investigation."""

EACH_SECONDS: Final = 0.0005
"""So much longer for each that was sent: many at once cost the broker, and nobody watches them all that closely."""

LAST_SECONDS: Final = 1.0
"""What is still to be said when a process closes its store takes at most so long."""

NOT_YET: Final = "it is not connected yet"
"""Why nothing is heard before anything else is known."""

_MAX_WAITING: Final = 10_000
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0


class Listening:
    """Hears what others say, and says what happens here.

    Args:
        broker: By what.
        heard: Called with each hint of others, and of this process.
        changed: Called whenever it becomes deaf, and when it hears again.

    Attributes:
        deaf: Why it hears nothing; None while it does.
        since: When it began to hear, by the monotonic clock.
    """

    def __init__(self, broker: Broker, heard: Callable[[Hint], object], changed: Callable[[], object]) -> None:
        self.deaf: str | None = NOT_YET
        self.since: float = 0.0
        self.ping_seconds: float = PING_SECONDS
        self._broker = broker
        self._heard = heard
        self._changed = changed
        self._warned = False
        self._me = uuid.uuid4().hex
        self._pinged = 0
        self._echoed = 0
        self._waiting: dict[str, Hint] = {}
        self._progress: dict[str, Hint] = {}
        self._somebody = asyncio.Event()

    # ---- hearing

    async def run(self) -> None:
        """Listen for ever: connect again where that ends."""
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                await self._once()
                self._lost("it ended")
            except BrokerLost as error:
                self._lost(str(error))
            except Exception as error:
                _log.exception("Listening failed; it is tried again.")
                self._lost(type(error).__name__)
            if time.monotonic() - began > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come back at once
            pause = min(_LONGEST_PAUSE, 2 * pause)

    async def _once(self) -> None:
        ear = asyncio.ensure_future(self._broker.listen(self._message, self._connected))
        try:
            await self._check(ear)
        finally:
            await ended([ear])
        await ear

    async def _check(self, ear: asyncio.Future[None]) -> None:
        """Send something to itself now and then, and hear whether it comes back."""
        while True:
            await asyncio.wait([ear], timeout=self.ping_seconds)
            if ear.done():
                return
            if self.deaf is None and self._echoed < self._pinged:
                raise BrokerLost(f"{self._broker.name}: what was sent {self.ping_seconds:g} s ago did not come back")
            if self.deaf is None:
                self._pinged += 1
                await self._send([f'{{"ping":"{self._me}.{self._pinged}"}}'])

    def _message(self, message: str | bytes) -> None:
        hint = read(message)
        if hint is None:
            return
        if not hint.ping:
            self._heard(hint)
        elif hint.ping.startswith(f"{self._me}.") and hint.ping.rpartition(".")[2].isdigit():
            self._echoed = max(self._echoed, int(hint.ping.rpartition(".")[2]))

    def _connected(self) -> None:
        self._echoed = self._pinged
        if self._warned:
            _log.warning("Hints are heard again by %s.", self._broker.name)
            self._warned = False
        self.since = time.monotonic()
        self.deaf = None
        self._changed()

    def _lost(self, why: str) -> None:
        self.deaf = why
        if not self._warned:
            self._warned = True
            _log.warning("No hints are heard by %s: %s. The store is looked at instead.", self._broker.name, why)
        self._changed()

    # ---- saying

    def send(self, hint: Hint) -> None:
        """Say it soon: of one investigation, only what is newest."""
        waiting = self._waiting if hint.progress is None else self._progress
        waiting[hint.investigation_id] = hint
        while len(waiting) > _MAX_WAITING:  # nobody takes them: others find the rest in the store
            del waiting[next(iter(waiting))]
        self._somebody.set()

    async def send_all(self) -> None:
        """Say what is to be said, for ever."""
        while True:
            await self._somebody.wait()
            self._somebody.clear()
            many = len(self._waiting)
            if not await self._send_waiting():
                self._somebody.set()
                await asyncio.sleep(random.uniform(0.5, 1.0))  # noqa: S311
            await asyncio.sleep(GATHER_SECONDS + many * EACH_SECONDS)

    async def send_rest(self) -> None:
        """Say what is still to be said, at the end; once, and not for long."""
        if self._waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self._send_waiting()

    async def _send_waiting(self) -> bool:
        said, self._waiting = self._waiting, {}
        progress, self._progress = self._progress, {}
        hints = (*said.values(), *progress.values())
        sent = False
        try:
            sent = await self._send([text for hint in hints if (text := written(hint)) is not None])
        finally:
            if not sent:  # what is newer by now stands
                self._waiting = said | self._waiting
        return sent

    async def _send(self, texts: list[str]) -> bool:
        try:
            await self._broker.publish(texts)
        except BrokerLost as error:
            if not self._warned:
                self._warned = True
                _log.warning("Hints are not sent by %s: %s. Others look at the store.", self._broker.name, error)
            return False
        return True
