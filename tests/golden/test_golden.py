"""Logs that were written once must be read for ever: golden files are never edited, only added (``generate.py``)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import investigation_sdk
from investigation_sdk.domain.event_types import EventType
from investigation_sdk.domain.events import FORMAT_VERSION, SCHEMA_VERSIONS, Event
from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.project import investigation_row, touched_rows
from investigation_sdk.domain.rows import PhaseRow, ToolRow
from investigation_sdk.domain.upcast import UPCASTERS
from investigation_sdk.engine.reading import to_event
from investigation_sdk.engine.texts import json_text
from investigation_sdk.storage.chain import link, seal
from investigation_sdk.storage.checking import Checker
from investigation_sdk.storage.commit import GENESIS, StoredEvent

HERE = Path(__file__).parent
EVENTS = sorted((HERE / "events").glob("*.json"))
LOGS = sorted((HERE / "logs").glob("*.json"))
NOT_WRITTEN_YET = {"progress.update"}
OF_USERS = {"fraud.hypothesis"}


def load(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def stored(header_text: str, event_data: str, digest: str) -> StoredEvent:
    """The event as a store has it; its columns from its header."""
    header = json.loads(header_text)
    metadata = header.get("metadata")
    return StoredEvent(
        header["investigation"],
        header["sequence"],
        header["id"],
        header["type"],
        header["at"],
        header.get("actor"),
        header.get("previous_state"),
        header.get("new_state"),
        None if metadata is None else json.dumps(metadata, separators=(",", ":"), sort_keys=True),
        header_text,
        event_data,
        bytes.fromhex(digest),
    )


def log(name: str) -> list[StoredEvent]:
    path = next(path for path in LOGS if path.name.startswith(name))
    return [stored(e["header"], e["event_data"], e["hash"]) for e in load(path)["events"]]


def test_every_type_and_version_that_can_be_written_has_a_golden_file():
    wanted = {
        f"{event_type}.v{version}"
        for event_type, newest in SCHEMA_VERSIONS.items()
        for version in range(1, newest + 1)
        if event_type not in NOT_WRITTEN_YET
    }
    assert {path.stem for path in EVENTS} == wanted | {f"{event_type}.v1" for event_type in OF_USERS}
    assert set(SCHEMA_VERSIONS) == {event_type.value for event_type in EventType}


@pytest.mark.parametrize("event_type", sorted(NOT_WRITTEN_YET))
def test_what_has_no_golden_file_is_written_by_nothing(event_type: str):
    """Once it is, take it out of NOT_WRITTEN_YET and run ``generate.py``."""
    root = Path(investigation_sdk.__file__).parent
    name = EventType(event_type).name
    writers = [
        path.relative_to(root)
        for path in root.rglob("*.py")
        if path.name not in ("events.py", "event_types.py")
        and path.parent.name != "realtime"  # which relays what is never written
        and re.search(rf'"{re.escape(event_type)}"|\.{name}\b', path.read_text("utf-8"))
    ]
    assert writers == []


def test_every_older_version_has_an_upcaster():
    assert set(UPCASTERS) == {(t, v) for t, newest in SCHEMA_VERSIONS.items() for v in range(1, newest)}


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_golden_event(path: Path):
    """It hashes to what is recorded, is sealed again to the same bytes, and folds."""
    golden = load(path)
    previous = bytes.fromhex(golden["previous_hash"])
    assert link(previous, golden["header"], golden["event_data"]).hex() == golden["hash"]

    kept = stored(golden["header"], golden["event_data"], golden["hash"])
    header = json.loads(kept.header)
    assert path.stem == f"{header['type']}.v{header['schema']}"
    assert header["v"] == FORMAT_VERSION
    event = to_event(kept)
    assert (event.id, event.type, event.sequence, event.at) == (kept.id, kept.event_type, kept.sequence, header["at"])
    assert (event.actor, event.attempt, event.parent_call) == (
        header.get("actor"),
        header["attempt"],
        header.get("parent_call"),
    )
    if header["schema"] == SCHEMA_VERSIONS.get(header["type"], 1):
        assert seal(kept.investigation_id, "acme", event, kept.event_data, previous) == kept

    for fold in (Fold(kept.investigation_id), folded(log("taken_over"))):
        fold.apply(to_event(kept))
        assert fold.version == kept.sequence
        assert 0 <= fold.progress <= 100


def folded(events: list[StoredEvent]) -> Fold:
    fold = Fold(events[0].investigation_id, "acme")
    fold.history, fold.touched = {}, {}
    for event in events:
        fold.apply(to_event(event))
    return fold


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_golden_log(path: Path):
    """It is one chain, and adds up to what it added up to when it was written."""
    events, expected = log(path.stem), load(path)["expected"]
    checker = Checker(events[0].investigation_id)
    checker.add(events)
    assert checker.finish(expected["version"], events[-1].hash) == []

    fold = folded(events)
    row = investigation_row(fold, fold.version, checker.head, json_text)
    rows = touched_rows(fold, json_text)
    phases = sorted((r for r in rows if isinstance(r, PhaseRow)), key=lambda r: r.phase_order)
    calls = sorted((r for r in rows if isinstance(r, ToolRow)), key=lambda r: r.input_sequence)
    assert expected == {
        "status": row.status,
        "version": row.version,
        "progress": row.progress_percentage,
        "retries": row.retry_count,
        "result": None if row.result is None else json.loads(row.result),
        "tokens_used": row.tokens_used,
        "api_calls_made": row.api_calls_made,
        "cost_estimate": row.cost_estimate,
        "phases": [[r.phase_name, r.status, r.progress_percentage] for r in phases],
        "calls": [[r.tool_name, r.status, r.attempt] for r in calls],
    }


def test_golden_logs_show_what_they_were_made_for():
    types = {event.event_type for path in LOGS for event in log(path.stem)}
    assert types >= {event_type.value for event_type in EventType} - NOT_WRITTEN_YET
    kinds = [json.loads(e.event_data).get("kind") for e in log("taken_over") if e.event_type == "investigation.failed"]
    assert kinds == ["crashed", "error"]
    notes = [e for e in log("cancelled.") if e.event_type == "note.recorded"]
    assert [e.metadata for e in notes] == ['{"late":true}']


def test_a_golden_event_that_was_edited_is_noticed():
    events = log("taken_over")
    event = events[20]
    events[20] = event._replace(event_data=event.event_data.replace("idempotent", "read"))
    checker = Checker(event.investigation_id)
    checker.add(events)
    assert [(p.sequence, p.kind) for p in checker.finish(60, events[-1].hash)] == [(21, "changed")]
    assert events[0].sequence == 1
    assert link(GENESIS, events[0].header, events[0].event_data) == events[0].hash


def test_upcasting_gives_the_fold_what_it_knows_today(monkeypatch: pytest.MonkeyPatch):
    """As it will be with the first v2: the stored bytes stay, the fold sees the newer data."""
    kept = next(e for e in log("taken_over") if e.event_type == "usage.reported")
    versions = {**SCHEMA_VERSIONS, "usage.reported": 3}
    upcasters = {
        ("usage.reported", 1): lambda data: {"usage": {**data["usage"], "tokens_used": 7}},
        ("usage.reported", 2): lambda data: {"usage": {**data["usage"], "api_calls_made": 9}},
    }
    monkeypatch.setattr("investigation_sdk.domain.upcast.SCHEMA_VERSIONS", versions)
    monkeypatch.setattr("investigation_sdk.domain.upcast.UPCASTERS", upcasters)
    event: Event = to_event(kept)
    assert event.data == {"usage": {"tokens_used": 7, "cost_estimate": "0.002", "api_calls_made": 9}}
    assert event.text == kept.event_data
