"""Valid commits without an engine: what a test appends, chained as the engine would chain it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, Row, SnapshotRow, ToolRow
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import APPLIED, CHUNK_BYTES, GENESIS, Blob, Commit, Lease, StoredEvent

TIME = 1_764_000_000_000_000
"""The time of event 0 of every case, µs; each event is 1 µs later."""


class Case:
    """One investigation as a test knows it: the next commit is made on top of `version` and `head`.

    Args:
        fields: Of :class:`InvestigationRow`, where they should differ from the defaults.
    """

    def __init__(self, **fields: Any) -> None:
        self.row: InvestigationRow = InvestigationRow(
            id=uuid7(),
            tenant_id="",
            user_id=None,
            subject="account 42 taken over",
            investigation_type="fraud",
            key=None,
            generation=1,
            parent_investigation_id=None,
            metadata="{}",
            configuration="{}",
            created_at=TIME,
            status="running",
            version=0,
            head=GENESIS,
            token=None,
            owner=None,
            attempt=1,
            current_phase=None,
            progress_percentage=0,
            started_at=None,
            completed_at=None,
            failed_at=None,
            updated_at=TIME,
            retry_count=0,
            error_message=None,
            failure_kind=None,
            result=None,
            last_checkpoint=None,
            resume_requested=0,
            tokens_used=0,
            api_calls_made=0,
            cost_estimate="0",
            priority=0,
            claimable_at=None,
        )._replace(**fields)
        self.events: list[StoredEvent] = []

    @classmethod
    def of(cls, row: InvestigationRow) -> Case:
        """The case that a stored row tells of; its earlier events are not known."""
        case = cls()
        case.row = row
        return case

    @property
    def id(self) -> str:
        """The investigation's id."""
        return self.row.id

    def commit(
        self,
        *types: str,
        data: str = "{}",
        rows: Sequence[Row] = (),
        blobs: Sequence[Blob] = (),
        snapshot: SnapshotRow | None = None,
        snapshots_from: int = 0,
        lease: Lease | None = None,
        **changes: Any,
    ) -> Commit:
        """A commit on top of what is known; the case itself does not move.

        Args:
            types: Of the events; one note if there are none.
            data: ``event_data`` of each.
            rows: Phases and calls that are written with it.
            blobs: To be stored with it.
            snapshot: To be stored with it.
            snapshots_from: Snapshots of a lower sequence are to be deleted with it.
            lease: To be taken with it.
            changes: Of the investigation's row.
        """
        version, head = self.row.version, self.row.head
        events: list[StoredEvent] = []
        for event_type in types or ("note.recorded",):
            event = stored_event(self.id, version + len(events) + 1, event_type, data, head)
            head = event.hash
            events.append(event)
        row = self.row._replace(version=version + len(events), head=head, updated_at=events[-1].event_timestamp)
        row = row._replace(**changes)
        return Commit(
            events[0].id,
            self.id,
            version,
            self.row.head,
            events,
            [row, *rows],
            blobs,
            snapshot=snapshot,
            snapshots_from=snapshots_from,
            lease=lease,
        )

    def moved(self, commit: Commit) -> None:
        """The commit was applied."""
        row = commit.rows[0]
        assert isinstance(row, InvestigationRow)
        self.row = row
        self.events += commit.events

    async def apply(self, backend: Backend, commit: Commit | None = None) -> Commit:
        """Have a commit applied (a plain one by default), and move."""
        commit = self.commit() if commit is None else commit
        results = await backend.commit([commit])
        assert list(results) == [APPLIED], f"a valid commit was answered {results}"
        self.moved(commit)
        return commit

    def phase(self, **fields: Any) -> PhaseRow:
        """A phase of this investigation."""
        return PhaseRow(
            id=uuid7(),
            investigation_id=self.id,
            phase_name="device",
            phase_order=1,
            status="running",
            progress_percentage=0,
            weight=1.0,
            tools="[]",
            attempt=1,
            started_at=TIME,
            completed_at=None,
            duration_ms=None,
            input_data=None,
            output_data=None,
            error_details=None,
            input_sequence=None,
            output_sequence=None,
            sequence=1,
        )._replace(**fields)

    def tool(self, **fields: Any) -> ToolRow:
        """A call of this investigation."""
        return ToolRow(
            id=uuid7(),
            investigation_id=self.id,
            tenant_id=self.row.tenant_id,
            phase_id=None,
            agent_name="device_agent",
            tool_name="fingerprint",
            tool_version=None,
            started_at=TIME,
            effect="read",
            source="executed",
            attempt=1,
            parent_call_id=None,
            input_parameters='{"device_id":"d-17"}',
            input_sequence=1,
            completed_at=None,
            duration_ms=None,
            status="running",
            output_result=None,
            output_sequence=None,
            error_message=None,
            result_summary=None,
            tokens_used=None,
            api_calls_made=None,
            cost_estimate=None,
            sequence=1,
        )._replace(**fields)

    def snapshot(self, sequence: int, **fields: Any) -> SnapshotRow:
        """A snapshot of this investigation."""
        return SnapshotRow(uuid7(), self.id, sequence, 1, TIME, "periodic", "{}", "{}", "{}")._replace(**fields)


def blob(data: bytes) -> Blob:
    """A blob with the digest that it must have."""
    return Blob(hashlib.sha256(data).hexdigest(), data)


async def blob_data(backend: Backend, investigation_id: str, digest: str) -> bytes:
    """All of a stored blob, its pieces checked; empty where there is none."""
    found = [chunk async for chunk in backend.read_blob(investigation_id, digest)]
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in found), f"pieces of {[len(chunk) for chunk in found]} bytes"
    return b"".join(found)


async def check_blob(backend: Backend, investigation_id: str, expected: Blob) -> None:
    """A stored blob has the bytes that it must have."""
    found = await blob_data(backend, investigation_id, expected.digest)
    same = found == expected.data  # in the assert, pytest would explain for minutes how two long ones differ
    assert same, f"{len(found)} bytes that are not the {len(expected.data)} that were stored"


_JSON = (
    frozenset({"metadata", "configuration", "result", "last_checkpoint"})
    | {"tools", "input_data", "output_data", "error_details", "input_parameters", "output_result"}
    | {"state_data", "phase_states", "tool_states"}
)


def same(stored: Row | SnapshotRow | None, wanted: Row | SnapshotRow) -> bool:
    """Whether a stored row is the wanted one.

    JSON in rows may be kept in another form of the same value, with its members in another order: the log alone is
    kept byte for byte. But 1e22 is a float and not a whole number, and -0.0 is not 0.0. Values are of Python's own
    types: an instance of a driver's class that equals a number would be written as something else into the next event.
    """
    if stored is None or type(stored) is not type(wanted):
        return False
    return all(
        (mine == theirs and type(mine) is type(theirs))
        or (name in _JSON and isinstance(mine, str) and isinstance(theirs, str) and _value(mine) == _value(theirs))
        for name, mine, theirs in zip(wanted._fields, stored, wanted, strict=True)
    )


def _value(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)


def all_same(stored: Sequence[Row | SnapshotRow], wanted: Sequence[Row | SnapshotRow]) -> bool:
    """Whether these are the wanted rows, in order; see :func:`same`."""
    return len(stored) == len(wanted) and all(map(same, stored, wanted))


def stored_event(
    investigation_id: str, sequence: int, event_type: str, data: str, previous: bytes, **fields: Any
) -> StoredEvent:
    """One event; its hash covers the one before, header and data.

    The engine's own format says more, which is nothing that a store must care for.
    """
    id = uuid7()
    at = TIME + sequence
    described = {"at": at, "id": id, "investigation": investigation_id, "sequence": sequence, "type": event_type}
    header = json.dumps(described, separators=(",", ":"))
    digest = hashlib.sha256(previous + header.encode() + data.encode("utf-8", "surrogatepass")).digest()
    event = StoredEvent(investigation_id, sequence, id, event_type, at, None, None, None, None, header, data, digest)
    return event._replace(**fields)
