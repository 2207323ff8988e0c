"""A store that somebody else has written into: every way to read it gives its answer, or a typed error that says of
which investigation, and of which event, it cannot be read, and what to do."""

import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from investigation_sdk import (
    InvestigationError,
    InvestigationSDK,
    PhasePlan,
    RecordUnreadable,
    tool,
)

VALUES: list[Any] = [None, "", "garbage", '{"a":', "[]", -1, 2**62, 1.5, b"\xff\xfe"]


@tool
def look(at: str) -> dict[str, str]:
    if at == "bad":
        raise ValueError("no")
    return {"found": at}


@tool
def read() -> str:
    return "x" * 5_000  # stands in its event alone


class Case:
    """A store with one investigation that is completed, and one that failed."""

    def __init__(self, folder: Path) -> None:
        self.pristine = folder / "pristine.db"
        self.path = folder / "cases.db"
        plan: list[str | PhasePlan] = ["a", PhasePlan("b", 2)]
        with InvestigationSDK(f"sqlite:///{self.pristine}") as sdk:
            with sdk.investigation("s", key="done", phases=plan, metadata={"m": 1}, configuration={"c": 1}) as done:
                with done.phase("a", input_data={"i": 1}) as phase:
                    look("here")
                    read()
                    phase.output_data = {"o": 1}
                with pytest.raises(ValueError):
                    look("bad")
                done.record("my.note", {"n": 1})
                done.report(tokens_used=3, cost_estimate=0.5)
                done.checkpoint({"c": 1})
                done.result = {"r": 1}
            with pytest.raises(ValueError), sdk.investigation("s", key="failed") as failed:
                look("bad")
        self.done, self.failed = done.id, failed.id

    def columns(self) -> list[tuple[str, str]]:
        database = sqlite3.connect(self.pristine)
        try:
            return [
                (table, column[1])
                for table in ("investigations", "investigation_events", "investigation_phases", "tool_executions")
                for column in database.execute(f"PRAGMA table_info({table})")
            ]
        finally:
            database.close()

    def tamper(self, table: str, column: str, value: Any) -> bool:
        """A fresh copy with a value in all rows of a column, or in the last where it must be unique."""
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        shutil.copy(self.pristine, self.path)
        database = sqlite3.connect(self.path, isolation_level=None)
        try:
            for where in ("", f" WHERE rowid = (SELECT max(rowid) FROM {table})"):
                try:
                    database.execute(f"UPDATE {table} SET {column} = ?{where}", (value,))
                except sqlite3.IntegrityError:
                    continue
                return True
            return False  # the database itself does not allow it
        finally:
            database.close()

    def ways(self, sdk: InvestigationSDK, table: str) -> Iterator[tuple[str, Callable[[], object]]]:
        """Every way to read what is in a table."""
        sync = sdk.sync
        yield "verify", lambda: sync.verify(self.done)
        yield "attach", lambda: self._drive(sdk)
        if table == "investigations":
            yield "get", lambda: sync.get(self.done)
            yield "find", lambda: sync.find(key="done")
            yield "list", lambda: list(sync.list())
            yield "open by key", lambda: self._open(sdk)
            yield "create", lambda: sync.service.create_investigation("u", "s", "general", key="done")
            yield "cancel", lambda: sync.service.cancel(self.failed)
            yield "report", lambda: sync.service.record_tool_execution(self.failed, None, "a", "t", {})
        elif table == "investigation_phases":
            yield "phases", lambda: list(sync.phases(self.done))
            yield "tools of a phase", lambda: list(sync.tools(self.done, phase="a"))
        else:
            yield "tools", lambda: list(sync.tools(self.done))
            yield "events", lambda: list(sync.events(self.done))
            yield "iter_events", lambda: list(sync.iter_events(self.done))

    def _drive(self, sdk: InvestigationSDK) -> None:
        with sdk.attach(self.failed) as again, again.phase("a"):
            look("again")

    def _open(self, sdk: InvestigationSDK) -> object:
        with sdk.investigation("s", key="done") as again:
            return again.result, again.metadata, again.configuration, again.last_checkpoint, again.usage


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("tampered"))


def is_told(error: InvestigationError, case: Case) -> bool:
    """Whether an error is one for its own reason, or says of which investigation it is and what to do."""
    if type(error) not in (InvestigationError, RecordUnreadable):
        return True
    return any(id in str(error) for id in (case.done, case.failed)) and "sdk.verify(" in str(error)


@pytest.mark.parametrize("table", ["investigations", "investigation_events", "investigation_phases", "tool_executions"])
def test_every_way_to_read_gives_an_answer_or_a_typed_error(case: Case, table: str) -> None:
    wrong: list[str] = []
    tried = refused = 0
    for _, column in (pair for pair in case.columns() if pair[0] == table):
        for value in VALUES:
            if not case.tamper(table, column, value):
                continue
            with InvestigationSDK(f"sqlite:///{case.path}?synchronous=NORMAL") as sdk:
                for name, way in case.ways(sdk, table):
                    tried += 1
                    try:
                        way()
                    except InvestigationError as error:
                        refused += 1
                        if not is_told(error, case) and column not in ("id", "investigation_id"):
                            wrong.append(f"{name} with {column}={value!r}: {error}")
                    except Exception as error:  # the very thing
                        wrong.append(f"{name} with {column}={value!r}: {error!r}")
    assert wrong == []
    assert tried > 250
    assert refused > 50


@pytest.mark.parametrize("column", ["event_data", "event_timestamp", "new_state", "hash"])
def test_the_error_names_the_event(case: Case, column: str) -> None:
    case.tamper("investigation_events", "actor", None)
    database = sqlite3.connect(case.path, isolation_level=None)
    where = "WHERE investigation_id = ? AND sequence = 4"
    database.execute(f"UPDATE investigation_events SET {column} = 'garbage' {where}", (case.done,))
    database.close()
    with InvestigationSDK(f"sqlite:///{case.path}?synchronous=NORMAL") as sdk:
        assert len(sdk.sync.events(case.done, limit=3)) == 3
        with pytest.raises(RecordUnreadable, match=rf"event 4 of investigation {case.done} cannot be read") as told:
            sdk.sync.events(case.done)
        assert (told.value.investigation_id, told.value.sequence) == (case.done, 4)
        assert re.search(rf"changed by something else.*sdk\.verify\('{case.done}'\)", str(told.value))
        report = sdk.sync.verify(case.done)
        assert report.problems[0].sequence == 4


def test_a_column_of_another_type_is_a_problem_that_verify_reports(case: Case) -> None:
    case.tamper("investigations", "version", "garbage")
    with InvestigationSDK(f"sqlite:///{case.path}?synchronous=NORMAL") as sdk:
        with pytest.raises(RecordUnreadable, match="version is text"):
            sdk.sync.get(case.done)
        report = sdk.sync.verify(case.done)
    assert not report.ok
    assert [(problem.kind, problem.sequence) for problem in report.problems] == [("row", None)]
    assert "version is text" in report.problems[0].message


def test_an_error_does_not_quote_what_is_stored(case: Case) -> None:
    secret = "correct horse battery staple"  # noqa: S105
    for column in ("metadata", "result", "configuration"):
        case.tamper("investigations", column, f'{{"password": "{secret}')
        with InvestigationSDK(f"sqlite:///{case.path}") as sdk, pytest.raises(RecordUnreadable) as told:
            sdk.sync.get(case.done)
        assert secret not in str(told.value)
