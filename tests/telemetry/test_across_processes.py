"""A trace goes from who submits an investigation to the process that works on it, by way of the store."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from investigation_sdk import InvestigationSDK
from tests.telemetry.collected import Collected

pytestmark = pytest.mark.server  # it starts processes
WORKER = Path(__file__).with_name("worker.py")


async def works(*arguments: str, status: int = 0) -> list[dict[str, Any]]:
    """The spans of a worker process."""
    command = [sys.executable, str(WORKER), *arguments]
    run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == status, run.stderr[-2000:]
    return [json.loads(line) for line in run.stdout.splitlines()]


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return format(span.context.trace_id, "032x")


async def test_a_trace_goes_out_to_workers_and_a_resume_is_linked_to_what_a_dead_one_had_begun(
    sqlite_url: str, otel: Collected
) -> None:
    async with InvestigationSDK(sqlite_url, telemetry=otel.options()) as sdk:
        with otel.tracer_provider.get_tracer("user").start_as_current_span("POST /investigations"):
            made = await sdk.submit("fraud", "account 42")
        assert await works(sqlite_url, made.id, "dies", status=7) == []  # a span that never ended is never told
        (event,) = await sdk.events(made.id, event_type="investigation.started")
    _, trace, span, _ = event.metadata["trace"]["traceparent"].split("-")
    assert trace == trace_of(otel.one("POST /investigations"))

    (block,) = await works(sqlite_url, made.id)
    assert block["name"] == "invoke_workflow fraud"
    assert block["context"]["trace_id"] != f"0x{trace}"
    assert block["parent_id"] is None
    (link,) = block["links"]
    assert (link["context"]["trace_id"], link["context"]["span_id"]) == (f"0x{trace}", f"0x{span}")
    assert block["attributes"]["investigation.attempt"] == 2
