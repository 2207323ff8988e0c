"""A pool of connections that belong to one event loop, and to one process."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from investigation_sdk.errors import InvestigationError

from .postgres_driver import DRIVER_ERRORS, Connect, Connection
from .postgres_errors import Means, fault, sqlstate

_RESTED: Final = 1.0
"""Seconds after which a connection is asked whether it still works before it is used."""
_GOOD_BYE: Final = 2.0
"""Seconds at most to say good-bye."""
_SPARE: Final = 10.0
"""Seconds for which a connection beyond those that are kept stays, to be used again: to make one takes as long as a
hundred short reads, and whoever asks for much at the same time does so more than once."""


class PoolExhausted(Exception):
    """All connections stayed in use."""


class CannotConnect(Exception):
    """No connection could be made; `why` is the driver's error. Nothing was sent."""

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


class Pool:
    """Connections, made when they are needed.

    Args:
        connect: Makes one.
        size: That many are kept.
        overflow: So many more are made when all are in use, and closed when they were not needed for a while.
        timeout: Seconds to wait for one.
        ping: Seconds that one which has rested may take to say that it works.
    """

    def __init__(self, connect: Connect, size: int, overflow: int, timeout: float, ping: float) -> None:
        self._connect = connect
        self._size = size
        self._most = size + overflow
        self._timeout = timeout
        self._ping = ping
        self._idle: list[tuple[Connection, float]] = []
        self._in_use: set[Connection] = set()
        self._free: asyncio.Semaphore | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._trimming: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Future[list[None]] | None = None
        _pools.add(self)

    def connection(self, until: float) -> AbstractAsyncContextManager[Connection]:
        """One connection, for this block alone. After an error in it that is not the server's answer it is dropped.

        Args:
            until: The loop's time at which it must be there. The block sees to its own end.

        Raises:
            PoolExhausted: on entering: none became free in time.
            CannotConnect: on entering: a new one could not be made.
        """
        return _Lent(self, until)

    async def lend(self, until: float) -> tuple[Connection, asyncio.Semaphore]:
        """See :meth:`connection`; with what is to be released behind :meth:`take_back`."""
        free = self._here()
        if free.locked():
            wait = min(self._timeout, _left(until))
            try:
                async with asyncio.timeout(wait):
                    await free.acquire()
            except TimeoutError:
                raise PoolExhausted(f"all {self._most} connections are in use for {wait:.3g} seconds") from None
        else:
            await free.acquire()
        try:
            connection = await self._take(until)
        except BaseException:
            free.release()
            raise
        self._in_use.add(connection)
        return connection, free

    def _here(self) -> asyncio.Semaphore:
        """The semaphore of the running loop; connections of another loop cannot be used here."""
        loop = asyncio.get_running_loop()
        if self._free is None or self._loop is not loop:
            self.forget()
            self._loop = loop
            self._free = asyncio.Semaphore(self._most)
        return self._free

    async def _take(self, until: float) -> Connection:
        while self._idle:
            connection, since = self._idle.pop()
            if connection.is_closed():
                continue
            # half of the time at most: the other is for connecting
            if time.monotonic() - since < _RESTED or await _works(connection, min(self._ping, _left(until) / 2)):
                return connection
            idle, self._idle = self._idle, []  # they have rested longer
            for other, _ in idle:
                other.terminate()
        try:
            async with asyncio.timeout_at(until):
                return await self._connect()
        except DRIVER_ERRORS as error:
            raise CannotConnect(error) from error

    async def take_back(self, connection: Connection, until: float, *, usable: bool) -> None:
        """Keep it for the next, or close it; `usable`: no answer is still to come on it."""
        self._in_use.discard(connection)
        if connection.is_closed():
            return
        if not usable or connection.is_in_transaction():
            connection.terminate()
        elif (loop := asyncio.get_running_loop()) is self._loop:
            self._idle.append((connection, time.monotonic()))
            self._trim_later(loop)
        else:
            await _close(connection, min(_GOOD_BYE, _left(until)))

    def _trim_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if len(self._idle) > self._size and self._trimming is None:
            self._trimming = loop.call_later(_SPARE, self._trim, loop)

    def _trim(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what is more than is kept and has not been needed; the first of them have rested longest."""
        self._trimming = None
        before = time.monotonic() - _SPARE
        rested = [one for one, since in self._idle[: max(0, len(self._idle) - self._size)] if since <= before]
        del self._idle[: len(rested)]
        self._leaving = asyncio.gather(*(_close(one, _GOOD_BYE) for one in rested))
        self._trim_later(loop)

    async def close(self) -> None:
        """Close what is idle; what is in use is closed by who uses it."""
        idle, self._idle = self._idle, []
        here = self._loop is asyncio.get_running_loop()
        trimming, leaving = self._trimming, self._leaving
        self._loop = self._free = self._trimming = self._leaving = None
        if here:
            if trimming is not None:
                trimming.cancel()
            await asyncio.gather(*(_close(connection, _GOOD_BYE) for connection, _ in idle))
            if leaving is not None:
                await leaving

    def forget(self) -> None:
        """The connections are another process's, or another loop's: they are left alone, and never closed from here.

        Not even collected: that would close a socket which its owner is using.
        """
        _forgotten.extend((*(connection for connection, _ in self._idle), *self._in_use))
        self._idle, self._in_use = [], set()
        if self._trimming is not None:
            self._trimming.cancel()
        self._free = self._loop = self._trimming = self._leaving = None


class _Lent:
    """A connection of a pool, for one block. No generator: to begin and to end one takes a tenth of a short read."""

    __slots__ = ("_connection", "_free", "_pool", "_until")

    def __init__(self, pool: Pool, until: float) -> None:
        self._pool = pool
        self._until = until

    async def __aenter__(self) -> Connection:
        self._connection, self._free = await self._pool.lend(self._until)
        return self._connection

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object, /) -> None:
        try:
            usable = error is None or _is_usable_after(error)
            await self._pool.take_back(self._connection, self._until, usable=usable)
        finally:
            self._free.release()


def _is_usable_after(error: BaseException) -> bool:
    if not isinstance(error, DRIVER_ERRORS) or isinstance(error, InvestigationError):
        return isinstance(error, Exception)  # not where the wait was broken off: an answer is still to come
    # after a failover, this may be what was the primary
    return fault(error).means is not Means.UNKNOWN and sqlstate(error) not in ("", "25006")


def _left(until: float) -> float:
    """Seconds until the loop's time is `until`; 0 after it."""
    return max(0.0, until - asyncio.get_running_loop().time())


async def _works(connection: Connection, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            await connection.execute("SELECT 1")
    except DRIVER_ERRORS:
        connection.terminate()
        return False
    except BaseException:  # broken off: an answer is still to come on it
        connection.terminate()
        raise
    return True


async def _close(connection: Connection, within: float) -> None:
    try:
        async with asyncio.timeout(within):
            await connection.close()
    except DRIVER_ERRORS:
        connection.terminate()


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_forgotten: list[Any] = []


def _after_fork() -> None:
    for pool in list(_pools):
        pool.forget()


os.register_at_fork(after_in_child=_after_fork)
