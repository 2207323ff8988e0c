"""Reading what resumes made of what was recorded, and what one would make of it now."""

from __future__ import annotations

from collections import Counter

from investigation_sdk.domain.records import InvestigationEvent
from investigation_sdk.domain.resumes import ResumedTool, ResumePreview, ResumeReport, reports
from investigation_sdk.domain.states import Effect
from investigation_sdk.engine import queries, recorded
from investigation_sdk.engine.reading import get_row
from investigation_sdk.engine.sight import Sight
from investigation_sdk.engine.sound import readable
from investigation_sdk.storage.backend import Backend

_TYPES = ("investigation.started", "resume.summary", "state.transition")


async def resumes(backend: Backend, investigation_id: str, sight: Sight) -> list[ResumeReport]:
    """What each attempt made of those before it, in their order.

    Raises:
        InvestigationNotFound, BackendUnavailable, RecordUnreadable: it cannot be read.
    """
    events: list[InvestigationEvent] = []
    chunks = queries.iterate_events(backend, investigation_id, sight, _TYPES, 0)
    async for chunk in chunks:
        events += chunk
    with readable(investigation_id):
        return reports(events)


async def preview(backend: Backend, investigation_id: str, sight: Sight) -> ResumePreview:
    """What a resume would make of the recorded calls.

    Raises:
        InvestigationNotFound, BackendUnavailable, RecordUnreadable: it cannot be read.
    """
    await get_row(backend, investigation_id, sight)
    tools: dict[str, Counter[str]] = {}
    asked: list[str] = []
    undeclared: set[str] = set()
    for record in (await recorded.load(backend, investigation_id)).outermost():
        counts = tools.setdefault(record.tool, Counter())
        if record.effect is None:
            undeclared.add(record.tool)
        if record.state == "finished" and (record.sure or record.resolved):
            counts["reused"] += 1
        elif record.state == "finished" and record.effect != Effect.UNSAFE:
            counts["again"] += 1  # its arguments are masked: nobody can tell that another call is the same
        elif record.effect == Effect.UNSAFE and record.state != "undone":
            asked.append(record.id)
        else:
            counts["again"] += 1
    return ResumePreview(
        reused=sum(counts["reused"] for counts in tools.values()),
        again=sum(counts["again"] for counts in tools.values()),
        asked=tuple(asked),
        tools=tuple(
            ResumedTool(tool_name=name, reused=counts["reused"], again=counts["again"])
            for name, counts in sorted(tools.items())
        ),
        undeclared=tuple(sorted(undeclared)),
    )
