"""What is SQLite's own: locks, faults, forks, plans of queries."""

import asyncio
import sqlite3
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from investigation_backends.sql.sqlite_errors import FAULTS
from investigation_backends.sql.sqlite_write import next_in_queue
from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk.errors import BackendUnavailable, ConfigurationError
from investigation_sdk.storage.backend import CommitNotApplied, StoreFailure
from investigation_sdk.storage.commit import APPLIED, Aggregate, CommitStatus, Measure, Query, Wanted, Where
from investigation_sdk.testing._contract.building import Case


@pytest.fixture
async def backend(tmp_path: Path) -> Any:
    backend = SQLiteBackend(tmp_path / "cases.db", busy_timeout=5)
    await backend.open()
    yield backend
    await backend.close()


def raw(backend: SQLiteBackend) -> sqlite3.Connection:
    """The connection of the hot path."""
    connection = backend._link._connection
    assert connection is not None
    return connection


# ---------------------------------------------------------------- locks


async def test_settings(backend: SQLiteBackend) -> None:
    await backend.read_snapshot("x")

    def pragma(name: str) -> Any:
        return raw(backend).execute(f"PRAGMA {name}").fetchone()[0]

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2
    assert pragma("foreign_keys") == 1
    assert pragma("page_size") == 4096


async def test_page_size_and_synchronous(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "cases.db", page_size=16384, synchronous="NORMAL")
    await backend.open()
    await backend.read_snapshot("x")
    assert raw(backend).execute("PRAGMA page_size").fetchone() == (16384,)
    assert raw(backend).execute("PRAGMA synchronous").fetchone() == (1,)
    await backend.close()
    with pytest.raises(ConfigurationError, match="power of two"):
        SQLiteBackend(tmp_path / "cases.db", page_size=5000)
    with pytest.raises(ConfigurationError, match="NORMAL, FULL or EXTRA"):
        SQLiteBackend(tmp_path / "cases.db", synchronous="OFF")  # type: ignore[arg-type]


async def test_a_held_lock_holds_the_call_but_not_the_loop(backend: SQLiteBackend) -> None:
    other = sqlite3.connect(backend.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    case = Case()
    waiting = asyncio.create_task(backend.commit([case.commit()]))
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not waiting.done()
    assert await backend.get("investigation", case.id) is None  # reads go on
    other.execute("ROLLBACK")
    other.close()
    assert list(await waiting) == [APPLIED]


async def test_patience_ends(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "cases.db", busy_timeout=0.05)
    await backend.open()
    other = sqlite3.connect(backend.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CommitNotApplied, match="another connection holds its write lock"):
        await backend.commit([Case().commit()])
    with pytest.raises(BackendUnavailable, match="another connection holds its write lock"):
        await backend.claim("x", "me", ttl=1)
    with pytest.raises(BackendUnavailable, match="another connection holds its write lock"):
        await backend.delete([("x", 1)])
    other.close()
    assert list(await backend.commit([Case().commit()])) == [APPLIED]
    await backend.close()


async def test_a_writer_of_another_process_that_is_killed_leaves_nothing(backend: SQLiteBackend) -> None:
    script = """
        import os, sqlite3, sys
        c = sqlite3.connect(sys.argv[1], isolation_level=None)
        c.execute("BEGIN IMMEDIATE")
        c.execute("INSERT INTO investigation_leases VALUES ('half', 'me', 1)")
        print("held", flush=True)
        sys.stdin.read()
        os._exit(1)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), backend.path]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    waiting = asyncio.create_task(backend.commit([Case().commit()]))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    process.kill()
    await process.communicate()
    assert list(await waiting) == [APPLIED]
    assert await backend.holder("half") is None


async def test_a_long_read_does_not_hold_the_loop(backend: SQLiteBackend) -> None:
    await backend.find(Query("tool"))
    assert backend._selects is not None
    entered, leave = asyncio.Event(), False
    loop = asyncio.get_running_loop()

    def slow() -> None:
        loop.call_soon_threadsafe(entered.set)
        while not leave:
            time.sleep(0.001)

    reading = asyncio.create_task(backend._reader.run(slow))
    await entered.wait()
    assert list(await backend.commit([Case().commit()])) == [APPLIED]
    leave = True
    await reading


# ---------------------------------------------------------------- what a commit may say


async def test_a_full_disk_is_said_and_survived(backend: SQLiteBackend) -> None:
    case = Case()
    await case.apply(backend)
    (pages,) = raw(backend).execute("PRAGMA page_count").fetchone()
    raw(backend).execute(f"PRAGMA max_page_count={pages + 2}")
    commit = case.commit(data="x" * 100_000)
    with pytest.raises(StoreFailure, match=r"cases\.db: the disk .* is full; free some space"):
        await backend.commit([commit])
    assert len(await backend.read_events(case.id)) == 1
    raw(backend).execute("PRAGMA max_page_count=1000000")
    await case.apply(backend, commit)


async def test_too_large_a_value_is_that_commits_own_fault(backend: SQLiteBackend) -> None:
    await backend.read_snapshot("x")
    raw(backend).setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 50_000)
    small, large = Case(), Case()
    results = await backend.commit([large.commit(data="x" * 60_000), small.commit()])
    assert [result.status for result in results] == [CommitStatus.SIZE, CommitStatus.APPLIED]
    assert "too big" in results[0].message
    assert await backend.get("investigation", large.id) is None


async def test_a_call_of_a_phase_that_is_not_there(backend: SQLiteBackend) -> None:
    case, other = Case(), Case()
    tool = case.tool(phase_id=Case().id)
    results = await backend.commit([case.commit(rows=[tool]), other.commit()])
    assert [result.status for result in results] == [CommitStatus.CONSTRAINT, CommitStatus.APPLIED]
    assert "FOREIGN KEY" in results[0].message
    await case.apply(backend)
    with pytest.raises(ValueError, match="FOREIGN KEY"):
        await backend.put_rows([tool])


async def test_a_commit_error_is_rolled_back(backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """COMMIT itself may fail; then the transaction must not stay open."""
    from investigation_backends.sql import sqlite_write

    apply = sqlite_write.apply

    def damaged(connection: sqlite3.Connection, commits: Any) -> Any:
        results = apply(connection, commits)
        connection.execute("PRAGMA defer_foreign_keys=ON")
        connection.execute("INSERT INTO investigation_snapshots VALUES ('s', 'nobody', 1, 1, 1, 'x', '{}', '{}', '{}')")
        return results

    monkeypatch.setattr(sqlite_write, "apply", damaged)
    case = Case()
    with pytest.raises(StoreFailure):
        await backend.commit([case.commit()])
    monkeypatch.undo()
    assert not raw(backend).in_transaction
    assert await backend.get("investigation", case.id) is None
    await case.apply(backend)


async def test_tables_that_were_dropped(backend: SQLiteBackend) -> None:
    await backend.read_snapshot("x")
    raw(backend).execute("DROP TABLE investigation_events")
    with pytest.raises(StoreFailure, match="changed by hand"):
        await backend.commit([Case().commit()])
    with pytest.raises(BackendUnavailable, match="no such table"):
        await backend.read_events("x")


async def test_a_damaged_file(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "cases.db")
    await backend.open()
    for _ in range(20):
        await backend.commit([Case(subject="x" * 3000).commit() for _ in range(20)])
    await backend.close()
    damage(Path(backend.path))

    async def use() -> None:
        await backend.open()
        await backend.find(Query("investigation", sort="created_at", limit=1000))

    with pytest.raises(BackendUnavailable, match=r"cases\.db: the file is damaged; stop writing"):
        await use()
    await backend.close()


def file_size(backend: SQLiteBackend) -> int:
    path = Path(backend.path)
    return path.stat().st_size if path.exists() else 0


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xff" * 400_000 + content[408_192:])


async def test_a_closed_backend_says_so(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "cases.db")
    with pytest.raises(StoreFailure, match=r"not open; call open\(\)"):
        await backend.commit([Case().commit()])
    for call in (backend.get("tool", "x"), backend.find(Query("tool")), backend.put_rows([]), backend.read_events("x")):
        with pytest.raises(BackendUnavailable, match="not open"):
            await call
    assert file_size(backend) == 0


def test_every_fault_says_what_to_do() -> None:
    for fault in FAULTS.values():
        assert fault.says
        assert fault.says == fault.says.rstrip(".")


# ---------------------------------------------------------------- the file


async def test_closing_leaves_one_file(backend: SQLiteBackend, tmp_path: Path) -> None:
    await Case().apply(backend)
    assert files(tmp_path) > {"cases.db-wal"}
    await backend.close()
    assert files(tmp_path) == {"cases.db"}


async def test_closing_waits_for_a_read_that_was_given_up_and_refuses_the_next(
    backend: SQLiteBackend, tmp_path: Path
) -> None:
    await Case().apply(backend)
    begun, go_on = threading.Event(), threading.Event()

    def read(connection: sqlite3.Connection) -> None:
        begun.set()
        assert go_on.wait(60)

    reading = asyncio.create_task(backend._aside(read))
    assert await asyncio.to_thread(begun.wait, 60)
    reading.cancel()
    closing = asyncio.create_task(backend.close())
    await asyncio.wait([reading])
    for _ in range(100):
        await asyncio.sleep(0)
    assert not closing.done(), "the thread still has a connection"
    refused = asyncio.create_task(backend.read_events("x"))
    await asyncio.sleep(0)
    go_on.set()
    await closing
    assert files(tmp_path) == {"cases.db"}
    with pytest.raises(BackendUnavailable, match="not open"):
        await refused


async def test_payload_is_stored_once_and_small(tmp_path: Path) -> None:
    """A step is two events and a call with 1 KB of payload, which stands in the second event only."""
    backend = SQLiteBackend(tmp_path / "cases.db")
    await backend.open()
    case = Case()
    await case.apply(backend)

    async def size() -> int:
        await backend.close()
        size = file_size(backend)
        await backend.open()
        return size

    async def steps(count: int) -> None:
        for _ in range(count):
            done = case.tool(status="completed", output_sequence=case.row.version + 2, completed_at=1, duration_ms=3)
            commit = case.commit("tool.started", "tool.completed", rows=[done])
            closing = commit.events[1]._replace(event_data='{"output":"' + "x" * 1000 + '"}')
            commit.events = [commit.events[0], closing]
            await case.apply(backend, commit)

    await steps(50)
    before = await size()
    await steps(400)
    middle = await size()
    await steps(400)
    after = await size()
    await backend.close()
    assert (after - before) / 800 < 2600
    assert abs((after - middle) - (middle - before)) < 0.05 * (middle - before), "grows with the steps, and not faster"


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
