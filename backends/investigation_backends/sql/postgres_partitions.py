"""The log's partitions: one for the investigations that were created in a month.

Ids are UUIDv7, so a month is a range of ids. An investigation lives in one partition, and goes with it. There is no
default partition: one with rows in it would keep the partition that they belong to from being made.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from investigation_sdk.clock import to_datetime

from .names import EVENTS
from .postgres_driver import DRIVER_ERRORS, Connection
from .postgres_errors import TAKEN, message, sqlstate
from .postgres_names import Names

AHEAD: Final = 3
"""Months ahead that an upgrade makes."""
SOON: Final = timedelta(days=10)
"""So long before a month begins, who creates an investigation makes its partition too."""
DAY_MS: Final = 86_400_000
_log = logging.getLogger("investigation_sdk.postgres")

_LOCK: Final = 0x696E_7665_7374  # of our own, in the name space of advisory locks


class Month(NamedTuple):
    """A month, UTC."""

    year: int
    month: int

    @classmethod
    def of(cls, at: datetime) -> Month:
        """That of a time."""
        return cls(at.year, at.month)

    def next(self) -> Month:
        """The following one."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    def start(self) -> datetime:
        """Its first moment."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    def first_id(self) -> str:
        """The bound below all ids of the month, not itself a UUIDv7: versions and variants compare above it."""
        h = f"{int(self.start().timestamp() * 1000):012x}"
        return f"{h[:8]}-{h[8:]}-0000-0000-000000000000"

    def __str__(self) -> str:
        return f"{self.year:04d}_{self.month:02d}"


def coming(now: datetime) -> set[Month]:
    """The months that an upgrade prepares."""
    months = [Month.of(now)]
    for _ in range(AHEAD):
        months.append(months[-1].next())
    return set(months)


async def missing(connection: Connection, names: Names, months: Iterable[Month]) -> list[Month]:
    """Those of the months that have no partition, in order."""
    # from the catalog: to_regclass() may remember what was not there a moment ago
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = to_regclass($1)",
        names.events,
    )
    there = {row[0] for row in rows}
    return sorted(month for month in months if f"{names.prefix}{EVENTS}_{month}" not in there)


async def make(connection: Connection, names: Names, months: Iterable[Month]) -> None:
    """Make partitions, inside a transaction; of several that try at once, one does.

    Made apart and attached: ``CREATE TABLE … PARTITION OF`` would wait for everybody who reads the log, and
    everybody for it.
    """
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    for month in await missing(connection, names, months):
        name = names.of(f"{EVENTS}_{month}")
        await connection.execute(f"CREATE TABLE {name} (LIKE {names.events} INCLUDING ALL)")
        await connection.execute(
            f"ALTER TABLE {names.events} ATTACH PARTITION {name} "
            f"FOR VALUES FROM ('{month.first_id()}') TO ('{month.next().first_id()}')"
        )


class NoPartition(Exception):
    """A month of now has no partition, and this user may not make it; the cause is what the server says."""


async def look_ahead(connection: Connection, names: Names) -> int:
    """See that the partitions of now and of soon are there; answer the server's time, in ms.

    Which ids may be created now is within a day of the server's clock.

    Raises:
        NoPartition: one that is needed now cannot be made.
    """
    (now_us,) = await connection.fetchrow("SELECT clock_timestamp()")
    now = to_datetime(now_us)
    needed = {Month.of(now + apart) for apart in (timedelta(days=-1), timedelta(), timedelta(days=1))}
    lacking = await missing(connection, names, needed | {Month.of(now + SOON)})
    if lacking:
        try:
            await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            await make(connection, names, lacking)
            await connection.execute("COMMIT")
        except DRIVER_ERRORS as error:
            if not sqlstate(error):
                raise
            await connection.execute("ROLLBACK")
            shown = ", ".join(f"{month.year}-{month.month:02d}" for month in lacking)
            why = (
                "a table of its name is in the way: rename it, or attach it if it was a partition once"
                if sqlstate(error) in TAKEN
                else "this user cannot make it; run 'investigate db upgrade' as the owner of the tables"
            )
            said = f"the log has no partition for {shown}, and {why} (PostgreSQL: {message(error)})"
            if needed.intersection(lacking):
                raise NoPartition(said) from error
            _log.warning("Soon %s", said)
    return int(now_us) // 1000
