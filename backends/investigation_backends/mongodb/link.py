"""The state of one backend on one loop: the client, what is known of heads, and what is not written yet."""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from datetime import UTC
from typing import Final, NamedTuple

from .driver import Client, Collection
from .names import BLOBS, COLLECTION_OF, COMMITS, DELETIONS, KEYS, LEASES, MARKS

_KNOWN_HEADS: Final = 20_000
_TRUSTED: Final = 600.0
"""Seconds for which a head that was read once is taken as a fact; see ADR 0022."""


class Head(NamedTuple):
    """A version that an investigation has, or has had."""

    version: int
    hash: bytes
    seen: float


class Heads:
    """The newest head of each investigation that this handle has seen in the log.

    Logs only grow, so what stood there stays true; but for deletion, of which a fact outlives its investigation by
    `_TRUSTED` seconds at most.
    """

    def __init__(self) -> None:
        self._heads: OrderedDict[str, Head] = OrderedDict()

    def seen(self, investigation_id: str, version: int, head: bytes) -> None:
        """The log has, or had, this head."""
        known = self._heads.get(investigation_id)
        if known is None or version >= known.version:
            self._heads[investigation_id] = Head(version, head, clock())
            self._heads.move_to_end(investigation_id)
            if len(self._heads) > _KNOWN_HEADS:
                self._heads.popitem(last=False)

    def allows(self, investigation_id: str, version: int, head: bytes) -> bool | None:
        """Whether a commit may be made on that head; None where that is not known."""
        known = self._heads.get(investigation_id)
        if known is None or known.version < version or clock() - known.seen > _TRUSTED:
            return None
        return known.version == version and known.hash == head

    def forget(self, investigation_id: str) -> None:
        """Know nothing of it any more."""
        self._heads.pop(investigation_id, None)


def clock() -> float:
    """Seconds that also pass while the machine sleeps, and never go back in a step: the larger of two clocks."""
    return max(time.monotonic(), time.time() - _STARTED)


_STARTED: Final = time.time() - time.monotonic()


class Link:
    """What the parts of the backend share."""

    def __init__(self, client: Client, place: str) -> None:
        self.client: Client = client
        self.place: str = place
        self.heads: Heads = Heads()
        self.limit: int = 16 * 1024 * 1024
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._offset = 0.0
        self._measured = float("-inf")

    def is_mine(self) -> bool:
        """Whether this is the process and the loop that it was made in."""
        return self._pid == os.getpid() and self._loop is asyncio.get_running_loop()

    @property
    def commits(self) -> Collection:
        """The log."""
        return self.client[COMMITS]

    @property
    def blobs(self) -> Collection:
        """The pieces of blobs."""
        return self.client[BLOBS]

    @property
    def leases(self) -> Collection:
        """The leases."""
        return self.client[LEASES]

    @property
    def keys(self) -> Collection:
        """Who has which key."""
        return self.client[KEYS]

    @property
    def marks(self) -> Collection:
        """The marks of all handles."""
        return self.client[MARKS]

    @property
    def deletions(self) -> Collection:
        """The deletions that are not over."""
        return self.client[DELETIONS]

    def rows(self, kind: str) -> Collection:
        """The rows of a kind."""
        return self.client[COLLECTION_OF[kind]]

    async def server_now(self, *, exact: bool = False) -> int:
        """The server's clock, µs: read a while ago and carried on, unless it must be exact."""
        if exact or clock() - self._measured > _TRUSTED:
            hello = await self.client.hello()
            self.limit = hello.get("maxBsonObjectSize", self.limit)
            self._measured = clock()
            self._offset = hello["localTime"].replace(tzinfo=UTC).timestamp() - self._measured
        return int((clock() + self._offset) * 1_000_000)
