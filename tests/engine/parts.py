"""What a :class:`tests.engine.world.World` is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from investigation_backends.memory import InlineMemoryBackend
from investigation_sdk.domain.commands import Submission
from investigation_sdk.domain.events import Event
from investigation_sdk.engine.entries import Entry
from investigation_sdk.engine.session import Session
from investigation_sdk.engine.waiting import Waiter
from investigation_sdk.storage.commit import Commit, CommitResult, CommitStatus, Kind


@dataclass(eq=False)
class Sent:
    """One submission, and what is known of it."""

    submission: Submission
    entry: Entry | None
    waiter: Waiter | None = None


@dataclass(eq=False)
class Hand:
    """One investigation in one process: its session, the shell around it, and the block that drives it, if any."""

    session: Session
    clock: int
    sent: list[Sent] = field(default_factory=list)
    commit: Commit | None = None
    conflict: bool = False
    claim: tuple[Entry, str] | None = None
    token: str | None = None
    calls: list[Event] = field(default_factory=list)
    phases: dict[str, str] = field(default_factory=dict)


POISON: Final = '"poison"'


def owner_of(hand: Hand) -> str:
    """As whom a process claims."""
    return f"owner {id(hand)}"


class PickyBackend(InlineMemoryBackend):
    """The store in memory, which cannot represent :data:`POISON`, and with somebody who may write between the
    reads of a repair."""

    intruder: Any = None

    def commit_now(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        (commit,) = commits
        head = self.store.files.get(commit.investigation_id)
        fits = head is None or (head.row.version, head.row.head) == (commit.expected_version, commit.expected_head)
        if fits and any(POISON in event.event_data for event in commit.events):
            return [CommitResult(CommitStatus.DATA, None, f"cannot store {POISON}")]
        return super().commit_now(commits)

    async def get(self, kind: Kind, id: str) -> Any:
        intruder, self.intruder = self.intruder, None
        if intruder is not None:
            intruder()
        return await super().get(kind, id)
