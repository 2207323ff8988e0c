"""Opening an investigation whose rows or snapshot somebody else has changed: the events are read instead, which a
warning event says, and nothing that finished runs again."""

import sqlite3
from pathlib import Path
from typing import Any, Protocol

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_sdk import InvestigationCancelled, InvestigationSDK, RecordUnreadable, tool
from investigation_sdk.testing import SimulatedCrash, crash_at

TABLES = {
    "investigation": "investigations",
    "phase": "investigation_phases",
    "tool": "tool_executions",
    "snapshot": "investigation_snapshots",
}


class Store(Protocol):
    """One that can be written into without the SDK."""

    def opened(self) -> InvestigationSDK:
        """A new handle on it, as another process has one."""
        ...

    def change(self, kind: str, column: str, value: Any) -> None:
        """Set a column of all rows of a kind."""
        ...

    def remove(self, kind: str) -> None:
        """Delete all rows of a kind."""
        ...


class Memory:
    def __init__(self) -> None:
        self.backend: Any = MemoryBackend()

    def opened(self) -> InvestigationSDK:
        return InvestigationSDK(self.backend)

    def change(self, kind: str, column: str, value: Any) -> None:
        store = self.backend.store
        for file in store.files.values():
            if kind == "investigation":
                file.row = file.row._replace(**{column: value})
                continue
            for row in store.rows(kind):
                changed: Any = row._replace(**{column: value})
                changed = tuple(changed) if kind == "tool" else changed
                getattr(store, f"{kind}s")[row.id] = getattr(file, f"{kind}s")[row.id] = changed

    def remove(self, kind: str) -> None:
        store = self.backend.store
        getattr(store, f"{kind}s").clear()
        for file in store.files.values():
            getattr(file, f"{kind}s").clear()


class SQLite:
    def __init__(self, path: Path) -> None:
        self.path = path

    def opened(self) -> InvestigationSDK:
        return InvestigationSDK(f"sqlite:///{self.path}?synchronous=NORMAL")

    def _execute(self, statement: str, *values: Any) -> None:
        connection = sqlite3.connect(self.path, isolation_level=None)
        assert connection.execute(statement, values).rowcount
        connection.close()

    def change(self, kind: str, column: str, value: Any) -> None:
        self._execute(f"UPDATE {TABLES[kind]} SET {column} = ?", value)

    def remove(self, kind: str) -> None:
        self._execute(f"DELETE FROM {TABLES[kind]}")


class OnPostgres:
    def __init__(self, server: Any, url: str) -> None:
        self.server, self.url = server, url

    def opened(self) -> InvestigationSDK:
        return InvestigationSDK(self.url)

    def _execute(self, statement: str) -> None:
        self.server.sql(statement, database=self.url.rpartition("/")[2].partition("?")[0])

    def change(self, kind: str, column: str, value: Any) -> None:
        quoted = "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"
        written = value if isinstance(value, int) else quoted
        self._execute(f"UPDATE {TABLES[kind]} SET {column} = {written}")

    def remove(self, kind: str) -> None:
        self._execute(f"DELETE FROM {TABLES[kind]}")


class OnMongo:
    def __init__(self, collections: Any, url: str) -> None:
        self.collections, self.url = collections, url

    def opened(self) -> InvestigationSDK:
        return InvestigationSDK(self.url)

    def change(self, kind: str, column: str, value: Any) -> None:
        assert self.collections[TABLES[kind]].update_many({}, {"$set": {column: value}}).modified_count

    def remove(self, kind: str) -> None:
        assert self.collections[TABLES[kind]].delete_many({}).deleted_count


@pytest.fixture(
    params=[
        *("memory", "sqlite"),
        *(pytest.param(server, marks=pytest.mark.server) for server in ("postgres", "mongo")),
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each kind of store, empty."""
    if request.param == "sqlite":
        return SQLite(tmp_path / "cases.db")
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_store")
        return OnPostgres(request.getfixturevalue("postgres"), url)
    if request.param == "mongo":
        url = request.getfixturevalue("mongo_store")
        return OnMongo(request.getfixturevalue("mongo_collections"), url)
    return Memory()


ran: list[str] = []


@tool(effect="idempotent")
def look(at: str) -> dict[str, str]:
    ran.append(at)
    return {"found": at}


def work(sdk: InvestigationSDK) -> str:
    """What the agent does."""
    with sdk.investigation("account 42", key="k", phases=["device", "network"]) as investigation:
        if investigation.finished:
            return investigation.id
        with investigation.phase("device"):
            for at in "abc":
                look(at)
        investigation.checkpoint({"seen": 3})
        with investigation.phase("network"):
            look("d")
    return investigation.id


def killed(store: Store) -> str:
    """An investigation whose process died in its last call; its id."""
    ran.clear()
    with store.opened() as sdk, pytest.raises(SimulatedCrash), crash_at("tool.completed", nth=4):
        work(sdk)
    with store.opened() as sdk:
        found = sdk.sync.find(key="k")
    assert found is not None
    assert ran == ["a", "b", "c", "d"]
    ran.clear()
    return found.id


def warnings(sdk: InvestigationSDK, id: str, kind: str) -> list[str]:
    found = sdk.sync.iter_events(id, event_type="recorder.warning")
    return [event.event_data["message"] for event in found if event.event_data["kind"] == kind]


def goes_on(store: Store, id: str, kind: str, reason: str) -> None:
    """It is opened by its key and ends; only the call that was cut off runs; one warning says why; all is well."""
    with store.opened() as sdk:
        assert work(sdk) == id
        assert ran == ["d"]
        [message] = warnings(sdk, id, kind)
        assert reason in message
        assert sdk.sync.verify(id).ok
        assert sdk.sync.check(id).problems == []
        assert sdk.sync.get(id).status == "completed"


ROWS = [
    ("investigation", "version", 0, "version is 0"),
    ("investigation", "version", 3, "its log ends at event 3, and it does not"),
    ("investigation", "status", "garbage", "is not a valid InvestigationState"),
    ("investigation", "activity", '{"active":', "Expecting value"),
    ("investigation", "activity", '{"active":1,"since":null,"planned":true}', "0 calls are open, and the rows of 1"),
    ("investigation", "attempt", 0, "attempt is 0, and there were more"),
    ("investigation", "attempt", -1, "attempt is -1"),
    ("investigation", "current_phase", "elsewhere", "the row of the current phase is missing"),
    ("phase", "status", "garbage", "is not a valid PhaseState"),
    ("phase", "phase_order", 7, "the row of a phase is missing"),
    ("phase", "tools", "7", "not iterable"),
    ("tool", "status", "garbage", "1 calls are open, and the rows of 0"),
]

TYPED = [
    ("investigation", "attempt", "x", "attempt is text"),
    ("investigation", "cost_estimate", "garbage", "ConversionSyntax"),
    ("investigation", "metadata", "{", "EOF while parsing"),
    ("investigation", "last_checkpoint", "garbage", "expected"),
    ("phase", "weight", "heavy", "weight is text"),
    ("phase", "phase_name", b"\xff", "phase_name is bytes"),
    ("phase", "input_data", "[1,", "EOF while parsing"),
    ("tool", "input_parameters", "[1,", "EOF while parsing"),
]
"""What a column of PostgreSQL does not take."""

UNORDERED = [
    ("investigation", "version", "x", "version is text"),
    ("phase", "sequence", "x", "sequence is text"),
    ("phase", "sequence", b"\xff", "sequence is bytes"),
]
"""What is newer than any number, or cannot be compared: only a file of SQLite has it."""


@pytest.mark.parametrize(("kind", "column", "value", "reason"), [*ROWS, *TYPED, *UNORDERED])
def test_a_row_that_cannot_be_used_is_made_again(store: Store, kind: str, column: str, value: Any, reason: str) -> None:
    if isinstance(store, OnPostgres) and (kind, column, value, reason) in TYPED:
        pytest.skip("PostgreSQL does not take this value in this column")
    if not isinstance(store, SQLite) and (kind, column, value, reason) in UNORDERED:
        pytest.skip("only SQLite keeps such a value in this column")
    if isinstance(store, OnMongo) and column == "version":
        pytest.skip("MongoDB has the end of a log in another place than this one")
    id = killed(store)
    store.change(kind, column, value)
    goes_on(store, id, "rows", reason)


def test_behind_a_row_that_is_ahead_of_its_log_nothing_is_appended(store: Store) -> None:
    id = killed(store)
    with store.opened() as sdk:
        version = sdk.sync.get(id).version
    store.change("investigation", "version", version + 5)
    with store.opened() as sdk:
        with pytest.raises(RecordUnreadable, match=f"its log ends at event {version + 5}"):
            work(sdk)
        assert [p.kind for p in sdk.sync.check(id, repair=True).problems][:1] == ["ahead"]
    store.change("investigation", "version", version)
    with store.opened() as sdk:
        assert work(sdk) == id
        assert sdk.sync.verify(id).ok


FOUND_BY = [("key", "other"), ("key", None), ("tenant_id", "acme"), ("generation", 7), ("investigation_type", "other")]


@pytest.mark.parametrize(("column", "value"), FOUND_BY)
def test_a_key_that_is_damaged_is_told_and_mended(store: Store, column: str, value: Any) -> None:
    """Where it is not mended in time, the key begins another investigation, as nobody finds this one by it."""
    id = killed(store)
    store.change("investigation", column, value)
    with store.opened() as sdk:
        [report] = sdk.sync.check_all()
        assert [(p.kind, p.columns) for p in report.problems] == [("damaged", [column])]
        assert sdk.sync.check(id, repair=True).ok
        assert work(sdk) == id


def test_a_key_that_another_one_has_by_now_is_not_written_twice(store: Store) -> None:
    if isinstance(store, Memory | OnMongo):
        pytest.skip("this store finds it by an index, or a document, which is not damaged")
    id = killed(store)
    store.change("investigation", "key", "other")
    with store.opened() as sdk:
        assert work(sdk) != id
        report = sdk.sync.check(id, repair=True)
        assert [p.kind for p in report.problems] == ["damaged", "refused"]
        assert "another investigation has it by now" in report.problems[1].message


def test_what_was_recorded_is_given_back_whatever_the_row_says_of_attempts(store: Store) -> None:
    def work_without_phases(sdk: InvestigationSDK) -> None:
        with sdk.investigation("account 42", key="k"):
            look("a")
            look("b")

    ran.clear()
    with store.opened() as sdk, pytest.raises(SimulatedCrash), crash_at("tool.started", nth=2):
        work_without_phases(sdk)
    for column, value in (("started_at", None), ("token", None), ("attempt", 0)):
        store.change("investigation", column, value)
    with store.opened() as sdk:
        work_without_phases(sdk)
    assert ran == ["a", "b"]


@pytest.mark.parametrize("kind", ["phase", "tool"])
def test_rows_that_are_gone_are_made_again(store: Store, kind: str) -> None:
    if isinstance(store, OnPostgres) and kind == "phase":
        pytest.skip("PostgreSQL does not delete a phase that calls refer to")
    id = killed(store)
    store.remove(kind)
    goes_on(store, id, "rows", "the row of the current phase is missing" if kind == "phase" else "1 calls are open")


SNAPSHOTS = [
    ("schema_version", 0, "it has schema 0"),
    ("schema_version", 9, "it has schema 9"),
    ("sequence", 999, "of another event than it says"),
    ("state_data", "{}", "head"),
    ("phase_states", "[]", "no attribute"),
    ("tool_states", "[]", "list indices"),
]


@pytest.mark.parametrize(("column", "value", "reason"), SNAPSHOTS)
def test_a_snapshot_that_cannot_be_used_is_replaced(store: Store, column: str, value: Any, reason: str) -> None:
    id = killed(store)
    store.change("snapshot", column, value)
    goes_on(store, id, "snapshot", reason)


def test_rows_and_snapshot_at_once(store: Store) -> None:
    id = killed(store)
    store.change("snapshot", "schema_version", 9)
    store.change("phase", "status", "garbage")
    goes_on(store, id, "rows", "PhaseState")
    with store.opened() as sdk:
        assert len(warnings(sdk, id, "snapshot")) == 1


def test_one_that_is_over_is_mended_and_nothing_is_written_to_its_log(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with store.opened() as sdk:
        id = work(sdk)
        version = sdk.sync.get(id).version
    store.change("investigation", "status", "garbage")
    with store.opened() as sdk:
        assert work(sdk) == id
        record = sdk.sync.get(id)
        assert (record.status, record.version) == ("completed", version)
        assert sdk.sync.check(id).ok
    assert "made again from the events" in caplog.text


def test_a_command_to_it_is_taken(store: Store) -> None:
    id = killed(store)
    store.change("phase", "status", "garbage")
    with store.opened() as sdk:
        sdk.sync.service.cancel(id)
        assert sdk.sync.get(id).status == "cancelled"
        assert sdk.sync.check(id).ok
    with store.opened() as sdk, pytest.raises(InvestigationCancelled):
        work(sdk)


def test_evidence_stays(store: Store) -> None:
    """A row that is of another log than there is: no opening goes over that."""
    id = killed(store)
    store.change("investigation", "version", 500)
    store.change("phase", "status", "garbage")
    with store.opened() as sdk:
        with pytest.raises(RecordUnreadable, match="rows that are ahead of their log are not made again"):
            work(sdk)
        assert [problem.kind for problem in sdk.sync.check(id).problems] == ["ahead"] + ["damaged"] * 2
    assert ran == []
