"""A SQLite file opened with read_only: nothing is made, nothing is changed, and it need not be possible."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from investigation_backends.sql.names import REVISIONS
from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk.errors import BackendUnavailable, ConfigurationError, SchemaMismatch
from investigation_sdk.storage.backend import MigratingBackend, StoreFailure
from investigation_sdk.storage.commit import Query
from investigation_sdk.storage.registry import create_backend, takes
from investigation_sdk.testing._contract.building import Case
from tests.backends.sqlite.rig import made
from tests.unwritable import nobody


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def case_in(path: Path) -> Case:
    backend = await made(path)
    await backend.open()
    case = Case()
    await case.apply(backend)
    await backend.close()
    return case


async def test_it_reads_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    case = await case_in(path)
    content = path.read_bytes()
    backend = SQLiteBackend(path, read_only=True)
    for _ in range(2):
        await backend.open()
        assert await backend.get("investigation", case.id) is not None
        assert await backend.read_events(case.id)
        assert await backend.read_events(case.id, limit=1000)
        assert len(await backend.find(Query("investigation"))) == 1
        await backend.close()
    assert listing(tmp_path) == ["x.db"]
    assert path.read_bytes() == content


async def test_it_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await case_in(path)
    backend = SQLiteBackend(path, read_only=True)
    await backend.open()
    with pytest.raises(StoreFailure, match="do not open it with read_only"):
        await Case().apply(backend)
    with pytest.raises(BackendUnavailable, match="do not open it with read_only"):
        await backend.claim("x", "me", ttl=1)
    with pytest.raises(BackendUnavailable, match="do not open it with read_only"):
        await backend.delete([("x", 1)])
    await backend.close()


async def test_it_sees_what_others_write(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    writer = await made(path)
    await writer.open()
    reader = SQLiteBackend(path, read_only=True)
    await reader.open()
    case = Case()
    await case.apply(writer)
    assert await reader.get("investigation", case.id) is not None
    assert len(await reader.find(Query("investigation"))) == 1
    await writer.close()
    assert await reader.get("investigation", case.id) is not None
    await reader.close()


async def test_a_log_that_a_killed_process_left_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    code = (
        "import asyncio, os, sys\n"
        "from investigation_backends.sqlite import SQLiteBackend\n"
        "from investigation_sdk.testing._contract.building import Case\n"
        "async def main():\n"
        "    backend, case = SQLiteBackend(sys.argv[1]), Case()\n"
        "    await backend.open()\n"
        "    await case.apply(backend)\n"
        "    print(case.id, flush=True)\n"
        "    os._exit(1)\n"
        "asyncio.run(main())"
    )
    killed = await asyncio.to_thread(
        lambda: subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    )
    id = killed.stdout.strip()
    assert (tmp_path / "x.db-wal").stat().st_size > 0, killed.stderr
    backend = SQLiteBackend(path, read_only=True)
    await backend.open()
    assert await backend.get("investigation", id) is not None
    await backend.close()


@pytest.mark.parametrize("name", ["x.db", "no/x.db"])
async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, name: str) -> None:
    backend = SQLiteBackend(tmp_path / name, read_only=True)
    for work in (backend.open, backend.current_revision, backend.check_schema):
        with pytest.raises(BackendUnavailable, match=r"There is no database at .*; name a file that is there"):
            await work()
    assert listing(tmp_path) == []


async def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.touch()
    backend = SQLiteBackend(path, read_only=True)
    with pytest.raises(SchemaMismatch, match=r"is empty\. To make the SDK's tables in it, run: investigate db upgrade"):
        await backend.open()
    assert await backend.current_revision() is None
    assert await backend.check_schema() == [f"the schema is not there, this version works with {REVISIONS[-1]}"]
    assert path.stat().st_size == 0


async def test_where_nothing_can_be_written() -> None:
    with nobody() as folder:
        path = folder / "x.db"
        case = await case_in(path)
        path.chmod(0o444)
        folder.chmod(0o555)
        backend = SQLiteBackend(path, read_only=True)
        await backend.open()
        assert await backend.get("investigation", case.id) is not None
        assert len(await backend.find(Query("investigation"))) == 1
        assert await backend.check_schema() == []
        await backend.close()
        assert listing(folder) == ["x.db"]


async def test_where_nothing_can_be_written_and_a_log_is_left() -> None:
    with nobody() as folder:
        path = folder / "x.db"
        await case_in(path)
        (folder / "x.db-wal").write_bytes(b"not empty")
        (folder / "x.db-wal").chmod(0o000)
        path.chmod(0o444)
        folder.chmod(0o555)
        backend = SQLiteBackend(path, read_only=True)
        with pytest.raises(BackendUnavailable, match=r"check that the file and its folder are there|cannot be written"):
            await backend.open()
        folder.chmod(0o755)


async def test_the_schema_of_a_store(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await made(path)
    backend = create_backend(f"sqlite:///{path}?read_only=true")
    assert isinstance(backend, MigratingBackend)
    assert await backend.current_revision() == backend.head_revision()
    assert await backend.check_schema() == []
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DROP TABLE investigation_snapshots")
    connection.close()
    assert "table investigation_snapshots is missing" in await backend.check_schema()
    with pytest.raises(SchemaMismatch, match="investigation_snapshots: they were dropped"):
        await backend.open()
    assert "table investigation_snapshots is missing" in await backend.check_schema()
    await backend.close()


def test_memory_has_no_schema_and_no_such_option() -> None:
    assert not isinstance(create_backend("memory://"), MigratingBackend)
    assert takes("sqlite:///x.db", "read_only")
    assert not takes("memory://", "read_only")


def test_it_excludes_auto_migrate(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="read_only and auto_migrate exclude each other"):
        SQLiteBackend(tmp_path / "x.db", read_only=True, auto_migrate=True)


@pytest.mark.skipif(os.name == "nt", reason="names of files are others there")
async def test_a_path_with_what_means_something_in_a_uri(tmp_path: Path) -> None:
    folder = tmp_path / "50% #1?mode=memory&x"
    folder.mkdir()
    case = await case_in(folder / "x?y#z.db")
    backend = SQLiteBackend(folder / "x?y#z.db", read_only=True)
    await backend.open()
    assert await backend.get("investigation", case.id) is not None
    await backend.close()
    assert listing(folder) == ["x?y#z.db"]
