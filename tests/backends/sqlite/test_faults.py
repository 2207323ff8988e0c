"""What a commit may say that cannot be done, and what a damaged file says."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from investigation_backends.sql.sqlite_errors import FAULTS
from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.backend import StoreFailure
from investigation_sdk.storage.commit import CommitStatus, Query
from investigation_sdk.testing._contract.building import Case
from tests.backends.sqlite.rig import file_size, raw


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
