"""What was submitted and came to nothing: a start whose body never ran, a phase that a conflict refuses."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_sdk import (
    InvestigationNotFound,
    InvestigationSDK,
    InvestigationStateService,
    NotRecorded,
    ToolState,
    tool,
)
from investigation_sdk.clock import now_us
from investigation_sdk.domain.commands import StartPhase
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import Verb
from investigation_sdk.engine.entries import Entry
from investigation_sdk.engine.session import Session
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.ids import uuid7
from investigation_sdk.testing.faults import Fault, FaultyBackend, Plan
from tests.engine.rig import Rig

ran: list[int] = []


@tool(effect="unsafe")
def pays(amount: int) -> None:
    ran.append(amount)


@tool(effect="unsafe")
async def apays(amount: int) -> None:
    ran.append(amount)


def impatient(make_sdk: Callable[..., InvestigationSDK], plan: Plan) -> InvestigationSDK:
    """An SDK that tells those who wait after 0.2 s that the store does not answer."""
    sdk = make_sdk(FaultyBackend(MemoryBackend(), plan))
    sdk._recorder._writer._patience = 0.2
    return sdk


@pytest.mark.parametrize("kind", ["lost_before", "lost_after", "failure"])
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_an_unsafe_call_that_was_not_begun_is_interrupted_and_its_outcome_is_known(
    make_sdk: Callable[..., InvestigationSDK], kind: Any, face: str
) -> None:
    ran.clear()
    plan = Plan()
    sdk = impatient(make_sdk, plan)
    with pytest.raises(BackendUnavailable) as told:
        if face == "sync":
            with sdk.investigation("pays") as investigation:
                plan.outage = Fault(kind)
                pays(5)
        else:
            async with sdk.investigation("pays") as run:
                investigation = run  # type: ignore[assignment]
                plan.outage = Fault(kind)
                await apays(5)
    assert not isinstance(told.value, NotRecorded) or told.value.value is None
    assert ran == [], "its start was not known to be durable"
    plan.outage = None
    await all_is_durable(sdk)
    if kind == "failure":
        assert len(await sdk.tools(investigation.id)) == 0, "it is certain that not even the start was written"
        return
    (call,) = await sdk.tools(investigation.id)
    assert call.status is ToolState.INTERRUPTED, "nothing is unknown of a body that never ran"
    events = await sdk.events(investigation.id, event_type=["tool.started", "tool.interrupted"])
    assert [e.event_type for e in events] == ["tool.started", "tool.interrupted"]
    assert events[1].event_data["kind"] == "not_started"
    assert (await sdk.verify(investigation.id)).ok


async def all_is_durable(sdk: InvestigationSDK) -> None:
    async with asyncio.timeout(20):
        while await sdk.flush(1):
            pass


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.backend.release_hanging()
    rig.recorder.close()


def start_phase(rig: Rig, session: Session, id: str) -> Entry:
    """Submit the start of a phase, without waiting."""
    event = Event(uuid7(), "phase.started", {"id": id, "name": "p", "started_at": now_us()}, now_us())
    return rig.recorder.submit(session, StartPhase(time=event.time, token=session.token, event=event), lazy=True)


async def test_a_reported_call_of_a_phase_that_a_conflict_refuses(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    service = InvestigationStateService(rig.recorder, tenant="", max_inline_bytes=32768)
    session = await rig.drive()
    phase, brought_up_to_date = uuid7(), rig.recorder.session
    entries: list[Entry] = []

    async def meanwhile(id: str) -> Session:
        """Right after the session was brought up to date, the owner enters a phase, and another process cancels."""
        found = await brought_up_to_date(id)
        rig.plan.commits = {len(rig.backend.batches) + 1: Fault("hang")}
        entries.append(start_phase(rig, session, phase))
        await rig.others_ask(session, Verb.CANCEL)
        assert session.decided.phase_by_id(phase) is not None, "as far as is known here, it is on its way"
        asyncio.get_running_loop().call_later(0.05, rig.backend.release_hanging)
        return found

    monkeypatch.setattr(rig.recorder, "session", meanwhile)
    with pytest.raises(InvestigationNotFound, match=f"{session.id} has no phase {phase}") as refused:
        await service.record_tool_execution(session.id, phase, "remote", "lookup", {"ip": "10.0.0.1"})
    assert refused.value.investigation_id == session.id
    assert entries[0].error is not None
    assert not any(event.type.startswith(("tool.", "phase.")) for event in await rig.log(session))


async def test_a_reported_call_of_a_phase_that_is_on_its_way(rig: Rig) -> None:
    service = InvestigationStateService(rig.recorder, tenant="", max_inline_bytes=32768)
    session = await rig.drive()
    phase = uuid7()
    entry = start_phase(rig, session, phase)
    call = await service.record_tool_execution(session.id, phase, "remote", "lookup", {"ip": "10.0.0.1"})
    assert call.phase_id == phase
    assert entry.acknowledged
