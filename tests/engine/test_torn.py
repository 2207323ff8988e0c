"""A signal's exception may arrive between any two lines of what is done to a session: nothing is torn for good.

A script of all that happens to a session runs once for every line of the modules that do it, and that line raises. The
rest of the script goes on. Afterwards the log is one unbroken chain, what was acknowledged is in it once and in order,
what was refused is not, and rows and folds are those that follow from it.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest

from investigation_backends import memory_store
from investigation_sdk.domain import decide, fold, project
from investigation_sdk.domain.commands import Append, Ask, Claim, Create, Fact, Finish, StartPhase, Submission
from investigation_sdk.domain.events import Blob, Event
from investigation_sdk.domain.project import investigation_row
from investigation_sdk.domain.states import Verb
from investigation_sdk.engine import entries, exclusive, inline, outcomes, sealing, session
from investigation_sdk.engine.entries import Entry
from investigation_sdk.engine.exclusive import busy
from investigation_sdk.engine.inline import commit_queued, refresh_now, run_now
from investigation_sdk.engine.repair import empty, load
from investigation_sdk.engine.texts import json_text
from investigation_sdk.engine.waiting import Waiter
from investigation_sdk.errors import InvestigationError
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.codec import Json
from investigation_sdk.storage.commit import Commit, CommitResult
from tests.engine.invariants import check_log, check_rows, require
from tests.engine.parts import POISON, PickyBackend

pytestmark = pytest.mark.interpreted

SHELL: list[ModuleType] = [session, outcomes, exclusive, inline, entries, sealing]
"""What does things to a session."""

CORE: list[ModuleType] = [decide, fold, project, memory_store]
"""What is called in the middle of that."""

DATA = {"subject": "s", "investigation_type": "t", "metadata": Json("{}"), "configuration": Json("{}")}

Place = tuple[CodeType, int]


class Backend(PickyBackend):
    """Calls something in the middle of the next commit, as the garbage collector may: a clean-up that calls a tool."""

    meanwhile: Callable[[], None] | None = None

    def commit_now(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().commit_now(commits)


class Script:
    """One session on the store in memory, all that may happen to it, and what became of each submission."""

    def __init__(self) -> None:
        self.backend = Backend()
        self.session = empty(uuid7(), "")
        self.session.snapshot_every = 5
        self.sent: list[tuple[Submission, Entry]] = []
        self.refused: list[Submission] = []
        self.waiters: list[tuple[Entry, Waiter]] = []
        self.token = uuid7()
        self.time = 0

    def now(self) -> int:
        self.time += 1000
        return self.time

    def submit(self, submission: Submission) -> None:
        try:
            entry = self.session.submit(submission)
        except InvestigationError:
            require(type(submission) is not Fact, "a fact was refused")
            self.refused.append(submission)
        else:
            self.sent.append((submission, entry))
            self.wait_for(entry)

    def wait_for(self, entry: Entry) -> None:
        """As another thread would."""
        waiter = self.session.waiter(entry, blocking=True)
        if waiter is not None:
            self.waiters.append((entry, waiter))

    def commit(self) -> None:
        commit_queued(self.session, self.backend)

    def fact(self, type: str, data: dict[str, Any], **more: Any) -> Event:
        event = Event(uuid7(), type, data, self.now(), **more)
        self.submit(Fact(event, self.token))
        return event

    def note(self, data: str = "1") -> None:
        self.fact("my.note", {"data": Json(data)})

    def started(self, tool: str) -> Event:
        data = {"tool": tool, "agent": "a", "started_at": self.now(), "input": Json("{}")}
        return Event(uuid7(), "tool.started", data, self.now())

    def began(self, started: Event) -> bool:
        """Whether its start was submitted: or whoever is to be called is not, and it does not end."""
        return any(isinstance(sent, Fact) and sent.event is started for sent, _ in self.sent)

    def from_outside(self, verb: Verb) -> None:
        """Another process gives a command."""
        other = run_now(load(self.backend, self.session.id, ""))
        other.submit(Ask(time=self.now(), verb=verb))
        commit_queued(other, self.backend)

    def steps(self) -> Iterator[Callable[[], object]]:
        """Each may be cut off by a signal; the next one follows all the same."""
        one, two = self.started("one"), self.started("two")
        yield lambda: self.submit(Create(time=self.now(), data=dict(DATA)))
        yield self.commit
        yield lambda: self.submit(Claim(time=self.now(), id=self.token, owner="me"))
        yield self.commit
        yield lambda: self.session.own(self.token)
        entered = Event(uuid7(), "phase.started", {"id": uuid7(), "name": "p", "started_at": self.now()}, self.now())
        yield lambda: self.submit(StartPhase(time=self.now(), token=self.token, event=entered))
        yield self.commit
        yield lambda: self.submit(Fact(one, self.token))
        yield lambda: self.submit(Fact(two, self.token))
        yield lambda: self.session.report(two.id, 40)
        yield self.commit
        ended = {"call": one.id, "output": Json("2"), "duration_ms": 1}
        yield lambda: self.fact("tool.completed", ended, started=one) if self.began(one) else None
        yield self.commit
        saved = Event(uuid7(), "checkpoint.saved", {"data": Json("3")}, self.now())
        yield lambda: self.submit(Append(time=self.now(), token=self.token, event=saved))
        yield lambda: self.fact("my.large", {"data": 1}, blobs=(Blob("00" * 32, b"large"),))
        yield self.commit
        for data in ("1", POISON, "2"):  # the store does not take one of them
            yield lambda data=data: self.note(data)  # type: ignore[misc]
        yield self.commit
        yield lambda: setattr(self.backend, "meanwhile", self.note)
        yield self.note
        yield self.commit
        yield lambda: self.from_outside(Verb.PAUSE)
        yield self.note
        yield self.commit  # in conflict with that
        yield lambda: self.from_outside(Verb.RESUME)
        yield lambda: refresh_now(self.session, self.backend)
        yield self.note
        yield self.commit
        yield lambda: self.submit(Finish(time=self.now(), token=self.token))
        yield self.commit

    def run(self) -> None:
        """All steps."""
        for step in self.steps():
            try:
                step()
            except (KeyboardInterrupt, RecursionError):
                if not self.sent:
                    return  # whoever creates it is told, and goes no further
            except InvestigationError:  # what it stands on was cut off
                pass

    def finish(self) -> None:
        """Let everything arrive, and check."""
        if self.sent:
            for _ in range(2):
                self.note()
                self.commit()
            self.check()

    def check(self) -> None:
        session = self.session
        log = check_log(self.backend.store, session.id)
        check_rows(self.backend.store, log)
        last = 0
        for submission, entry in self.sent:
            require(entry.acknowledged or entry.error is not None, f"nobody knows what became of {submission}")
            if entry.acknowledged:
                last = log.check_present(submission, [event.id for event in entry.events], last, "me")
            else:
                log.check_absent(submission)
        warned = {event.data["event"] for event in log.events.values() if event.data.get("kind") == "not_stored"}
        lighter = {event.id for event in log.events.values() if "unstorable" in (event.text or "")}
        require(warned == lighter, f"without their payload are {lighter}, and warnings name {warned}")
        for entry, waiter in self.waiters:
            try:
                require(waiter.wait(timeout=0), f"nobody woke who waits for {entry.submission}")
            except InvestigationError as told:
                require(told is entry.error, f"who waits for {entry.submission} was told {told!r}")
            else:
                require(entry.acknowledged, f"who waits for {entry.submission} was told that it is durable")
        for submission in self.refused:
            log.check_absent(submission)
        require(not session.queue and session.in_flight is None and not session.deferred, "something is left")
        require((session.queued_events, session.queued_bytes) == (0, 0), "something is counted that is not there")
        require(not (session.torn or session.acked_torn) and session not in busy, "it is torn")
        require((session.acked.version, session.head) == (log.version, log.head), "it ends elsewhere")
        for kept in (session.acked, session.decided):
            row = investigation_row(kept, log.version, log.head, json_text)
            require(row == investigation_row(log.fold, log.version, log.head, json_text), "a fold is another")
            require(kept.calls.keys() == log.fold.calls.keys(), "other calls are open")
            require(kept.counts == log.fold.counts, "calls were counted twice, or not")


@contextmanager
def watched(modules: list[ModuleType], at: Callable[[Place], None]) -> Iterator[None]:
    """Call `at` before each line of these modules is run."""
    files = {module.__file__ for module in modules}

    def look(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename not in files or frame.f_code is run_now.__code__:  # it would not have begun
            return None
        if event == "line":
            at((frame.f_code, frame.f_lineno))
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)


def raised_everywhere(modules: list[ModuleType], error: type[BaseException]) -> int:
    """Run the script with each of these lines raising, at its first and at its last time; how many runs that took."""
    times: Counter[Place] = Counter()
    with watched(modules, lambda place: times.update((place,))):
        Script().run()
    runs = 0
    for place, count in times.items():
        for time in sorted({1, count}):
            passed = itertools.count(1)

            def at(here: Place, place: Place = place, time: int = time, passed: Any = passed) -> None:
                if here == place and next(passed) == time:
                    raise error

            script = Script()
            with watched(modules, at):
                script.run()
            try:
                script.finish()
            except AssertionError as broken:
                code, line = place
                raise AssertionError(f"raised at {code.co_qualname}, line {line}, time {time}: {broken}") from broken
            runs += 1
    return runs


def test_nothing_is_torn_where_nothing_raises() -> None:
    script = Script()
    script.run()
    script.finish()
    assert script.session.acked.status == "completed"
    assert len(script.sent) == 18
    assert len(script.waiters) == 17, "for all but what is submitted in the middle of a commit"
    assert not script.refused


def test_a_signal_at_any_line_of_what_is_done_to_a_session() -> None:
    assert raised_everywhere(SHELL, KeyboardInterrupt) > 200


@pytest.mark.long
@pytest.mark.parametrize("error", [KeyboardInterrupt, RecursionError])
def test_an_exception_at_any_line_of_what_is_called_meanwhile(error: type[BaseException]) -> None:
    assert raised_everywhere([*SHELL, *CORE], error) > 500
