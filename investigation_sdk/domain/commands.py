"""Facts and commands: what may be submitted to an investigation.

A *fact* happened, and is always appended. A *command* asks, and is decided by the tables; it can be refused.
Each carries the token that it was made under, None where it comes from outside the block that drives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from investigation_sdk.domain.events import Blob, Event
from investigation_sdk.domain.states import InvestigationState, Verb


class Fact:
    """One event that happened.

    Attributes:
        event: Its `id`, `data` and `text` stay as they are, however often it is decided.
        token: The claim under which it happened.
        progress: Percent that phases and calls reported since the last fact, by their ids; None for nothing.
    """

    __slots__ = ("event", "progress", "token")

    def __init__(self, event: Event, token: str | None) -> None:
        self.event: Event = event
        self.token: str | None = token
        self.progress: dict[str, int] | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class Command:
    """What all commands have. `time` is µs since the epoch, when it was given."""

    time: int
    token: str | None = None
    actor: str | None = None
    metadata: dict[str, Any] | None = None
    """Notes on the record of what is created, or of an attempt that is started: ``trace``, where it is traced."""


@dataclass(slots=True, eq=False, kw_only=True)
class Create(Command):
    """Bring the investigation into being; `data` is that of ``investigation.created``, `blobs` what it refers to."""

    data: dict[str, Any]
    blobs: tuple[Blob, ...] = ()
    queue: bool = True
    not_before: int | None = None
    """With `queue`: from when on a worker may take it up, µs."""


@dataclass(slots=True, eq=False, kw_only=True)
class Claim(Command):
    """A new owner opens it. `id` becomes the token."""

    id: str
    owner: str
    queued: bool = False
    """By a worker: refused where it waits for none, as one that failed or is paused."""


@dataclass(slots=True, eq=False, kw_only=True)
class Ask(Command):
    """Pause, cancel, retry or resume it: a column of the table of ways."""

    verb: Verb
    reason: str | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class Transition(Command):
    """Change the state by hand, by one step of :data:`~investigation_sdk.domain.states.ALLOWED_TRANSITIONS`."""

    new_state: InvestigationState
    reason: str | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class StartPhase(Command):
    """Enter a phase. `event` is its ``phase.started``; its data names the phase."""

    event: Event


@dataclass(slots=True, eq=False, kw_only=True)
class Append(Command):
    """Append an event that only the present owner may write: a call that waits to be started, a checkpoint,
    a plan, a skipped phase."""

    event: Event
    needs_running: bool = False


@dataclass(slots=True, eq=False, kw_only=True)
class Finish(Command):
    """The block ended well; `result` is its encoded result or None, `blobs` what that refers to."""

    result: Any = None
    blobs: tuple[Blob, ...] = ()
    attempt: int | None = None
    """Of the block that ends: where it is cancelled, only calls of that attempt are its to close."""


@dataclass(slots=True, eq=False, kw_only=True)
class Fail(Command):
    """The block ended with an error."""

    kind: str
    error: dict[str, Any]
    attempt: int | None = None
    """Of the block that ends: where it is cancelled, only calls of that attempt are its to close."""
    again_at: int | None = None
    """Where it is to be tried again: from when on a worker may take it up, µs."""


@dataclass(slots=True, eq=False, kw_only=True)
class GiveUp(Command):
    """Fail one that its owner left without a word, instead of driving it once more.

    Refused where anybody else than `seen` drives it by now.
    """

    seen: str | None
    """The token that it was found under."""
    kind: str
    message: str


@dataclass(slots=True, eq=False, kw_only=True)
class Release(Command):
    """The block was left by an interrupt: it stays in its state, and nobody drives it."""

    attempt: int | None = None
    """Of the block that ends: where it is cancelled, only calls of that attempt are its to close."""


Submission = Fact | Command
