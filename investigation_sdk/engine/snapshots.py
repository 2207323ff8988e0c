"""Snapshots: what a fold stands for at one event, written in that event's commit, and read back where it suffices.

A snapshot is the rows of that moment: of the investigation, its phases, and the calls that are open, and how often each
tool was called until then. It has no results, and never wins over the log: it counts only where the event that it names
has the hash that it names.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final, NamedTuple, TypeVar

from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.project import phase_row, tool_row
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, SnapshotRow, ToolRow
from investigation_sdk.domain.unproject import fold_from_rows
from investigation_sdk.engine.sound import oddity, sound_json
from investigation_sdk.engine.texts import json_text
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.codec import decode
from investigation_sdk.storage.commit import Commit, StoredEvent

RowT = TypeVar("RowT", InvestigationRow, PhaseRow, ToolRow)

SCHEMA: Final = 1
"""Of what is written here; another one is not read."""

EVERY: Final = 500
"""Events between two snapshots, where nobody says otherwise."""

_MOST: Final = 1000
"""With more phases and open calls than that, no snapshot is made: it would cost more than it spares."""

_PAGE: Final = 1000


def snapshot_of(commit: Commit, fold: Fold, why: str, id: str | None) -> SnapshotRow | None:
    """The snapshot that goes with a commit; None where it would be too large.

    Args:
        commit: Sealed; its first row is the investigation's.
        fold: Of all events up to its last.
        why: ``checkpoint`` or ``periodic``.
        id: Of the snapshot that it replaces, because that one could not be read.
    """
    last = commit.events[-1]
    if len(fold.phases) + len(fold.calls) > _MOST:
        return None
    phases = {name: _said(phase_row(fold.id, phase, json_text)) for name, phase in fold.phases.items()}
    calls = [_said(tool_row(fold.id, fold.tenant, call, None, json_text)) for call in fold.calls.values()]
    return SnapshotRow(
        id or uuid7(),
        fold.id,
        last.sequence,
        SCHEMA,
        last.event_timestamp,
        why,
        json_text(_said(commit.rows[0])),
        json_text(phases),
        json_text({"running": calls, "calls": fold.counts}),
    )


def _said(row: Any) -> dict[str, Any]:
    """A row as JSON has it: by column, without those that are NULL."""
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in zip(row._fields, row, strict=True)
        if value is not None
    }


class Base(NamedTuple):
    """What of a log need not be folded again."""

    fold: Fold | None
    """As of the snapshot; None where there is none that can be used."""
    unusable: SnapshotRow | None = None
    """The latest snapshot, if it cannot be used."""
    reason: str = ""
    """Why it cannot."""


async def read_base(backend: Backend, investigation_id: str, version: int) -> Base:
    """The latest snapshot of a log of that version, as a fold, if it is what it should be and the log agrees.

    Raises:
        BackendUnavailable: the store does not answer.
    """
    snapshot = await backend.read_snapshot(investigation_id)
    if snapshot is None:
        return Base(None)
    try:
        fold, head = unpack(snapshot)
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        return Base(None, snapshot, (str(error).splitlines() or [""])[0][:200])
    if fold.version > version:
        return Base(None, snapshot, f"it is of event {fold.version}, and the log ends at {version}")
    at = await backend.read_events(investigation_id, after=fold.version - 1, limit=1)
    if not at or at[0].sequence != fold.version or at[0].hash != head:
        return Base(None, snapshot, f"event {fold.version} of the log has another hash")
    return Base(fold)


def unpack(snapshot: SnapshotRow) -> tuple[Fold, bytes]:
    """The fold that a snapshot stands for, and the hash of its last event.

    Raises:
        ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError: it is not what the SDK of
            this version writes.
    """
    if snapshot.schema_version != SCHEMA:
        raise ValueError(f"it has schema {snapshot.schema_version}; this version reads {SCHEMA}")
    tools: dict[str, Any] = decode(snapshot.tool_states)
    row = _row(InvestigationRow, decode(snapshot.state_data))
    phases = [_row(PhaseRow, said) for said in decode(snapshot.phase_states).values()]
    calls = [_row(ToolRow, said) for said in tools["running"]]
    if (row.id, row.version) != (snapshot.investigation_id, snapshot.sequence) or row.version < 1:
        raise ValueError("it is of another investigation, or of another event than it says")
    fold = fold_from_rows(row, phases, calls, sound_json)
    counts: dict[Any, Any] = tools["calls"]
    if not all(type(name) is str and type(count) is int for name, count in counts.items()):
        raise ValueError("its counts are no numbers")
    fold.counts = counts
    return fold, row.head


def _row(of: type[RowT], said: Any) -> RowT:
    values = {name: said.get(name) for name in of._fields}
    if unknown := said.keys() - values.keys():
        raise ValueError(f"it has columns that are not known: {', '.join(sorted(unknown))[:100]}")
    if of is InvestigationRow:
        values["head"] = bytes.fromhex(said["head"])
    row = of(**values)
    odd = oddity(row)
    if odd is not None:
        raise ValueError(odd)
    return row


async def count_calls(backend: Backend, investigation_id: str, base: Fold | None, until: int) -> Counter[str]:
    """How often each tool was called until that event; `base` knows it until its own."""
    counts = Counter({} if base is None else base.counts)
    after = 0 if base is None else base.version
    while True:
        page = await backend.read_events(investigation_id, after=after, limit=_PAGE, event_type=("tool.started",))
        counts.update(_tool_of(stored) for stored in page if stored.sequence <= until)
        if len(page) < _PAGE or page[-1].sequence > until:
            return counts
        after = page[-1].sequence


def _tool_of(stored: StoredEvent) -> str:
    try:
        return str(json.loads(stored.event_data)["tool"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return ""  # counted, at least; verify says what is wrong with it
