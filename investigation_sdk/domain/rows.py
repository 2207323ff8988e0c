"""Rows: what the log projects to, one named tuple per table, its fields in the order of the columns.

Values are plain: ids and enumerations are text, times are µs since the epoch (UTC), JSON is its text,
decimals are their text. None is NULL. Which fields never change after the first write is said per row,
so that a backend can leave them out of its updates.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias


class InvestigationRow(NamedTuple):
    """Table ``investigations``."""

    id: str
    tenant_id: str
    user_id: str | None
    subject: str
    investigation_type: str
    key: str | None
    generation: int
    """1 for the first investigation of a key; unique with tenant, type and key where a key is present."""
    parent_investigation_id: str | None
    metadata: str
    configuration: str
    created_at: int
    # what follows changes
    status: str
    version: int
    """The sequence of the last event."""
    head: bytes
    """The hash of the last event, 32 bytes."""
    token: str | None
    """Id of the ``investigation.claimed`` event of whoever drives it; None when nobody does."""
    owner: str | None
    attempt: int
    current_phase: str | None
    progress_percentage: int
    started_at: int | None
    completed_at: int | None
    failed_at: int | None
    updated_at: int
    retry_count: int
    error_message: str | None
    failure_kind: str | None
    result: str | None
    last_checkpoint: str | None
    resume_requested: int
    tokens_used: int
    api_calls_made: int
    cost_estimate: str
    activity: str = "{}"
    """JSON: since when it is running, and which calls are open; see :mod:`investigation_sdk.domain.activity`."""
    priority: int = 0
    """Among those that are queued, the higher goes first."""
    claimable_at: int | None = None
    """From when on a worker may take it up, by the store's clock, 0 for at once; None where none may: it is driven,
    paused, finished, or was never queued."""


class PhaseRow(NamedTuple):
    """Table ``investigation_phases``."""

    id: str
    investigation_id: str
    phase_name: str
    phase_order: int
    # what follows changes
    status: str
    progress_percentage: int
    weight: float
    tools: str
    attempt: int
    started_at: int | None
    completed_at: int | None
    duration_ms: int | None
    input_data: str | None
    output_data: str | None
    error_details: str | None
    input_sequence: int | None
    output_sequence: int | None
    sequence: int
    """The last event that changed this row."""
    activity: str = "{}"
    """JSON: which tools were called in it."""


class ToolRow(NamedTuple):
    """Table ``tool_executions``. A payload that is not inline is NULL, and stands in the event whose
    sequence is in `input_sequence` or `output_sequence`."""

    id: str
    """Also the id of the call's ``tool.started`` event."""
    investigation_id: str
    tenant_id: str
    """That of its investigation, so that calls across investigations can be told apart."""
    phase_id: str | None
    agent_name: str
    tool_name: str
    tool_version: str | None
    started_at: int
    effect: str | None
    source: str
    attempt: int
    parent_call_id: str | None
    input_parameters: str | None
    input_sequence: int
    # what follows changes
    completed_at: int | None
    duration_ms: int | None
    status: str
    output_result: str | None
    output_sequence: int | None
    error_message: str | None
    result_summary: str | None
    tokens_used: int | None
    api_calls_made: int | None
    cost_estimate: str | None
    sequence: int
    """The last event that changed this row."""


class SnapshotRow(NamedTuple):
    """Table ``investigation_snapshots``."""

    id: str
    investigation_id: str
    sequence: int
    """The event up to which the snapshot has folded."""
    schema_version: int
    snapshot_timestamp: int
    snapshot_type: str
    state_data: str
    phase_states: str
    tool_states: str


Row: TypeAlias = InvestigationRow | PhaseRow | ToolRow

ROW_TYPES: Final[dict[str, type[InvestigationRow | PhaseRow | ToolRow | SnapshotRow]]] = {
    "investigation": InvestigationRow,
    "phase": PhaseRow,
    "tool": ToolRow,
    "snapshot": SnapshotRow,
}
"""Row type by kind."""


class StoredEvent(NamedTuple):
    """One event as it is stored: table ``investigation_events``.

    `header` and `event_data` are JSON text exactly as hashed; a backend keeps them byte for byte. The other
    fields are derived from the header when the event is sealed, so that a store can index and show them.
    """

    investigation_id: str
    sequence: int
    """1, 2, 3, … without a gap."""
    id: str
    event_type: str
    event_timestamp: int
    """µs since the epoch; never smaller than that of the event before."""
    actor: str | None
    previous_state: str | None
    new_state: str | None
    metadata: str | None
    header: str
    event_data: str
    hash: bytes
    """32 bytes; see :mod:`investigation_sdk.storage.chain`."""
