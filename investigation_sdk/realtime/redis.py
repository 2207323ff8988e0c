"""Redis: hints by publish and subscribe. Nothing else imports the client, which the extra ``redis`` installs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any, Final

from investigation_sdk.errors import ConfigurationError
from investigation_sdk.realtime.brokers import BrokerLost, Heard

TIMEOUT_SECONDS: Final = 5.0
"""For any answer of Redis, but for what is listened for."""


_forgotten: Final[list[Any]] = []
"""Not even collected: that would close sockets which their owner is using."""


class RedisLink:
    """One Redis server, for one loop at a time.

    Args:
        url: ``redis://user:password@host:6379/0``, ``rediss://…`` with TLS, or ``unix://…``.

    Raises:
        ConfigurationError: the client is not installed, or cannot use the URL.
    """

    def __init__(self, url: str) -> None:
        try:
            from redis import asyncio as client
        except ImportError as error:
            raise ConfigurationError(
                "redis= needs the Redis client; run: pip install 'investigation-sdk[redis]'"
            ) from error
        self._client: Any = client  # its types are partly unknown
        self._url = url
        self.place: str = _place(url)
        self._used: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        try:
            self.connection()
        except (ValueError, TypeError) as error:  # not from: the message may quote the URL
            raise ConfigurationError(
                f"{self.place}: the client cannot use this URL ({type(error).__name__}); write "
                "redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path/to/socket"
            ) from None

    def connection(self) -> Any:
        """A client with connections of its own; it connects when it is used.

        It tries nothing again by itself: a command whose answer was lost may have been done.
        """
        return self._client.Redis.from_url(
            self._url,
            retry=None,
            retry_on_error=[],
            socket_connect_timeout=TIMEOUT_SECONDS,
            decode_responses=False,
        )

    def used(self) -> Any:
        """The client that commands of the running loop share."""
        loop = asyncio.get_running_loop()
        if self._used is None or self._loop is not loop:
            if self._used is not None:  # another loop's, or of the process that this one was forked from
                _forgotten.append(self._used)
            self._used, self._loop = self.connection(), loop
        return self._used

    async def close(self) -> None:
        """Close what is shared; it connects again when it is used again."""
        used, self._used = self._used, None
        if used is not None and self._loop is asyncio.get_running_loop():
            with contextlib.suppress(*self.errors()):
                await used.aclose()

    @staticmethod
    def errors() -> tuple[type[Exception], ...]:
        """What the client raises where the server does not do what it is asked."""
        from redis.exceptions import RedisError

        return (RedisError, OSError, TimeoutError)

    def lost(self, error: Exception) -> BrokerLost:
        """What to tell: never the message of the driver where that may quote a command."""
        return BrokerLost(f"{self.place}: {type(error).__name__}")


def redis_of(url: str | None) -> RedisLink | None:
    """The Redis that a URL, or else the environment, names; None where none is named.

    Raises:
        ConfigurationError: as of :class:`RedisLink`.
    """
    named = url or os.environ.get("INVESTIGATION_REDIS_URL")
    return RedisLink(named) if named else None


class RedisBroker:
    """Hints over one channel of a Redis server: every process that listens hears all of them."""

    name = "redis"
    eager = True

    def __init__(self, link: RedisLink, channel: str = "investigation:hints") -> None:
        self._link = link
        self._channel = channel

    async def publish(self, messages: Sequence[str]) -> None:
        """See :class:`investigation_sdk.realtime.brokers.Broker`."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                pipeline = self._link.used().pipeline(transaction=False)
                for message in messages:
                    pipeline.publish(self._channel, message)
                await pipeline.execute()
        except self._link.errors() as error:
            raise self._link.lost(error) from error

    async def listen(self, heard: Heard, connected: Callable[[], object]) -> None:
        """See :class:`investigation_sdk.realtime.brokers.Broker`."""
        client = self._link.connection()
        pubsub = client.pubsub()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await pubsub.subscribe(self._channel)
                await _said(pubsub, "subscribe")
            connected()
            while True:
                message = await pubsub.get_message(timeout=None)
                if message is None:
                    continue
                if message["type"] == "subscribe":  # the client has connected again by itself: something was missed
                    raise BrokerLost(f"{self._link.place}: the connection was lost")
                if message["type"] == "message":
                    heard(message["data"])
        except self._link.errors() as error:
            raise self._link.lost(error) from error
        finally:
            with contextlib.suppress(*self._link.errors()):
                await pubsub.aclose()
            with contextlib.suppress(*self._link.errors()):
                await client.aclose()

    async def close(self) -> None:
        """See :class:`investigation_sdk.realtime.brokers.Broker`."""
        await self._link.close()


async def _said(pubsub: Any, wanted: str) -> None:
    while True:
        message = await pubsub.get_message(timeout=TIMEOUT_SECONDS)
        if message is not None and message["type"] == wanted:
            return


def _place(url: str) -> str:
    """What a URL names, for messages: never a password."""
    try:
        parts = urllib.parse.urlsplit(url)
        where = parts.netloc.rpartition("@")[2] or parts.path
    except ValueError:
        where = "a URL that cannot be read"
    return f"Redis at {where}"
