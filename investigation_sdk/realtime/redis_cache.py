"""What is cached in Redis: it may be lost at any time, and while Redis is away nobody waits for it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from investigation_sdk.engine.io_thread import IOThread
from investigation_sdk.realtime.redis import RedisLink

_log = logging.getLogger("investigation_sdk.realtime")

ANSWER_SECONDS: Final = 0.5
"""What takes longer to be found is not worth it."""

REST_SECONDS: Final = 5.0
"""After Redis did not answer, it is not asked for so long: each question would wait for nothing."""

_WAITING: Final = 200


def store_name(url: object, options: Mapping[str, Any] | None) -> str:
    """What tells one store from another, without anything secret.

    The same for processes that name it the same way, and never the same for two stores: where that cannot be told,
    the process shares with nobody.
    """
    if not isinstance(url, str) or url.startswith("memory:"):
        return uuid.uuid4().hex
    parts = urllib.parse.urlsplit(url)
    told = dict(urllib.parse.parse_qsl(parts.query)) | {name: str(value) for name, value in (options or {}).items()}
    where = [told.get(name) for name in ("schema", "table_prefix", "host", "database")]
    path = str(Path(parts.path[1:]).absolute()) if parts.scheme.startswith("sqlite") else parts.path
    return repr((parts.scheme, parts.netloc.rpartition("@")[2], path, where))


class Found(NamedTuple):
    """What was kept, and the server's time (µs) when it was asked."""

    text: str | None
    now: int


class RedisCache:
    """Texts of one store in a Redis server, for one SDK.

    Args:
        link: The server.
        io: The thread that owns its connections; another one in a forked child.
        store: What tells one store from another; not secret.
    """

    def __init__(self, link: RedisLink, io: Callable[[], IOThread], store: str) -> None:
        self._link = link
        self._io = io
        self._store = hashlib.sha256(store.encode()).hexdigest()[:16]
        self._rests_until = 0.0
        self._warned = False
        self._places = threading.BoundedSemaphore(_WAITING)

    def key(self, kind: str, name: str) -> str:
        """Under which something of a kind is kept."""
        return f"investigation:{kind}:{self._store}:{name}"

    async def find(self, key: str) -> str | None:
        """The text that is kept there; None where there is none, or Redis does not answer. On the I/O thread."""
        found = await self._asked(lambda client: client.get(key))
        return _text(found)

    async def find_timed(self, key: str) -> Found | None:
        """As :meth:`find`, with the time; None where Redis does not answer. On the I/O thread."""
        found = await self._asked(lambda client: client.pipeline(transaction=False).get(key).time().execute())
        if found is None:
            return None
        text, (seconds, microseconds) = found
        return Found(_text(text), seconds * 1_000_000 + microseconds)

    async def now(self) -> int | None:
        """The server's time in µs; None where it does not answer. On the I/O thread."""
        found = await self._asked(lambda client: client.time())
        return None if found is None else found[0] * 1_000_000 + found[1]

    def keep(self, key: str, text: str, seconds: float) -> None:
        """Keep a text for so long, without waiting. From any thread."""
        if time.monotonic() >= self._rests_until and self._places.acquire(blocking=False):
            self._io().submit(self._keep(key, text, max(1, int(seconds * 1000))))

    async def mark(self, key: str, seconds: float) -> bool | None:
        """Whether it was not marked yet, and is now; None where Redis does not answer. On the I/O thread."""
        milliseconds = max(1, int(seconds * 1000))
        answer = await self._asked(
            lambda client: client.pipeline(transaction=False).set(key, b"1", nx=True, px=milliseconds).execute()
        )
        return None if answer is None else bool(answer[0])

    async def _keep(self, key: str, text: str, milliseconds: int) -> None:
        try:
            await self._asked(lambda client: client.set(key, text, px=milliseconds))
        finally:
            self._places.release()

    async def _asked(self, ask: Callable[[Any], Any]) -> Any:
        if time.monotonic() < self._rests_until:
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await ask(self._link.used())
        except self._link.errors() as error:
            self._rest(error)
            return None
        if self._warned:
            self._warned = False
            _log.warning("What is cached in Redis is found and kept again: %s answers.", self._link.place)
        return answer

    def _rest(self, error: Exception) -> None:
        self._rests_until = time.monotonic() + REST_SECONDS
        if not self._warned:
            self._warned = True
            _log.warning(
                "What is cached in Redis is neither found nor kept: %s. It is worked out each time instead.",
                self._link.lost(error),
            )


def _text(found: bytes | None) -> str | None:
    try:
        return None if found is None else found.decode()
    except UnicodeDecodeError:  # nothing of ours
        return None
