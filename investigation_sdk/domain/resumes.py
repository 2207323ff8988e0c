"""What a resume made of what was recorded, and what one would make of it: the records that say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict

from investigation_sdk.domain.records import InvestigationEvent
from investigation_sdk.domain.states import InvestigationState

KINDS: Final = ("reused", "again", "new")
_DIVERGED: Final = "ResumeDivergence: "


class ResumedTool(BaseModel):
    """What became of the calls of one tool in an attempt that went on with recorded results.

    Attributes:
        reused: Calls whose recorded result was given back.
        again: Calls that were recorded and ran again.
        new: Calls that were not in the log.
        no_longer_called: Recorded calls that were not made again; known once the block has ended well.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    tool_name: str
    reused: int = 0
    again: int = 0
    new: int = 0
    no_longer_called: int = 0


class ResumeReport(ResumedTool):
    """How one attempt differs from those before it, over all its tools.

    Only phases that have ended are in it, and calls of no phase once the block has.

    Attributes:
        tool_name: Empty: the counts are of all tools.
        attempt: From 2.
        diverged: Why it was paused, for each new unsafe call that came while a recorded one was left over.
        tools: The same by tool, in the order of their names.
    """

    tool_name: str = ""
    attempt: int
    diverged: tuple[str, ...] = ()
    tools: tuple[ResumedTool, ...] = ()


class ResumePreview(BaseModel):
    """What would become of the recorded calls, if the investigation were resumed now and made each of them again.

    Attributes:
        reused: Calls whose result would be given back.
        again: Calls that would run again: they were cut off or raised, and are not unsafe, or were not done.
        asked: Ids of the unsafe calls of which nobody knows what they did. Resolve them first.
        tools: The same by tool, in the order of their names.
        undeclared: Tools that declare no effect, and so run again like those that only read.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    reused: int = 0
    again: int = 0
    asked: tuple[str, ...] = ()
    tools: tuple[ResumedTool, ...] = ()
    undeclared: tuple[str, ...] = ()


def reports(events: Iterable[InvestigationEvent]) -> list[ResumeReport]:
    """What each attempt made of the ones before, from ``investigation.started``, ``resume.summary`` and
    ``state.transition``, in their order; attempts of which nothing is known are left out."""
    attempt = 1
    tools: dict[int, dict[str, Counter[str]]] = {}
    diverged: dict[int, list[str]] = {}
    for event in events:
        data = event.event_data
        if event.event_type == "investigation.started":
            attempt = data["attempt"]
        elif event.event_type == "resume.summary":
            _add(tools.setdefault(attempt, {}), data)
        elif event.new_state is InvestigationState.PAUSED:
            reason = str(data.get("reason") or "")
            if reason.startswith(_DIVERGED):
                diverged.setdefault(attempt, []).append(reason.removeprefix(_DIVERGED))
    return [_report(n, tools.get(n, {}), diverged.get(n, ())) for n in sorted({*tools, *diverged})]


def _add(tools: dict[str, Counter[str]], data: dict[str, Any]) -> None:
    for name, counts in data["tools"].items():
        tools.setdefault(name, Counter()).update({kind: counts.get(kind, 0) for kind in KINDS})
    for name, left in data.get("no_longer_called", {}).items():
        tools.setdefault(name, Counter())["no_longer_called"] += left


def _report(attempt: int, tools: dict[str, Counter[str]], diverged: Iterable[str]) -> ResumeReport:
    total: Counter[str] = Counter()
    for counts in tools.values():
        total.update(counts)
    of_tools = tuple(ResumedTool(tool_name=name, **counts) for name, counts in sorted(tools.items()))
    return ResumeReport(
        attempt=attempt,
        reused=total["reused"],
        again=total["again"],
        new=total["new"],
        no_longer_called=total["no_longer_called"],
        diverged=tuple(diverged),
        tools=of_tools,
    )
