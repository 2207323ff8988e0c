"""Activity: what rows keep of the work that is going on, so that whoever reads progress need not count calls."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from investigation_sdk.domain.events import Event
    from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.phase import Phase

SHOWN: Final = 20
"""So many of the calls that are open stand in the investigation's row, the newest."""


class Running(NamedTuple):
    """A call that is open."""

    id: str
    tool: str
    agent: str
    phase: str | None
    """Id of its phase."""
    started_at: int
    """µs since the epoch."""
    progress: int | None
    """Percent, where it reported it."""


class Activity(NamedTuple):
    """What an investigation's row says of its work.

    `active` is for how many µs it was running before `since`; `since` (µs since the epoch) is from when on it is
    running now, None where it is not. Pauses, and the time in which nobody drove it, are in neither.
    """

    active: int
    since: int | None
    planned: bool
    open: int
    """Calls that are open."""
    running: tuple[Running, ...]
    """The newest of them, in the order of their start."""

    def active_at(self, time: int) -> int:
        """For how many µs it was running until `time`."""
        return self.active + (0 if self.since is None else max(0, time - self.since))


def investigation_activity(fold: Fold, encode: Callable[[Any], str]) -> str:
    """The JSON for the investigation's row."""
    since = "null" if fold.since is None else fold.since
    running = ""
    if fold.calls:
        newest = [_running(fold, call) for call in islice(reversed(fold.calls.values()), SHOWN)]
        running = f',"open":{len(fold.calls)},"running":{encode(newest[::-1])}'
    return f'{{"active":{fold.active},"since":{since},"planned":{"true" if fold.planned else "false"}{running}}}'


def _running(fold: Fold, call: Event) -> list[Any]:
    data = call.data
    return [call.id, data.get("tool"), data.get("agent"), data.get("phase"), data.get("started_at"),
            fold.reported.get(call.id)]  # fmt: skip


def phase_activity(phase: Phase, encode: Callable[[Any], str]) -> str:
    """The JSON for a phase's row: what of its progress cannot be told from its other columns."""
    said: dict[str, Any] = {"begun": phase.begun}
    if phase.reported is not None:
        said["reported"] = phase.reported
    if phase.marks:
        said["marks"] = [list(mark) for mark in phase.marks]
    if phase.called:
        said["called"] = phase.called
    return encode(said)


def activity_of(said: Any) -> Activity:
    """What the JSON of a row says, parsed.

    Raises:
        ValueError, TypeError: it is not what the SDK writes there.
    """
    running = tuple(Running(*one) for one in said.get("running", ()))
    since = said.get("since")
    return Activity(
        int(said.get("active", 0)),
        None if since is None else int(since),
        bool(said.get("planned", True)),
        int(said.get("open", len(running))),
        running,
    )


def restore_phase(phase: Phase, said: Any) -> None:
    """Put back what :func:`phase_activity` kept, parsed."""
    phase.begun = said.get("begun", 0)
    phase.reported = said.get("reported")
    phase.marks = marks_of(said)
    phase.called = said.get("called", {})


def marks_of(said: Any) -> tuple[tuple[int, int], ...]:
    """When a phase was how far, by the parsed JSON of its row."""
    return tuple((int(percent), int(time)) for percent, time in said.get("marks", ()))
