"""What is MongoDB's own: one document a commit, rows behind it, and what a crash leaves between the two."""

import asyncio
import signal
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import ServerSelectionTimeoutError
from pymongo.monitoring import CommandListener

from investigation_backends.mongo import MongoBackend
from investigation_backends.mongodb import behind, janitor, project, write
from investigation_backends.mongodb.documents import commit_document
from investigation_backends.mongodb.driver import Collection
from investigation_backends.mongodb.names import ALL_COLLECTIONS, BEHIND, BLOBS, COMMITS, slot
from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.storage.backend import CommitUnknown
from investigation_sdk.storage.commit import APPLIED, CHUNK_BYTES, CONFLICT, Commit, CommitStatus, Lease, Query, Where
from investigation_sdk.storage.registry import create_backend
from investigation_sdk.testing._contract.building import Case, blob, blob_data, same
from tests.backends.mongo_rig import opened, raw

Patch = pytest.MonkeyPatch


@pytest.fixture
async def backend(mongo_store: str) -> Any:
    async with opened(mongo_store) as backend:
        yield backend


@pytest.fixture
async def other(mongo_store: str) -> Any:
    async with opened(mongo_store) as backend:
        yield backend


@pytest.fixture
def lazy(monkeypatch: Patch) -> None:
    """Rows are written when somebody asks for lists, and not before."""
    monkeypatch.setattr(behind, "_LINGER", 3600.0)


def pending(url: str) -> int:
    count: int = raw(url)[COMMITS].count_documents({BEHIND: {"$gt": 0}})
    return count


def stored(url: str, kind: str = "investigations") -> list[Any]:
    return list(raw(url)[kind].find().sort("_id"))


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
    await _until(lambda: pending(mongo_store) == 0)
    assert len(stored(mongo_store)) == len(stored(mongo_store, "tool_executions")) == 1
    (document,) = raw(mongo_store)[COMMITS].find()
    assert set(document) & {"investigation", "tools"} == set(), "rows are kept once"


async def _until(condition: Any) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it does not happen")


@pytest.mark.usefixtures("lazy")
async def test_a_commit_on_top_of_one_whose_rows_are_not_written(
    mongo_store: str, backend: MongoBackend, other: MongoBackend
) -> None:
    """The later rows wait for the first, which somebody else may write."""
    case = Case(subject="the first commit has this")
    await case.apply(backend)
    await case.apply(other, case.commit(progress_percentage=3))
    assert other._behind is not None
    await other._behind.flush()
    assert stored(mongo_store) == []
    assert backend._behind is not None
    await backend._behind.flush()
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
        await _until(lambda: pending(mongo_store) == 0)
    assert len(stored(mongo_store)) == len(stored(mongo_store, "tool_executions")) == 1


async def test_killed_between_rows_and_their_mark(mongo_store: str, backend: MongoBackend) -> None:
    script = """
    case = Case()
    await case.apply(backend, case.commit(rows=[case.tool()]))
    print(case.id, flush=True)
    setattr(target, last, die)
    await backend.find(__import__("investigation_sdk.storage.commit", fromlist=["x"]).Query("tool"))
    """
    (id,) = killed(mongo_store, "project:_mark", script)
    assert pending(mongo_store) == len(stored(mongo_store)) == 1
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
    assert backend._link is not None
    assert (await janitor.sweep(backend._link, grace=-1_000_000)).blobs == 2
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
    assert backend._link is not None
    assert (await janitor.sweep(backend._link, grace=-1_000_000)).places == 1
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
    assert other._link is not None
    await janitor.sweep(other._link, grace=-1_000_000)
    hours = iter(range(0, 1_000_000, 7200))
    monkeypatch.setattr(write, "clock", lambda: float(next(hours)))
    assert await backend.commit([late]) == [CONFLICT]
    assert [one["_id"] for one in stored(mongo_store, COMMITS)] == [slot(case.id, 0)]


# ---------------------------------------------------------------- blobs


async def test_pieces_that_a_commit_has_stay(mongo_store: str, backend: MongoBackend) -> None:
    case, one = Case(), blob(b"y" * (CHUNK_BYTES + 1))
    await case.apply(backend, case.commit(blobs=[one]))
    assert backend._link is not None
    assert (await janitor.sweep(backend._link, grace=-1_000_000)).blobs == 0
    await backend.find(Query("tool"))
    assert raw(mongo_store)[BLOBS].count_documents({"pending": {"$gt": 0}}) == 0
    assert (await janitor.sweep(backend._link, grace=-1_000_000)).blobs == 0
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
