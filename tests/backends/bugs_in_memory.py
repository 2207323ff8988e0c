"""Bugs to plant in the store in memory: commits, rows, queries, text, blobs and snapshots."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from investigation_backends import memory, memory_queries, memory_store
from investigation_backends.checks import check_batch, refuse_id
from investigation_backends.memory import MemoryBackend
from investigation_backends.memory_store import MemoryStore
from investigation_sdk.storage.commit import APPLIED, CONFLICT, Commit, CommitResult, CommitStatus, StoredEvent

Patch = pytest.MonkeyPatch


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


BUGS = [
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
