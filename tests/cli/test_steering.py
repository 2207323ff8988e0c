"""`investigate pause | resume | cancel | retry | resolve`: what changes, by whom, and what is refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from investigation_sdk import InvestigationPaused, InvestigationSDK, ResumeDivergence, UnknownOutcome, tool
from investigation_sdk.testing import SimulatedCrash, crash_at
from tests.cli.conftest import Done, Ids

Investigate = Callable[..., Done]
DB = ("--db", "fraud.db")


@pytest.fixture
def paused(database: Path) -> str:
    """An investigation that nobody drives, paused."""
    with InvestigationSDK("sqlite:///fraud.db", on_pause="raise") as sdk:
        with pytest.raises(InvestigationPaused), sdk.investigation("lunch", key="lunch") as investigation:
            investigation.pause("one o'clock")
        return investigation.id


def last(id: str, event_type: str) -> tuple[str | None, object]:
    with InvestigationSDK("sqlite:///fraud.db") as sdk:
        *_, event = sdk.sync.iter_events(id, event_type=event_type)
    return event.actor, event.event_data.get("reason")


def test_retry_and_cancel(investigate: Investigate, ids: Ids, database: Path) -> None:
    done = investigate("retry", ids.failed[:-2], "--actor", "ann", "--reason", "the store is back", *DB)
    assert (done.status, done.err) == (0, "")
    assert ["status", "retrying  (was failed)"] in done.lines
    assert last(ids.failed, "state.transition") == ("ann", "the store is back")
    done = investigate("cancel", ids.queued, "--yes", *DB)
    assert ["status", "cancelled  (was queued)"] in done.lines
    actor, _ = last(ids.queued, "investigation.cancelled")
    assert actor  # the user's name


def test_cancel_asks(investigate: Investigate, ids: Ids, database: Path) -> None:
    done = investigate("cancel", ids.queued, *DB)
    assert done.status == 2
    assert done.err == "investigate: A cancelled investigation cannot be run any more. Add --yes\n"
    assert "queued" in investigate("show", ids.queued, *DB).out


def test_resume_of_what_nobody_drives_says_what_comes_next(investigate: Investigate, paused: str) -> None:
    done = investigate("resume", "lunch", "--actor", "bob", *DB)
    assert done.status == 0
    assert ["status", "paused"] in done.lines
    assert "Nobody drives it now." in done.err
    assert last(paused, "investigation.resume_requested")[0] == "bob"
    with InvestigationSDK("sqlite:///fraud.db") as sdk, sdk.investigation("lunch", key="lunch"):
        pass
    assert "completed" in investigate("show", "lunch", *DB).out


def test_what_the_table_refuses_is_said_in_a_line(investigate: Investigate, ids: Ids, database: Path) -> None:
    for verb, state in (("pause", "completed"), ("resume", "completed"), ("retry", "completed")):
        done = investigate(verb, "case-981", *DB)
        assert done.status == 2
        assert done.err.startswith(f"investigate: Cannot {verb}: investigation {ids.completed} is {state}.")
        assert done.err.count("\n") == 1


def test_json(investigate: Investigate, ids: Ids, database: Path) -> None:
    record = json.loads(investigate("retry", ids.failed, "--json", *DB).out)
    assert (record["id"], record["status"]) == (ids.failed, "retrying")


@pytest.mark.parametrize("verb", ["pause", "resume", "retry"])
def test_a_wrong_path_never_creates_a_file(investigate: Investigate, database: Path, verb: str) -> None:
    before = sorted(path.name for path in database.parent.iterdir())
    done = investigate(verb, "case-981", "--db", "nothing.db")
    assert done.status == 2
    assert "nothing.db" in done.err
    done = investigate("resolve", "01a20000-0000-7000-8000-000000000000", "--outcome", "failed", "--db", "nothing.db")
    assert done.status == 2
    assert sorted(path.name for path in database.parent.iterdir()) == before


@tool(effect="unsafe")
def freeze(account: str) -> dict[str, bool]:
    return {"frozen": True}


@pytest.fixture
def doubtful(database: Path) -> tuple[str, str]:
    """An investigation, and its unsafe call that was cut off."""
    with InvestigationSDK("sqlite:///fraud.db") as sdk:
        with pytest.raises(SimulatedCrash), crash_at("tool.completed"), sdk.investigation("s", key="k") as one:
            freeze("42")
        with pytest.raises(UnknownOutcome) as unknown, sdk.investigation("s", key="k"):
            freeze("42")
        return one.id, unknown.value.call_id


def test_resolve_and_go_on(investigate: Investigate, doubtful: tuple[str, str]) -> None:
    id, call = doubtful
    done = investigate("resolve", call, "--outcome", "succeeded", "--result", '{"frozen": true}', "--actor", "ann", *DB)
    assert done.status == 0
    assert ["tool", "freeze"] in done.lines
    assert ["status", "completed"] in done.lines
    assert f"Let it go on: investigate resume {id} --db fraud.db" in done.err
    assert investigate("resume", id, *DB).status == 0
    with InvestigationSDK("sqlite:///fraud.db") as sdk:
        with sdk.investigation("s", key="k"):
            assert freeze("42") == {"frozen": True}
        (event,) = sdk.sync.events(id, event_type="tool.resolved")
    assert event.actor == "ann"


def test_resolve_refuses(investigate: Investigate, doubtful: tuple[str, str], ids: Ids) -> None:
    _, call = doubtful
    done = investigate("resolve", call, "--outcome", "failed", "--result", "1", *DB)
    assert "--result goes with --outcome succeeded" in done.err
    done = investigate("resolve", call, "--outcome", "succeeded", "--result", "done", *DB)
    assert "--result is not JSON" in done.err
    assert "'\"done\"'" in done.err
    with InvestigationSDK("sqlite:///fraud.db") as sdk:
        other = sdk.sync.tools(ids.completed)[0]
    done = investigate("resolve", other.id, "--outcome", "failed", *DB)
    assert done.status == 2
    assert f"Call {other.id} of 'fingerprint' is completed, and the tool is not declared unsafe" in done.err
    done = investigate("resolve", "01a20000-0000-7000-8000-000000000000", "--outcome", "failed", *DB)
    assert "There is no call 01a20000-0000-7000-8000-000000000000" in done.err


def test_show_says_what_a_resume_made_of_the_record(investigate: Investigate, doubtful: tuple[str, str]) -> None:
    id, call = doubtful
    shown = investigate("show", id, *DB).out
    assert f"If resumed now: asked about: {call}." in shown
    error = next(line for line in shown.splitlines() if line.startswith("First error: "))
    assert f"The owner, process {os.getpid()} on " in error
    assert "/" not in error
    document = json.loads(investigate("show", id, "--json", *DB).out)
    assert document["if_resumed"]["asked"] == [call]
    assert document["resumes"] == []

    investigate("resolve", call, "--outcome", "succeeded", "--result", '{"frozen": true}', *DB)
    investigate("resume", id, *DB)
    assert "If resumed now: 1 given back." in investigate("show", id, *DB).out
    with InvestigationSDK("sqlite:///fraud.db") as sdk, sdk.investigation("s", key="k"):
        freeze("42")
        freeze("43")
    done = investigate("show", id, *DB)
    assert ["ATTEMPT", "TOOL", "REUSED", "AGAIN", "NEW", "NO LONGER CALLED"] in done.lines
    assert ["3", "freeze", "1", "", "1", ""] in done.lines
    assert "If resumed now" not in done.out
    document = json.loads(investigate("show", id, "--json", *DB).out)
    assert document["if_resumed"] is None
    assert [(report["attempt"], report["reused"], report["new"]) for report in document["resumes"]] == [(3, 1, 1)]


def test_show_says_what_diverged(investigate: Investigate, doubtful: tuple[str, str]) -> None:
    id, call = doubtful
    investigate("resume", id, *DB)
    with (
        InvestigationSDK("sqlite:///fraud.db") as sdk,
        pytest.raises(ResumeDivergence),
        sdk.investigation("s", key="k"),
    ):
        freeze("43")
    out = investigate("show", id, *DB).out
    assert f"Attempt 3 diverged: Investigation {id}: this call of the unsafe tool 'freeze' is not among those" in out
    assert call in out
