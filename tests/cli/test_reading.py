"""ls, show, tools, events: what they print into a pipe, and as JSON."""

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import get_type_hints

import pytest

import investigation_sdk
from investigation_sdk import InvestigationPaused, InvestigationSDK, tool
from investigation_sdk.cli.shapes import PAYLOADS, document
from tests.cli.conftest import HOSTILE, Done, Ids

Run = Callable[..., Done]


def table(done: Done) -> list[dict[str, str]]:
    assert done.status == 0, done.err
    title, *rows = done.lines
    return [dict(zip(title, row, strict=True)) for row in rows]


def documents(done: Done) -> list[dict[str, object]]:
    assert done.status == 0, done.err
    assert done.out.isascii()
    assert done.out.replace("\n", "").isprintable()
    return [json.loads(line) for line in done.out.splitlines()]


# ---- ls


def test_ls_lists_the_newest_first_and_shortens_nothing(on: Run, ids: Ids) -> None:
    done = on("ls")
    rows = table(done)
    assert [row["ID"] for row in rows] == [ids.queued, ids.failed, ids.completed]
    assert [row["STATUS"] for row in rows] == ["queued", "failed", "completed"]
    assert rows[2]["DONE"] == "100%"
    assert rows[2]["KEY"] == "case-981"
    assert rows[2]["USER"] == "gil"
    assert rows[2]["TYPE"] == "fraud"
    assert rows[2]["TOOK"]
    assert rows[0]["TOOK"] == ""
    assert rows[0]["SUBJECT"] == "A subject " + "that is long " * 10
    created = datetime.fromisoformat(rows[2]["CREATED"])
    assert created.utcoffset() is not None
    assert abs((datetime.now(UTC) - created).total_seconds()) < 3600
    assert done.err == ""


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--status", "failed"], ["failed"]),
        (["--status", "failed", "--status", "queued"], ["queued", "failed"]),
        (["--type", "fraud"], ["completed"]),
        (["--user", "ann"], ["queued"]),
        (["--since", "1h"], ["queued", "failed", "completed"]),
        (["--since", "2020-01-01", "--until", "1h"], []),
        (["--since", "99999999w", "--limit", "1"], ["queued"]),
        (["--since", "2100-01-01T10:00+02:00"], []),
    ],
)
def test_ls_filters(on: Run, ids: Ids, filters: list[str], found: list[str]) -> None:
    done = on("ls", *filters, "--json")
    assert [one["id"] for one in documents(done)] == [getattr(ids, name) for name in found]


def test_ls_says_when_there_is_more_and_goes_on(on: Run, ids: Ids) -> None:
    first = on("ls", "--limit", "2")
    assert len(table(first)) == 2
    assert first.err == f"There are more. Go on with --after {ids.failed}, or set --limit.\n"
    rest = on("ls", "--limit", "2", "--after", ids.failed)
    assert [row["ID"] for row in table(rest)] == [ids.completed]
    assert rest.err == ""


def test_ls_reads_more_than_a_page(on: Run, database: object) -> None:
    with InvestigationSDK(f"sqlite:///{database}") as sdk:
        for n in range(1010):
            sdk.sync.service.create_investigation("u", f"s{n}", "many")
    assert len(documents(on("ls", "--type", "many", "--limit", "1005", "--json"))) == 1005
    assert len(documents(on("ls", "--type", "many", "--limit", "5000", "--json"))) == 1010


def test_nothing_to_list(on: Run) -> None:
    done = on("ls", "--status", "paused")
    assert done == (0, "", "No investigation matches.\n")


def test_an_empty_store(investigate: Run, database: object) -> None:
    with InvestigationSDK("sqlite:///empty.db"):
        pass
    assert investigate("ls", "--db", "empty.db") == (
        0, "", "No investigation: nothing has been recorded here yet.\n",
    )  # fmt: skip


# ---- show


def test_show(on: Run, ids: Ids) -> None:
    done = on("show", "case-981")
    assert done.status == 0
    head, phases, tools, error = done.out.split("\n\n")
    fields = dict(line.split("\t") for line in head.splitlines()[1:])
    assert head.splitlines()[0] == "account 42 taken over"
    assert fields["id"] == ids.completed
    assert fields["status"] == "completed"
    assert fields["usage"] == "1,200 tokens, 3 API calls, cost 0.0123"
    assert fields["result"] == '{"verdict": "contained"}'
    assert [line.split("\t")[0:4:3] for line in phases.splitlines()] == [
        ["PHASE", "CALLS"],
        ["device", "3"],
        ["net", "1"],
    ]
    assert [line.split("\t")[:5] for line in tools.splitlines()] == [
        ["TOOL", "AGENT", "CALLS", "FAILED", "OPEN"],
        ["fingerprint", "device_agent", "3", "", ""],
        ["vpn_check", "network", "1", "1", ""],
    ]
    assert error.startswith("First error: vpn_check: ConnectionError: connection refused after 3 tries (event ")


@pytest.mark.parametrize("reference", ["whole", "upper", "no hyphens", "prefix", "short prefix"])
def test_what_names_an_investigation(on: Run, ids: Ids, reference: str) -> None:
    id = ids.completed
    given = {
        "whole": id,
        "upper": id.upper(),
        "no hyphens": id.replace("-", ""),
        "prefix": id[:23],
        "short prefix": id[:18],
    }[reference]
    [shown] = documents(on("show", given, "--json"))
    assert shown["investigation"]["id"] == id  # type: ignore[index]


def test_show_says_why_it_is_paused(on: Run, database: Path) -> None:
    with InvestigationSDK(f"sqlite:///{database}", on_pause="raise") as sdk:
        with pytest.raises(InvestigationPaused), sdk.investigation("s", key="paused-1") as investigation:
            sdk.sync.service.pause(investigation.id, "look first", actor="gil")
            investigation.checkpoint({})
        sdk.sync.service.resume(sdk.sync.lookup("paused-1").id)
        with pytest.raises(InvestigationPaused), sdk.attach(investigation.id) as again:
            sdk.sync.service.pause(again.id, "and again\x1b[2J", actor="ann")
            again.checkpoint({})
    shown = on("show", "paused-1").lines
    assert ["status", "paused"] in shown
    assert ["paused", "by ann, and again\\x1b[2J"] in shown
    assert "paused" not in [line[0] for line in on("show", "case-981").lines]


def test_show_as_json(on: Run, ids: Ids) -> None:
    [shown] = documents(on("show", "case-981", "--json"))
    assert set(shown) == {"investigation", "phases", "tools", "first_error", "resumes", "if_resumed"}
    one, error = shown["investigation"], shown["first_error"]
    assert isinstance(one, dict)
    assert isinstance(error, dict)
    assert one["result"] == {"verdict": "contained"}
    assert one["usage"] == {"tokens_used": 1200, "api_calls_made": 3, "cost_estimate": "0.0123"}
    assert one["created_at"].endswith("Z")
    assert error["event_type"] == "tool.failed"
    assert {total["tool_name"]: total["by_status"] for total in shown["tools"]} == {  # type: ignore[attr-defined]
        "fingerprint": {"completed": 3},
        "vpn_check": {"failed": 1},
    }


def test_an_ambiguous_prefix_lists_the_candidates(on: Run, ids: Ids) -> None:
    done = on("show", ids.completed[:4])
    assert done.status == 2
    assert done.out == ""
    first, *listed = done.err.splitlines()
    assert first == f"investigate: '{ids.completed[:4]}' means several investigations; give more of the id, or --type:"
    assert [line.split()[:2] for line in listed] == [
        [ids.queued, "queued"], [ids.failed, "failed"], [ids.completed, "completed"],
    ]  # fmt: skip
    assert on("show", ids.completed[:4], "--type", "fraud").status == 0


def test_a_key_of_two_types(on: Run, database: object) -> None:
    with InvestigationSDK(f"sqlite:///{database}") as sdk:
        id = sdk.sync.service.create_investigation("u", "other", "other", key="case-981").id
    done = on("show", "case-981")
    assert done.status == 2
    assert id in done.err
    [shown] = documents(on("show", "case-981", "--type", "other", "--json"))
    assert shown["investigation"]["id"] == id  # type: ignore[index]


# ---- tools


def test_tools(on: Run, ids: Ids) -> None:
    rows = table(on("tools", "case-981"))
    assert [(row["TOOL"], row["AGENT"], row["PHASE"], row["STATUS"]) for row in rows] == [
        *[("fingerprint", "device_agent", "device", "completed")] * 3,
        ("vpn_check", "network", "net", "failed"),
    ]
    assert rows[0]["INPUT"] == '{"device_id": "d-0"}'
    assert rows[0]["OUTCOME"] == '{"device": "d-0", "risk": 0.93}'
    assert "connection refused" in rows[3]["OUTCOME"]


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--tool", "fingerprint"], 3),
        (["--agent", "network"], 1),
        (["--phase", "device"], 3),
        (["--status", "failed"], 1),
        (["--status", "failed", "--status", "completed"], 4),
        (["--status", "failed", "--tool", "fingerprint"], 0),
    ],
)
def test_tools_filters(on: Run, filters: list[str], count: int) -> None:
    done = on("tools", "case-981", "--json", *filters)
    assert len(documents(done)) == count


def test_tools_pages(on: Run) -> None:
    first = on("tools", "case-981", "--limit", "3", "--json")
    found = documents(first)
    assert first.err == f"There are more. Go on with --after {found[-1]['id']}, or set --limit.\n"
    rest = documents(on("tools", "case-981", "--after", str(found[-1]["id"]), "--json"))
    assert [call["tool_name"] for call in rest] == ["vpn_check"]


def test_no_calls(on: Run, ids: Ids) -> None:
    assert on("tools", ids.queued) == (0, "", "No call: no tool has run.\n")
    assert on("tools", "case-981", "--tool", "x") == (0, "", "No call matches.\n")


# ---- events


def test_events(on: Run) -> None:
    rows = table(on("events", "case-981"))
    assert [int(row["SEQ"]) for row in rows] == list(range(1, len(rows) + 1))
    assert rows[0]["EVENT"] == "investigation.created"
    assert rows[0]["NEW"] == "created"
    assert json.loads(rows[0]["WHAT"])["subject"] == "account 42 taken over"
    assert [row["NEW"] for row in rows if row["NEW"]][-1] == "completed"


def test_events_of_a_type(on: Run) -> None:
    done = on("events", "case-981", "--event", "tool.failed", "--event", "tool.completed", "--json")
    assert [event["event_type"] for event in documents(done)] == ["tool.completed"] * 3 + ["tool.failed"]
    assert on("events", "case-981", "--event", "no.such") == (0, "", "No event of type no.such.\n")


def test_events_go_on(on: Run) -> None:
    everything = documents(on("events", "case-981", "--json", "--all", "--limit", "1"))
    first = on("events", "case-981", "--json", "--limit", "5")
    assert first.err == "There are more. Go on with --after 5, or print all of them with --all.\n"
    rest = on("events", "case-981", "--json", "--after", "5")
    assert rest.err == ""
    assert documents(first) + documents(rest) == everything
    last = len(everything)
    exact = on("events", "case-981", "--json", "--limit", str(last))
    assert exact.err == ""
    assert on("events", "case-981", "--after", str(last)) == (0, "", f"No event after {last}.\n")


# ---- what is recorded is anybody's


@pytest.mark.parametrize("command", ["ls", "show", "tools", "events", "verify"])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_recorded_text_does_nothing_to_a_terminal(on: Run, ids: Ids, command: str, form: list[str]) -> None:
    done = on(command, *([] if command == "ls" else [ids.failed]), *form)
    assert done.status == 0
    assert not [c for c in done.out if not c.isprintable() and c not in "\n\t"]
    if command in {"ls", "show"}:
        assert "[red]evil[/red]" in done.out
        assert "\\u202e" in done.out
    if not form and command == "ls":
        assert len(done.out.splitlines()) == 4, "no line break of a subject makes a line"


def test_json_gives_back_what_was_recorded(on: Run, ids: Ids) -> None:
    [one] = documents(on("ls", "--status", "failed", "--json"))
    assert one["subject"] == HOSTILE
    [note] = documents(on("events", ids.failed, "--event", "custom.note", "--json"))
    assert note["event_data"] == {"text": HOSTILE}


def test_all_payload_fields_are_known() -> None:
    names: set[str] = set()
    for name in ("Investigation", "InvestigationPhase", "ToolExecution", "InvestigationEvent"):
        hints = get_type_hints(getattr(investigation_sdk, name))
        names |= {field for field, hint in hints.items() if "Any" in repr(hint) and field != "model_config"}
    assert {name for name in names if not name.startswith(("_", "model_"))} == PAYLOADS


def test_what_is_not_json_stays_as_the_log_tags_it(sdk: InvestigationSDK) -> None:
    with sdk.investigation("x") as investigation:
        investigation.result = {"nan": float("nan"), "bytes": b"\xff", "set": {1}}
    shape = document(sdk.sync.get(investigation.id), sdk)
    result = json.loads(json.dumps(shape, allow_nan=False))["result"]
    assert {name: value["$type"] for name, value in result.items()} == {"nan": "float", "bytes": "bytes", "set": "set"}


# ---- payloads that are too large for their event


@tool
def large(size: int) -> dict[str, object]:
    return {"text": "x" * size}


@pytest.fixture
def with_large(database: Path) -> str:
    with InvestigationSDK(f"sqlite:///{database}") as sdk, sdk.investigation("large", key="large") as investigation:
        large(100_000)
        investigation.result = "y" * 50_000
    return investigation.id


def test_json_has_large_payloads_in_full(on: Run, with_large: str) -> None:
    [call] = documents(on("tools", "large", "--json"))
    assert call["output_result"] == {"text": "x" * 100_000}
    [event] = documents(on("events", "large", "--event", "tool.completed", "--json"))
    assert event["event_data"]["output"] == {"text": "x" * 100_000}  # type: ignore[index]
    [shown] = documents(on("show", "large", "--json"))
    assert shown["investigation"]["result"] == "y" * 50_000  # type: ignore[index]
    [listed] = [one for one in documents(on("ls", "--json")) if one["id"] == with_large]
    assert listed["result"] == "y" * 50_000


def test_a_table_has_their_size(on: Run, with_large: str) -> None:
    [call] = table(on("tools", "large"))
    assert call["OUTCOME"] == "(100,011 bytes; in full: --json)"
    assert "(50,002 bytes; in full: --json)" in on("show", "large").out


def test_one_that_is_missing_is_its_reference(on: Run, database: Path, with_large: str) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("DELETE FROM investigation_blobs")
    connection.close()
    done = on("tools", "large", "--json")
    assert done.status == 0
    [call] = documents(done)
    output = call["output_result"]
    assert isinstance(output, dict)
    assert (output["$type"], output["bytes"], len(output["digest"])) == ("blob", 100_011, 64)
    assert "a payload of 100,011 bytes" in done.err
    assert on("verify", "large").status == 1
