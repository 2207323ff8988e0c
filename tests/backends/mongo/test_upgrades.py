"""Databases of older revisions, with what is in them, brought to this version's schema."""

import asyncio
from typing import Any

import pytest

from investigation_backends.mongo import MongoBackend
from investigation_backends.mongodb import migrations
from investigation_backends.mongodb.behind import Behind
from investigation_backends.mongodb.deleting import PURGE, UNFINISHED
from investigation_backends.mongodb.driver import Collection
from investigation_backends.mongodb.migrations import QUEUE, REVISIONS
from investigation_backends.mongodb.names import BEHIND, BLOBS, COMMITS, DELETIONS, KEYS, MADE, MARKS, PART_OF, SCHEMA
from investigation_sdk.errors import SchemaMismatch
from investigation_sdk.storage.backend import StoreFailure
from investigation_sdk.storage.commit import APPLIED, CHUNK_BYTES, CONFLICT, CommitStatus, Query, Wanted
from investigation_sdk.testing._contract.building import Case, blob, blob_data
from tests.backends.mongo.rig import failing, opened, pending, raw, stored, swept

Patch = pytest.MonkeyPatch


def _as_of_0002(url: str) -> None:
    """Change a database to how the second revision had it: commits say themselves what is not done with them."""
    database = raw(url)
    commits = database[COMMITS]
    rows = {row["_id"]: row["version"] for row in database["investigations"].find({}, {"version": 1})}
    for one in list(commits.find()):
        behind = "commit_id" in one and one["version"] > rows.get(one["investigation_id"], 0)
        change: Any = {"$unset": {MADE: "", **({} if behind else dict.fromkeys(PART_OF.values(), ""))}}
        commits.update_one({"_id": one["_id"]}, {**change, "$set": {BEHIND: one[MADE]}} if behind else change)
    for one in database[DELETIONS].find():
        field, name = (PURGE, PURGE) if PURGE in one else (UNFINISHED, BEHIND)
        commits.update_one({"_id": one["_id"]}, {"$set": {name: one[field]}})
    for field in (BEHIND, PURGE):
        commits.create_index(field, name=field, partialFilterExpression={field: {"$gt": 0}})
    database[MARKS].drop()
    database[DELETIONS].drop()
    database[SCHEMA].update_one({}, {"$set": {"revision": "0002"}})


def _as_of_0003(url: str) -> None:
    """Change a database to how the third revision had it: keys and blobs are found by indexes of the log."""
    database = raw(url)
    database[KEYS].drop()
    database[BLOBS].update_many({}, {"$unset": {"by": ""}})
    database[COMMITS].create_index("key", name="key", unique=True, sparse=True)
    database[COMMITS].create_index("blobs", name="blobs", sparse=True)
    database[SCHEMA].update_one({}, {"$set": {"revision": "0003"}})


async def test_keys_and_blobs_that_the_log_was_searched_for(mongo_store: str, monkeypatch: Patch) -> None:
    cases = [Case(key=f"key-{n}") for n in range(7)]
    one, two = blob(b"x" * (CHUNK_BYTES + 1)), blob(b"y")
    async with opened(mongo_store) as backend:
        for case in cases:
            await case.apply(backend, case.commit(blobs=[one]))
        assert await backend.delete([(cases[0].id, 1)]) == 1
        with failing(mongo_store, "insert", errorCode=13), pytest.raises(StoreFailure):  # its pieces belong to nobody
            await backend.commit([cases[1].commit(blobs=[two])])
        assert len(stored(mongo_store, BLOBS)) == 13
    _as_of_0003(mongo_store)
    drop = Collection.drop_index

    async def killed(*_: Any) -> None:
        raise ValueError("killed")

    monkeypatch.setattr(Collection, "drop_index", killed)
    with pytest.raises(ValueError, match="killed"):
        await MongoBackend(mongo_store).upgrade()
    monkeypatch.setattr(Collection, "drop_index", drop)

    async with opened(mongo_store, auto_migrate=True) as backend:
        assert await backend.check_schema() == []
        assert set(raw(mongo_store)[COMMITS].index_information()) == {"_id_", "log"}
        assert {one["investigation_id"] for one in stored(mongo_store, KEYS)} == {case.id for case in cases[1:]}
        answers = await backend.commit([Case(key=f"key-{n}").commit() for n in range(7)])
        assert [answer.existing_id for answer in answers] == [None, *(case.id for case in cases[1:])]
        assert answers[0] == APPLIED
        for case in cases[1:]:
            assert await blob_data(backend, case.id, one.digest) == one.data
        assert await blob_data(backend, cases[1].id, two.digest) == b""
        assert (await swept(backend)).blobs == 1


async def test_several_upgrade_at_once(mongo_store: str) -> None:
    cases = [Case(key=f"key-{n}") for n in range(7)]
    async with opened(mongo_store) as backend:
        for case in cases:
            await case.apply(backend, case.commit(blobs=[blob(b"x")]))
    for older in (_as_of_0003, _as_of_0002):
        older(mongo_store)
        await asyncio.gather(*(MongoBackend(mongo_store).upgrade() for _ in range(4)))
        async with opened(mongo_store) as backend:
            assert await backend.check_schema() == []
            assert {one["investigation_id"] for one in stored(mongo_store, KEYS)} == {case.id for case in cases}


async def test_a_key_that_went_on_behind_an_interrupted_upgrade(mongo_store: str, monkeypatch: Patch) -> None:
    """A process of 0003 deletes its investigation and creates another with it: the log says who has it."""
    gone, now = Case(key="one"), Case(key="one")
    async with opened(mongo_store) as backend:
        await gone.apply(backend)
        left = stored(mongo_store, KEYS)
        assert await backend.delete([(gone.id, 1)]) == 1
        await now.apply(backend)
    _as_of_0003(mongo_store)
    raw(mongo_store)[KEYS].insert_many(left)
    async with opened(mongo_store, auto_migrate=True) as backend:
        (answer,) = await backend.commit([Case(key="one").commit()])
        assert (answer.status, answer.existing_id) == (CommitStatus.CONSTRAINT, now.id)


@pytest.mark.parametrize("version", [0, 1])
async def test_a_lowered_version_in_an_upgraded_database(mongo_store: str, version: int) -> None:
    """Commits of 0002 and before do not have their rows any more: these are as they are stored, and can be mended."""
    case = Case(user_id="u")
    async with opened(mongo_store) as backend:
        await case.apply(backend, case.commit(rows=[case.tool()]))
        await case.apply(backend)
        await case.apply(backend)
    _as_of_0002(mongo_store)
    rows = raw(mongo_store)["investigations"]
    async with opened(mongo_store, auto_migrate=True) as backend:
        rows.update_one({"_id": case.id}, {"$set": {"version": version}})
        assert await backend.get("investigation", case.id) == case.row._replace(version=version)
        await backend.put_rows([case.row])
        assert await backend.get("investigation", case.id) == case.row
        assert await backend.find(Query("investigation", limit=10)) == [case.row]
        # what comes later has its row, which says the same of all before it
        rows.update_one({"_id": case.id}, {"$set": {"version": version}})
        await case.apply(backend)
        assert await backend.get("investigation", case.id) == case.row
        assert await backend.find(Query("investigation", limit=10)) == [case.row]
        rows.delete_one({"_id": case.id})
        assert await backend.get("investigation", case.id) is None
        await case.apply(backend)
        assert await backend.find(Query("investigation", limit=10)) == []
        assert await backend.get("investigation", case.id) is None


async def _nothing_more(self: Behind) -> None:
    """As if it had been killed."""
    self._queue.clear()


async def test_commits_that_said_themselves_what_is_not_written(mongo_store: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr("investigation_backends.mongodb.behind._LINGER", 3600.0)
    over, unseen, later, gone, going = (Case(user_id="u") for _ in range(5))
    tools = []
    async with opened(mongo_store) as backend:
        for case in (over, later, gone):
            await case.apply(backend, case.commit(rows=[case.tool()]))
        tools.append(later.tool(sequence=2))
        await later.apply(backend, later.commit(rows=tools[:1]))
        await later.apply(backend)
        assert await backend.delete([(gone.id, 1)]) == 1
        tools.append(unseen.tool())
        await unseen.apply(backend, unseen.commit(rows=tools[1:]))
        await going.apply(backend, going.commit(rows=[going.tool()]))
        assert len(await backend.find(Query("investigation", limit=10))) == 4
        await unseen.apply(backend)
        monkeypatch.setattr("investigation_backends.mongodb.deleting.finish", _unfinished)
        assert await backend.delete([(going.id, 1)]) == 1
        monkeypatch.setattr(Behind, "flush", _nothing_more)
        await backend.close()
    monkeypatch.undo()
    database = raw(mongo_store)
    second = {"investigation_id": later.id, "version": 2}
    parts = database[COMMITS].find_one(second, {"_id": 0, "investigation": 1, "tools": 1})
    _as_of_0002(mongo_store)
    # this revision wrote rows in any order: the last of `later` is there, one of a commit before it is not
    database["tool_executions"].delete_one({"_id": tools[0].id})
    database[COMMITS].update_one(second, {"$set": {BEHIND: 1, **parts}})

    with pytest.raises(SchemaMismatch, match="has schema 0002"):
        await MongoBackend(mongo_store).open()

    async def killed(*_: Any) -> None:
        raise ValueError("killed")

    monkeypatch.setattr(migrations, "project", killed)
    with pytest.raises(ValueError, match="killed"):
        await MongoBackend(mongo_store).upgrade()
    monkeypatch.undo()
    assert database[SCHEMA].find_one()["revision"] == "0002"

    async with opened(mongo_store, auto_migrate=True) as backend:
        assert await backend.current_revision() == REVISIONS[-1]
        assert await backend.check_schema() == []
        assert not {BEHIND, PURGE} & set(database[COMMITS].index_information())
        assert database[COMMITS].count_documents({"$or": [{BEHIND: {"$gt": 0}}, {PURGE: {"$gt": 0}}]}) == 0
        rows = {row["_id"]: row["version"] for row in stored(mongo_store) if row["_id"] != going.id}
        assert rows == {over.id: 1, later.id: 3, unseen.id: 2}
        for row in tools:
            assert await backend.get("tool", row.id) == row
        for case in (over, unseen, later):
            assert await backend.get("investigation", case.id) == case.row
            await case.apply(backend)
        found = await backend.find(Query("investigation", limit=10))
        assert {row.id for row in found} == {over.id, unseen.id, later.id}
        assert pending(mongo_store) == 0
        assert (await swept(backend)).places == 2
        assert await backend.commit([Case(id=gone.id).commit(), Case(id=going.id).commit()]) == [CONFLICT, CONFLICT]


async def _unfinished(*_: Any) -> None:
    """As if it had been killed behind the tombstone."""


@pytest.mark.usefixtures("lazy")
async def test_an_upgrade_reaches_what_is_queued_and_not_among_the_rows_yet(mongo_store: str) -> None:
    """Commits of a version before the queue, left by a crash: this version writes their rows, and workers find them."""
    seen, unseen, over = (Case(status="queued") for _ in range(3))
    async with opened(mongo_store) as backend:
        await seen.apply(backend)
        await over.apply(backend)
        assert len(await backend.find(Query("investigation"))) == 2
        await unseen.apply(backend)
        await over.apply(backend, over.commit(status="completed"))
        assert backend._behind is not None
        backend._behind._queue.clear()
    assert pending(mongo_store) == 2
    _as_of_0002(mongo_store)
    database = raw(mongo_store)
    for collection, part in (("investigations", ""), (COMMITS, "investigation.")):
        database[collection].update_many({}, {"$unset": {f"{part}priority": "", f"{part}claimable_at": ""}})
    database["investigations"].drop_index(QUEUE.name)
    database[SCHEMA].update_one({}, {"$set": {"revision": "0001"}})
    async with opened(mongo_store, auto_migrate=True) as backend:
        wanted = Wanted(types=(seen.row.investigation_type,), tenant_id=None, left_in=())
        got = await backend.claim_next(wanted, ["a", "b", "c"], ttl=60_000_000)
        assert {lease.resource for lease in got} == {seen.id, unseen.id}
        assert await backend.get("investigation", over.id) == over.row
    done = database["investigations"].find_one({"_id": over.id})
    assert (done["priority"], done["claimable_at"]) == (0, None)
