"""The command on PostgreSQL: the same, and no password is printed."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from investigation_backends.sql.names import REVISIONS
from tests.cli.conftest import Done, record
from tests.cli.test_refusals import refused

Run = Callable[..., Done]
HEAD = REVISIONS[-1]


def test_looking(investigate: Run, postgres_store: str) -> None:
    ids = record(postgres_store)
    listed = investigate("ls", "--db", postgres_store)
    assert [row[0] for row in listed.lines[1:]] == [ids.queued, ids.failed, ids.completed]
    for reference in ("case-981", ids.completed[:-3], ids.completed.replace("-", "")):
        shown = json.loads(investigate("show", reference, "--json", "--db", postgres_store).out)
        assert shown["investigation"]["id"] == ids.completed
        assert [total["tool_name"] for total in shown["tools"]] == ["fingerprint", "vpn_check"]
    assert investigate("show", ids.completed[:4], "--db", postgres_store).status == 2
    assert len(investigate("tools", "case-981", "--db", postgres_store).lines) == 5
    assert investigate("events", ids.failed, "--db", postgres_store).status == 0
    verified = investigate("verify", "--all", "--db", postgres_store)
    assert (verified.status, [row[0] for row in verified.lines[1:]]) == (0, ["ok"] * 3)


def test_the_schema(investigate: Run, postgres: Any, postgres_store: str) -> None:
    assert investigate("db", "current", "--db", postgres_store).lines == [["current", HEAD], ["head", HEAD]]
    done = investigate("db", "check", "--db", postgres_store)
    assert (done.out, done.err) == (f"The schema is {HEAD}, and the tables are as they should be.\n", "")
    name = postgres_store.rpartition("/")[2].partition("?")[0]
    postgres.sql("ALTER TABLE investigations ADD COLUMN colour TEXT", database=name)
    try:
        done = investigate("db", "check", "--db", postgres_store)
        assert (done.status, done.out) == (1, "column investigations.colour is too many\n")
    finally:
        postgres.sql("ALTER TABLE investigations DROP COLUMN colour", database=name)


@pytest.mark.parametrize("option", ["", "table_prefix=inv_", "schema=cases"])
def test_an_empty_database_is_upgraded(investigate: Run, postgres_url: str, option: str) -> None:
    url = f"{postgres_url}{'&' if '?' in postgres_url else '?'}{option}" if option else postgres_url
    message = refused(investigate("ls", "--db", url))
    assert "has no tables of the SDK yet; run: investigate db upgrade --db" in message
    assert investigate("db", "check", "--db", url).status == 1
    assert "Back it up, and add --yes" in refused(investigate("db", "upgrade", "--db", url))
    assert investigate("db", "upgrade", "--yes", "--db", url) == (
        0,
        f"Upgraded to schema {HEAD}: none of ours is there yet.\n",
        "",
    )
    done = investigate("db", "check", "--db", url)
    assert (done.status, done.out, done.err) == (
        0,
        f"The schema is {HEAD}, and the tables are as they should be.\n",
        "",
    )
    assert investigate("ls", "--db", url).status == 0


def test_a_server_that_is_not_there(investigate: Run) -> None:
    url = "postgresql://me:s3cret@127.0.0.1:1/cases?connect_timeout=1"
    for command in (["ls"], ["db", "current"], ["db", "check"], ["db", "upgrade", "--yes"]):
        message = refused(investigate(*command, "--db", url))
        assert "127.0.0.1" in message
        assert "s3cret" not in message
