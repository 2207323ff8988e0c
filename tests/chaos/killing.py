"""Running the victim, and looking at what it left."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from investigation_sdk import InvestigationSDK, Resolution, ToolState
from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.project import investigation_row, phase_row, tool_row
from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.engine.reading import to_event
from investigation_sdk.engine.repair import read_after
from investigation_sdk.engine.texts import json_text
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import Query, Where

VICTIM = Path(__file__).with_name("victim.py")
RESULT = {"found": [0, 1, 2], "verdict": "guilty", "tickets": ["T-a", "T-b", "T-c"], "frozen": True}
EFFECTS = ["read 0", "read 1", "read 2", "think [0, 1, 2]", "ticket a", "ticket b", "ticket c", "freeze 42"]
SECONDS = 60


def victim(url: str, effects: Path, kill: str = "never") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(VICTIM), url, str(effects), kill]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def effects_of(file: Path) -> Counter[str]:
    return Counter(file.read_text().splitlines()) if file.exists() else Counter()


def finished(sdk: InvestigationSDK) -> set[str]:
    """The effects of calls whose end is in the log."""
    found = sdk.sync.find(key="v")
    if found is None:
        return set()
    calls = sdk.sync.tools(found.id, status=ToolState.COMPLETED, limit=1000)
    argument = {"read": "n", "think": "about", "ticket": "title", "freeze": "account"}
    return {f"{call.tool_name} {call.input_parameters[argument[call.tool_name]]}" for call in calls}


def go_on(sdk: InvestigationSDK, url: str, effects: Path) -> None:
    """Run it to its end; where it asks what became of an unsafe call, say what did."""
    answer(sdk, effects)  # it may have asked before it was killed
    for _ in range(3):
        done = victim(url, effects)
        if done.returncode == 0:
            return
        assert done.returncode == 3, done.stderr
        assert done.stdout.strip() in answer(sdk, effects)
    raise AssertionError("it asked again and again")


def answer(sdk: InvestigationSDK, effects: Path) -> list[str]:
    """Of one that is paused, resolve what is unknown, and let it go on; the ids of those calls."""
    found = sdk.sync.find(key="v")
    if found is None or found.status != "paused":
        return []
    frozen = effects_of(effects)["freeze 42"]
    resolution = Resolution(outcome="succeeded", result=True) if frozen else Resolution(outcome="not_executed")
    unknown = [call.id for call in sdk.sync.tools(found.id, status=ToolState.UNKNOWN)]
    for call in unknown:
        sdk.sync.service.resolve(call, resolution, actor="test")
    sdk.sync.service.resume(found.id)
    return unknown


def check_record(sdk: InvestigationSDK) -> None:
    """The record is whole: result, chain, and rows that are what the log adds up to."""
    found = sdk.sync.find(key="v")
    assert found is not None
    assert (found.status, found.result) == ("completed", RESULT)
    report = sdk.sync.verify(found.id)
    assert report.ok, report.problems
    recorder: Any = sdk.sync._recorder
    recorder.call(_check_rows(recorder.backend, found.id))


async def _check_rows(backend: Backend, id: str) -> None:
    events = await read_after(backend, id, 0)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    fold = Fold(id)
    fold.touched, fold.history = {}, {}
    for stored in events:
        fold.apply(to_event(stored))
    row = await backend.get("investigation", id)
    assert isinstance(row, InvestigationRow)
    assert row == investigation_row(fold, events[-1].sequence, events[-1].hash, json_text)
    touched: Any = fold.touched
    phases = {p.id: phase_row(id, p, json_text) for p in fold.phases.values()}
    pairs = {key: item for key, item in touched.items() if isinstance(item, tuple)}
    calls = {key: tool_row(id, "", started, ended, json_text) for key, (started, ended) in pairs.items()}
    for kind, expected in (("phase", phases), ("tool", calls)):
        rows = await backend.find(Query(kind, (Where("investigation_id", "=", id),), limit=1000))  # type: ignore[arg-type]
        assert {r.id: r for r in rows} == expected


__all__ = ["EFFECTS", "check_record", "effects_of", "finished", "go_on", "victim"]
