"""Settings, and what others hold: locks, writers that are killed, long reads."""

import asyncio
import sqlite3
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk.errors import BackendUnavailable, ConfigurationError
from investigation_sdk.storage.backend import CommitNotApplied
from investigation_sdk.storage.commit import APPLIED, Query
from investigation_sdk.testing._contract.building import Case
from tests.backends.sqlite.rig import raw


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
