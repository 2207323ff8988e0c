"""What says, in a store on MongoDB's protocol, that an investigation may have commits whose rows are not written."""

from typing import Any

import pytest

from investigation_backends.mongo import MongoBackend
from investigation_backends.mongodb import behind, janitor, marks
from investigation_backends.mongodb.driver import Collection
from investigation_backends.mongodb.names import COMMITS, MARKS
from investigation_sdk.storage.backend import CommitUnknown
from investigation_sdk.storage.commit import Query
from investigation_sdk.testing._contract.building import Case
from tests.backends.mongo.rig import failing, opened, pending, stored, until

Patch = pytest.MonkeyPatch


async def test_a_mark_comes_before_the_commit_and_goes_when_the_investigation_rests(
    mongo_store: str, backend: MongoBackend, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(behind, "_LOOK_AT_MARKS", 0.01)
    monkeypatch.setattr(marks.Marks.take_back, "__kwdefaults__", {"rested": 0.2})
    insert = Collection.insert
    marked: list[bool] = []

    async def looking(self: Collection, documents: Any) -> None:
        marked.append(bool(stored(mongo_store, MARKS)))
        await insert(self, documents)

    monkeypatch.setattr(Collection, "insert", looking)
    case = Case()
    for n in range(1, 3):
        for _ in range(3):
            await case.apply(backend, case.commit(rows=[case.tool(sequence=1)]))
        assert len(stored(mongo_store, MARKS)) == 1
        await until(lambda: not stored(mongo_store, MARKS))
        assert [row["version"] for row in stored(mongo_store)] == [3 * n]
    assert marked == [True] * 6


@pytest.mark.usefixtures("lazy")
async def test_marks_of_others_are_left_until_nobody_relies_on_them(
    mongo_store: str, backend: MongoBackend, other: MongoBackend, monkeypatch: Patch
) -> None:
    case = Case()
    await case.apply(backend)
    assert [row.id for row in await other.find(Query("investigation"))] == [case.id]
    await other.sweep()
    assert len(stored(mongo_store, MARKS)) == 1
    await case.apply(backend)
    monkeypatch.setattr(janitor, "EXPIRED", -1_000_000)
    await other.sweep()
    assert stored(mongo_store, MARKS) == []
    assert pending(mongo_store) == 0


@pytest.mark.usefixtures("lazy")
async def test_a_mark_is_made_anew_before_others_may_take_it(
    mongo_store: str, backend: MongoBackend, monkeypatch: Patch
) -> None:
    case = Case()
    await case.apply(backend)
    (first,) = stored(mongo_store, MARKS)
    await case.apply(backend)
    assert stored(mongo_store, MARKS) == [first]
    monkeypatch.setattr(marks, "_TRUSTED", -1.0)
    await case.apply(backend)
    assert len(stored(mongo_store, MARKS)) == 2
    assert marks._TRUSTED < marks.STALLED < marks.EXPIRED / 1_000_000
    assert backend._behind is not None
    await backend._behind.flush()
    await backend._behind.marks.take_back((), rested=0)
    assert stored(mongo_store, MARKS) == []


@pytest.mark.usefixtures("lazy")
async def test_what_may_be_in_the_log_is_looked_for(mongo_store: str, backend: MongoBackend) -> None:
    """Nobody was told that it is there, and nobody has its rows in hand."""
    case = Case()
    await case.apply(backend)
    unsure = case.commit(rows=[case.tool()])
    concern = {"code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out"}
    with failing(mongo_store, "insert", writeConcernError=concern), pytest.raises(CommitUnknown):
        await backend.commit([unsure])
    assert len(stored(mongo_store, COMMITS)) == 2
    assert len(await backend.find(Query("tool"))) == 1
    assert await backend.find(Query("investigation")) == [unsure.rows[0]]
    assert len(stored(mongo_store, MARKS)) == 1, "it may come into the log later"


async def test_closing_leaves_no_mark(mongo_store: str) -> None:
    async with opened(mongo_store) as backend:
        for _ in range(3):
            await Case().apply(backend)
        assert len(stored(mongo_store, MARKS)) == 3
    assert stored(mongo_store, MARKS) == []
    assert pending(mongo_store) == 0
