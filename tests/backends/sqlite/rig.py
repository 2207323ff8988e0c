"""What tests of SQLite look at."""

import sqlite3
from pathlib import Path

from investigation_backends.sqlite import SQLiteBackend


def raw(backend: SQLiteBackend) -> sqlite3.Connection:
    """The connection of the hot path."""
    connection = backend._link._connection
    assert connection is not None
    return connection


def file_size(backend: SQLiteBackend) -> int:
    path = Path(backend.path)
    return path.stat().st_size if path.exists() else 0


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def made(path: Path) -> SQLiteBackend:
    """A backend whose file is there, closed."""
    backend = SQLiteBackend(path)
    await backend.open()
    await backend.close()
    return backend
