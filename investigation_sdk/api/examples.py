"""Examples for the description of the API: one investigation of an account, as each endpoint shows it.

FastAPI leaves members that are null out of what it shows of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

ID: Final = "019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b7e"
_PHASE: Final = "019a1f3e-7c2a-7a01-8c55-3d0c8d5f2a11"
_CALL: Final = "019a1f3e-7c3f-7b90-b0a4-92c1e6c2d7f3"
_BEGAN: Final = "2026-11-25T15:55:00.123456Z"
_ENDED: Final = "2026-11-25T15:55:02.456789Z"
_USAGE: Final = {"tokens_used": 1840, "api_calls_made": 2, "cost_estimate": "0.0092"}

RUNNING: Final[dict[str, Any]] = {
    "id": ID,
    "user_id": "gil",
    "subject": "account 42 taken over",
    "investigation_type": "account_takeover",
    "key": "case-981",
    "status": "running",
    "current_phase": "devices",
    "progress_percentage": 35,
    "created_at": _BEGAN,
    "started_at": _BEGAN,
    "completed_at": None,
    "failed_at": None,
    "updated_at": _ENDED,
    "retry_count": 0,
    "error_message": None,
    "failure_kind": None,
    "parent_investigation_id": None,
    "result": None,
    "metadata": {"region": "eu"},
    "configuration": {"device": "d-17"},
    "usage": _USAGE,
    "version": 9,
    "tenant_id": "acme",
}


def _stands(status: str, version: int) -> dict[str, Any]:
    return {**RUNNING, "status": status, "version": version}


QUEUED: Final[dict[str, Any]] = {
    **_stands("queued", 2),
    "current_phase": None,
    "progress_percentage": 0,
    "started_at": None,
    "updated_at": _BEGAN,
    "usage": {"tokens_used": 0, "api_calls_made": 0, "cost_estimate": "0"},
}
PAUSED: Final = _stands("paused", 10)
CANCELLED: Final[dict[str, Any]] = {**_stands("cancelled", 10), "current_phase": None}
RETRYING: Final[dict[str, Any]] = {**_stands("retrying", 12), "current_phase": None, "retry_count": 1}

EVENT: Final[dict[str, Any]] = {
    "id": _CALL,
    "investigation_id": ID,
    "sequence": 8,
    "event_type": "tool.started",
    "event_timestamp": _BEGAN,
    "actor": None,
    "previous_state": None,
    "new_state": None,
    "event_data": {"tool": "fingerprint", "agent": "device_agent", "input": {"device": "d-17"}},
    "metadata": {},
    "hash": "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4",
}
PHASE: Final[dict[str, Any]] = {
    "id": _PHASE,
    "investigation_id": ID,
    "phase_name": "devices",
    "phase_order": 1,
    "status": "running",
    "progress_percentage": 50,
    "started_at": _BEGAN,
    "completed_at": None,
    "duration_ms": None,
    "input_data": None,
    "output_data": None,
    "error_details": None,
}
CALL: Final[dict[str, Any]] = {
    "id": _CALL,
    "investigation_id": ID,
    "phase_id": _PHASE,
    "agent_name": "device_agent",
    "tool_name": "fingerprint",
    "tool_version": "1",
    "started_at": _BEGAN,
    "completed_at": _ENDED,
    "duration_ms": 2333,
    "status": "completed",
    "input_parameters": {"device": "d-17"},
    "output_result": {"known": False},
    "error_message": None,
    "tokens_used": 1840,
    "api_calls_made": 2,
    "cost_estimate": "0.0092",
    "effect": "read",
    "source": "executed",
    "attempt": 1,
    "result_summary": "known: False",
}
SNAPSHOT: Final[dict[str, Any]] = {
    "id": "019a1f3e-7c4d-7e10-9d2e-51a7c0b8f604",
    "investigation_id": ID,
    "snapshot_timestamp": _ENDED,
    "snapshot_type": "checkpoint",
    "state_data": {"sequence": 9, "row": {"status": "running"}},
    "phase_states": {"rows": [{"phase_name": "devices", "status": "running"}]},
    "tool_states": {"open": [], "counts": {"fingerprint": 1}},
}
PROGRESS: Final[dict[str, Any]] = {
    "investigation_id": ID,
    "status": "running",
    "overall_progress": 35,
    "current_phase": {"name": "devices", "progress": 50, "status": "running", "elapsed_ms": 2333},
    "phases": [
        {
            "name": "devices",
            "status": "running",
            "progress": 50,
            "elapsed_ms": 2333,
            "active_tool": "geo",
            "tools_used": ["fingerprint", "geo"],
            "tools_completed": ["fingerprint"],
            "tools_pending": ["velocity"],
        },
        {"name": "verdict", "status": "pending", "progress": 0},
    ],
    "tool_executions": [
        {
            "tool": "fingerprint",
            "agent": "device_agent",
            "status": "completed",
            "duration_ms": 1200,
            "result_summary": "known: False",
        }
    ],
    "estimated_completion": "2026-11-25T15:55:09Z",
    "state_transitions": [{"from": "initializing", "to": "running", "timestamp": _BEGAN}],
    "tool_calls": 2,
    "running": [
        {"tool": "geo", "agent": "device_agent", "phase": "devices", "started_at": _ENDED, "elapsed_ms": 900},
    ],
    "running_calls": 1,
    "estimate": {
        "earliest": "2026-11-25T15:55:06Z",
        "likely": "2026-11-25T15:55:09Z",
        "latest": "2026-11-25T15:55:20Z",
        "runs": 12,
        "basis": "12 past runs of account_takeover",
    },
    "elapsed_ms": 2333,
    "usage": _USAGE,
    "attempt": 1,
    "version": 9,
    "events": None,
}
METRICS: Final[dict[str, Any]] = {
    "started": 12,
    "completed": 10,
    "failed": 1,
    "cancelled": 0,
    "completion_rate": 0.909,
    "phase_durations_ms": {
        "devices": {"count": 11.0, "avg": 2150.0, "p50": 2011.0, "p95": 3920.0, "p99": 4102.0, "max": 4102.0}
    },
    "tool_success_rate": {"fingerprint": 0.98},
    "transitions": {"->created": 12, "running->failed": 1},
    "time_in_state_ms": {"queued": {"count": 12.0, "avg": 41.0, "p50": 32.0, "p95": 120.0, "p99": 133.0, "max": 133.0}},
    "transitions_by": {"->created": {"gil": 12}},
    "reasons": {"running->failed": {"the device API answered 500": 1}},
    "failure_kinds": {"error": 1},
    "usage": _USAGE,
}
STATE: Final[dict[str, Any]] = {"investigation_id": ID, "status": "cancelled", "allowed": []}
TICKET: Final[dict[str, Any]] = {"ticket": "eyJwcmluY2lwYWwiOnt9fQ.5f2c…", "expires_at": "2026-11-25T15:56:00Z"}
STREAM: Final = 'id: 8\nevent: tool.started\ndata: {"type": "tool.started", "sequence": 8, "data": {}}\n\n'

PROBLEMS: Final[Mapping[int, tuple[str, dict[str, Any]]]] = {
    400: ("The body cannot be read", {"title": "Bad Request", "detail": "There was an error parsing the body"}),
    401: ("Not authenticated", {"title": "Unauthorized", "detail": "Not authenticated."}),
    403: (
        "The principal's roles do not allow it, or a page of another origin sent it",
        {
            "title": "Forbidden",
            "detail": f"'ana' may not cancel investigation {ID}. These roles may: operator, admin.",
            "error": "AccessDenied",
            "investigation_id": ID,
        },
    ),
    404: (
        "There is none, or it is another tenant's",
        {
            "title": "Not Found",
            "detail": f"There is no investigation {ID} in this store.",
            "error": "InvestigationNotFound",
            "investigation_id": ID,
        },
    ),
    409: (
        "Its state does not allow it; `allowed` has what can follow",
        {
            "title": "Conflict",
            "detail": f"Investigation {ID} is queued and cannot become paused.",
            "error": "InvalidStateTransition",
            "investigation_id": ID,
            "current": "queued",
            "allowed": ["initializing", "cancelled"],
        },
    ),
    413: (
        "The body is too large",
        {"title": "Content Too Large", "detail": "The body is longer than 1048576 bytes."},
    ),
    415: (
        "The body is not JSON",
        {
            "title": "Unsupported Media Type",
            "detail": "The body is to be JSON, and is said to be 'text/plain'. Send Content-Type: application/json.",
        },
    ),
    422: (
        "Not as described here",
        {
            "title": "Unprocessable Content",
            "detail": "The request is not as the API describes it.",
            "errors": [{"loc": ["query", "limit"], "msg": "Input should be at least 1", "type": "greater_than_equal"}],
        },
    ),
    503: (
        "The store does not answer",
        {
            "title": "Service Unavailable",
            "detail": "The store does not answer. Try again.",
            "error": "BackendUnavailable",
        },
    ),
}
"""By status: when it is answered, and what the body says besides ``type`` and ``status``."""
