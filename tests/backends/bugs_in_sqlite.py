"""Bugs to plant in the store in SQLite."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from investigation_backends.sql import sqlite_link, sqlite_reads, sqlite_write
from investigation_backends.sql.sqlite_errors import DATA_ERRORS, answer
from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk.storage.commit import APPLIED, Commit, CommitResult, CommitStatus

Patch = pytest.MonkeyPatch


def a_poison_fails_the_batch(patch: Patch) -> None:
    def apply_each(connection: sqlite3.Connection, commits: Sequence[Commit]) -> list[CommitResult]:
        return [CommitResult(CommitStatus.DATA) for _ in commits]

    patch.setattr(sqlite_write, "apply_each", apply_each)


def a_poison_is_half_applied(patch: Patch) -> None:
    def apply_each(connection: sqlite3.Connection, commits: Sequence[Commit]) -> list[CommitResult]:
        results = []
        for commit in commits:
            try:
                results += sqlite_write.apply(connection, (commit,))
            except DATA_ERRORS as error:
                results.append(answer(error))
        return results

    patch.setattr(sqlite_write, "apply_each", apply_each)


def looks_before_it_locks(patch: Patch) -> None:
    """What was right when it was looked at is acknowledged: between look and write, another process writes."""
    commit = SQLiteBackend.commit

    async def looking(self: SQLiteBackend, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        seen: list[Any] = [await self.get("investigation", one.investigation_id) for one in commits]
        time.sleep(0.002)  # noqa: ASYNC251 - the other process is to write now
        results = await commit(self, commits)
        return [
            APPLIED if row is not None and row.version == one.expected_version else result
            for one, row, result in zip(commits, seen, results, strict=True)
        ]

    patch.setattr(SQLiteBackend, "commit", looking)


def commits_without_the_end(patch: Patch) -> None:
    """The transaction stays open: this handle sees it, no other does, and it is gone after closing."""

    def endless(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], Any]) -> Any:
        if not connection.in_transaction:
            connection.execute("BEGIN IMMEDIATE")
        return work(connection)

    patch.setattr(sqlite_link, "immediately", endless)


def foreign_keys_are_off(patch: Patch) -> None:
    connect = sqlite_link.Link.connect

    def lax(self: sqlite_link.Link, **options: float) -> sqlite3.Connection:
        connection = connect(self, **options)
        connection.execute("PRAGMA foreign_keys=OFF")
        return connection

    patch.setattr(sqlite_link.Link, "connect", lax)


def the_guard_has_no_head(patch: Patch) -> None:
    for name in ("_ADVANCE", "_ADVANCE_STATUS"):
        patch.setattr(
            sqlite_write,
            name,
            getattr(sqlite_write, name).replace("head=? AND", "?<>'' AND", 1)
            if "head=? AND" in getattr(sqlite_write, name)
            else getattr(sqlite_write, name)[: -len("head=?")] + "?<>''",
        )


def the_first_commit_replaces(patch: Patch) -> None:
    patch.setattr(
        sqlite_write,
        "_CREATE",
        sqlite_write._CREATE.replace("INSERT INTO", "INSERT OR REPLACE INTO").replace(" ON CONFLICT DO NOTHING", ""),
    )


def a_blob_twice_is_an_error(patch: Patch) -> None:
    patch.setattr(sqlite_write, "_BLOB", sqlite_write._BLOB.replace("INSERT OR IGNORE", "INSERT"))


def blobs_are_read_in_any_order(patch: Patch) -> None:
    chunk = sqlite_reads.chunk

    def backwards(connection: sqlite3.Connection, id: str, digest: str, position: int) -> bytes | None:
        count = connection.execute("SELECT count(*) FROM investigation_blobs WHERE digest=?", (digest,)).fetchone()[0]
        return chunk(connection, id, digest, count - 1 - position)

    patch.setattr(sqlite_reads, "chunk", backwards)


def a_snapshot_is_everybody_s(patch: Patch) -> None:
    patch.setattr(sqlite_write, "_FORGET", sqlite_write._FORGET.replace("investigation_id=?", "investigation_id<>?"))


def a_refused_commit_forgets_snapshots(patch: Patch) -> None:
    apply = sqlite_write.apply

    def forgetting(connection: sqlite3.Connection, commits: Sequence[Commit]) -> list[CommitResult]:
        for commit in commits:
            if commit.snapshot is not None:
                connection.execute(sqlite_write._FORGET, (commit.investigation_id, commit.snapshots_from))
        return apply(connection, commits)

    patch.setattr(sqlite_write, "apply", forgetting)


BUGS = [
    (a_poison_fails_the_batch, "test_one_poison_among_fifty_that_append"),
    (a_poison_is_half_applied, "test_one_poison_among_fifty_that_create"),
    (looks_before_it_locks, "test_four_processes_lose_no_update"),
    (commits_without_the_end, "test_what_was_applied_is_there_after_reopening"),
    (foreign_keys_are_off, "test_everything_goes"),
    (the_guard_has_no_head, "test_another_head_conflicts"),
    (the_first_commit_replaces, "test_creating_twice_conflicts"),
    (a_blob_twice_is_an_error, "test_the_same_blob_twice"),
    (blobs_are_read_in_any_order, "test_a_large_blob_comes_in_order_and_in_pieces"),
    (a_snapshot_is_everybody_s, "test_a_snapshot_takes_the_place_of_older_ones"),
    (a_refused_commit_forgets_snapshots, "test_a_snapshot_takes_the_place_of_older_ones"),
]
