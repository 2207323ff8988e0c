"""``sdk.verify`` on a file that somebody changed with another program, and on a store that goes on meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.engine import verifying
from investigation_sdk.engine.sight import Sight
from investigation_sdk.errors import InvestigationNotFound
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.chain import link
from investigation_sdk.storage.commit import GENESIS, StoredEvent

MakeSDK = Callable[..., InvestigationSDK]


@tool
def lookup(name: str) -> dict[str, str]:
    return {"name": name, "city": "Zürich 🚲"}


class File:
    """A finished investigation in an SQLite file, which anybody may open."""

    def __init__(self, path: Path, make_sdk: MakeSDK) -> None:
        self.path = path
        self.sdk = make_sdk(f"sqlite:///{path}")
        with self.sdk.investigation("account 42") as run:
            with run.phase("triage"):
                for name in "abc":
                    lookup(name)
            run.result = 7
        self.id = run.id
        self.count = self.sdk.sync.get(self.id).version

    def sql(self, *statements: str) -> None:
        """Change the file, with its constraints off; ``:id`` is the investigation's."""
        with sqlite3.connect(self.path) as connection:
            connection.execute("PRAGMA foreign_keys=OFF")
            connection.execute("PRAGMA ignore_check_constraints=ON")
            for statement in statements:
                assert connection.execute(statement, {"id": self.id}).rowcount > 0, statement
        connection.close()

    def first(self) -> tuple[int | None, str]:
        report = self.sdk.sync.verify(self.id)
        assert not report.ok
        assert report.problems
        assert report.investigation_id == self.id
        return report.problems[0].sequence, report.problems[0].kind


@pytest.fixture
def file(tmp_path: Path, make_sdk: MakeSDK) -> File:
    return File(tmp_path / "cases.db", make_sdk)


def test_an_untouched_file_is_right(file: File):
    report = file.sdk.sync.verify(file.id)
    assert (report.ok, report.problems, report.checked) == (True, [], file.count)
    last = file.sdk.sync.events(file.id, limit=1000)[-1]
    assert report.head == last.hash
    with pytest.raises(TypeError):
        bool(report)


EVENT = "WHERE investigation_id = :id AND sequence = 9"
REST = """id, event_type, event_timestamp, actor, previous_state, new_state, metadata, header, event_data, hash
          FROM investigation_events WHERE investigation_id = :id AND sequence = 8"""
TAMPERED: dict[str, tuple[list[str], tuple[int | None, str]]] = {
    "data": ([f"UPDATE investigation_events SET event_data = replace(event_data, 'a', 'b') {EVENT}"], (9, "changed")),
    "data, one space": ([f"UPDATE investigation_events SET event_data = event_data || ' ' {EVENT}"], (9, "changed")),
    "header": (
        [f"UPDATE investigation_events SET header = replace(header, '\"v\":1', '\"v\":2') {EVENT}"],
        (9, "changed"),
    ),
    "header and column": (
        [
            f"UPDATE investigation_events SET header = replace(header, 'tool.', 'fool.') {EVENT}",
            f"UPDATE investigation_events SET event_type = replace(event_type, 'tool.', 'fool.') {EVENT}",
        ],
        (9, "changed"),
    ),
    "hash": ([f"UPDATE investigation_events SET hash = zeroblob(32) {EVENT}"], (9, "changed")),
    "no header": ([f"UPDATE investigation_events SET header = '' {EVENT}"], (9, "changed")),
    "data as blob": (
        [f"UPDATE investigation_events SET event_data = CAST(event_data AS BLOB) {EVENT}"],
        (9, "changed"),
    ),
    "not UTF-8": (
        [f"UPDATE investigation_events SET event_data = CAST(x'7b22ff227d' AS TEXT) {EVENT}"],
        (9, "changed"),
    ),
    "first is missing": (
        ["DELETE FROM investigation_events WHERE investigation_id = :id AND sequence = 1"],
        (1, "missing"),
    ),
    "one is missing": ([f"DELETE FROM investigation_events {EVENT}"], (9, "missing")),
    "tail is missing": (
        ["DELETE FROM investigation_events WHERE investigation_id = :id AND sequence > 8"],
        (9, "truncated"),
    ),
    "all are missing": (["DELETE FROM investigation_events WHERE investigation_id = :id"], (1, "truncated")),
    "two changed places": (
        [
            f"UPDATE investigation_events SET sequence = 9000 {EVENT}",
            "UPDATE investigation_events SET sequence = 9 WHERE investigation_id = :id AND sequence = 10",
            "UPDATE investigation_events SET sequence = 10 WHERE investigation_id = :id AND sequence = 9000",
        ],
        (9, "changed"),
    ),
    "one is inserted": (
        [
            "UPDATE investigation_events SET sequence = -sequence WHERE investigation_id = :id AND sequence >= 9",
            "UPDATE investigation_events SET sequence = 1 - sequence WHERE investigation_id = :id AND sequence < 0",
            f"INSERT INTO investigation_events SELECT investigation_id, 9, {REST}",
        ],
        (9, "changed"),
    ),
    "column actor": ([f"UPDATE investigation_events SET actor = 'mallory' {EVENT}"], (9, "column")),
    "column event_type": ([f"UPDATE investigation_events SET event_type = 'tool.failed' {EVENT}"], (9, "column")),
    "column event_timestamp": ([f"UPDATE investigation_events SET event_timestamp = 1 {EVENT}"], (9, "column")),
    "column previous_state": ([f"UPDATE investigation_events SET previous_state = 'failed' {EVENT}"], (9, "column")),
    "column new_state": ([f"UPDATE investigation_events SET new_state = 'failed' {EVENT}"], (9, "column")),
    "column metadata": ([f"UPDATE investigation_events SET metadata = '{{\"late\":true}}' {EVENT}"], (9, "column")),
    "version too high": (["UPDATE investigations SET version = version + 1 WHERE id = :id"], (-1, "truncated")),
    "version too low": (["UPDATE investigations SET version = 8 WHERE id = :id"], (9, "inserted")),
    "head": (["UPDATE investigations SET head = zeroblob(32) WHERE id = :id"], (None, "head")),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_file_that_was_changed(file: File, what: str):
    statements, (sequence, kind) = TAMPERED[what]
    file.sql(*statements)
    assert file.first() == (file.count + 1 if sequence == -1 else sequence, kind)


def test_the_column_id(file: File):
    file.sql(f"UPDATE investigation_events SET id = '019a1f3e-0000-7000-8000-000000000000' {EVENT}")
    assert file.first() == (9, "column")


def test_one_event_forged_with_a_right_hash_is_told_by_the_next(file: File):
    with sqlite3.connect(file.path) as connection:
        rows = connection.execute(
            "SELECT header, hash FROM investigation_events WHERE investigation_id = ? AND sequence IN (8, 9)"
            " ORDER BY sequence",
            (file.id,),
        ).fetchall()
        forged = link(bytes(rows[0][1]), rows[1][0], "{}")
        connection.execute(
            "UPDATE investigation_events SET event_data = '{}', hash = ? WHERE investigation_id = ? AND sequence = 9",
            (forged, file.id),
        )
    connection.close()
    assert file.first() == (10, "changed")


def test_other_investigations_in_the_file_are_not_concerned(file: File):
    with file.sdk.investigation("another") as other:
        lookup("d")
    file.sql(f"UPDATE investigation_events SET event_data = '{{}}' {EVENT}")
    assert not file.sdk.sync.verify(file.id).ok
    assert file.sdk.sync.verify(other.id).ok


def test_an_unknown_investigation(file: File):
    with pytest.raises(InvestigationNotFound):
        file.sdk.sync.verify("019a1f3e-0000-7000-8000-000000000000")


@pytest.mark.parametrize("place", [1000, 1001, 2000, 2345])
def test_a_log_of_several_pages(tmp_path: Path, make_sdk: MakeSDK, place: int):
    path = tmp_path / "long.db"
    sdk = make_sdk(f"sqlite:///{path}")
    with sdk.investigation("long") as run:
        for n in range(2400):
            run.record("my.step", {"n": n})
    report = sdk.sync.verify(run.id)
    assert (report.ok, report.checked) == (True, sdk.sync.get(run.id).version)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE investigation_events SET event_data = '{}' WHERE sequence = ?", (place,))
    connection.close()
    assert [(p.sequence, p.kind) for p in sdk.sync.verify(run.id).problems] == [(place, "changed")]
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM investigation_events WHERE sequence = ?", (place,))
    connection.close()
    assert [(p.sequence, p.kind) for p in sdk.sync.verify(run.id).problems] == [(place, "missing")]


# ---- while it is written


class Growing:
    """A store to which, each time that somebody looks, another process has appended events."""

    def __init__(self, row: InvestigationRow, events: Sequence[StoredEvent], visible: Sequence[int]) -> None:
        self.row = row
        self.all = events
        self.visible = list(visible)

    def _now(self) -> int:
        return self.visible.pop(0) if len(self.visible) > 1 else self.visible[0]

    async def get(self, kind: str, id: str) -> InvestigationRow:
        version = self._now()
        head = self.all[version - 1].hash if version else GENESIS
        return self.row._replace(version=version, head=head)

    async def read_events(self, id: str, *, after: int = 0, limit: int = 1000) -> Sequence[StoredEvent]:
        return self.all[after : min(self._now(), after + limit)]


@pytest.mark.parametrize("visible", [[3, 5, 5], [3, 3, 5, 7, 9, 9], [9], [2, 9], [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9]])
def test_events_that_are_appended_meanwhile_are_no_problem(make_sdk: MakeSDK, visible: list[int]):
    sdk = make_sdk("memory://")
    with sdk.investigation("grows") as run:
        lookup("a")
    backend: Any = sdk._recorder.backend
    events = asyncio.run(backend.read_events(run.id))
    row = asyncio.run(backend.get("investigation", run.id))
    report = asyncio.run(verifying.verify(cast("Backend", Growing(row, events, visible)), run.id, Sight()))
    assert (report.ok, report.problems) == (True, [])
    assert report.checked <= max(visible)
