"""Results of tools in Redis: those of one process are found by all others on the same store."""

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
from typing import Any, Final

from investigation_sdk.engine.io_thread import IOThread
from investigation_sdk.realtime.redis import RedisLink

_log = logging.getLogger("investigation_sdk.realtime")

ANSWER_SECONDS: Final = 0.5
"""A result that takes longer to be found is not worth it."""

REST_SECONDS: Final = 5.0
"""After Redis did not answer, it is not asked for so long: each call would wait for nothing."""

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


class RedisResults:
    """See :class:`investigation_sdk.engine.results.Results`.

    Args:
        link: The server.
        io: The thread that owns its connections; another one in a forked child.
        store: What tells one store from another (:func:`store_name`).
    """

    def __init__(self, link: RedisLink, io: Callable[[], IOThread], store: str) -> None:
        self._link = link
        self._io = io
        self._prefix = f"investigation:result:{hashlib.sha256(store.encode()).hexdigest()[:16]}:"
        self._rests_until = 0.0
        self._warned = False
        self._places = threading.BoundedSemaphore(_WAITING)

    def known(self, key: str) -> str | None:
        """See there: nothing is."""
        return None

    async def find(self, key: str) -> str | None:
        """See there."""
        if time.monotonic() < self._rests_until:
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found: bytes | None = await self._link.used().get(self._prefix + key)
            text = None if found is None else found.decode()
        except UnicodeDecodeError:
            return None
        except self._link.errors() as error:
            self._rest(error)
            return None
        self._answers()
        return text

    def keep(self, key: str, text: str, seconds: float) -> None:
        """See there."""
        if time.monotonic() >= self._rests_until and self._places.acquire(blocking=False):
            self._io().submit(self._keep(key, text, max(1, int(seconds * 1000))))

    async def _keep(self, key: str, text: str, milliseconds: int) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._link.used().set(self._prefix + key, text, px=milliseconds)
            self._answers()
        except self._link.errors() as error:
            self._rest(error)
        finally:
            self._places.release()

    def _rest(self, error: Exception) -> None:
        self._rests_until = time.monotonic() + REST_SECONDS
        if not self._warned:
            self._warned = True
            _log.warning("Results of tools are neither found nor kept: %s. Tools run instead.", self._link.lost(error))

    def _answers(self) -> None:
        if self._warned:
            self._warned = False
            _log.warning("Results of tools are found and kept again: %s answers.", self._link.place)
