"""Hints over PostgreSQL: NOTIFY says that there is something to read, LISTEN hears it on a connection of its own."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from investigation_sdk.errors import BackendUnavailable

from .postgres_driver import DRIVER_ERRORS, Connection, Target
from .postgres_errors import connect_fault, fault, unavailable
from .postgres_link import Link
from .postgres_names import Names

_GOOD_BYE: Final = 2.0
# apart from the commits: a transaction that notifies takes a lock which all of them share
_SAY: Final = "SELECT pg_notify($1, said) FROM unnest($2::text[]) AS said"


def channel(names: Names) -> str:
    """The channel of one store: a database may hold several. An identifier of at most 63 characters."""
    digest = hashlib.sha256(f"{names.schema or ''}/{names.prefix}".encode()).hexdigest()[:16]
    return "investigation_hints" if not (names.schema or names.prefix) else f"investigation_hints_{digest}"


async def hint(link: Link, messages: Sequence[str]) -> None:
    """Tell whoever listens.

    Raises:
        BackendUnavailable: the server does not do it.
    """
    if messages:
        await link.run(lambda c: c.fetch(_SAY, channel(link.names), list(messages)))


async def listen(target: Target, names: Names, heard: Callable[[str], object], connected: Callable[[], object]) -> None:
    """Hear until the connection is lost.

    Raises:
        BackendUnavailable: there is none, or it was lost.
    """
    try:
        connection = await target.connect()
    except DRIVER_ERRORS as error:
        raise unavailable(connect_fault(error), error, target.place) from error
    lost = asyncio.Event()
    try:
        connection.add_termination_listener(lambda _: lost.set())
        async with asyncio.timeout(target.command_timeout):
            await connection.add_listener(channel(names), lambda *said: heard(said[3]))
        connected()
        await lost.wait()
    except DRIVER_ERRORS as error:
        raise unavailable(fault(error), error, target.place) from error
    finally:
        await _close(connection)
    raise BackendUnavailable(f"{target.place}: the connection that listens was lost")


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=_GOOD_BYE)
    except DRIVER_ERRORS:
        connection.terminate()
