"""verify: what is found, what is said of it, and the exit status."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Done, Ids

Run = Callable[..., Done]


def tamper(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    assert connection.execute(statement, values).rowcount
    connection.close()


def test_logs_that_are_as_they_were_written(on: Run, ids: Ids) -> None:
    done = on("verify", "--all")
    assert (done.status, done.err) == (0, "")
    title, *rows = done.lines
    assert title == ["CHAIN", "ID", "EVENTS", "HEAD"]
    assert [row[:2] for row in rows] == [["ok", ids.queued], ["ok", ids.failed], ["ok", ids.completed]]
    assert all(len(row[3]) == 64 for row in rows)
    named = on("verify", "case-981", ids.queued)
    assert named.status == 0
    assert [row[1] for row in named.lines[1:]] == [ids.completed, ids.queued]


def test_an_event_that_was_changed_is_named(on: Run, database: Path, ids: Ids) -> None:
    tamper(
        database,
        "UPDATE investigation_events SET event_data='{}' WHERE investigation_id=? AND sequence=8",
        ids.completed,
    )
    done = on("verify", "--all")
    assert done.status == 1
    assert [row[0] for row in done.lines[1:4]] == ["ok", "ok", "BROKEN"]
    _, found = done.out.split("\n\n")
    heading, first, *_ = found.splitlines()
    assert heading == f"{ids.completed} is not as it was written:"
    assert first.startswith("  changed: event 8 (")
    assert on("verify", ids.queued).status == 0
    as_json = on("verify", "case-981", ids.queued, "--json")
    assert as_json.status == 1
    broken, fine = map(json.loads, as_json.out.splitlines())
    assert (broken["ok"], fine["ok"]) == (False, True)
    assert broken["problems"][0]["sequence"] == 8
    assert broken["problems"][0]["kind"] == "changed"


def test_many_problems_are_counted(on: Run, database: Path, ids: Ids) -> None:
    tamper(database, "UPDATE investigation_events SET actor='\x1b[31mmallory' WHERE investigation_id=?", ids.completed)
    done = on("verify", "case-981")
    assert done.status == 1
    assert "\x1b" not in done.out
    assert "column actor of event 1 says" in done.out
    last = done.out.splitlines()[-1]
    [whole] = map(json.loads, on("verify", "case-981", "--json").out.splitlines())
    assert last == f"  and {len(whole['problems']) - 20} more; all of them: --json"


def test_a_type_only(on: Run, ids: Ids) -> None:
    done = on("verify", "--all", "--type", "fraud")
    assert [row[1] for row in done.lines[1:]] == [ids.completed]
    assert on("verify", "--all", "--type", "none") == (0, "", "There is no investigation to verify.\n")
