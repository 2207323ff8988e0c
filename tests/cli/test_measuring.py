"""`investigate metrics`: what the records of a database add up to."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Done

Investigate = Callable[..., Done]


def test_figures_and_tables(investigate: Investigate, database: Path) -> None:
    done = investigate("metrics", "--db", "fraud.db")
    assert done.status == 0
    lines = done.lines
    assert ["investigations", "3"] in lines
    assert ["completed", "1"] in lines
    assert ["failed", "1"] in lines
    assert ["completion rate", "50.0%"] in lines
    assert ["failures", "error 1"] in lines
    assert ["usage", "1200 tokens, 3 calls, cost 0.0123"] in lines
    assert ["fingerprint", "100.0%"] in lines
    assert ["vpn_check", "0.0%"] in lines
    assert [line[:3] for line in lines if line[:2] == ["running", "completing"]] == [["running", "completing", "1"]]
    assert "\x1b" not in done.out


def test_json(investigate: Investigate, database: Path) -> None:
    report = json.loads(investigate("metrics", "--db", "fraud.db", "--type", "fraud", "--json").out)
    assert (report["started"], report["completed"], report["completion_rate"]) == (1, 1, 1.0)
    assert report["usage"]["cost_estimate"] == "0.0123"
    assert report["transitions"]["running->completing"] == 1


def test_nothing_in_that_time(investigate: Investigate, database: Path) -> None:
    done = investigate("metrics", "--db", "fraud.db", "--until", "2020-01-01", "--since", "2019-01-01")
    assert (done.status, done.out) == (0, "")
    assert "No investigation was created in that time." in done.err


def test_a_time_that_is_none(investigate: Investigate, database: Path) -> None:
    done = investigate("metrics", "--db", "fraud.db", "--since", "yesterday")
    assert done.status == 2
    assert "--since" in done.err
