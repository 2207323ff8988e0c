"""What kills, deletions and stalls leave of a store on MongoDB's protocol, and that it is mended."""

import asyncio
import signal
import subprocess
import sys
import textwrap

import pytest

from investigation_backends.mongo import MongoBackend
from investigation_backends.mongodb import janitor, project, write
from investigation_backends.mongodb.documents import commit_document
from investigation_backends.mongodb.names import ALL_COLLECTIONS, BLOBS, COMMITS, slot
from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.storage.commit import APPLIED, CHUNK_BYTES, CONFLICT, Commit, Query
from investigation_sdk.storage.registry import create_backend
from investigation_sdk.testing._contract.building import Case, blob, blob_data
from tests.backends.mongo.rig import opened, pending, raw, stored, swept, until

Patch = pytest.MonkeyPatch


# ---------------------------------------------------------------- what a crash leaves


def killed(url: str, place: str, script: str) -> list[str]:
    """Run a process that is killed, as by -9, when it comes to `place`; answer the lines that it said before."""
    module, _, name = place.rpartition(":")
    code = f"""
import asyncio, importlib, os, signal
from investigation_sdk.storage.registry import create_backend
from investigation_sdk.testing._contract.building import Case, blob
module = importlib.import_module("investigation_backends.mongodb.{module}")
async def main():
    backend = create_backend({url!r}, {{"janitor_interval": 0.0}})
    await backend.open()
    async def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)
    *path, last = {name!r}.split(".")
    target = module
    for part in path:
        target = getattr(target, part)
{textwrap.indent(textwrap.dedent(script), "    ")}
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.split()


async def test_killed_between_the_commit_and_its_rows(mongo_store: str, backend: MongoBackend) -> None:
    script = """
    case = Case(user_id="u")
    await case.apply(backend, case.commit("a", rows=[case.tool(id=case.id)], snapshot=case.snapshot(1)))
    await backend.find(__import__("investigation_sdk.storage.commit", fromlist=["x"]).Query("tool"))
    print(case.id, flush=True)
    setattr(target, last, die)
    tool = case.tool(id=case.id, status="completed", sequence=2)
    await backend.commit([case.commit("b", rows=[tool], snapshot=case.snapshot(2), status="completing")])
    """
    (id,) = killed(mongo_store, "behind:Behind.add", script)
    assert pending(mongo_store) == 1
    assert [row["status"] for row in stored(mongo_store)] == ["running"]
    row, tool, snapshot = (
        await backend.get("investigation", id),
        await backend.get("tool", id),
        await backend.read_snapshot(id),
    )
    assert isinstance(row, InvestigationRow)
    assert (row.version, row.status) == (2, "completing")
    assert tool is not None
    assert tool.status == "completed"  # type: ignore[union-attr]
    assert snapshot is not None
    assert snapshot.sequence == 2
    assert [event.event_type for event in await backend.read_events(id)] == ["a", "b"]
    assert pending(mongo_store) == 1, "reading by id writes nothing"
    assert [row.status for row in await backend.find(Query("tool"))] == ["completed"]  # type: ignore[union-attr]
    assert pending(mongo_store) == 0


async def test_the_janitor_mends_what_a_crash_left(mongo_store: str, monkeypatch: Patch) -> None:
    script = """
    setattr(target, last, die)
    case = Case()
    await backend.commit([case.commit(rows=[case.tool()])])
    """
    killed(mongo_store, "behind:Behind.add", script)
    assert stored(mongo_store, "tool_executions") == []
    monkeypatch.setattr(janitor, "OVERDUE", 0)
    async with opened(mongo_store, janitor_interval=0.05):
        await until(lambda: pending(mongo_store) == 0)
    assert len(stored(mongo_store)) == len(stored(mongo_store, "tool_executions")) == 1


async def test_killed_between_rows_and_the_one_that_says_so(mongo_store: str, backend: MongoBackend) -> None:
    script = """
    case = Case()
    await case.apply(backend, case.commit(rows=[case.tool()]))
    print(case.id, flush=True)
    setattr(target, last, die)
    await backend.find(__import__("investigation_sdk.storage.commit", fromlist=["x"]).Query("tool"))
    """
    (id,) = killed(mongo_store, "project:_write", script)
    assert pending(mongo_store) == len(stored(mongo_store, "tool_executions")) == 1
    assert stored(mongo_store) == []
    row = await backend.get("investigation", id)
    assert row == (await backend.find(Query("investigation")))[0]
    assert pending(mongo_store) == 0


async def test_killed_before_the_commit(mongo_store: str, backend: MongoBackend) -> None:
    """Its blob is there, belongs to nobody, cannot be read, and goes after a while."""
    script = """
    case, one = Case(), blob(b"x" * 300_000)
    print(case.id, one.digest, flush=True)
    setattr(target, last, die)
    await backend.commit([case.commit(blobs=[one])])
    """
    id, digest = killed(mongo_store, "driver:Collection.insert", script)
    assert len(stored(mongo_store, BLOBS)) == 2
    assert await blob_data(backend, id, digest) == b""
    assert await backend.get("investigation", id) is None
    assert (await backend.sweep()).blobs == 0, "it is young: its commit may be on its way"
    assert (await swept(backend)).blobs == 2
    assert stored(mongo_store, BLOBS) == []


async def test_killed_in_the_middle_of_a_deletion(mongo_store: str, backend: MongoBackend) -> None:
    script = """
    case = Case(key="case-1")
    await case.apply(backend, case.commit(rows=[case.tool()], blobs=[blob(b"x")]))
    await backend.find(__import__("investigation_sdk.storage.commit", fromlist=["x"]).Query("tool"))
    print(case.id, flush=True)
    setattr(target, last, die)
    await backend.delete([(case.id, 1)])
    """
    (id,) = killed(mongo_store, "deleting:finish", script)
    assert await backend.get("investigation", id) is None
    assert await backend.find(Query("tool")) == await backend.find(Query("investigation")) == []
    assert list(await backend.read_events(id)) == stored(mongo_store, BLOBS) == []
    await Case(key="case-1").apply(backend)


# ---------------------------------------------------------------- deletion


@pytest.mark.usefixtures("lazy")
async def test_rows_of_a_deleted_investigation_do_not_come_back(
    mongo_store: str, backend: MongoBackend, other: MongoBackend
) -> None:
    case = Case()
    await case.apply(backend, case.commit(rows=[case.tool(), case.phase()]))
    assert await other.delete([(case.id, 1)]) == 1
    assert backend._behind is not None
    backend._behind._queue = [
        project.parts(document) for document in [commit_document(_recommit(case), 1)]
    ]  # on its way when the other deleted
    await backend._behind.flush()
    for kind in ("investigations", "tool_executions", "investigation_phases"):
        assert stored(mongo_store, kind) == []


def _recommit(case: Case) -> Commit:
    again = Case(id=case.id)
    return again.commit(rows=[again.tool(), again.phase()])


async def test_a_late_commit_finds_its_place_taken(backend: MongoBackend, other: MongoBackend) -> None:
    """A handle that knows an old head, of an investigation that has gone on and was deleted since."""
    case = Case()
    await case.apply(backend)
    late = case.commit("late")
    for _ in range(3):
        await case.apply(other)
    assert await other.delete([(case.id, 4)]) == 1
    assert await backend.commit([late]) == [CONFLICT]
    assert list(await backend.read_events(case.id)) == []


async def test_what_is_left_of_a_deleted_investigation(mongo_store: str, backend: MongoBackend) -> None:
    case = Case(subject="secret", key="secret")
    for _ in range(3):
        await case.apply(backend, case.commit(data='"secret"', rows=[case.tool(agent_name="secret")]))
    assert await backend.delete([(case.id, 3)]) == 1
    everything = [list(raw(mongo_store)[name].find()) for name in ALL_COLLECTIONS]
    assert "secret" not in str(everything)
    assert (await backend.sweep()).places == 0
    assert (await swept(backend)).places == 1
    (tombstone,) = stored(mongo_store, COMMITS)
    assert tombstone["_id"] == slot(case.id, 0)
    again = Case(id=case.id)
    assert await backend.commit([again.commit()]) == [CONFLICT]
    assert await backend.commit([case.commit()]) == [CONFLICT]


async def test_deletion_and_a_commit_compete(backend: MongoBackend, other: MongoBackend) -> None:
    won = {"deleted": 0, "applied": 0}
    for _ in range(12):
        case = Case()
        await case.apply(backend)
        deleted, (answer,) = await asyncio.gather(other.delete([(case.id, 1)]), backend.commit([case.commit()]))
        assert (deleted, answer) in ((1, CONFLICT), (0, APPLIED))
        won["deleted" if deleted else "applied"] += 1
        assert len(await other.read_events(case.id)) == (0 if deleted else 2)


@pytest.mark.usefixtures("lazy")
async def test_a_parent_that_is_deleted_before_its_child_has_a_row(
    mongo_store: str, backend: MongoBackend, other: MongoBackend
) -> None:
    parent = Case()
    await parent.apply(backend)
    child = Case(parent_investigation_id=parent.id)
    await child.apply(backend)
    assert await other.delete([(parent.id, 1)]) == 1
    (row,) = await backend.find(Query("investigation"))
    assert row == child.row._replace(parent_investigation_id=None)


async def test_stalled_for_hours_between_look_and_insert(
    mongo_store: str, backend: MongoBackend, other: MongoBackend, monkeypatch: Patch
) -> None:
    """By then everything may be swept: the commit finds its place free, and is taken back."""
    case = Case()
    await case.apply(backend)
    late = case.commit("late")
    await case.apply(other)
    assert await other.delete([(case.id, 2)]) == 1
    await swept(other)
    hours = iter(range(0, 1_000_000, 7200))
    monkeypatch.setattr(write, "clock", lambda: float(next(hours)))
    assert await backend.commit([late]) == [CONFLICT]
    assert [one["_id"] for one in stored(mongo_store, COMMITS)] == [slot(case.id, 0)]


# ---------------------------------------------------------------- blobs


async def test_pieces_that_a_commit_has_stay(mongo_store: str, backend: MongoBackend) -> None:
    case, one = Case(), blob(b"y" * (CHUNK_BYTES + 1))
    await case.apply(backend, case.commit(blobs=[one]))
    assert (await swept(backend)).blobs == 0
    await backend.find(Query("tool"))
    assert raw(mongo_store)[BLOBS].count_documents({"pending": {"$gt": 0}}) == 0
    assert (await swept(backend)).blobs == 0
    assert await blob_data(backend, case.id, one.digest) == one.data


async def test_a_lost_commit_s_pieces_serve_the_one_that_wins(mongo_store: str, backend: MongoBackend) -> None:
    case, one = Case(), blob(b"z" * 1000)
    await case.apply(backend)
    lost = case.commit(blobs=[one])
    await case.apply(backend)
    lost.expected_version, stale = 1, lost
    assert await backend.commit([stale]) == [CONFLICT]
    assert await blob_data(backend, case.id, one.digest) == b""
    await case.apply(backend, case.commit(blobs=[one]))
    assert await blob_data(backend, case.id, one.digest) == one.data


# ---------------------------------------------------------------- the end of a process


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
def test_what_is_queued_is_flushed_at_exit(mongo_store: str, driver: str) -> None:
    code = """
import sys
from investigation_sdk import InvestigationSDK, tool
@tool
def noop(x):
    return x
sdk = InvestigationSDK(sys.argv[1], durability="batched")
block = sdk.investigation("left open")
print(block.__enter__().id)
for n in range(20):
    noop(n)
"""
    url = f"{mongo_store}&driver={driver}"
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True)
    assert asyncio.run(_types(url, done.stdout.strip())).count("tool.completed") == 20


async def _types(url: str, id: str) -> list[str]:
    async with opened(url) as backend:
        return [event.event_type for event in await backend.read_events(id)]


async def test_on_another_loop_it_is_opened_anew(mongo_store: str) -> None:
    backend = create_backend(mongo_store, {"janitor_interval": 0.0})
    case = Case()

    async def once() -> None:
        await backend.open()
        await case.apply(backend)
        await backend.close()

    for _ in range(2):
        await asyncio.to_thread(asyncio.run, once())
    await once()
    assert case.row.version == 3
