"""Keys, in a store on MongoDB's protocol: taken before the creation, and free where it does not come."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from investigation_backends.mongo import MongoBackend
from investigation_backends.mongodb import keys
from investigation_backends.mongodb.driver import Collection
from investigation_backends.mongodb.names import KEYS
from investigation_sdk.storage.backend import CommitUnknown
from investigation_sdk.storage.commit import APPLIED, CONFLICT, Commit, CommitResult, CommitStatus
from investigation_sdk.testing._contract.building import Case
from tests.backends.mongo.rig import failing, raw, stored

Patch = pytest.MonkeyPatch


def _holders(url: str) -> list[str]:
    return [one["investigation_id"] for one in stored(url, KEYS)]


async def _crash(backend: MongoBackend, creations: Sequence[Commit]) -> None:
    """It is killed when the keys of these are taken."""

    async def dies(*_: Any) -> None:
        raise ConnectionResetError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Collection, "insert", dies)
        with pytest.raises((ConnectionResetError, CommitUnknown)):
            await backend.commit(creations)


async def test_a_key_that_a_crash_left(
    mongo_store: str, backend: MongoBackend, other: MongoBackend, monkeypatch: Patch
) -> None:
    """The creation that held it cannot come any more, and is told who has it."""
    monkeypatch.setattr(keys, "_PATIENCE", 0.1)
    lost, case = Case(key="one"), Case(key="one")
    creation = lost.commit()

    await _crash(other, [creation])
    assert _holders(mongo_store) == [lost.id]
    await case.apply(backend)
    assert _holders(mongo_store) == [case.id]
    (answer,) = await other.commit([creation])
    assert (answer.status, answer.existing_id) == (CommitStatus.CONSTRAINT, case.id)
    for handle in (backend, other):
        assert await handle.get("investigation", lost.id) is None
        assert list(await handle.read_events(lost.id)) == []
    assert await backend.delete([(case.id, 1)]) == 1
    assert _holders(mongo_store) == []


async def test_many_keys_that_a_crash_left_are_waited_for_together(
    mongo_store: str, backend: MongoBackend, other: MongoBackend, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(keys, "_PATIENCE", 0.1)
    names = [f"key-{n}" for n in range(40)]
    lost = [Case(key=name).commit() for name in names]

    await _crash(other, lost)
    assert len(_holders(mongo_store)) == 40
    held = Case(key="held")
    await held.apply(other)
    looks = 0
    one, find = Collection.one, Collection.find

    async def count_one(self: Collection, *args: Any, **how: Any) -> Any:
        nonlocal looks
        looks += 1
        return await one(self, *args, **how)

    async def count_find(self: Collection, *args: Any, **how: Any) -> Any:
        nonlocal looks
        looks += 1
        return await find(self, *args, **how)

    monkeypatch.setattr(Collection, "one", count_one)
    monkeypatch.setattr(Collection, "find", count_find)
    cases = [Case(key=name) for name in names]
    *mine, second, unrelated = await backend.commit(
        [*(case.commit() for case in cases), Case(key="held").commit(), Case().commit()]
    )
    assert mine == [APPLIED] * 40
    assert unrelated == APPLIED
    assert (second.status, second.existing_id) == (CommitStatus.CONSTRAINT, held.id)
    assert set(_holders(mongo_store)) == {held.id, *(case.id for case in cases)}
    assert looks < 4 * keys._LOOKS
    answers = await other.commit(lost)
    assert [answer.existing_id for answer in answers] == [case.id for case in cases]


async def test_who_was_faster_is_waited_for_as_long_as_the_one_before(
    mongo_store: str, backend: MongoBackend, other: MongoBackend, monkeypatch: Patch
) -> None:
    """Several wait for a key that a crash left: the one that gets it can create in peace."""
    monkeypatch.setattr(keys, "_PATIENCE", 0.1)
    rival = Case(key="one")
    await _crash(other, [Case(key="one").commit()])
    take_over, begun = keys._take_over, list[asyncio.Task[Any]]()

    async def slower(link: Any, wanted: Any, free: Any) -> set[str]:
        if free and not begun:
            monkeypatch.setattr(keys, "_PATIENCE", 20.0)
            raw(mongo_store)[KEYS].update_one({"_id": next(iter(free))}, {"$set": {"investigation_id": rival.id}})
            begun.append(asyncio.create_task(other.commit([rival.commit()])))
        return await take_over(link, wanted, free)

    monkeypatch.setattr(keys, "_take_over", slower)
    (answer,) = await asyncio.wait_for(backend.commit([Case(key="one").commit()]), 60)
    assert list(await asyncio.wait_for(begun[0], 60)) == [APPLIED]
    assert (answer.status, answer.existing_id) == (CommitStatus.CONSTRAINT, rival.id)
    assert _holders(mongo_store) == [rival.id]


@pytest.mark.parametrize("comes", [True, False])
async def test_who_loses_a_key_is_told_to_whom_before_that_is_written(
    mongo_store: str, backend: MongoBackend, other: MongoBackend, monkeypatch: Patch, comes: bool
) -> None:
    """It asks when its place is taken, and the key is not yet; where that never comes, nobody has the key."""
    monkeypatch.setattr(keys, "_PATIENCE", 0.1)
    slow, quick = Case(key="one"), Case(key="one")
    insert, one, take_over = Collection.insert, Collection.one, keys._take_over
    begun, blocked, asked = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow_insert(self: Collection, documents: Any) -> None:
        if not begun.is_set():
            begun.set()
            await blocked.wait()
        await insert(self, documents)

    async def ask(self: Collection, where: Any, **how: Any) -> Any:
        found = await one(self, where, **how)
        if self is other_keys and comes:
            asked.set()
        return found

    async def slow_take_over(link: Any, wanted: Any, free: Any) -> set[str]:
        if free and not blocked.is_set():
            monkeypatch.setattr(keys, "_PATIENCE", 30.0 if comes else 0.1)
            blocked.set()
            await asked.wait()
        return await take_over(link, wanted, free)

    assert other._link is not None
    other_keys = other._link.keys
    monkeypatch.setattr(Collection, "insert", slow_insert)
    monkeypatch.setattr(Collection, "one", ask)
    monkeypatch.setattr(keys, "_take_over", slow_take_over)
    first = asyncio.create_task(other.commit([slow.commit()]))
    await asyncio.wait_for(begun.wait(), 30)
    second = asyncio.create_task(backend.commit([quick.commit()]))
    (answer,) = await asyncio.wait_for(first, 60)
    asked.set()
    assert answer == (CommitResult(CommitStatus.CONSTRAINT, quick.id, "the key 'one' is taken") if comes else CONFLICT)
    assert list(await asyncio.wait_for(second, 60)) == [APPLIED]
    assert _holders(mongo_store) == [quick.id]


async def test_a_creation_that_was_lost_takes_its_own_key_again(mongo_store: str, backend: MongoBackend) -> None:
    case = Case(key="one")
    creation = case.commit()
    with failing(mongo_store, "insert", closeConnection=True), pytest.raises(CommitUnknown):
        await backend.commit([creation])
    assert await backend.commit([creation]) == [APPLIED]
    assert await backend.commit([creation]) == [CONFLICT]
    assert _holders(mongo_store) == [case.id]


async def test_a_creation_on_its_way_is_waited_for(
    mongo_store: str, backend: MongoBackend, other: MongoBackend, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(keys, "_PATIENCE", 30.0)
    insert, gate, begun = Collection.insert, asyncio.Event(), asyncio.Event()

    async def slow(self: Collection, documents: Any) -> None:
        begun.set()
        await gate.wait()
        await insert(self, documents)

    monkeypatch.setattr(Collection, "insert", slow)
    first, second = Case(key="one"), Case(key="one")
    one = asyncio.create_task(backend.commit([first.commit()]))
    await asyncio.wait_for(begun.wait(), 30)
    two = asyncio.create_task(other.commit([second.commit()]))
    await asyncio.sleep(0.05)
    assert not two.done()
    gate.set()
    assert list(await asyncio.wait_for(one, 30)) == [APPLIED]
    (answer,) = await asyncio.wait_for(two, 30)
    assert (answer.status, answer.existing_id) == (CommitStatus.CONSTRAINT, first.id)
    assert _holders(mongo_store) == [first.id]


async def test_a_refused_creation_gives_its_key_back(mongo_store: str, backend: MongoBackend) -> None:
    case = Case()
    await case.apply(backend)
    again = Case(id=case.id, key="one")
    assert await backend.commit([again.commit()]) == [CONFLICT]
    assert _holders(mongo_store) == []
    await Case(key="one").apply(backend)


async def test_a_key_in_the_hands_of_one_that_does_not_have_it_is_free(
    mongo_store: str, backend: MongoBackend, monkeypatch: Patch
) -> None:
    """Killed between a refusal and giving back."""
    case, new = Case(), Case(key="one")
    await case.apply(backend)

    async def nothing(*_: Any) -> None:
        return None

    with monkeypatch.context() as patch:
        patch.setattr(keys, "give_back", nothing)
        assert await backend.commit([Case(id=case.id, key="one").commit()]) == [CONFLICT]
    assert _holders(mongo_store) == [case.id]
    await new.apply(backend)
    assert _holders(mongo_store) == [new.id]
