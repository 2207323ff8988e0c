"""The contract's races, tested: bugs that only others' work at the same time brings to light."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_backends.memory_store import MemoryStore
from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk.domain.rows import InvestigationRow, Row, SnapshotRow
from investigation_sdk.storage.commit import APPLIED, Commit, CommitResult, CommitStatus, Query, StoredEvent
from investigation_sdk.testing.contract import BackendContract, StoreUnderTest, opened

Patch = pytest.MonkeyPatch


class Memory(BackendContract):
    def new_store(self, folder: Path) -> StoreUnderTest:
        store = MemoryStore()
        return StoreUnderTest(lambda: MemoryBackend(writer=True, store=store))


class SQLite(BackendContract):
    def new_store(self, folder: Path) -> StoreUnderTest:
        path = folder / "cases.db"
        return StoreUnderTest(lambda: SQLiteBackend(path, synchronous="NORMAL"), url=f"sqlite:///{path}")


def fails(contract: BackendContract, name: str, folder: Path) -> str:
    """Why one test of the contract fails; empty where it passes."""

    async def one() -> None:
        async with opened(contract.new_store(folder)) as store, asyncio.timeout(120):
            await getattr(contract, name)(store)

    try:
        asyncio.run(one())
    except BaseExceptionGroup as errors:
        return str(errors.exceptions[0]) or repr(errors.exceptions[0])
    except AssertionError as error:
        return str(error) or repr(error)
    return ""


def looks_before_it_writes(backend: type[MemoryBackend | SQLiteBackend]) -> Callable[[Patch], None]:
    """What was right when it was looked at is acknowledged, though others have had their turn before it was written."""

    def plant(patch: Patch) -> None:
        commit: Any = backend.commit

        async def looking(self: Any, commits: Sequence[Commit]) -> Sequence[CommitResult]:
            seen: list[Any] = [await self.get("investigation", one.investigation_id) for one in commits]
            await asyncio.sleep(0.003)
            results: Sequence[CommitResult] = await commit(self, commits)
            return [
                APPLIED if row is not None and row.version == one.expected_version else result
                for one, row, result in zip(commits, seen, results, strict=True)
            ]

        patch.setattr(backend, "commit", looking)

    return plant


def acknowledges_a_batch_of_which_one_was_applied(patch: Patch) -> None:
    commit = SQLiteBackend.commit

    async def generous(self: SQLiteBackend, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        results = await commit(self, commits)
        return [APPLIED] * len(results) if APPLIED in results else results

    patch.setattr(SQLiteBackend, "commit", generous)


def deletes_what_it_did_not_see(patch: Patch) -> None:
    delete = MemoryBackend.delete

    async def slow(self: MemoryBackend, heads: Sequence[tuple[str, int]]) -> int:
        right = [id for id, version in heads if id in self.store.files and self.store.files[id].row.version == version]
        await asyncio.sleep(0.01)
        return await delete(self, [(id, self.store.files[id].row.version) for id in right])

    patch.setattr(MemoryBackend, "delete", slow)


def counts_what_was_to_be_deleted(patch: Patch) -> None:
    delete = MemoryBackend.delete

    async def hopeful(self: MemoryBackend, heads: Sequence[tuple[str, int]]) -> int:
        wanted = sum(id in self.store.files for id, _ in heads)
        await asyncio.sleep(0)
        await delete(self, heads)
        return wanted

    patch.setattr(MemoryBackend, "delete", hopeful)


def pages_are_counted(patch: Patch) -> None:
    """OFFSET in place of a key: what is added in front moves everything behind."""
    find = MemoryBackend.find
    given = 0

    async def offset(self: MemoryBackend, query: Query) -> Sequence[Row | SnapshotRow]:
        nonlocal given
        given = 0 if query.after is None else given
        page = (await find(self, dataclasses.replace(query, after=None, limit=1000)))[given : given + query.limit]
        given += len(page)
        return page

    patch.setattr(MemoryBackend, "find", offset)


def events_are_cached(patch: Patch) -> None:
    """A page that was short is taken for the end, and what came since is put behind it from where it is now."""
    read = MemoryBackend.read_events

    async def lagging(self: MemoryBackend, investigation_id: str, **options: Any) -> Sequence[StoredEvent]:
        row = await self.get("investigation", investigation_id)
        await asyncio.sleep(0)
        page = await read(self, investigation_id, **options)
        version = row.version if isinstance(row, InvestigationRow) else 0
        return [event for event in page if event.sequence <= version or event.sequence > version + 1]

    patch.setattr(MemoryBackend, "read_events", lagging)


def a_taken_key_counts_as_created(patch: Patch) -> None:
    commit = SQLiteBackend.commit

    async def kind(self: SQLiteBackend, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        return [
            APPLIED if result.status is CommitStatus.CONSTRAINT else result for result in await commit(self, commits)
        ]

    patch.setattr(SQLiteBackend, "commit", kind)


BUGS: list[tuple[BackendContract, Callable[[Patch], None], str]] = [
    (Memory(), looks_before_it_writes(MemoryBackend), "test_batches_of_tasks_overlap"),
    (Memory(), deletes_what_it_did_not_see, "test_a_deletion_is_of_what_was_looked_at"),
    (Memory(), counts_what_was_to_be_deleted, "test_of_deletions_at_once_each_counts_once"),
    (Memory(), pages_are_counted, "test_pages_stay_while_rows_are_added"),
    (Memory(), events_are_cached, "test_a_page_of_events_is_dense_while_others_append"),
    (SQLite(), looks_before_it_writes(SQLiteBackend), "test_batches_of_three_processes_overlap"),
    (SQLite(), acknowledges_a_batch_of_which_one_was_applied, "test_batches_of_three_processes_overlap"),
    (SQLite(), a_taken_key_counts_as_created, "test_of_four_processes_one_wins"),
]


@pytest.mark.parametrize(("contract", "bug", "by"), BUGS)
def test_a_bug_is_noticed(
    contract: BackendContract, bug: Callable[[Patch], None], by: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    bug(monkeypatch)
    assert fails(contract, by, tmp_path), f"the contract's {by} does not notice"


def test_processes_are_skipped_aloud_where_there_can_be_none(tmp_path: Path) -> None:
    for name in ("test_batches_of_three_processes_overlap", "test_of_four_processes_one_wins"):
        with pytest.raises(pytest.skip.Exception, match="no URL that another process could open"):
            fails(Memory(), name, tmp_path)
