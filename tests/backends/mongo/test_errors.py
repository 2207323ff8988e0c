"""MongoDB's errors: which of them say that nothing was written, and which leave it open."""

import asyncio
from typing import Any

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    InvalidOperation,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from investigation_backends.mongo import MongoBackend
from investigation_backends.mongodb.errors import DUPLICATE, FAULTS, Outcome, batch_failed, explain, fault, own_fault
from investigation_backends.mongodb.names import COMMITS
from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.backend import CommitNotApplied, CommitUnknown, StoreFailure
from investigation_sdk.storage.commit import APPLIED, CommitStatus, Query
from investigation_sdk.testing._contract.building import Case
from investigation_sdk.testing.servers import MongoServer, ServerMissing
from tests.backends.mongo.rig import failing, opened, raw

NOT, UNKNOWN, FATAL = Outcome


@pytest.fixture
async def backend(mongo_store: str) -> Any:
    # the driver looks at a server that failed when it next asks how it is
    async with opened(f"{mongo_store}&heartbeatFrequencyMS=500", connect_timeout=3.0) as backend:
        yield backend


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ServerSelectionTimeoutError("host:27017: refused, Timeout: 1s, Topology Description: …"), NOT),
        (WaitQueueTimeoutError("timed out"), NOT),
        (AutoReconnect("connection closed"), UNKNOWN),
        (NetworkTimeout("timed out"), UNKNOWN),
        (ConnectionFailure("broken"), UNKNOWN),
        (NotPrimaryError("not primary", {"code": 10107}), NOT),
        (NotPrimaryError("stepped down", {"code": 189}), UNKNOWN),
        (OperationFailure("no", 13), FATAL),
        (OperationFailure("full", 14031), FATAL),
        (OperationFailure("what?", 424242), FATAL),
        (OperationFailure("what?", 424242, {"errorLabels": ["RetryableWriteError"]}), UNKNOWN),
        (OperationFailure("majority", 64), UNKNOWN),
        (InvalidOperation("closed"), FATAL),
        (RuntimeError("cannot schedule new futures after shutdown"), NOT),
        (PyMongoError("?"), FATAL),
        (ConfigurationError("The DNS query name does not exist: _mongodb._tcp.h."), NOT),
        (ConfigurationError("Invalid ssl option"), FATAL),
        (BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64}]}), UNKNOWN),
        (BulkWriteError({"writeErrors": [{"code": 13}, {"code": DUPLICATE}], "writeConcernErrors": []}), FATAL),
        (BulkWriteError({"writeErrors": [{"code": 13}, {"code": 91}], "writeConcernErrors": []}), UNKNOWN),
    ],
)
def test_the_table(error: Exception, outcome: Outcome) -> None:
    assert fault(error).outcome is outcome
    kind = {NOT: CommitNotApplied, UNKNOWN: CommitUnknown, FATAL: StoreFailure}[outcome]
    failed = batch_failed(error, "mongodb://host:27017/cases", written=False)
    assert type(failed) is kind
    assert str(failed).startswith(f"mongodb://host:27017/cases: {fault(error).says}")
    assert type(batch_failed(error, "place", written=True)) is CommitUnknown


def test_no_password_and_no_topology_in_messages() -> None:
    error = AutoReconnect("mongodb://u:secret@host failed, Timeout: 1s, Topology Description: <secret>")
    assert explain(error, "place") == (
        "place: the connection was lost; the server may be down or unreachable (MongoDB: mongodb://host failed)"
    )
    assert all(fault.says for fault in FAULTS.values())


def test_what_is_a_commit_s_own_fault() -> None:
    for code, status in ((10334, CommitStatus.SIZE), (121, CommitStatus.DATA), (2, CommitStatus.DATA)):
        answer = own_fault({"code": code, "errmsg": "why"})
        assert answer is not None
        assert (answer.status, answer.message) == (status, "why")
    assert own_fault({"code": 13}) is None


# ---------------------------------------------------------------- a server that fails


@pytest.mark.parametrize(
    ("how", "kind", "says"),
    [
        ({"errorCode": 10107}, CommitNotApplied, "not the primary"),
        ({"errorCode": 13}, StoreFailure, "grant it the role readWrite"),
        ({"errorCode": 14031}, StoreFailure, "disk is full; free some space"),
        ({"errorCode": 91}, CommitUnknown, "shutting down"),
        ({"errorCode": 112}, CommitNotApplied, "others wrote at the same time"),
        ({"closeConnection": True}, CommitUnknown, "connection was lost"),
    ],
)
async def test_a_batch_that_fails(
    mongo_store: str, backend: MongoBackend, how: dict[str, Any], kind: type[Exception], says: str
) -> None:
    cases = [Case() for _ in range(3)]
    await cases[0].apply(backend)
    batch = [case.commit() for case in cases]
    with failing(mongo_store, "insert", **how), pytest.raises(kind, match=says):
        await backend.commit(batch)
    assert raw(mongo_store)[COMMITS].count_documents({}) == 1
    assert set(await backend.commit(batch)) == {APPLIED}


@pytest.mark.parametrize("how", [{"closeConnection": True}, {"errorCode": 13436}, {"errorCode": 13}])
async def test_why_one_was_refused_cannot_be_found_out(
    mongo_store: str, backend: MongoBackend, how: dict[str, Any]
) -> None:
    """Whether a key is free is found out before anything is applied."""
    first = Case(key="one")
    assert await backend.commit([first.commit("investigation.created")]) == [APPLIED]
    again, neighbour = Case(key="one"), Case()
    batch = [case.commit("investigation.created") for case in (again, neighbour)]
    with failing(mongo_store, "find", **how), pytest.raises((CommitUnknown, CommitNotApplied, StoreFailure)):
        await backend.commit(batch)
    assert await backend.read_events(neighbour.id) == await backend.read_events(again.id) == []
    refused, applied = await backend.commit(batch)
    assert (refused.status, refused.existing_id) == (CommitStatus.CONSTRAINT, first.id)
    assert applied == APPLIED


async def test_written_but_not_confirmed(mongo_store: str, backend: MongoBackend) -> None:
    """The identical commits are sent again, as the contract says: they are there, once."""
    cases = [Case() for _ in range(3)]
    for case in cases:  # the marks of these are confirmed
        await case.apply(backend)
    batch = [case.commit() for case in cases]
    concern = {"code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out"}
    with (
        failing(mongo_store, "insert", writeConcernError=concern),
        pytest.raises(CommitUnknown, match="a majority of the replica set did not confirm"),
    ):
        await backend.commit(batch)
    answers = await backend.commit(batch)
    assert {answer.status for answer in answers} == {CommitStatus.CONFLICT}
    for case, commit in zip(cases, batch, strict=True):
        assert list(await backend.read_events(case.id, after=1)) == list(commit.events)
        assert await backend.get("investigation", case.id) == commit.rows[0]
    assert len(await backend.find(Query("investigation"))) == 3


async def test_a_lost_connection_is_tried_once_more_by_the_driver(mongo_store: str, backend: MongoBackend) -> None:
    case = Case()
    with failing(mongo_store, "insert", times=1, closeConnection=True):
        (answer,) = await backend.commit([case.commit()])
    assert answer.status in (CommitStatus.APPLIED, CommitStatus.CONFLICT)
    assert len(await backend.read_events(case.id)) == 1


async def test_reads_that_fail(mongo_store: str, backend: MongoBackend) -> None:
    case = Case()
    await case.apply(backend)
    with failing(mongo_store, "find", "aggregate", "findAndModify", closeConnection=True):
        for call in (
            backend.get("investigation", case.id),
            backend.find(Query("investigation")),
            backend.read_events(case.id),
            backend.claim("x", "me", ttl=1),
            backend.delete([(case.id, 1)]),
        ):
            with pytest.raises(BackendUnavailable, match="connection was lost"):
                await call
    assert await backend.get("investigation", case.id) == case.row


async def test_rows_that_cannot_be_written_wait(
    mongo_store: str, backend: MongoBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """What is committed is committed: the caller is not told of rows."""
    case = Case()
    await case.apply(backend)
    assert len(await backend.find(Query("investigation"))) == 1
    with failing(mongo_store, "update", errorCode=14031):
        await case.apply(backend, case.commit(rows=[case.tool()]))
        for _ in range(200):
            if "rows wait for being written" in caplog.text:
                break
            await asyncio.sleep(0.02)
        assert "disk is full" in caplog.text
        assert await backend.get("investigation", case.id) == case.row
    assert len(await backend.find(Query("tool"))) == 1


# ---------------------------------------------------------------- the SDK on top


@tool
def noop(x: int) -> int:
    return x


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
def test_nothing_acknowledged_is_lost_when_the_server_is_killed(driver: str) -> None:
    """kill -9 in the middle, started again on the same data: the run goes on, each call is there once."""
    try:
        server = MongoServer()
    except ServerMissing as missing:
        pytest.skip(str(missing))
    with server:
        url = f"{server.url_of('cases')}&driver={driver}"
        with InvestigationSDK(url, backend_options={"auto_migrate": True, "connect_timeout": 5.0}) as sdk:
            with sdk.investigation("the server is killed") as investigation:
                for n in range(30):
                    noop(n)
                    if n in (10, 20):
                        server.kill()
                        server.start()
            report = sdk.sync.verify(investigation.id)
            assert report.ok, report
            tools = list(sdk.sync.tools(investigation.id, limit=100))
            assert [one.output_result for one in tools] == list(range(30))
            assert {str(one.status) for one in tools} == {"completed"}
