"""The contract suite, tested: bugs are planted in backends that pass, and it must notice each."""

import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest

from investigation_backends import memory, memory_queries, memory_store
from investigation_backends.checks import check_batch, refuse_id
from investigation_backends.memory import MemoryBackend
from investigation_backends.memory_store import MemoryStore
from investigation_backends.sql import sqlite_link, sqlite_reads, sqlite_write
from investigation_backends.sql.sqlite_errors import DATA_ERRORS, answer
from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk.storage.commit import (
    APPLIED,
    CONFLICT,
    Commit,
    CommitResult,
    CommitStatus,
    Lease,
    StoredEvent,
)
from investigation_sdk.testing.contract import BackendContract, StoreUnderTest, opened

Patch = pytest.MonkeyPatch


class Memory(BackendContract):
    backend: type[MemoryBackend] = MemoryBackend

    def new_store(self, folder: Path) -> StoreUnderTest:
        store = MemoryStore()
        return StoreUnderTest(lambda: self.backend(store=store))


class SQLite(BackendContract):
    backend: type[SQLiteBackend] = SQLiteBackend

    def new_store(self, folder: Path) -> StoreUnderTest:
        path = folder / "cases.db"
        return StoreUnderTest(lambda: self.backend(path, synchronous="NORMAL"), url=f"sqlite:///{path}")


def passes(contract: BackendContract, name: str, folder: Path) -> bool:
    """Whether one test of the contract passes (or has nothing to test here). It fails by what it asserts: anything else
    that is raised is no notice of a bug."""
    try:
        asyncio.run(_one(contract, name, folder))
    except SkipTest:
        return True
    except AssertionError:
        return False
    except BaseExceptionGroup as errors:  # of several tasks
        if errors.subgroup(AssertionError) is None:
            raise
        return False
    return True


async def _one(contract: BackendContract, name: str, folder: Path) -> None:
    async with opened(contract.new_store(folder)) as store, asyncio.timeout(60):
        await getattr(contract, name)(store)


def test_without_a_bug_all_of_these_pass(tmp_path: Path) -> None:
    for contract, bugs in ((Memory(), IN_MEMORY), (SQLite(), IN_SQLITE)):
        for _, name in bugs:
            folder = Path(tempfile.mkdtemp(dir=tmp_path))
            assert passes(contract, name, folder), name


# ---------------------------------------------------------------- bugs in memory


def _commit_comparing(
    versions: Callable[[int, int], bool], *, heads: bool
) -> Callable[[MemoryStore, Commit], CommitResult]:
    def commit(store: MemoryStore, commit: Commit) -> CommitResult:
        file = store.files.get(commit.investigation_id)
        if file is None:
            return memory_store._create(store, commit)
        same_head = not heads or file.row.head == commit.expected_head
        if not versions(file.row.version, commit.expected_version) or not same_head:
            return CONFLICT
        memory_store._apply(store, file, commit)
        return APPLIED

    return commit


def no_head_check(patch: Patch) -> None:
    patch.setattr(memory_store, "write", _commit_comparing(lambda mine, theirs: mine == theirs, heads=False))


def no_version_check(patch: Patch) -> None:
    patch.setattr(memory_store, "write", _commit_comparing(lambda *_: True, heads=True))


def future_versions_pass(patch: Patch) -> None:
    patch.setattr(memory_store, "write", _commit_comparing(lambda mine, theirs: theirs >= mine, heads=False))


def refused_commits_write_rows(patch: Patch) -> None:
    commit = memory_store.write

    def leaking(store: MemoryStore, c: Commit) -> CommitResult:
        result = commit(store, c)
        if result is CONFLICT and (file := store.files.get(c.investigation_id)) is not None:
            for row in c.rows[1:]:
                memory_store.put(store, file, row)
        return result

    patch.setattr(memory_store, "write", leaking)


def answers_in_another_order(patch: Patch) -> None:
    async def commit(self: MemoryBackend, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        check_batch(commits)
        results = [memory_store.write(self.store, commit) for commit in commits]
        return sorted(results, key=lambda result: result.status)

    patch.setattr(MemoryBackend, "commit", commit)


def twice_in_a_batch_passes(patch: Patch) -> None:
    patch.setattr(memory, "check_batch", lambda _: None)


def nothing_but_the_pairs_is_checked(patch: Patch) -> None:
    def check(commits: Sequence[Commit]) -> None:
        if len({commit.investigation_id for commit in commits}) != len(commits) or not all(c.events for c in commits):
            raise ValueError

    patch.setattr(memory, "check_batch", check)


def ids_of_any_time_are_taken(patch: Patch) -> None:
    patch.setattr(memory_store, "refuse_id", lambda *_: None)


def ids_are_looked_at_in_milliseconds(patch: Patch) -> None:
    patch.setattr(memory_store, "refuse_id", lambda id, now: refuse_id(id, now // 1000))


def a_taken_key_is_not_named(patch: Patch) -> None:
    create = memory_store._create

    def nameless(store: MemoryStore, commit: Commit) -> CommitResult:
        result = create(store, commit)
        return result._replace(existing_id=None) if result.status == CommitStatus.CONSTRAINT else result

    patch.setattr(memory_store, "_create", nameless)


def generations_share_a_key(patch: Patch) -> None:
    patch.setattr(
        memory_store, "_key", lambda row: None if row.key is None else (row.tenant_id, row.investigation_type, row.key)
    )


def deleted_ids_come_back(patch: Patch) -> None:
    delete = memory_store.delete

    def forgetful(store: MemoryStore, id: str, version: int) -> bool:
        done = delete(store, id, version)
        store.tombstones.clear()
        return done

    patch.setattr(memory_store, "delete", forgetful)


def deletes_at_any_version(patch: Patch) -> None:
    delete = memory_store.delete

    def hasty(store: MemoryStore, id: str, version: int) -> bool:
        file = store.files.get(id)
        return file is not None and delete(store, id, file.row.version)

    patch.setattr(memory_store, "delete", hasty)


def put_rows_goes_backwards(patch: Patch) -> None:
    def put(store: MemoryStore, file: Any, row: Any) -> None:
        if hasattr(row, "tool_name"):
            store.tools[row.id] = file.tools[row.id] = row
        elif hasattr(row, "phase_name"):
            store.phases[row.id] = file.phases[row.id] = row
        else:
            memory_store._put_head(store, file, row)

    patch.setattr(memory_store, "put", put)


def claim_ignores_the_holder(patch: Patch) -> None:
    async def claim(self: MemoryBackend, resource: str, owner: str, *, ttl: int) -> Lease | None:
        return memory_store.take(self.store, resource, owner, memory_store.now() + ttl)

    patch.setattr(MemoryBackend, "claim", claim)


def claim_waits_between_looking_and_taking(patch: Patch) -> None:
    claim = MemoryBackend.claim

    async def slow(self: MemoryBackend, resource: str, owner: str, *, ttl: int) -> Lease | None:
        held = self.store.leases.get(resource)
        await asyncio.sleep(0)
        if held is None or held.expires_at <= memory_store.now():
            return memory_store.take(self.store, resource, owner, memory_store.now() + ttl)
        return await claim(self, resource, owner, ttl=ttl)

    patch.setattr(MemoryBackend, "claim", slow)


def _queues(patch: Patch, queue: Callable[[Any, Any, Any, int], Any]) -> None:
    patch.setattr(memory_queries, "queue", queue)


_queue = memory_queries.queue


def the_queue_is_a_stack(patch: Patch) -> None:
    _queues(patch, lambda *given: _queue(*given)[::-1])


def the_queue_forgets_priorities(patch: Patch) -> None:
    _queues(patch, lambda *given: sorted(_queue(*given), key=lambda row: row.id))


def the_queue_ignores_leases(patch: Patch) -> None:
    _queues(patch, lambda rows, leases, wanted, now: _queue(rows, {}, wanted, now))


def expired_leases_hold(patch: Patch) -> None:
    _queues(
        patch, lambda rows, leases, wanted, now: [r for r in _queue(rows, leases, wanted, now) if r.id not in leases]
    )


def the_queue_is_early(patch: Patch) -> None:
    _queues(patch, lambda rows, leases, wanted, now: _queue(rows, leases, wanted, now + 2 * 3600 * 10**6))


def the_queue_mixes_tenants(patch: Patch) -> None:
    _queues(patch, lambda rows, leases, wanted, now: _queue(rows, leases, wanted._replace(tenant_id=None), now))


def what_was_left_is_queued(patch: Patch) -> None:
    def mixed(rows: Any, leases: Any, wanted: Any, now: int) -> Any:
        everything = list(rows)
        left = _queue(everything, leases, wanted._replace(left_in=("running",)), now)
        return left + _queue(everything, leases, wanted._replace(left_in=()), now)

    _queues(patch, mixed)


def lost_leases_are_renewed(patch: Patch) -> None:
    patch.setattr(memory_store, "holds", lambda store, lease: lease.resource in store.leases)


def expired_leases_are_not_renewed(patch: Patch) -> None:
    holds = memory_store.holds
    patch.setattr(
        memory_store,
        "holds",
        lambda store, lease: holds(store, lease) and store.leases[lease.resource].expires_at > memory_store.now(),
    )


def commits_end_leases(patch: Patch) -> None:
    put_head = memory_store._put_head

    def ending(store: MemoryStore, file: Any, row: Any) -> None:
        put_head(store, file, row)
        store.leases.pop(row.id, None)

    patch.setattr(memory_store, "_put_head", ending)


def pages_skip_ties(patch: Patch) -> None:
    page = memory_queries.page

    def skipping(query: Any, rows: list[Any]) -> list[Any]:
        if query.after is not None and query.sort != "id":
            value = query.after[0]
            rows = [row for row in rows if getattr(row, query.sort) != value]
        return page(query, rows)

    patch.setattr(memory_queries, "page", skipping)


def null_equals_null(patch: Patch) -> None:
    test = memory_queries._test

    def lax(kind: str, condition: Any) -> Callable[[Any], bool]:
        if condition.op == "=" and condition.value is None:
            return lambda row: getattr(row, condition.field) is None
        return test(kind, condition)

    patch.setattr(memory_queries, "_test", lax)


def any_name_is_a_column(patch: Patch) -> None:
    patch.setattr(memory, "check_query", lambda _: None)
    patch.setattr(memory, "check_aggregate", lambda _: None)


def money_is_a_float(patch: Patch) -> None:
    def money(function: str, values: list[Any]) -> Any:
        numbers = [float(value) for value in values]
        if function == "sum":
            return str(sum(numbers)) if numbers else "0"
        return str({"min": min, "max": max}[function](numbers)) if numbers else None

    patch.setattr(memory_queries, "_money", money)


def handles_remember_rows(patch: Patch) -> None:
    get = MemoryBackend.get

    async def remembering(self: Any, kind: Any, id: str) -> Any:
        known = self.__dict__.setdefault("known", {})
        if (row := known.get((kind, id))) is None:
            row = known[kind, id] = await get(self, kind, id)
        return row

    patch.setattr(MemoryBackend, "get", remembering)


def text_is_made_tidy(patch: Patch) -> None:
    apply = memory_store._apply

    def tidy(store: MemoryStore, file: Any, commit: Commit) -> None:
        apply(store, file, commit)
        events = map(StoredEvent._make, file.events)
        file.events[:] = [event._replace(event_data=event.event_data.strip()) for event in events]

    patch.setattr(memory_store, "_apply", tidy)


def _changing(patch: Patch, change: Callable[[StoredEvent], StoredEvent]) -> None:
    apply = memory_store._apply

    def changed(store: MemoryStore, file: Any, commit: Commit) -> None:
        apply(store, file, commit)
        file.events[:] = [change(StoredEvent._make(event)) for event in file.events]

    patch.setattr(memory_store, "_apply", changed)


def json_is_spelled_anew(patch: Patch) -> None:
    _changing(patch, lambda event: event._replace(event_data=json.dumps(json.loads(event.event_data))))


def text_ends_at_nul(patch: Patch) -> None:
    _changing(patch, lambda event: event._replace(actor=event.actor and event.actor.partition("\0")[0]))


def refused_commits_write_blobs(patch: Patch) -> None:
    commit = memory_store.write

    def leaking(store: MemoryStore, c: Commit) -> CommitResult:
        if (file := store.files.get(c.investigation_id)) is not None:
            file.blobs.update(c.blobs)
        return commit(store, c)

    patch.setattr(memory_store, "write", leaking)


def blobs_are_everybody_s(patch: Patch) -> None:
    async def read_blob(self: MemoryBackend, investigation_id: str, digest: str) -> AsyncIterator[bytes]:
        for file in self.store.files.values():
            if digest in file.blobs:
                yield file.blobs[digest]

    patch.setattr(MemoryBackend, "read_blob", read_blob)


def blobs_come_in_one_piece(patch: Patch) -> None:
    patch.setattr(memory, "chunks", lambda data: [data])


def old_snapshots_stay(patch: Patch) -> None:
    apply = memory_store._apply

    def keeping(store: MemoryStore, file: Any, commit: Commit) -> None:
        commit.snapshots_from = 0
        apply(store, file, commit)

    patch.setattr(memory_store, "_apply", keeping)


def a_snapshot_is_the_only_one(patch: Patch) -> None:
    apply = memory_store._apply

    def forgetting(store: MemoryStore, file: Any, commit: Commit) -> None:
        commit.snapshots_from = commit.events[-1].sequence
        apply(store, file, commit)

    patch.setattr(memory_store, "_apply", forgetting)


def a_text_is_its_letters(patch: Patch) -> None:
    patch.setattr(memory, "types_of", lambda types: None if types is None else list(types))


IN_MEMORY = [
    (a_text_is_its_letters, "test_a_text_is_one_type"),
    (no_head_check, "test_another_head_conflicts"),
    (no_version_check, "test_another_version_conflicts_though_the_head_is_right"),
    (future_versions_pass, "test_a_future_version_conflicts"),
    (refused_commits_write_rows, "test_another_version_conflicts"),
    (answers_in_another_order, "test_many_are_answered_in_order"),
    (twice_in_a_batch_passes, "test_two_commits_of_one_investigation_are_refused"),
    (nothing_but_the_pairs_is_checked, "test_commits_that_do_not_fit_together_are_refused"),
    (ids_of_any_time_are_taken, "test_an_id_says_when_it_was_created"),
    (ids_are_looked_at_in_milliseconds, "test_an_id_says_when_it_was_created"),
    (a_taken_key_is_not_named, "test_a_key_is_taken_once"),
    (generations_share_a_key, "test_a_key_is_one_with_tenant_type_and_generation"),
    (deleted_ids_come_back, "test_a_deleted_id_never_comes_back"),
    (deletes_at_any_version, "test_only_at_the_given_version"),
    (put_rows_goes_backwards, "test_older_rows_are_not_written"),
    (claim_ignores_the_holder, "test_one_owner_at_a_time"),
    (claim_waits_between_looking_and_taking, "test_of_many_that_try_one_wins"),
    (the_queue_is_a_stack, "test_the_queue_is_taken_in_order"),
    (the_queue_forgets_priorities, "test_the_queue_is_taken_in_order"),
    (the_queue_ignores_leases, "test_each_goes_to_one_of_many"),
    (expired_leases_hold, "test_an_expired_lease_frees_it"),
    (the_queue_is_early, "test_only_what_is_claimable_is_taken"),
    (the_queue_mixes_tenants, "test_types_and_tenants_are_told_apart"),
    (what_was_left_is_queued, "test_what_was_left_is_taken"),
    (lost_leases_are_renewed, "test_a_lost_lease_is_not_renewed"),
    (expired_leases_are_not_renewed, "test_an_expired_lease_that_nobody_took_is_renewed"),
    (commits_end_leases, "test_commits_leave_leases_alone"),
    (pages_skip_ties, "test_pages_are_complete_without_duplicates"),
    (null_equals_null, "test_none_matches_nothing"),
    (any_name_is_a_column, "test_unknown_names_are_refused"),
    (money_is_a_float, "test_sums_of_money_are_exact"),
    (handles_remember_rows, "test_another_handle_sees_at_once"),
    (text_is_made_tidy, "test_text_is_kept_byte_for_byte"),
    (json_is_spelled_anew, "test_any_json_comes_back_as_it_was"),
    (text_ends_at_nul, "test_any_poison_is_kept_exactly_or_refused_alone"),
    (refused_commits_write_blobs, "test_a_commit_that_loses_leaves_no_blob"),
    (blobs_are_everybody_s, "test_another_investigation_s_blob_is_not_given"),
    (blobs_come_in_one_piece, "test_every_byte_of_a_blob"),
    (old_snapshots_stay, "test_a_snapshot_takes_the_place_of_older_ones"),
    (a_snapshot_is_the_only_one, "test_a_snapshot_takes_the_place_of_older_ones"),
]


@pytest.mark.parametrize(("bug", "by"), IN_MEMORY)
def test_a_bug_in_memory_is_noticed(bug: Callable[[Patch], None], by: str, tmp_path: Path, monkeypatch: Patch) -> None:
    bug(monkeypatch)
    assert not passes(Memory(), by, tmp_path), f"the contract's {by} does not notice"


# ---------------------------------------------------------------- bugs in SQLite


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


IN_SQLITE = [
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


@pytest.mark.parametrize(("bug", "by"), IN_SQLITE)
def test_a_bug_in_sqlite_is_noticed(bug: Callable[[Patch], None], by: str, tmp_path: Path, monkeypatch: Patch) -> None:
    bug(monkeypatch)
    assert not passes(SQLite(), by, tmp_path), f"the contract's {by} does not notice"
