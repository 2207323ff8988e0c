"""A recorder over a store that fails as planned, and an investigation that it drives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from investigation_backends.memory import MemoryBackend
from investigation_backends.memory_store import MemoryStore
from investigation_sdk.clock import now_us
from investigation_sdk.domain.commands import Append, Ask, Fact
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import Verb
from investigation_sdk.engine import opening
from investigation_sdk.engine.creation import Creation
from investigation_sdk.engine.entries import Entry
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.repair import load
from investigation_sdk.engine.sealing import next_commit
from investigation_sdk.engine.session import Session
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.codec import Json
from investigation_sdk.storage.commit import Commit, CommitResult, CommitStatus
from investigation_sdk.testing.faults import Fault, FaultyBackend, Plan
from tests.engine.invariants import check_backend
from tests.engine.parts import POISON

DATA = {"subject": "s", "investigation_type": "t", "metadata": Json("{}"), "configuration": Json("{}")}


class Picky(MemoryBackend):
    """In memory, but it cannot represent :data:`POISON`; it says so of the commit, and its neighbours are applied."""

    async def commit(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        results: list[CommitResult] = []
        for commit in commits:
            if any(POISON in event.event_data for event in commit.events):
                results.append(CommitResult(CommitStatus.DATA, None, f"cannot store {POISON}"))
            else:
                results += await super().commit([commit])
        return results


class Rig:
    """See the module."""

    def __init__(self, backend: Backend | None = None, *, patience: float = 10.0, at_once: int = 1) -> None:
        self.store = MemoryStore()
        self.plain: Backend = Picky(writer=True, store=self.store) if backend is None else backend
        self.plan = Plan()
        self.backend = FaultyBackend(self.plain, self.plan)
        self.backend.batches_at_once = at_once
        self.recorder = Recorder(self.backend, ttl_us=30_000_000, patience=patience)

    async def drive(self, **more: Any) -> Session:
        """A new investigation, driven."""
        return await self.recorder.acall(
            opening.create(self.recorder, Creation({**DATA, **more}, ()), tenant="", actor=None, drive=True)
        )

    def note(self, session: Session, data: str = "1", *, lazy: bool = False) -> Entry:
        """Submit a fact of the owner's."""
        event = Event(uuid7(), "my.note", {"data": Json(data)}, now_us())
        return self.recorder.submit(session, Fact(event, session.token), lazy=lazy)

    def checkpoint(self, session: Session) -> Entry:
        """Submit a command of the owner's."""
        event = Event(uuid7(), "checkpoint.saved", {"data": Json("1")}, now_us())
        return self.recorder.submit(session, Append(time=event.time, token=session.token, event=event))

    async def ask(self, session: Session, verb: Verb) -> None:
        """Give a command from outside, through this recorder."""
        await self.recorder.acall(opening.command(self.recorder, session.id, Ask(time=now_us(), verb=verb)))

    async def others_ask(self, session: Session, verb: Verb) -> None:
        """Another process gives a command."""
        other = await load(self.plain, session.id, "")
        other.submit(Ask(time=now_us(), verb=verb))
        commit = next_commit(other)
        assert commit is not None
        (result,) = await self.plain.commit([commit])
        assert result.status is CommitStatus.APPLIED

    async def log(self, session: Session) -> list[Event]:
        """All events; everything that must be true of log and rows has been checked."""
        log = await check_backend(self.plain, session.id)
        return list(log.events.values())


async def durable(session: Session, entry: Entry) -> None:
    """Wait for an entry in this task."""
    waiter = session.waiter(entry, blocking=False)
    if waiter is not None:
        await waiter.wait_async()


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that is about to happen; bounded."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - it comes true on another thread
            await asyncio.sleep(0.002)


def notes(events):
    return [event for event in events if event.type == "my.note"]


async def hold_next_commit(rig):
    """The next commit hangs until it is released; returns the number of batches so far."""
    rig.plan.outage = Fault("hang")
    return len(rig.backend.batches)
