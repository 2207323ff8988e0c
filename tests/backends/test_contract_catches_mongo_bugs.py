"""The contract suite, tested on MongoDB's protocol: bugs are planted, and it must notice each."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from investigation_backends.mongo import MongoBackend
from investigation_backends.mongodb import behind, deleting, documents, leases, reads, restore, selects, write
from investigation_backends.mongodb.behind import Behind
from investigation_backends.mongodb.driver import Collection
from investigation_backends.mongodb.link import Heads, Link
from investigation_backends.mongodb.marks import Marks
from investigation_backends.mongodb.names import Document, row_of, slot
from investigation_backends.mongodb.project import parts, project
from investigation_backends.mongodb.write import Batch
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.commit import CONFLICT
from investigation_sdk.testing.contract import BackendContract, StoreUnderTest
from tests.backends.noticing import passes

Patch = pytest.MonkeyPatch


class Mongo(BackendContract):
    def __init__(self, url: str) -> None:
        self._url = url

    def new_store(self, folder: Path) -> StoreUnderTest:
        return StoreUnderTest(lambda: MongoBackend(self._url, janitor_interval=0), url=self._url)


def heads_are_not_compared(patch: Patch) -> None:
    patch.setattr(Heads, "allows", lambda *_: True)


def only_versions_are_compared(patch: Patch) -> None:
    async def prove(self: Any, n: int, commit: Any) -> None:
        where = {"investigation_id": commit.investigation_id, "version": commit.expected_version}
        if await self._link.commits.one(where) is None:
            self._answers[n] = CONFLICT

    patch.setattr(Batch, "_prove", prove)
    patch.setattr(Heads, "allows", lambda *_: None)


def places_are_not_competed_for(patch: Patch) -> None:
    patch.setattr(documents, "slot", lambda id, version: f"{slot(id, version)}/{uuid.uuid4() if version else ''}")


def what_is_known_is_what_is(patch: Patch) -> None:
    """A handle takes its own last head for the newest, and writes on top without competing."""

    async def insert(self: Collection, raw: Sequence[Any]) -> None:
        for one in raw:
            document = bson.decode(one.raw)
            await self.put({"_id": document["_id"]}, {"$set": {k: v for k, v in document.items() if k != "_id"}})

    patch.setattr(Collection, "insert", insert)


def refused_commits_write_rows(patch: Patch) -> None:
    run = Batch.run

    async def leaking(self: Any) -> Any:
        answers = await run(self)
        await project(self._link, [parts(document) for document in self._documents])
        return answers

    patch.setattr(Batch, "run", leaking)


def an_error_ends_the_batch(patch: Patch) -> None:
    async def insert(self: Any, raw: Sequence[RawBSONDocument]) -> None:
        await self._it.insert_many(raw, ordered=True)

    patch.setattr(Collection, "insert", insert)


def a_poison_fails_the_batch(patch: Patch) -> None:
    patch.setattr(write, "encoded", lambda document, _: RawBSONDocument(bson.encode(document)))


def lists_are_behind(patch: Patch) -> None:
    async def settle(self: Behind) -> None:
        return None

    patch.setattr(behind, "_LINGER", 60.0)
    patch.setattr(Behind, "settle", settle)


def lists_forget_other_handles(patch: Patch) -> None:
    patch.setattr(behind, "_LINGER", 60.0)
    patch.setattr(Behind, "settle", Behind.flush)


def marks_are_not_made(patch: Patch) -> None:
    async def put(*_: Any, **__: Any) -> None:
        return None

    patch.setattr(behind, "_LINGER", 60.0)
    patch.setattr(Marks, "put", put)


def reads_by_id_see_rows_alone(patch: Patch) -> None:
    async def investigation(link: Link, id: str) -> Any:
        found = await link.rows("investigation").one({"_id": id})
        return None if found is None else row_of("investigation", found)

    patch.setattr(reads, "investigation", investigation)


def calls_by_id_see_rows_alone(patch: Patch) -> None:
    async def row(link: Link, kind: Any, id: str) -> Any:
        if kind == "investigation":
            return await reads.investigation(link, id)
        found = await link.rows(kind).one({"_id": id})
        return None if found is None else row_of(kind, found)

    patch.setattr(reads, "row", row)


def blobs_need_no_commit(patch: Patch) -> None:
    async def has_blob(*_: Any) -> bool:
        return True

    patch.setattr(reads, "has_blob", has_blob)


def put_rows_goes_backwards(patch: Patch) -> None:
    async def put(link: Link, kind: str, documents: Sequence[Mapping[str, Any]]) -> None:
        for document in documents:
            change = {name: value for name, value in document.items() if name != "_id"}
            await link.rows(kind).put({"_id": document["_id"]}, {"$set": change})

    patch.setattr(restore, "_write", put)


def deleted_ids_come_back(patch: Patch) -> None:
    finish = deleting.finish

    async def forgetful(link: Link, id: str, version: int) -> None:
        await finish(link, id, version)
        await link.commits.delete({"investigation_id": id})

    patch.setattr(deleting, "finish", forgetful)


def deletes_at_any_version(patch: Patch) -> None:
    async def bury(link: Link, id: str, _: int) -> bool:
        found = await link.commits.find({"investigation_id": id, "version": {"$gt": 0}}, sort=[("version", -1)])
        return bool(found) and await deleting_bury(link, id, found[0]["version"])

    deleting_bury = deleting._bury
    patch.setattr(deleting, "_bury", bury)


def claims_ask_nobody(patch: Patch) -> None:
    def taking(owner: str, ttl: int) -> list[Document]:
        return [{"$set": {"owner": {"$literal": owner}, "expires_at": {"$add": [leases._NOW, ttl]}}}]

    patch.setattr(leases, "_taking", taking)


def the_queue_is_by_the_machine_s_clock(patch: Patch) -> None:
    of = leases._of

    def local(wanted: Any, last: Any) -> Document:
        return {name: value for name, value in of(wanted, last).items() if name != "$expr"}

    patch.setattr(leases, "_of", local)


def a_lease_s_duration_is_its_end(patch: Patch) -> None:
    taking = leases._taking
    patch.setattr(leases, "_taking", lambda owner, ttl: taking(owner, ttl - 10**18))


def keys_of_generations_are_one(patch: Patch) -> None:
    patch.setattr(documents, "key_of", lambda tenant, type_, key, _: f"{tenant}/{type_}/{key}")


def money_is_a_float(patch: Patch) -> None:
    def money(function: str, parts: Any) -> Any:
        return str(sum(float(part["_id"]["money"] or 0) * part["rows"] for part in parts))

    patch.setattr(selects, "_money", money)


def null_equals_null(patch: Patch) -> None:
    patch.setattr(selects, "_NOTHING", {})


def leases_outlive_refusals(patch: Patch) -> None:
    async def give_back(*_: Any) -> bool:
        return True

    patch.setattr(leases, "give_back", give_back)


BUGS = [
    (the_queue_is_by_the_machine_s_clock, "test_only_what_is_claimable_is_taken"),
    (heads_are_not_compared, "test_another_head_conflicts"),
    (only_versions_are_compared, "test_another_head_conflicts"),
    (places_are_not_competed_for, "test_another_handle_conflicts"),
    (what_is_known_is_what_is, "test_sent_again_conflicts_and_is_there_once"),
    (refused_commits_write_rows, "test_another_version_conflicts"),
    (an_error_ends_the_batch, "test_batches_of_tasks_overlap"),
    (a_poison_fails_the_batch, "test_one_poison_among_fifty_that_append"),
    (lists_are_behind, "test_pages_of_a_filter"),
    (lists_forget_other_handles, "test_another_handle_sees_at_once"),
    (marks_are_not_made, "test_another_handle_sees_at_once"),
    (reads_by_id_see_rows_alone, "test_every_mutable_field_of_the_investigation_is_updated"),
    (calls_by_id_see_rows_alone, "test_rows_are_replaced_by_id"),
    (blobs_need_no_commit, "test_a_commit_that_loses_leaves_no_blob"),
    (put_rows_goes_backwards, "test_older_rows_are_not_written"),
    (deleted_ids_come_back, "test_a_deleted_id_never_comes_back"),
    (deletes_at_any_version, "test_only_at_the_given_version"),
    (claims_ask_nobody, "test_one_owner_at_a_time"),
    (a_lease_s_duration_is_its_end, "test_a_lease_is_taken_with_the_first_commit"),
    (leases_outlive_refusals, "test_a_refused_first_commit_takes_no_lease"),
    (keys_of_generations_are_one, "test_a_key_is_one_with_tenant_type_and_generation"),
    (money_is_a_float, "test_sums_of_money_are_exact"),
    (null_equals_null, "test_none_matches_nothing"),
]
RAISES: dict[Callable[[Patch], None], type[Exception]] = {
    a_poison_fails_the_batch: UnicodeEncodeError,
    put_rows_goes_backwards: BackendUnavailable,
}
"""What the store itself raises then, where a call is to give its answer."""


@pytest.mark.parametrize(("bug", "by"), BUGS)
def test_a_bug_in_mongo_is_noticed(
    bug: Callable[[Patch], None], by: str, mongo_store: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    with monkeypatch.context() as patch:
        bug(patch)
        try:
            noticed = not passes(Mongo(mongo_store), by, tmp_path)
        except RAISES.get(bug, ()):
            noticed = True
        assert noticed, f"the contract's {by} does not notice"
