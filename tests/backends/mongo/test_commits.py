"""What is MongoDB's own: one document a commit, rows behind it, and what a crash leaves between the two."""

import asyncio
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import ServerSelectionTimeoutError
from pymongo.monitoring import CommandListener

from investigation_backends.mongo import MongoBackend
from investigation_backends.mongodb import behind, write
from investigation_backends.mongodb.driver import Collection
from investigation_sdk.storage.backend import CommitUnknown
from investigation_sdk.storage.commit import APPLIED, CONFLICT, CommitStatus, Lease, Query, Where
from investigation_sdk.testing._contract.building import Case, blob, blob_data, same
from tests.backends.mongo.rig import pending, stored, until

Patch = pytest.MonkeyPatch


# ---------------------------------------------------------------- one document a commit


class Commands(CommandListener):
    """Writes down what is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def started(self, event: Any) -> None:
        self.sent.append(event)

    def succeeded(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        pass

    def of(self, *names: str) -> list[Any]:
        return [event.command for event in self.sent if event.command_name in names]


@pytest.fixture
async def watched(mongo_store: str) -> Any:
    """A backend whose URL asks for the weakest of everything, and what it sends."""
    commands = Commands()

    def make(url: str, **options: Any) -> Any:
        return AsyncMongoClient(url, event_listeners=[commands], **options)

    url = f"{mongo_store}&w=0&readConcernLevel=local&readPreference=nearest"
    backend = MongoBackend(url, client=make, janitor_interval=0)
    await backend.open()
    yield backend, commands
    await backend.close()


async def test_the_concerns_are_ours_whatever_the_url_says(watched: Any) -> None:
    backend, commands = watched
    case = Case()
    lease = Lease(case.id, "me", 60_000_000)
    await case.apply(backend, case.commit(rows=[case.tool()], blobs=[blob(b"x")], lease=lease))
    await backend.renew([lease], ttl=1000)
    await backend.put_rows([case.row])
    assert len(await backend.find(Query("tool"))) == 1
    assert await backend.delete([(case.id, 1)]) == 1
    writes = commands.of("insert", "update", "delete", "findAndModify")
    assert {next(iter(command)) for command in writes} == {"insert", "update", "delete"}
    assert all(command["writeConcern"] == {"w": "majority", "j": True, "wtimeout": 30000} for command in writes)
    reads = commands.of("find", "aggregate")
    assert reads
    assert all(command["readConcern"] == {"level": "majority"} for command in reads)
    assert not any(
        "$readPreference" in command and command["$readPreference"]["mode"] != "primary" for command in reads
    )


async def test_a_batch_is_one_command(watched: Any) -> None:
    backend, commands = watched
    cases = [Case() for _ in range(50)]
    assert set(await backend.commit([case.commit(rows=[case.tool()]) for case in cases])) == {APPLIED}
    for case in cases:
        case.moved(case.commit())
    await backend.find(Query("tool"))
    cases = [Case.of(row) for row in await backend.find(Query("investigation"))]
    commands.sent.clear()
    batch = [case.commit("a", "b", rows=[case.tool()]) for case in cases]
    assert set(await backend.commit(batch)) == {APPLIED}
    assert [event.command_name for event in commands.sent] == ["insert"]
    assert len(commands.of("insert")[0]["documents"]) == 50


async def test_a_batch_larger_than_a_message(mongo_store: str, backend: MongoBackend, monkeypatch: Patch) -> None:
    monkeypatch.setattr(write, "_MESSAGE", 10_000)
    cases = [Case() for _ in range(20)]
    batch = [case.commit(data="x" * 3000 * (n % 5)) for n, case in enumerate(cases)]
    assert await backend.commit(batch) == [APPLIED] * 20
    for case, commit in zip(cases, batch, strict=True):
        case.moved(commit)
    batch = [case.commit(data="x" * 3000) for case in cases]
    insert, sent = Collection.insert, 0

    async def failing(self: Collection, documents: Any) -> None:
        nonlocal sent
        sent += 1
        if sent == 2:
            raise ServerSelectionTimeoutError("gone")
        await insert(self, documents)

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "insert", failing)
        with pytest.raises(CommitUnknown):  # a part of it was written
            await backend.commit(batch)
    answers = {answer.status for answer in await backend.commit(batch)}
    assert answers == {CommitStatus.APPLIED, CommitStatus.CONFLICT}
    assert await backend.commit(batch) == [CONFLICT] * 20


async def test_names_of_users_are_values(backend: MongoBackend) -> None:
    hostile = {"$where": "1", "a.b": {"$ne": None}, "$set": {"x": 1}, "": 1}
    text = str(hostile).replace("'", '"').replace("None", "null")
    case = Case(key="$ne", tenant_id="$gt", user_id='{"$gt": ""}', metadata=text, investigation_type="$where")
    tool = case.tool(tool_name="$function", input_parameters=text, output_result=text)
    await case.apply(backend, case.commit(data=text, rows=[tool]))
    assert same(await backend.get("tool", tool.id), tool)
    assert [event.event_data for event in await backend.read_events(case.id)] == [text]
    found = await backend.find(Query("investigation", (Where("user_id", "=", '{"$gt": ""}'), Where("key", "=", "$ne"))))
    assert found == [case.row]
    assert not await backend.find(Query("investigation", (Where("user_id", "=", '{"$ne": null}'),)))
    for owner in ("$owner", "$$NOW", "$expires_at"):
        lease = await backend.claim(f"${owner}", owner, ttl=60_000_000)
        assert lease is not None
        assert (lease.resource, lease.owner) == (f"${owner}", owner)
        assert await backend.claim(f"${owner}", "other", ttl=1) is None
        assert await backend.renew([lease], ttl=1) != [None]
        assert await backend.release(lease)


async def test_keys_do_not_run_together(backend: MongoBackend) -> None:
    for tenant, type_, key in (("a", "b", "c"), ("ab", "", "c"), ("", "ab", "c"), ("a", "", "bc"), ("1:a", "b", "c")):
        await Case(tenant_id=tenant, investigation_type=type_, key=key).apply(backend)


async def test_many_writers_on_one_head(backend: MongoBackend, other: MongoBackend) -> None:
    case = Case()
    await case.apply(backend)
    for _ in range(10):
        rivals = [case.commit(f"rival-{n}") for n in range(8)]
        handles = (backend, other)
        answers = await asyncio.gather(*(handles[n % 2].commit([rival]) for n, rival in enumerate(rivals)))
        won = [rival for rival, (answer,) in zip(rivals, answers, strict=True) if answer == APPLIED]
        assert len(won) == 1
        assert all(answer in (APPLIED, CONFLICT) for (answer,) in answers)
        case.moved(won[0])
    assert list(await other.read_events(case.id)) == case.events


async def test_a_head_that_another_wrote_is_looked_up(backend: MongoBackend, other: MongoBackend) -> None:
    """What a handle knows of heads is a proof of what was, and never of what is."""
    case = Case()
    await case.apply(backend)
    await case.apply(other)
    wrong = case.commit()
    wrong.expected_head = case.events[0].hash
    assert await backend.commit([wrong]) == [CONFLICT]
    await case.apply(backend)
    stale = Case.of(case.row._replace(version=2, head=case.events[1].hash))
    assert await other.commit([stale.commit()]) == [CONFLICT]
    await case.apply(other)


async def test_larger_than_a_document(backend: MongoBackend) -> None:
    case, large = Case(), Case()
    data = "x" * (17 * 1024 * 1024)
    answers = await backend.commit([case.commit(), large.commit(data=f'"{data}"')])
    assert [answer.status for answer in answers] == [CommitStatus.APPLIED, CommitStatus.SIZE]
    assert "and the server takes 16,777,216" in answers[1].message
    assert await backend.get("investigation", large.id) is None
    assert (await backend.get("investigation", case.id)) is not None
    whole = blob(data.encode())
    await large.apply(backend, large.commit(blobs=[whole]))
    assert await blob_data(backend, large.id, whole.digest) == whole.data


# ---------------------------------------------------------------- rows behind


@pytest.mark.usefixtures("lazy")
async def test_reads_by_id_are_exact_before_rows_are_written(
    mongo_store: str, backend: MongoBackend, other: MongoBackend
) -> None:
    case = Case(user_id="u")
    phase, tool, snapshot = case.phase(), case.tool(), case.snapshot(1)
    await case.apply(backend, case.commit(rows=[phase, tool], snapshot=snapshot))
    later = tool._replace(status="completed", sequence=2)
    await case.apply(backend, case.commit(rows=[later], status="completing", progress_percentage=50))
    assert stored(mongo_store) == stored(mongo_store, "tool_executions") == []
    for handle in (backend, other):
        assert await handle.get("investigation", case.id) == case.row
        assert await handle.get("phase", phase.id) == phase
        assert await handle.get("tool", tool.id) == later
        assert await handle.get("snapshot", snapshot.id) == await handle.read_snapshot(case.id) == snapshot
    lease = await other.claim(case.id, "me", ttl=60_000_000)
    assert lease is not None
    assert lease.version == 2
    assert pending(mongo_store) == 2
    assert await other.find(Query("tool")) == [later]
    assert pending(mongo_store) == 0
    await case.apply(backend, case.commit(progress_percentage=70))
    assert await other.get("investigation", case.id) == case.row


async def test_rows_are_written_by_themselves(mongo_store: str, backend: MongoBackend) -> None:
    case = Case()
    await case.apply(backend, case.commit(rows=[case.tool()]))
    await until(lambda: pending(mongo_store) == 0)
    assert len(stored(mongo_store)) == len(stored(mongo_store, "tool_executions")) == 1


@pytest.mark.usefixtures("lazy")
async def test_a_commit_on_top_of_one_whose_rows_are_not_written(
    mongo_store: str, backend: MongoBackend, other: MongoBackend
) -> None:
    """Whoever comes first writes the rows of both."""
    case = Case(subject="the first commit has this")
    await case.apply(backend)
    await case.apply(other, case.commit(progress_percentage=3))
    assert other._behind is not None
    await other._behind.flush()
    assert [row["version"] for row in stored(mongo_store)] == [2]
    assert pending(mongo_store) == 0
    assert await other.find(Query("investigation")) == [case.row]


@pytest.mark.usefixtures("lazy")
async def test_rows_never_go_backwards(mongo_store: str, backend: MongoBackend, other: MongoBackend) -> None:
    case = Case()
    tool = case.tool()
    await case.apply(backend, case.commit(rows=[tool]))
    await case.apply(other, case.commit(rows=[tool._replace(status="completed", sequence=2)]))
    await other.find(Query("tool"))
    assert backend._behind is not None
    await backend._behind.flush()
    assert [row["status"] for row in stored(mongo_store, "tool_executions")] == ["completed"]
    assert [row["version"] for row in stored(mongo_store)] == [2]


@pytest.mark.usefixtures("lazy")
async def test_too_many_wait(mongo_store: str, backend: MongoBackend, monkeypatch: Patch) -> None:
    monkeypatch.setattr(behind, "_MOST", 10)
    case = Case()
    for _ in range(25):
        await case.apply(backend, case.commit(rows=[case.tool()]))
        assert pending(mongo_store) <= 11


async def test_a_row_ahead_of_its_log_is_left_alone(mongo_store: str, backend: MongoBackend) -> None:
    case = Case()
    await case.apply(backend)
    ahead = case.row._replace(version=9, status="failed")
    await backend.put_rows([ahead])
    await case.apply(backend)
    await backend.sweep()
    assert await backend.get("investigation", case.id) == ahead
    assert await backend.find(Query("investigation")) == [ahead]
