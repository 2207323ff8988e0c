"""What SQLite answers from an index, and exactly."""

import pytest

from investigation_backends.sql.sqlite_write import next_in_queue
from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk.storage.commit import Aggregate, Measure, Query, Wanted, Where
from investigation_sdk.testing._contract.building import Case
from tests.backends.sqlite.rig import raw


def plan(backend: SQLiteBackend, query: Query) -> str:
    from sqlalchemy.dialects import sqlite

    from investigation_backends.sql.queries import page
    from investigation_backends.sql.tables import build

    compiled = page(query, build("sqlite")).compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    return " / ".join(row[3] for row in raw(backend).execute(f"EXPLAIN QUERY PLAN {compiled}"))


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query("investigation"), "sqlite_autoindex_investigations_1"),
        (Query("investigation", descending=True, after=("x", "x")), "sqlite_autoindex_investigations_1"),
        (Query("investigation", (Where("status", "=", "running"),)), "ix_investigations_status_id (status=?"),
        (Query("investigation", (Where("status", "in", ["running", "paused"]),)), "ix_investigations_status_id"),
        (Query("investigation", (Where("user_id", "=", "u"),), after=("x", "x")), "ix_investigations_user_id_id"),
        (Query("investigation", (Where("investigation_type", "=", "f"),)), "ix_investigations_investigation_type_id"),
        (
            Query("investigation", (Where("parent_investigation_id", "=", "f"),)),
            "ix_investigations_parent_investigation_id_id",
        ),
        (
            Query(
                "investigation",
                (Where("tenant_id", "=", ""), Where("investigation_type", "=", "f"), Where("key", "=", "k")),
                sort="generation",
                descending=True,
            ),
            "uq_investigations_key",
        ),
        (Query("tool", (Where("investigation_id", "=", "x"),)), "ix_tool_executions_investigation_id_id"),
        (
            Query("tool", (Where("investigation_id", "=", "x"), Where("id", ">", "y")), descending=True),
            "ix_tool_executions_investigation_id_id",
        ),
        (Query("tool", (Where("phase_id", "=", "x"),)), "ix_tool_executions_investigation_id_id"),
        (Query("tool", (Where("status", "=", "failed"),)), "ix_tool_executions_status_id"),
        (Query("tool", (Where("status", "in", ["running", "unknown"]),)), "ix_tool_executions_status_id"),
        (
            Query("phase", (Where("investigation_id", "=", "x"),), sort="phase_order"),
            "sqlite_autoindex_investigation_phases_2",
        ),
        (Query("snapshot", (Where("investigation_id", "=", "x"),), sort="sequence"), "ix_investigation_snapshots"),
    ],
)
async def test_queries_use_indexes(backend: SQLiteBackend, query: Query, index: str) -> None:
    await backend.read_snapshot("x")
    found = plan(backend, query)
    assert index in found, found


async def test_reading_the_log_uses_its_index(backend: SQLiteBackend) -> None:
    await backend.read_snapshot("x")
    (found,) = raw(backend).execute(
        "EXPLAIN QUERY PLAN SELECT * FROM investigation_events WHERE investigation_id=? AND sequence>? "
        "ORDER BY sequence LIMIT ?",
        ("x", 1, 1),
    )
    assert "USING INDEX sqlite_autoindex_investigation_events_1 (investigation_id=? AND sequence>?)" in found[3]


@pytest.mark.parametrize(
    ("wanted", "plan"),
    [
        (Wanted(["a", "b"]), "USING INDEX ix_investigations_queue"),
        (Wanted(["a"], tenant_id="t"), "USING INDEX ix_investigations_queue"),
        (Wanted(["a"], left_in=["running", "completing"]), "USING INDEX ix_investigations_status_id (status=?)"),
    ],
)
async def test_the_queue_is_read_in_its_order(backend: SQLiteBackend, wanted: Wanted, plan: str) -> None:
    await backend.read_snapshot("x")
    statement, values = next_in_queue(wanted, 1, 10)
    found = " / ".join(row[3] for row in raw(backend).execute(f"EXPLAIN QUERY PLAN {statement}", values))
    assert plan in found, found
    assert "sqlite_autoindex_investigation_leases_1 (resource=?)" in found, found
    if not wanted.left_in:
        assert "TEMP B-TREE" not in found, found


async def test_deleting_does_not_scan(backend: SQLiteBackend) -> None:
    """Each foreign key's child columns have an index: without it a cascade reads the whole table."""
    await backend.read_snapshot("x")
    for table, condition in (
        ("tool_executions", "investigation_id=? AND phase_id=?"),
        ("tool_executions", "investigation_id=?"),
        ("investigation_phases", "investigation_id=?"),
        ("investigation_events", "investigation_id=?"),
        ("investigation_snapshots", "investigation_id=?"),
        ("investigations", "parent_investigation_id=?"),
    ):
        values = "x" * condition.count("?")
        (found,) = raw(backend).execute(f"EXPLAIN QUERY PLAN SELECT rowid FROM {table} WHERE {condition}", [*values])
        assert "SEARCH" in found[3], found


async def test_money_over_many_rows_is_exact(backend: SQLiteBackend) -> None:
    case = Case()
    await case.apply(backend, case.commit(rows=[case.tool(cost_estimate="0.1") for _ in range(1000)]))
    measures = (Measure("sum", "cost_estimate"), Measure("avg", "cost_estimate"))
    ((total, average),) = await backend.aggregate(Aggregate("tool", measures=measures))
    assert (total, average) == ("100.0", 0.1)
