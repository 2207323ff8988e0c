"""Makes golden files that are missing: events exactly as the SDK stores them, from real runs on ``memory://``.

    python tests/golden/generate.py

Run by hand when a type of event or a new schema version is added. A file that is there is never written again: it
stands for logs that people have. ``events/<type>.v<schema>.json`` has one event, ``logs/<name>.json`` a whole log
and what it adds up to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

from investigation_sdk import InvestigationSDK, PhasePlan, Resolution, agent, current_tool, tool
from investigation_sdk.domain.states import Effect
from investigation_sdk.engine import opening
from investigation_sdk.errors import InvestigationCancelled, InvestigationPaused, UnknownOutcome
from investigation_sdk.storage.commit import GENESIS, StoredEvent
from investigation_sdk.testing.simulation import SimulatedCrash, crash_at

HERE = Path(__file__).parent
OWNER = "host-1.0a1b2c3d4e5f/3f6c/4026531836/4711/380423/01a205e0"
CHOSEN = {  # which of several events of a type is the golden one: the last whose data has this in it
    "investigation.failed": '"traceback"',
    "phase.failed": '"traceback"',
    "phase.started": '"input"',
    "resume.summary": '"reused":1',
    "state.transition": '"reason"',
    "tool.completed": '"usage"',
    "tool.interrupted": '"crashed"',
    "tool.started": '"effect":"unsafe"',
}


@tool(agent="device_agent", version="2.1")
def fingerprint_analyzer(device_id: str) -> dict[str, Any]:
    current_tool().report(tokens_used=812, api_calls_made=2, cost_estimate=Decimal("0.0137"), summary="1 Gerät, größer")
    return {"device": device_id, "score": 0.87, "seen": [whois("203.0.113.9")]}


@tool(effect=Effect.READ)
def whois(ip: str) -> dict[str, Any]:
    return {"ip": ip, "land": "Österreich", "flag": "🇦🇹"}


@tool(effect=Effect.IDEMPOTENT)
def block_card(card: str) -> object:
    return object()


@tool(effect=Effect.UNSAFE)
def wire_back(amount: Decimal) -> str:
    return f"{amount} EUR"


@tool
def flaky(reason: str) -> None:
    raise TimeoutError(reason)


def main_run(sdk: InvestigationSDK) -> str:
    """A run that crashes, is paused, fails, is retried, and completes."""
    plan = (PhasePlan("device_analysis", weight=3, tools=(fingerprint_analyzer,)), "network")
    with (
        contextlib.suppress(SimulatedCrash),
        crash_at("tool.completed", nth=4),
        sdk.investigation(
            "account 42 taken over",
            investigation_type="fraud",
            user_id="u-7",
            phases=plan,
            configuration={"depth": 3, "limit": 1e22},
            metadata={"opened by": "Jörg"},
        ) as run,
    ):
        with run.phase("device_analysis", input_data={"devices": ["d-17"]}) as phase:
            fingerprint_analyzer("d-17")
            with contextlib.suppress(TimeoutError):
                flaky("no route")
            phase.output_data = {"suspicious": True}
        run.record("fraud.hypothesis", {"text": "SIM swap", "likelihood": 0.7})
        run.report(tokens_used=100, cost_estimate=Decimal("0.002"))
        run.plan("letters", "verdict")
        run.skip_phase("letters", reason="no post")
        run.checkpoint({"cursor": 17})
        with run.phase("network"), agent("net_agent", version="3", model="small"):
            block_card("4111")
            wire_back(Decimal("12.50"))
    id = run.id
    service = sdk.sync.service
    with contextlib.suppress(InvestigationPaused), sdk.attach(id) as again, again.phase("network"):
        service.pause(id, "weekend", actor="anna")
        whois("203.0.113.10")
    service.resume(id, "monday", actor="anna")
    with contextlib.suppress(TimeoutError), sdk.attach(id) as again, again.phase("network"):
        flaky("still no route")
    service.retry(id, "route is back", actor="bob")
    (unknown,) = sdk.sync.tools(id, tool="wire_back")
    service.resolve(unknown.id, Resolution(outcome="not_executed", reason="not on the statement"), actor="bob")
    with sdk.attach(id) as again:
        with again.phase("network"):
            wire_back(Decimal("12.50"))
        with again.phase("verdict"):
            pass
        again.result = {"verdict": "fraud", "confidence": 0.93}
    return id


def cancelled_run(sdk: InvestigationSDK, *, error: bool) -> str:
    """A run that is cancelled from outside while its block goes on, and ends by itself."""
    with contextlib.suppress(InvestigationCancelled, ValueError), sdk.investigation("login from two places") as run:
        sdk.sync.service.cancel(run.id, "customer withdrew", actor="anna")
        if error:
            raise ValueError("no such account")
        run.result = {"verdict": "none"}
    return run.id


def resumed_run(sdk: InvestigationSDK) -> str:
    """A run that crashes in an unsafe call, is told what became of it, and goes on by its key."""

    def drive() -> None:
        with sdk.investigation("transfer held back", key="case-981") as run, run.phase("payments"):
            whois("203.0.113.9")
            wire_back(Decimal("99.90"))
            run.result = {"paid": True}

    with contextlib.suppress(SimulatedCrash), crash_at("tool.completed", nth=2):
        drive()
    with contextlib.suppress(UnknownOutcome):
        drive()
    found = sdk.sync.find(key="case-981")
    assert found is not None
    (unknown,) = sdk.sync.tools(found.id, tool="wire_back")
    resolution = Resolution(outcome="succeeded", result="99.90 EUR", reason="on the bank's statement")
    sdk.sync.service.resolve(unknown.id, resolution, actor="anna")
    sdk.sync.service.resume(found.id, "settled", actor="anna")
    drive()
    return found.id


# ---- files


def stored(sdk: InvestigationSDK, id: str) -> list[StoredEvent]:
    """The log as the store has it."""
    return list(asyncio.run(sdk._recorder.backend.read_events(id)))


def with_previous(log: list[StoredEvent]) -> Iterator[tuple[bytes, StoredEvent]]:
    head = GENESIS
    for event in log:
        yield head, event
        head = event.hash


def summary(sdk: InvestigationSDK, id: str) -> dict[str, Any]:
    """What a log adds up to, in words that outlive changes of the tables."""
    record, phases, calls = sdk.sync.get(id), sdk.sync.phases(id), sdk.sync.tools(id)
    return {
        "status": record.status.value,
        "version": record.version,
        "progress": record.progress_percentage,
        "retries": record.retry_count,
        "result": record.result,
        "tokens_used": record.usage.tokens_used,
        "api_calls_made": record.usage.api_calls_made,
        "cost_estimate": str(record.usage.cost_estimate),
        "phases": [[phase.phase_name, phase.status.value, phase.progress_percentage] for phase in phases],
        "calls": [[call.tool_name, call.status.value, call.attempt] for call in calls],
    }


def write(path: Path, value: Any) -> None:
    if path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stderr.write(f"made {path.relative_to(HERE)}\n")


def main() -> None:
    sdk = InvestigationSDK("memory://", tenant_id="acme", on_pause="raise")
    with mock.patch.object(opening, "new_owner", return_value=OWNER):
        runs = {
            "taken_over_paused_failed_completed": main_run(sdk),
            "cancelled": cancelled_run(sdk, error=False),
            "cancelled_with_an_error": cancelled_run(sdk, error=True),
            "resumed": resumed_run(sdk),
        }
    events: dict[tuple[str, int], dict[str, str]] = {}
    for name, id in runs.items():
        log = stored(sdk, id)
        assert sdk.sync.verify(id).ok
        lines = [{"header": e.header, "event_data": e.event_data, "hash": e.hash.hex()} for e in log]
        write(HERE / "logs" / f"{name}.v1.json", {"expected": summary(sdk, id), "events": lines})
        for previous, event in with_previous(log):
            key = event.event_type, json.loads(event.header)["schema"]
            if key not in events or CHOSEN.get(event.event_type, "\0") in event.event_data:
                events[key] = {
                    "previous_hash": previous.hex(),
                    "header": event.header,
                    "event_data": event.event_data,
                    "hash": event.hash.hex(),
                }
    for (event_type, version), golden in sorted(events.items()):
        write(HERE / "events" / f"{event_type}.v{version}.json", golden)


if __name__ == "__main__":
    main()
