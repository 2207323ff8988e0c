"""db current, check and upgrade."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

from investigation_backends.sql.names import REVISIONS
from tests.cli.conftest import Done
from tests.cli.test_refusals import refused

Run = Callable[..., Done]


def execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()


HEAD = REVISIONS[-1]
OLD = REVISIONS[0]


def test_current(on: Run) -> None:
    assert on("db", "current") == (0, f"current\t{HEAD}\nhead\t{HEAD}\n", "")
    assert json.loads(on("db", "current", "--json").out) == {"current": HEAD, "head": HEAD}


def test_check(on: Run, database: Path) -> None:
    assert on("db", "check") == (0, f"The schema is {HEAD}, and the tables are as they should be.\n", "")
    execute(database, "ALTER TABLE investigations ADD COLUMN colour TEXT")
    execute(database, "DROP INDEX ix_investigations_status_id")
    done = on("db", "check")
    assert done.status == 1
    assert done.out.splitlines() == [
        "column investigations.colour is too many",
        "index investigations.ix_investigations_status_id is missing",
    ]
    as_json = on("db", "check", "--json")
    assert as_json.status == 1
    assert json.loads(as_json.out) == {"ok": False, "differences": done.out.splitlines()}


def test_a_store_without_a_schema(investigate: Run) -> None:
    for command in ("current", "check", "upgrade"):
        message = refused(investigate("db", command, "--db", "memory://"))
        assert message == "memory:// has no schema, so there is nothing to upgrade"


def test_nothing_to_upgrade(on: Run) -> None:
    assert on("db", "upgrade") == (0, f"The schema is {HEAD} already: nothing to do.\n", "")


def test_an_upgrade_asks_first(on: Run, older: Path) -> None:
    assert on("db", "check").out == f"the schema is {OLD}, this version works with {HEAD}\n"
    message = refused(on("db", "upgrade"))
    assert message == f"This would upgrade the store from schema {OLD} to {HEAD}. Back it up, and add --yes"
    assert on("db", "current").lines == [["current", OLD], ["head", HEAD]]
    assert on("ls").status == 2
    assert on("db", "upgrade", "--yes") == (0, f"Upgraded from schema {OLD} to {HEAD}.\n", "")
    assert on("db", "current").lines == [["current", HEAD], ["head", HEAD]]
    assert on("db", "check").status == 0, "the migrations make what a new store has"
    assert on("ls").status == 0


def test_no_upgrade_leads_back_from_a_newer_schema(on: Run, database: Path) -> None:
    execute(database, "UPDATE investigation_alembic_version SET version_num = '9999'")
    for arguments in (["db", "upgrade"], ["db", "upgrade", "--yes"], ["db", "check"], ["ls"]):
        message = refused(on(*arguments))
        assert message.endswith(
            f"has schema 9999, which is newer than this version's {HEAD}; upgrade investigation-sdk"
        )
    assert on("db", "current").lines == [["current", "9999"], ["head", HEAD]]


def test_an_upgrade_makes_the_tables_of_an_empty_database(investigate: Run, database: Path) -> None:
    (database.parent / "empty.db").touch()
    assert "none of ours is there yet" in refused(investigate("db", "upgrade", "--db", "empty.db"))
    done = investigate("db", "upgrade", "--yes", "--db", "empty.db")
    assert done == (0, f"Upgraded to schema {HEAD}: none of ours is there yet.\n", "")
    assert investigate("ls", "--db", "empty.db").status == 0


def test_tables_of_our_names_that_are_not_ours(investigate: Run, database: Path) -> None:
    execute(database.parent / "app.db", "CREATE TABLE investigations(id)")
    assert "has tables named investigations, but no revision" in refused(
        investigate("db", "upgrade", "--yes", "--db", "app.db")
    )
