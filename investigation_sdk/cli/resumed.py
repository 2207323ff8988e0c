"""What ``show`` says of attempts that went on with recorded results, and of one that would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from investigation_sdk.cli.out import Cell, Column, Out
from investigation_sdk.domain.states import InvestigationState as State

if TYPE_CHECKING:
    from investigation_sdk import Investigation, InvestigationSDK, ResumePreview, ResumeReport

_RESUMED: Final = (
    Column("ATTEMPT", right=True),
    Column("TOOL", bends=1),
    Column("REUSED", right=True),
    Column("AGAIN", right=True),
    Column("NEW", right=True),
    Column("NO LONGER CALLED", right=True),
)
_WAITING: Final = (State.PAUSED, State.FAILED, State.RETRYING)
"""In these, the next thing that happens to an investigation is a resume."""


class Resumed(NamedTuple):
    """What was made of recorded calls, and what would be made of them where a resume is next."""

    reports: Sequence[ResumeReport]
    preview: ResumePreview | None

    @classmethod
    def of(cls, sdk: InvestigationSDK, one: Investigation) -> Resumed:
        """That of an investigation."""
        return cls(sdk.sync.resumes(one.id), sdk.sync.resume_preview(one.id) if State(one.status) in _WAITING else None)

    def document(self) -> dict[str, Any]:
        """As members of an object of JSON."""
        return {
            "resumes": [report.model_dump(mode="json") for report in self.reports],
            "if_resumed": None if self.preview is None else self.preview.model_dump(mode="json"),
        }

    def show(self, out: Out) -> None:
        """Print it, an empty line before."""
        if any(report.tools for report in self.reports):
            out.blank()
            out.table(_RESUMED, self._rows())
        for report in self.reports:
            for reason in report.diverged:
                out.blank()
                out.text(f"Attempt {report.attempt} diverged: {reason}", "yellow")
        if self.preview is not None and (text := _foretold(self.preview)):
            out.blank()
            out.text(text)

    def _rows(self) -> Iterator[list[Cell]]:
        for report in self.reports:
            for tool in report.tools:
                counts = (tool.reused, tool.again, tool.new, tool.no_longer_called)
                yield [Cell(str(report.attempt)), Cell(tool.tool_name), *(Cell(str(count or "")) for count in counts)]


def _foretold(preview: ResumePreview) -> str:
    """What a resume would do, in a line; ``""`` where nothing is recorded."""
    parts = (
        f"{preview.reused} given back" if preview.reused else "",
        f"{preview.again} run again" if preview.again else "",
        f"asked about: {', '.join(preview.asked)}" if preview.asked else "",
        f"without a declared effect: {', '.join(preview.undeclared)}" if preview.undeclared else "",
    )
    told = "; ".join(filter(None, parts))
    return f"If resumed now: {told}." if told else ""
