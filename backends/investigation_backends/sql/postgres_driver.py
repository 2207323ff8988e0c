"""The driver: how connections are made, and the little of asyncpg that is used. Nothing else imports asyncpg."""

from __future__ import annotations

import asyncio
import os
import ssl
import urllib.parse
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - it has none

from investigation_sdk.errors import ConfigurationError
from investigation_sdk.storage.registry import check_server_url, unreadable

EPOCH: Final = 946_684_800_000_000
"""PostgreSQL counts µs from here, 2000-01-01."""

DRIVER_ERRORS: Final[tuple[type[Exception], ...]] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # also timeouts, and what TLS raises
    EOFError,
)
"""What a connection raises, other than for a mistake of ours. BackendUnavailable is a ConnectionError, too: where both
may come, it is to be caught first."""


class Row(Protocol):
    """One row of an answer."""

    def __getitem__(self, key: int | str, /) -> Any:
        """By position or name."""
        ...


class Connection(Protocol):
    """One connection."""

    async def execute(self, statement: str, *values: Any) -> str:
        """Run; answers the command's tag."""
        ...

    async def fetch(self, statement: str, *values: Any) -> Sequence[Any]:
        """All rows."""
        ...

    async def fetchrow(self, statement: str, *values: Any) -> Any:
        """The first row or None."""
        ...

    def is_closed(self) -> bool:
        """Whether it is of no use any more."""
        ...

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open on it."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:
        """Say good-bye."""
        ...

    def terminate(self) -> None:
        """Drop it."""
        ...

    async def add_listener(self, channel: str, callback: Callable[..., object]) -> None:
        """LISTEN; the callback gets connection, process, channel and payload."""
        ...

    def add_termination_listener(self, callback: Callable[[Any], object]) -> None:
        """Call it when the connection is over."""
        ...


Connect = Callable[[], Awaitable[Connection]]


@dataclass(frozen=True)
class Target:
    """Where to connect, and how.

    Attributes:
        url: With everything that is secret; it never reaches a message.
        place: For messages.
        command_timeout: Seconds that a call may take in all.
        connect_timeout: Seconds that connecting may take of them.
        pgbouncer: Something between us and the server gives each transaction another connection.
        settings: Of each session.
    """

    url: str = field(repr=False)
    place: str
    command_timeout: float
    connect_timeout: float
    pgbouncer: bool
    settings: dict[str, str]

    async def connect(self, *, patient: bool = False, **settings: str) -> Connection:
        """A new connection.

        Args:
            patient: The server sets no limit to how long a statement takes.
            settings: More of them.

        Raises:
            ConfigurationError: the URL cannot be read.
            Exception: one of :data:`DRIVER_ERRORS`.
        """
        given = {**self.settings, **settings}
        if patient:
            given = {name: value for name, value in given.items() if name not in ("statement_timeout", "lock_timeout")}
        if self.pgbouncer:  # it refuses what it does not know
            given = {name: value for name, value in given.items() if name == "application_name"}
        try:
            async with asyncio.timeout(self.connect_timeout):
                return await self._connect(given)
        except (FileNotFoundError, PermissionError) as error:
            if (said := _files(self.url)) is not None:
                raise ConfigurationError(f"{self.place}: {said} ({error.strerror})") from error
            raise
        except (ValueError, asyncpg.InterfaceError) as error:
            if isinstance(error, ssl.SSLError):
                raise
            # not from: the driver's message may quote a part of the URL
            raise ConfigurationError(
                f"{self.place}: the driver cannot use this URL or its options ({type(error).__name__}); see the "
                "reference of stores for what they may be"
            ) from None

    async def _connect(self, settings: dict[str, str]) -> Connection:
        connect = cast("Callable[..., Awaitable[Any]]", asyncpg.connect)  # pyright: ignore[reportUnknownMemberType]
        connection = await connect(
            self.url,
            timeout=self.connect_timeout,
            statement_cache_size=0 if self.pgbouncer else 200,
            server_settings=settings,
        )
        try:
            # times are µs on both sides, without a datetime between them
            await connection.set_type_codec(
                "timestamptz",
                schema="pg_catalog",
                format="tuple",
                encoder=_to_server,
                decoder=_from_server,
            )
        except BaseException:
            connection.terminate()
            raise
        return cast("Connection", connection)


def _files(url: str) -> str | None:
    """Which option names a file that cannot be read; None where all can."""
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    for option in ("sslrootcert", "sslcert", "sslkey", "sslcrl"):
        if option in query and not os.access(query[option], os.R_OK):
            return f"{option} names a file that cannot be read, {query[option]!r}; correct it, or let this user read it"
    if "sslcert" in query and "sslkey" not in query:
        return "sslcert needs the key of the certificate; name its file with sslkey"
    if query.get("sslmode", "").startswith("verify") and "sslrootcert" not in query:
        return f"sslmode={query['sslmode']} needs the certificates that are trusted; name their file with sslrootcert"
    return None


def _to_server(us: int) -> tuple[int]:
    return (us - EPOCH,)


def _from_server(time: tuple[int]) -> int:
    return time[0] + EPOCH


def describe(url: str) -> str:
    """What a URL names, for messages: never a password.

    Raises:
        ConfigurationError: it cannot be read.
    """
    check_server_url(url)
    try:
        parts = urllib.parse.urlsplit(url)
        hosts = parts.netloc.rpartition("@")[2]
        user = urllib.parse.unquote(parts.netloc.rpartition("@")[0].partition(":")[0])
        for host in hosts.split(","):
            urllib.parse.urlsplit(f"//{host}").port  # noqa: B018 - raises where it is no number
    except ValueError:
        raise unreadable(url) from None
    query = dict(urllib.parse.parse_qsl(parts.query))
    hosts = hosts or query.get("host", "the default host")
    database = urllib.parse.unquote(parts.path.lstrip("/"))
    place = f"PostgreSQL at {hosts}"
    place += f", database {database}" if database else ""
    return place + (f", user {user}" if user else "")
