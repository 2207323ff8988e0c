"""Logs of older versions, read by a newer one: shown with schemas that are made up here, as all are at 1.

The bytes are real ones: those of an SQLite file, and of the golden events. What is made up is the newer version.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from investigation_sdk import InvestigationSDK, SchemaMismatch, tool
from investigation_sdk.domain.events import SCHEMA_VERSIONS, Event
from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.upcast import UPCASTERS, upcast
from investigation_sdk.engine import sealing
from investigation_sdk.engine.reading import to_event
from investigation_sdk.engine.repair import read_after
from investigation_sdk.storage.chain import seal
from investigation_sdk.storage.commit import StoredEvent

TYPE = "tool.completed"
SHORT, LONG, LARGE = "short", "y" * 2_000, "x" * 40_000
"""In its row; in its event only; in a blob."""


@tool
def answer(text: str) -> str:
    return text


def rename(data: dict[str, Any]) -> dict[str, Any]:
    """From schema 1, which called the output `returned`."""
    data["output"] = data.pop("returned")
    return data


def add_summary(data: dict[str, Any]) -> dict[str, Any]:
    """From schema 2, which knew no summaries."""
    return {"summary": f"{len(json.dumps(data['output']))} characters", **data}


class Versions:
    """Which version of the SDK this process is."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def older(self) -> None:
        """It writes ``tool.completed`` as schema 1."""
        self._patch.undo()

        def seal_old(id: str, tenant: str, event: Event, text: str, previous: bytes) -> StoredEvent:
            if event.type == TYPE:
                text = text.replace('"output":', '"returned":')
            return seal(id, tenant, event, text, previous)

        self._patch.setattr(sealing, "seal", seal_old)

    def newer(self) -> None:
        """It knows schema 3."""
        self._patch.undo()
        versions: Any = SCHEMA_VERSIONS
        upcasters: Any = UPCASTERS
        self._patch.setitem(versions, TYPE, 3)
        self._patch.setitem(upcasters, (TYPE, 1), rename)
        self._patch.setitem(upcasters, (TYPE, 2), add_summary)


@pytest.fixture
def version() -> Iterator[Versions]:
    with pytest.MonkeyPatch.context() as patch:
        yield Versions(patch)


@pytest.mark.interpreted
async def test_a_newer_version_reads_what_an_older_one_wrote(lite: InvestigationSDK, version: Versions) -> None:
    version.older()
    async with lite.investigation("written by an older version") as run:
        for text in (SHORT, LONG, LARGE):
            answer(text)
        run.result = 1
    before = await lite.events(run.id, event_type=TYPE)
    assert [set(e.event_data) for e in before] == [{"call", "completed_at", "duration_ms", "returned"}] * 3

    version.newer()
    read = await lite.events(run.id, event_type=TYPE)
    assert [e.event_data["summary"] for e in read] == ["7 characters", "2002 characters", "111 characters"]
    assert all("returned" not in e.event_data for e in read)
    streamed = [e async for e in lite.iter_events(run.id, event_type=TYPE)]
    assert streamed == list(read)
    calls = await lite.tools(run.id)
    assert [await lite.payload(run.id, call.output_result) for call in calls] == [SHORT, LONG, LARGE]
    assert (await lite.verify(run.id)).ok, "the stored bytes are as they were"
    assert [e.hash for e in read] == [e.hash for e in before]


@pytest.mark.interpreted
async def test_the_fold_sees_the_newest_schema_and_the_log_is_folded_on(
    lite: InvestigationSDK, version: Versions
) -> None:
    version.older()
    with pytest.raises(RuntimeError):
        async with lite.investigation("went on by a newer version") as run:
            answer(SHORT)
            raise RuntimeError
    version.newer()
    async with lite.attach(run.id) as again:
        answer(LONG)
        stored = await read_after(lite._recorder.backend, run.id, 0)
        again.result = 2
    fold = Fold(run.id)
    fold.history, fold.touched = {}, {}
    for event in stored:
        fold.apply(to_event(event))
    ends = [event for event in map(to_event, stored) if event.type == TYPE]
    assert [(e.schema_version, "output" in e.data, "summary" in e.data) for e in ends] == [
        (1, True, True),
        (3, True, False),
    ]
    assert [json.loads(e.header)["schema"] for e in stored if e.event_type == TYPE] == [1, 3]
    assert fold.calls == {}
    assert [e.event_type for e in stored].count(TYPE) == 2
    assert (await lite.verify(run.id)).ok


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent / "events").glob("*.v1.json")), ids=lambda path: path.stem
)
def test_every_golden_event_of_schema_1_folds_in_a_version_that_knows_schema_3(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = json.loads(path.read_text(encoding="utf-8"))
    event_type = path.stem.removesuffix(".v1")
    seen: list[int] = []

    def step(version: int) -> Any:
        def upcaster(data: dict[str, Any]) -> dict[str, Any]:
            seen.append(version)
            return {**data, f"since_{version + 1}": True}

        return upcaster

    known: Any = SCHEMA_VERSIONS
    upcasters: Any = UPCASTERS
    monkeypatch.setitem(known, event_type, 3)
    for version in (1, 2):
        monkeypatch.setitem(upcasters, (event_type, version), step(version))
    header = json.loads(golden["header"])
    assert header["schema"] == 1
    data = upcast(header["type"], 1, json.loads(golden["event_data"]))
    assert seen == [1, 2], "in order, one version at a time"
    assert data == {**json.loads(golden["event_data"]), "since_2": True, "since_3": True}


@pytest.mark.interpreted
async def test_an_older_version_refuses_what_it_does_not_know(lite: InvestigationSDK, version: Versions) -> None:
    version.newer()
    async with lite.investigation("written by a newer version") as run:
        answer(LONG)
    version.older()
    message = r"Event \d+ \(tool.completed\) of investigation .* upgrade investigation-sdk"
    with pytest.raises(SchemaMismatch, match=message):
        for event in await read_after(lite._recorder.backend, run.id, 0):
            to_event(event)
    with pytest.raises(SchemaMismatch, match=r"of schema 3 .* knows schemas up to 1: upgrade"):
        await lite.tools(run.id)
    assert (await lite.verify(run.id)).ok, "the chain can be checked by any version"
    (read,) = await lite.events(run.id, event_type=TYPE)
    assert read.event_data["output"] == LONG, "and the log looked at"
