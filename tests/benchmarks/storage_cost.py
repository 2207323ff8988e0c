"""What a step of 1 KB costs on disk: the main file after a checkpoint, for growing numbers of steps, and what for."""

from __future__ import annotations

import base64
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from investigation_sdk import InvestigationSDK, tool
from tests.benchmarks.measuring import judged


@tool
def step() -> str:
    """Returns 1 KB that does not compress."""
    return base64.b64encode(os.urandom(768)).decode()


def record(path: Path, steps: int) -> int:
    """Bytes of the main file after so many steps, which is closed and checkpointed."""
    with InvestigationSDK(f"sqlite:///{path}") as sdk, sdk.investigation("storage"):
        for _ in range(steps):
            step()
    return path.stat().st_size


_PAYLOAD = """select sum(length(event_data) - instr(event_data, '"output"') - 9) from investigation_events
    where event_type = 'tool.completed'"""
_INDEXES = ("ix_", "uq_", "pk_", "sqlite_autoindex")


def breakdown(path: Path, steps: int) -> Iterator[tuple[str, float]]:
    """Bytes per step: the payload, the ids in rows, the indexes, and the rest."""
    connection = sqlite3.connect(path)

    def one(query: str) -> float:
        return float(connection.execute(query).fetchone()[0] or 0)

    payload = one(_PAYLOAD)
    ids = one("select sum(length(investigation_id) + length(id)) from investigation_events")
    ids += one("select sum(length(investigation_id) + length(id) + ifnull(length(phase_id), 0)) from tool_executions")
    pages = {}
    if _has_dbstat(connection):
        pages = dict(connection.execute("select name, sum(pgsize) from dbstat group by name"))
    indexes = float(sum(size for name, size in pages.items() if name.startswith(_INDEXES)))
    headers = one("select sum(length(header) + length(hash)) from investigation_events")
    data = one("select sum(length(event_data)) from investigation_events") - payload
    connection.close()
    total = float(path.stat().st_size)
    yield "payload", payload / steps
    yield "headers and hashes", headers / steps
    yield "what else the events say", data / steps
    yield "ids in rows", ids / steps
    yield "indexes" if pages else "indexes (not measured: no dbstat)", indexes / steps
    yield "rest (other columns, pages)", (total - payload - headers - data - ids - indexes) / steps


def _has_dbstat(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("select 1 from dbstat limit 1")
    except sqlite3.Error:
        return False
    return True


GOAL = 2600


def report(folder: Path) -> None:
    """Print bytes per step for several lengths, and where they go."""
    print("\nstorage on SQLite: bytes per step with 1,024 incompressible bytes of output, main file after a checkpoint")
    empty = record(folder / "storage-0.db", 0)
    path, steps = folder, 0
    for steps in (1000, 2000, 4000):
        path = folder / f"storage-{steps}.db"
        size = (record(path, steps) - empty) / steps
        verdict = judged(f"storage, of {steps} steps", size, GOAL, " B")
        print(f"  {steps:5} steps: {size:7.0f} a step; goal {GOAL}: {verdict}")
    for name, value in breakdown(path, steps):
        print(f"    {name:34} {value:7.0f}")
