"""The file: what closing leaves, and how much a payload takes."""

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.testing._contract.building import Case
from tests.backends.sqlite.rig import file_size, files


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
