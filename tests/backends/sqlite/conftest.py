"""A store in a SQLite file."""

from pathlib import Path
from typing import Any

import pytest

from investigation_backends.sqlite import SQLiteBackend


@pytest.fixture
async def backend(tmp_path: Path) -> Any:
    backend = SQLiteBackend(tmp_path / "cases.db", busy_timeout=5)
    await backend.open()
    yield backend
    await backend.close()
