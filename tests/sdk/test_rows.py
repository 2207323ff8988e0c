"""Rows beside the log: what is damaged is found and made again, what is ahead of the log is only reported."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from investigation_sdk import (
    InvestigationSDK,
    RecordUnreadable,
    Resolution,
    RowsReport,
    UnknownOutcome,
    current_tool,
    tool,
)
from investigation_sdk.domain.rows import PhaseRow, Row
from investigation_sdk.engine import rebuilding
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.commit import Kind, Query, Where


@tool(effect="read")
def whois(n: int) -> dict[str, object]:
    current_tool().report(tokens_used=n)
    return {"n": n, "text": "x" * (n * 100)}


@tool(effect="read")
def refused(n: int) -> None:
    raise ConnectionError(f"no answer {n}")


def record(sdk: InvestigationSDK, calls: int = 8, **options: Any) -> str:
    """An investigation with phases and calls; its id."""
    with sdk.investigation("account 42", phases=["device", "network"], **options) as investigation:
        with investigation.phase("device"):
            for n in range(calls):
                whois(n)
        with investigation.phase("network") as network:
            network.progress(40)
            with pytest.raises(ConnectionError):
                refused(1)
        investigation.checkpoint({"seen": calls})
        investigation.result = {"verdict": "contained"}
    return investigation.id


def rows(sdk: InvestigationSDK, kind: Kind, id: str) -> list[Any]:
    """The stored rows of one kind, exactly."""
    recorder: Any = sdk._recorder
    field = "id" if kind == "investigation" else "investigation_id"

    async def read() -> list[Any]:
        found = await recorder.backend.find(Query(kind, (Where(field, "=", id),), limit=1000))
        return [await recorder.backend.get(kind, row.id) for row in found]

    return list(recorder.call(read()))


def put(sdk: InvestigationSDK, *changed: Row) -> None:
    recorder: Any = sdk._recorder
    recorder.call(recorder.backend.put_rows(changed))


def everything(sdk: InvestigationSDK, id: str) -> list[Any]:
    """All rows; of phases without when it was said how far they are: the log has only when that was recorded."""
    kinds: tuple[Kind, ...] = ("investigation", "phase", "tool")
    return [sorted(_timeless(row) for row in rows(sdk, kind, id)) for kind in kinds]


def _timeless(row: Any) -> Any:
    if not isinstance(row, PhaseRow):
        return row
    said = {name: value for name, value in json.loads(row.activity).items() if name != "marks"}
    return row._replace(activity=json.dumps(said))


def kinds_of(report: RowsReport) -> list[str]:
    return sorted(problem.kind for problem in report.problems)


def test_rows_as_they_were_written(sdk: InvestigationSDK) -> None:
    ids = [record(sdk), record(sdk, 2)]
    reports = list(sdk.sync.check_all())
    assert [report.investigation_id for report in reports] == ids
    assert [report.problems for report in reports] == [[], []]
    assert [report.rows for report in reports] == [1 + 2 + 9, 1 + 2 + 3]
    assert reports[0].checked == sdk.sync.get(ids[0]).version
    before = everything(sdk, ids[0])
    assert sdk.sync.rebuild(ids[0]) == 12
    assert everything(sdk, ids[0]) == before


def test_damaged_rows_are_named_with_their_columns_and_made_again(sdk: InvestigationSDK) -> None:
    id, other = record(sdk), record(sdk, 1)
    before = everything(sdk, id)
    [row] = rows(sdk, "investigation", id)
    phase = next(p for p in rows(sdk, "phase", id) if p.phase_name == "device")
    call = next(t for t in rows(sdk, "tool", id) if t.tool_name == "refused")
    put(
        sdk,
        row._replace(tokens_used=7, error_message="forged"),
        phase._replace(status="failed"),
        call._replace(status="completed", error_message=None),
    )
    report = sdk.sync.check(id)
    assert not report.ok
    assert kinds_of(report) == ["damaged"] * 3
    columns = {problem.table: problem.columns for problem in report.problems}
    assert columns["tool_executions"] == ["status", "error_message"]
    assert columns["investigation_phases"] == ["status"]
    assert columns["investigations"] == ["error_message", "tokens_used"]
    assert {problem.id for problem in report.problems} == {id, phase.id, call.id}
    assert sdk.sync.check(other).ok
    repaired = sdk.sync.check(id, repair=True)
    assert (repaired.problems, repaired.repaired) == ([], 3)
    assert everything(sdk, id) == before


def test_what_is_ahead_or_not_in_the_log_is_reported_and_stays(sdk: InvestigationSDK) -> None:
    id = record(sdk)
    call = next(t for t in rows(sdk, "tool", id) if t.tool_name == "refused")
    [first, *_] = rows(sdk, "phase", id)
    ghost, ghost_phase = call._replace(id=uuid7(), tool_name="ghost"), first._replace(id=uuid7(), phase_name="ghost")
    put(sdk, call._replace(sequence=call.sequence + 1000, status="running"), ghost, ghost_phase)
    for repair in (False, True):
        report = sdk.sync.check(id, repair=repair)
        assert kinds_of(report) == ["ahead", "extra", "extra"], report.problems
        assert {p.id for p in report.problems} == {call.id, ghost.id, ghost_phase.id}
        assert "events are gone" in next(p.message for p in report.problems if p.kind == "ahead")


@pytest.mark.parametrize(
    "changed", [lambda row: row._replace(version=row.version + 5), lambda row: row._replace(head=b"\1" * 32)]
)
def test_a_row_that_states_another_end_is_never_overwritten(
    sdk: InvestigationSDK, changed: Callable[[Any], Any]
) -> None:
    id = record(sdk)
    [row] = rows(sdk, "investigation", id)
    [call, *_] = rows(sdk, "tool", id)
    forged = changed(row)
    put(sdk, forged, call._replace(status="unknown"))
    report = sdk.sync.check(id, repair=True)
    assert set(kinds_of(report)) in ({"ahead", "damaged"}, {"head", "damaged"})
    assert report.repaired == 0
    with pytest.raises(RecordUnreadable, match="its row says that its log ends at event"):
        sdk.sync.rebuild(id)
    assert rows(sdk, "investigation", id) == [forged]


def test_calls_that_were_closed_more_than_once(sdk: InvestigationSDK) -> None:
    @tool(effect="unsafe")
    def transfer() -> None:
        raise ConnectionError("cut off")

    with pytest.raises(ConnectionError), sdk.investigation("account 42", key="k") as investigation:
        transfer()
    [call] = rows(sdk, "tool", investigation.id)
    assert call.status == "failed"
    sdk.sync.service.retry(investigation.id)
    with pytest.raises(UnknownOutcome), sdk.attach(investigation.id):
        transfer()
    sdk.sync.service.resolve(call.id, Resolution(outcome="succeeded", result=1), actor="gil")
    report = sdk.sync.check(investigation.id)
    assert report.problems == []
    before = everything(sdk, investigation.id)
    sdk.sync.rebuild(investigation.id)
    assert everything(sdk, investigation.id) == before


def test_progress_that_no_event_says_yet_is_no_damage(sdk: InvestigationSDK) -> None:
    with sdk.investigation("account 42") as investigation, investigation.phase("device") as device:
        device.progress(30)
        [phase] = rows(sdk, "phase", investigation.id)
        [row] = rows(sdk, "investigation", investigation.id)
        put(sdk, phase._replace(progress_percentage=30), row._replace(progress_percentage=20))
        assert sdk.sync.check(investigation.id).problems == []
        put(sdk, row._replace(progress_percentage=100))
        assert [p.columns for p in sdk.sync.check(investigation.id).problems] == [["progress_percentage"]]
    assert sdk.sync.check(investigation.id).ok


def test_problems_of_one_investigation_are_counted_beyond_a_bound(
    lite: InvestigationSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "MOST", 3)
    id = record(lite)
    put(lite, *(call._replace(agent_name="mallory") for call in rows(lite, "tool", id)))
    report = lite.sync.check(id)
    assert kinds_of(report) == ["damaged"] * 3 + ["more"]
    assert "6 more" in report.problems[-1].message
    assert lite.sync.check(id, repair=True).ok


def change(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    assert connection.execute(statement, values).rowcount
    connection.close()


def test_missing_rows_are_made_again(lite: InvestigationSDK, tmp_path: Path) -> None:
    id = record(lite)
    before = everything(lite, id)
    lite.sync.flush()
    change(tmp_path / "cases.db", "DELETE FROM tool_executions WHERE tool_name='whois'")
    change(tmp_path / "cases.db", "DELETE FROM investigation_phases WHERE phase_name='network'")
    report = lite.sync.check(id)
    assert kinds_of(report) == ["missing"] * 9
    repaired = lite.sync.check(id, repair=True)
    assert (repaired.problems, repaired.repaired) == ([], 9)
    assert everything(lite, id) == before


def test_one_that_cannot_be_read_does_not_stop_the_others(lite: InvestigationSDK, tmp_path: Path) -> None:
    ids = [record(lite, 1) for _ in range(4)]
    path = tmp_path / "cases.db"
    change(path, "UPDATE investigation_events SET event_data='{' WHERE investigation_id=? AND sequence=5", ids[0])
    change(path, "DELETE FROM investigation_events WHERE investigation_id=? AND sequence=4", ids[1])
    change(path, "UPDATE investigations SET metadata=x'00', subject=7 WHERE id=?", ids[2])
    reports = {report.investigation_id: report for report in lite.sync.check_all()}
    assert list(reports) == ids
    assert [kinds_of(reports[id]) for id in ids] == [["unreadable"], ["unreadable"], ["damaged"], []]
    assert "event 5" in reports[ids[0]].problems[0].message
    assert "event 4" in reports[ids[1]].problems[0].message
    assert reports[ids[2]].problems[0].columns == ["subject", "metadata"]
    repaired = list(lite.sync.check_all(repair=True))
    assert [report.ok for report in repaired] == [False, False, True, True]
    assert lite.sync.get(ids[2]).subject == "account 42"


def test_a_report_is_neither_true_nor_false(lite: InvestigationSDK) -> None:
    with pytest.raises(TypeError, match=r"write report\.ok"):
        bool(lite.sync.check(record(lite, 1)))
