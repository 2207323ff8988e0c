"""Opening a SQLite file: what is refused and how, migrations, and many that open a new one."""

import asyncio
import logging
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from investigation_backends.sql import migrate, names, sqlite_open
from investigation_backends.sql.tables import build
from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk import InvestigationSDK
from investigation_sdk.domain.rows import ROW_TYPES
from investigation_sdk.errors import BackendUnavailable, InvestigationError, SchemaMismatch
from investigation_sdk.storage.commit import StoredEvent
from investigation_sdk.testing._contract.building import Case, blob, blob_data
from tests.backends.sqlite.rig import made
from tests.unwritable import nobody


async def refused(path: Path, error: type[InvestigationError], **options: Any) -> str:
    backend = SQLiteBackend(path, **options)
    with pytest.raises(error) as caught:
        await backend.open()
    assert backend._link._connection is None, "a refused file is not kept open"
    assert str(path) in str(caught.value)
    return str(caught.value)


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


# ---------------------------------------------------------------- migrations


def test_the_migrations_agree_with_the_tables() -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        migrate.upgrade(connection)
        assert migrate.differences(connection) == []
        connection.execute(text("ALTER TABLE investigation_leases ADD COLUMN extra TEXT"))
        connection.execute(text("DROP INDEX ix_investigations_status_id"))
        connection.execute(text("DROP TABLE investigation_snapshots"))
        assert migrate.differences(connection) == [
            "column investigation_leases.extra is too many",
            "index investigation_snapshots.ix_investigation_snapshots_investigation_id_sequence is missing",
            "index investigations.ix_investigations_status_id is missing",
            "table investigation_snapshots is missing",
        ]
    engine.dispose()


def test_the_migrations_make_what_the_tables_say_to_the_letter() -> None:
    def made_by(make: object) -> dict[str, str]:
        engine = create_engine("sqlite://")
        with engine.begin() as connection:
            make(connection)  # type: ignore[operator]
            rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
        engine.dispose()
        return {name: " ".join(sql.split()) for name, sql in rows if name != names.VERSION_TABLE}

    assert made_by(migrate.upgrade) == made_by(build("sqlite").metadata.create_all)


def test_down_and_up_again() -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        migrate.upgrade(connection)
        migrate.downgrade(connection, "base")
        left = connection.execute(text("SELECT name FROM sqlite_master WHERE type='table'")).scalars().all()
        assert set(left) <= {names.VERSION_TABLE}
        migrate.upgrade(connection)
        assert migrate.current(connection) == names.REVISIONS[-1]
    engine.dispose()


def test_what_was_there_before_the_queue_is_in_it() -> None:
    """As the SDK itself would say of each: what waits or was left may be taken up, and nothing else."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        migrate.upgrade(connection, "0003")
        for id, status, token, requested in (
            ("queued", "queued", None, 0),
            ("retrying", "retrying", None, 0),
            ("left", "running", None, 0),
            ("resumed", "paused", None, 1),
            ("driven", "running", "t", 0),
            ("paused", "paused", None, 0),
            ("created", "created", None, 0),
            ("failed", "failed", None, 0),
            ("completed", "completed", None, 0),
        ):
            connection.execute(
                text(
                    "INSERT INTO investigations(id, tenant_id, subject, investigation_type, generation, metadata, "
                    "configuration, created_at, status, version, head, token, attempt, progress_percentage, updated_at,"
                    " retry_count, resume_requested, tokens_used, api_calls_made, cost_estimate) VALUES (:id, '', 's', "
                    "'t', 1, '{}', '{}', 1, :status, 1, x'00', :token, 1, 0, 1, 0, :requested, 0, 0, '0')"
                ),
                {"id": id, "status": status, "token": token, "requested": requested},
            )
        migrate.upgrade(connection)
        rows = connection.execute(text("SELECT id FROM investigations WHERE claimable_at = 0 AND priority = 0"))
        assert set(rows.scalars()) == {"queued", "retrying", "left", "resumed"}
    engine.dispose()


async def test_down_and_up_again_what_is_queued_is_made_again_from_its_log(tmp_path: Path) -> None:
    """The older schema has no place for the queue's order; the log has it."""
    path = tmp_path / "x.db"
    later = datetime.now(UTC) + timedelta(days=1)
    async with InvestigationSDK(f"sqlite:///{path}") as sdk:
        id = (await sdk.submit("case", "x", priority=7, not_before=later)).id
        before = await sdk.get(id)
        row = await sdk._recorder.backend.get("investigation", id)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate.downgrade(connection, "0003")
        migrate.upgrade(connection)
    engine.dispose()
    async with InvestigationSDK(f"sqlite:///{path}") as sdk:
        lost: Any = await sdk._recorder.backend.get("investigation", id)
        assert (lost.priority, lost.claimable_at) == (0, 0), "as the migration says"
        assert not (await sdk.check(id)).ok
        await sdk.rebuild(id)
        assert (await sdk.check(id)).ok
        assert await sdk._recorder.backend.get("investigation", id) == row
        assert await sdk.get(id) == before


def test_the_list_of_revisions_is_the_packages() -> None:
    assert migrate.revisions() == names.REVISIONS


def test_the_columns_are_the_fields_of_the_rows_in_their_order() -> None:
    tables = build("sqlite")
    for kind, table in tables.by_kind.items():
        assert tuple(table.columns.keys()) == ROW_TYPES[kind]._fields
    assert tuple(tables.events.columns.keys()) == StoredEvent._fields
    assert {table.name for table in tables.metadata.sorted_tables} == set(names.ALL_TABLES)


async def test_making_a_file_leaves_logging_alone(tmp_path: Path) -> None:
    log = logging.getLogger("a_logger_of_the_application")
    before = (list(logging.root.handlers), logging.root.level, log.disabled)
    await made(tmp_path / "x.db")
    assert (list(logging.root.handlers), logging.root.level, log.disabled) == before


async def test_upgrade_and_revisions(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "x.db")
    assert await backend.current_revision() is None
    assert not (tmp_path / "x.db").exists()
    await backend.upgrade()
    await backend.upgrade()
    assert await backend.current_revision() == backend.head_revision() == names.REVISIONS[-1]
    assert backend._link._connection is None
    await backend.open()
    assert await backend.current_revision() == names.REVISIONS[-1]
    await Case().apply(backend)
    await backend.close()


# ---------------------------------------------------------------- many at once


async def test_many_handles_open_a_new_file_at_once(tmp_path: Path) -> None:
    backends = [SQLiteBackend(tmp_path / "x.db") for _ in range(5)]
    await asyncio.gather(*(backend.open() for backend in backends for _ in range(2)))
    for backend in backends:
        await Case().apply(backend)
    for backend in backends:
        await backend.close()


def test_many_processes_open_a_new_file_at_once(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from investigation_backends.sqlite import SQLiteBackend\n"
        "from investigation_sdk.testing._contract.building import Case\n"
        "import alembic.command, sqlalchemy\n"
        "async def main():\n"
        "    backend = SQLiteBackend(sys.argv[1])\n"
        "    sys.stdin.readline()\n"
        "    await backend.open()\n"
        "    await Case().apply(backend)\n"
        "    await backend.close()\n"
        "print('ready', flush=True)\n"
        "asyncio.run(main())\n"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script, str(tmp_path / "x.db")]
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    connection = sqlite3.connect(tmp_path / "x.db")
    assert connection.execute("SELECT count(*) FROM investigations").fetchone() == (4,)
    connection.close()


# ---------------------------------------------------------------- what is not ours, or not of now


async def test_a_missing_folder(tmp_path: Path) -> None:
    message = await refused(tmp_path / "no" / "x.db", BackendUnavailable)
    assert f"the folder {tmp_path / 'no'} is not there" in message


async def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder; name a file in it" in await refused(tmp_path, BackendUnavailable)


@pytest.mark.parametrize("content", [b"garbage", b"garbage " * 10_000])
async def test_not_a_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    for options in ({}, {"auto_migrate": True}):
        assert "is not a SQLite database" in await refused(path, SchemaMismatch, **options)
    assert path.read_bytes() == content


async def test_an_empty_file_is_made_ours(tmp_path: Path) -> None:
    (tmp_path / "x.db").touch()
    await made(tmp_path / "x.db")
    execute(tmp_path / "y.db", "CREATE TABLE t(x)", "DROP TABLE t")
    await made(tmp_path / "y.db")


async def test_an_applications_database(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    execute(path, "CREATE TABLE orders(id)", "INSERT INTO orders VALUES (7)")
    before = path.read_bytes()
    message = await refused(path, SchemaMismatch)
    assert "may be an application's database" in message
    assert "pass auto_migrate=True" in message
    assert path.read_bytes() == before
    backend = SQLiteBackend(path, auto_migrate=True)
    await backend.open()
    await Case().apply(backend)
    await backend.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT id FROM orders").fetchall() == [(7,)]
    connection.close()


async def test_tables_of_our_names_that_are_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    execute(path, "CREATE TABLE investigations(id)")
    assert "application's" in await refused(path, SchemaMismatch)
    assert "tables named investigations" in await refused(path, SchemaMismatch, auto_migrate=True)


async def test_a_newer_schema(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await made(path)
    execute(path, f"UPDATE {names.VERSION_TABLE} SET version_num='9999'")
    for options in ({}, {"auto_migrate": True}):
        message = await refused(path, SchemaMismatch, **options)
        assert "schema 9999" in message
        assert "upgrade investigation-sdk" in message


async def test_a_table_of_versions_that_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await made(path)
    execute(path, f"UPDATE {names.VERSION_TABLE} SET version_num='ae10f2c4b7'")
    other = tmp_path / "y.db"
    execute(other, f"CREATE TABLE {names.VERSION_TABLE}(release)")
    for options in ({}, {"auto_migrate": True}):
        message = await refused(path, SchemaMismatch, **options)
        assert f"a table named {names.VERSION_TABLE} that is somebody else's: no version of the SDK wrote" in message
        assert "Name another file" in message
        message = await refused(other, SchemaMismatch, **options)
        assert f"a table named {names.VERSION_TABLE} that is somebody else's: it has no column version_num" in message


@pytest.mark.parametrize("table", names.ALL_TABLES)
async def test_a_table_that_was_dropped(tmp_path: Path, table: str) -> None:
    path = tmp_path / "x.db"
    backend = await made(path)
    execute(path, f"DROP TABLE {table}")
    for options in ({}, {"auto_migrate": True}, {"read_only": True}):
        message = await refused(path, SchemaMismatch, **options)
        assert f"has schema {names.REVISIONS[-1]}, but not its tables {table}: they were dropped" in message
        assert "Bring them back" in message
    assert f"table {table} is missing" in "\n".join(await backend.check_schema())


async def test_an_older_schema(tmp_path: Path) -> None:
    """A file of the first release: refused by name, upgraded when asked, and nothing in it is lost."""
    path = tmp_path / "x.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate.upgrade(connection, "0001")
    engine.dispose()
    execute(path, "PRAGMA journal_mode=WAL", "INSERT INTO investigation_leases VALUES('case', 'me', 1)")
    message = await refused(path, SchemaMismatch)
    assert "schema 0001" in message
    assert f"works with {names.REVISIONS[-1]}" in message
    assert "pass auto_migrate=True" in message

    backend = SQLiteBackend(path, auto_migrate=True)
    await backend.open()
    assert await backend.current_revision() == names.REVISIONS[-1]
    held = await backend.holder("case")
    assert held is not None
    assert held.owner == "me"
    case = Case()
    await case.apply(backend, case.commit(blobs=[blob(b"new")]))
    assert await blob_data(backend, case.id, blob(b"new").digest) == b"new"
    await backend.close()


# ---------------------------------------------------------------- what cannot be written


async def test_a_read_only_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with nobody() as folder:
        path = folder / "x.db"
        await made(path)
        path.chmod(0o444)
        assert "cannot be written" in await refused(path, BackendUnavailable)
        # what permissions do not tell, SQLite does: a read-only mount, an immutable file
        monkeypatch.setattr(sqlite_open, "_may", lambda *_: True)
        assert "cannot be written; make the file" in await refused(path, BackendUnavailable)


async def test_a_read_only_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with nobody() as folder:
        path = folder / "x.db"
        await made(path)
        folder.chmod(0o555)
        assert f"the folder {folder} cannot be written" in await refused(path, BackendUnavailable)
        assert f"the folder {folder} cannot be written" in await refused(folder / "new.db", BackendUnavailable)
        monkeypatch.setattr(sqlite_open, "_may", lambda *_: True)
        assert "folder" in await refused(path, BackendUnavailable)
        assert "check that the file and its folder" in await refused(folder / "new.db", BackendUnavailable)


async def test_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    share = tmp_path / "a share"
    share.mkdir()
    place = str(share).replace(" ", "\\040")
    mounts.write_text(f"disk / ext4 rw 0 0\nserver:/x {place} nfs4 rw 0 0\n")
    assert sqlite_open.network_file_system(str(share / "x.db"), str(mounts)) == "nfs4"
    assert sqlite_open.network_file_system(str(tmp_path / "x.db"), str(mounts)) is None
    assert sqlite_open.network_file_system(str(share / "x.db"), str(tmp_path / "nothing")) is None
    monkeypatch.setattr(sqlite_open, "network_file_system", lambda _: "nfs4")
    assert "network file system (nfs4)" in await refused(tmp_path / "x.db", BackendUnavailable)
