"""A partition a month: who makes it, and when."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_backends.sql import postgres_partitions
from investigation_backends.sql.postgres_partitions import Month, coming
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.ids import lower_bound
from investigation_sdk.storage.backend import StoreFailure
from investigation_sdk.storage.commit import APPLIED
from investigation_sdk.testing.contract import Case
from investigation_sdk.testing.servers import Postgres


def test_months() -> None:
    assert Month(2026, 12).next() == Month(2027, 1)
    assert str(Month(2026, 3)) == "2026_03"
    december = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert Month.of(december) == Month(2026, 12)
    assert sorted(coming(december)) == [Month(2026, 12), Month(2027, 1), Month(2027, 2), Month(2027, 3)]
    for moment in (december, december + timedelta(microseconds=1)):
        month = Month.of(moment)
        id = lower_bound(int(moment.timestamp() * 1_000_000))
        assert month.first_id() <= id < month.next().first_id()


async def test_an_investigation_is_in_the_partition_of_its_month(backend: PostgresBackend, raw: Any) -> None:
    case = Case()
    await case.apply(backend, case.commit("a", "b", "c"))
    found = await raw.fetch("SELECT DISTINCT tableoid::regclass::text FROM investigation_events")
    now = datetime.now(UTC)
    assert [row[0] for row in found] == [f"investigation_events_{now:%Y_%m}"]
    plan = await raw.fetch("EXPLAIN SELECT * FROM investigation_events WHERE investigation_id = $1", case.id)
    assert "Append" not in plan[0][0], "one partition is looked at"


async def test_an_upgrade_makes_the_coming_months_and_no_default(backend: PostgresBackend, raw: Any) -> None:
    rows = await raw.fetch(
        "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid "
        "WHERE i.inhparent = 'investigation_events'::regclass ORDER BY 1"
    )
    assert [row[0] for row in rows] == [f"investigation_events_{month}" for month in sorted(coming(datetime.now(UTC)))]
    bounds = [row[1] for row in rows]
    assert not any("DEFAULT" in bound for bound in bounds)
    for earlier, later in itertools.pairwise(bounds):
        assert earlier.split("TO ")[1] == later.split("FROM ")[1].split(" TO")[0], "no gap between two months"


async def test_who_creates_makes_the_partition_that_is_missing(postgres: Postgres, database: str) -> None:
    first = PostgresBackend(postgres.url_of(database), auto_migrate=True)
    await first.open()
    for month in coming(datetime.now(UTC)):
        postgres.sql(f"DROP TABLE investigation_events_{month}", database=database)
    # one that has looked today, and one that has not
    second = PostgresBackend(postgres.url_of(database))
    await second.open()
    postgres.sql(f"DROP TABLE investigation_events_{Month.of(datetime.now(UTC))}", database=database)
    cases = [Case() for _ in range(4)]
    answers = await asyncio.gather(*((first, second)[n % 2].commit([case.commit()]) for n, case in enumerate(cases)))
    assert [list(answer) for answer in answers] == [[APPLIED]] * 4
    for backend in (first, second):
        await backend.close()


async def test_a_user_that_may_not_make_a_partition_is_told(
    postgres: Postgres, database: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, role = postgres.url_of(database), f"writer_{database[-8:]}"
    await PostgresBackend(url).upgrade()
    postgres.sql(
        f"CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        database=database,
    )
    backend = PostgresBackend(url.replace("postgres@", f"{role}@"))
    try:
        monkeypatch.setattr(postgres_partitions, "SOON", timedelta(days=300))
        await backend.open()
        assert "Soon the log has no partition for" in caplog.text
        assert "run 'investigate db upgrade' as the owner of the tables" in caplog.text
        await Case().apply(backend)
        postgres.sql(f"DROP TABLE investigation_events_{Month.of(datetime.now(UTC))}", database=database)
        with pytest.raises(StoreFailure, match=r"no partition for \d{4}-\d\d.*, and this user cannot make it"):
            await backend.commit([Case().commit()])
        await backend.close()
        with pytest.raises(BackendUnavailable, match="no partition for"):
            await backend.open()
    finally:
        await backend.close()
        postgres.sql(f"DROP OWNED BY {role}; DROP ROLE {role}", database=database)


async def test_making_a_partition_waits_for_nobody_who_writes(postgres: Postgres, database: str) -> None:
    url = postgres.url_of(database)
    backend = PostgresBackend(url, auto_migrate=True)
    await backend.open()
    case = Case()
    await case.apply(backend)
    writing = await asyncpg.connect(url)
    transaction = writing.transaction()
    await transaction.start()
    await writing.execute("UPDATE investigations SET owner = 'x'")
    await writing.execute("UPDATE investigation_events SET actor = 'x'")
    async with asyncio.timeout(20):
        maker = await asyncpg.connect(url)
        async with maker.transaction():
            await postgres_partitions.make(maker, backend._names, [Month(2031, 1)])
        await maker.close()
    await transaction.rollback()
    await writing.close()
    await backend.close()
