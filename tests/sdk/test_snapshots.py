"""Snapshots: written with commits, checked against the log, and never more than it says."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from investigation_sdk import ConfigurationError, InvestigationSDK, tool

Make = Callable[..., InvestigationSDK]


@tool(effect="read")
def whois(n: int) -> dict[str, object]:
    return {"secret result": n}


def warnings(sdk: InvestigationSDK, id: str) -> list[str]:
    found = sdk.sync.iter_events(id, event_type="recorder.warning")
    return [event.event_data["message"] for event in found if event.event_data["kind"] == "snapshot"]


def change(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    assert connection.execute(statement, values).rowcount
    connection.close()


def test_one_comes_every_so_many_events_and_with_each_checkpoint(url: str, make_sdk: Make) -> None:
    sdk = make_sdk(url, snapshot_every=20)
    with sdk.investigation("account 42") as investigation, investigation.phase("device"):
        for n in range(50):
            whois(n)
        investigation.checkpoint({"seen": 50})
        [latest, *earlier] = sdk.sync.snapshots(investigation.id)
    assert latest.snapshot_type == "checkpoint"
    assert {one.snapshot_type for one in earlier} == {"periodic"}
    assert len(earlier) == 1, "the last two are kept"
    assert earlier[0].state_data["version"] >= 80
    assert latest.tool_states["calls"] == {"whois": 50}
    assert latest.tool_states["running"] == []
    assert latest.phase_states["device"]["status"] == "running"
    assert json.loads(latest.state_data["last_checkpoint"]) == {"seen": 50}
    assert "secret result" not in str([one.tool_states for one in (latest, *earlier)])
    event = sdk.sync.events(investigation.id, after=latest.state_data["version"] - 1, limit=1)[0]
    assert (event.event_type, event.hash) == ("checkpoint.saved", latest.state_data["head"])
    page = sdk.sync.snapshots(investigation.id, limit=1)
    assert len(page) == 1
    assert page.next is not None
    rest = sdk.sync.snapshots(investigation.id, after=page.next)
    assert [one.id for one in (*page, *rest)] == [one.id for one in (latest, *earlier)]


def test_the_last_two_are_kept(url: str, make_sdk: Make) -> None:
    sdk = make_sdk(url, snapshot_every=5)
    with pytest.raises(RuntimeError), sdk.investigation("account 42", key="k") as investigation:
        for n in range(6):
            for _ in range(5):
                whois(n)
            investigation.checkpoint(n)
            kept = sdk.sync.snapshots(investigation.id)
            assert (json.loads(kept[0].state_data["last_checkpoint"]), len(kept)) == (n, 2)
        raise RuntimeError("stop")
    with sdk.investigation("account 42", key="k") as again:
        again.checkpoint("again")
        newest, before = sdk.sync.snapshots(again.id)
    assert json.loads(newest.state_data["last_checkpoint"]) == "again"
    assert json.loads(before.state_data["last_checkpoint"]) == 5


def test_calls_that_are_open_are_in_it(sdk: InvestigationSDK) -> None:
    @tool(effect="unsafe")
    def outer() -> None:
        investigation.checkpoint(1)

    with sdk.investigation("account 42") as investigation:
        outer()
    [snapshot] = sdk.sync.snapshots(investigation.id)
    assert [call["tool_name"] for call in snapshot.tool_states["running"]] == ["outer"]
    assert snapshot.tool_states["calls"] == {"outer": 1}


def test_none_are_made_where_none_are_wanted(url: str, make_sdk: Make) -> None:
    sdk = make_sdk(url, snapshot_every=0)
    with sdk.investigation("account 42") as investigation:
        investigation.checkpoint(1)
    assert list(sdk.sync.snapshots(investigation.id)) == []
    with pytest.raises(ConfigurationError, match="snapshot_every=-1"):
        make_sdk(url, snapshot_every=-1)


def unfinished(make_sdk: Make, url: str) -> str:
    """An investigation that failed behind a snapshot; its id."""
    sdk = make_sdk(url, snapshot_every=10)
    with pytest.raises(RuntimeError), sdk.investigation("account 42", key="k") as investigation:
        for n in range(12):
            whois(n)
        investigation.checkpoint({"seen": 12})
        whois(13)
        raise RuntimeError("stop")
    sdk.__exit__(None, None, None)
    return investigation.id


def test_an_opener_counts_on_from_it(sqlite_url: str, make_sdk: Make) -> None:
    id = unfinished(make_sdk, sqlite_url)
    sdk = make_sdk(sqlite_url)
    with sdk.investigation("account 42", key="k") as again:
        assert again.id == id
        for n in range(12):
            assert whois(n) == {"secret result": n}
        whois(99)
        again.checkpoint({"seen": 99})
    latest = sdk.sync.snapshots(id)[0]
    assert latest.tool_states["calls"] == {"whois": 14}
    assert warnings(sdk, id) == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("state_data='{'", "was not used"),
        ("state_data='{}'", "head"),
        ("state_data=json_set(state_data, '$.surprise', 1)", "columns that are not known: surprise"),
        ("state_data=json_set(state_data, '$.attempt', 'x')", "attempt is text"),
        ("tool_states='[]'", "list indices"),
        ("tool_states=json_set(tool_states, '$.calls.whois', 'many')", "counts are no numbers"),
        ("schema_version=2", "it has schema 2; this version reads 1"),
        ("schema_version=0", "it has schema 0; this version reads 1"),
        (
            "sequence=9999, state_data=json_set(state_data, '$.version', 9999)",
            "it is of event 9999, and the log ends at",
        ),
        ("sequence=sequence+1, state_data=json_set(state_data, '$.version', sequence+1)", "has another hash"),
        ("sequence=sequence+1", "of another event than it says"),
    ],
)
def test_one_that_cannot_be_used_is_told_once_and_replaced(
    sqlite_url: str, tmp_path: Path, make_sdk: Make, damage: str, reason: str
) -> None:
    id = unfinished(make_sdk, sqlite_url)
    latest = "(SELECT id FROM investigation_snapshots ORDER BY sequence DESC LIMIT 1)"
    change(tmp_path / "cases.db", f"UPDATE investigation_snapshots SET {damage} WHERE id={latest}")
    for _ in range(2):
        sdk = make_sdk(sqlite_url)
        with pytest.raises(RuntimeError), sdk.investigation("account 42", key="k") as again:
            assert again.last_checkpoint == {"seen": 12}
            assert whois(3) == {"secret result": 3}
            raise RuntimeError("stop")
        told = warnings(sdk, id)
        assert len(told) == 1, told
        assert reason in told[0]
        assert sdk.sync.verify(id).ok
        assert sdk.sync.check(id).ok
        newest = max(sdk.sync.snapshots(id), key=lambda one: one.state_data["version"])
        assert newest.tool_states["calls"] == {"whois": 13}
        sdk.__exit__(None, None, None)


@pytest.mark.parametrize("every", [1, 501, 100_000])
def test_one_that_cannot_be_used_is_replaced_however_rare_they_are(
    sqlite_url: str, tmp_path: Path, make_sdk: Make, every: int
) -> None:
    id = unfinished(make_sdk, sqlite_url)
    change(tmp_path / "cases.db", "UPDATE investigation_snapshots SET schema_version=7")
    for n in range(2):
        with make_sdk(sqlite_url, snapshot_every=every) as sdk:
            with pytest.raises(RuntimeError), sdk.investigation("account 42", key="k"):
                whois(100 + n)
                raise RuntimeError("stop")
            assert len(warnings(sdk, id)) == 1
            newest = sdk.sync.snapshots(id)[0]
            assert newest.tool_states["calls"]["whois"] >= 13
            assert newest.state_data["attempt"] in ((n + 1, n + 2) if every == 1 else (1, 2))
            assert sdk.sync.check(id).ok


def test_where_none_are_wanted_none_is_looked_at(sqlite_url: str, tmp_path: Path, make_sdk: Make) -> None:
    id = unfinished(make_sdk, sqlite_url)
    change(tmp_path / "cases.db", "UPDATE investigation_snapshots SET schema_version=7")
    with make_sdk(sqlite_url, snapshot_every=0) as sdk:
        with sdk.investigation("account 42", key="k") as again:
            assert whois(3) == {"secret result": 3}
            assert again.last_checkpoint == {"seen": 12}
        assert warnings(sdk, id) == []


def test_one_of_a_finished_investigation_that_cannot_be_used_changes_nothing(
    sqlite_url: str, tmp_path: Path, make_sdk: Make, caplog: pytest.LogCaptureFixture
) -> None:
    sdk = make_sdk(sqlite_url)
    with sdk.investigation("account 42", key="k") as investigation:
        investigation.checkpoint(1)
    version = sdk.sync.get(investigation.id).version
    change(tmp_path / "cases.db", "UPDATE investigation_snapshots SET schema_version=7")
    other: Any = make_sdk(sqlite_url)
    with other.investigation("account 42", key="k") as again:
        assert again.finished
    assert other.sync.get(investigation.id).version == version
