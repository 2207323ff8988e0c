"""check: rows beside their logs, what is said of them, what is repaired, and the exit status."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Done, Ids
from tests.cli.test_verifying import tamper

Run = Callable[..., Done]


def test_rows_that_are_as_they_were_written(on: Run, ids: Ids) -> None:
    done = on("check", "--all")
    assert (done.status, done.err) == (0, "")
    title, *rows = done.lines
    assert title == ["ROWS", "ID", "EVENTS", "COMPARED", "REPAIRED"]
    assert [row[:2] for row in rows] == [["ok", ids.completed], ["ok", ids.failed], ["ok", ids.queued]]
    named = on("check", "case-981", ids.queued)
    assert (named.status, [row[1] for row in named.lines[1:]]) == (0, [ids.completed, ids.queued])


def test_a_damaged_row_is_named_and_repaired_only_when_asked(on: Run, database: Path, ids: Ids) -> None:
    tamper(database, "UPDATE tool_executions SET status='failed', agent_name='mallory' WHERE tool_name='fingerprint'")
    for _ in range(2):
        done = on("check", "--all")
        assert done.status == 1
        assert [row[0] for row in done.lines[1:4]] == ["BROKEN", "ok", "ok"]
        assert f"{ids.completed} has rows that its log does not add up to:" in done.out
        assert done.out.count("not what the log says: agent_name, status") == 3
        assert "add --repair" in done.err
    as_json = on("check", "case-981", "--json")
    assert as_json.status == 1
    report = json.loads(as_json.out)
    assert [problem["kind"] for problem in report["problems"]] == ["damaged"] * 3
    repaired = on("check", "--all", "--repair")
    assert (repaired.status, [row[0] for row in repaired.lines[1:]]) == (0, ["ok"] * 3)
    assert repaired.lines[1][4] == "3"
    assert on("check", "--all").status == 0


def test_a_row_that_is_ahead_stays_and_is_a_problem(on: Run, database: Path, ids: Ids) -> None:
    tamper(database, "DELETE FROM investigation_events WHERE investigation_id=? AND sequence>5", ids.completed)
    done = on("check", "--all", "--repair")
    assert done.status == 1
    assert "ahead: investigations" in done.out
    assert on("show", ids.completed).status == 0


def test_what_is_asked_for_must_be_named(on: Run, ids: Ids, tmp_path: Path) -> None:
    assert on("check").status == 2
    assert on("check", "--all", ids.queued).status == 2
    assert on("check", "nobody").status == 2
