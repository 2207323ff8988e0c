"""A world in which sessions are driven without threads: processes, clocks, and a way to the store that is bad.

Bytes are a script of it. Each process has a session per investigation; a commit is sealed in one step, and arrives
(or not) in another, and in between anybody may do anything. :meth:`World.check` then looks at what came of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from investigation_backends.memory_store import MemoryStore
from investigation_sdk.domain.commands import (
    Append,
    Ask,
    Claim,
    Command,
    Create,
    Fact,
    Fail,
    Finish,
    Release,
    StartPhase,
    Submission,
    Transition,
)
from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import ALLOWED_TRANSITIONS, InvestigationState, Verb
from investigation_sdk.engine.entries import Entry
from investigation_sdk.engine.inline import run_now
from investigation_sdk.engine.outcomes import on_applied, on_down, on_unknown
from investigation_sdk.engine.refused import refused
from investigation_sdk.engine.repair import empty, load, repair
from investigation_sdk.engine.sealing import next_commit
from investigation_sdk.engine.waiting import wake
from investigation_sdk.errors import BackendUnavailable, InvestigationCancelled, InvestigationError, LeaseLost
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.codec import Json
from investigation_sdk.storage.commit import Commit, CommitStatus
from tests.engine.invariants import check_log, check_rows, require
from tests.engine.parts import POISON, Hand, PickyBackend, Sent, owner_of

T = TypeVar("T")

MINUTES: Final = 60_000_000
_STATES: Final = tuple(InvestigationState)
_VERBS: Final = (*[Verb.PAUSE] * 4, *[Verb.RESUME] * 9, *[Verb.RETRY] * 3, Verb.CANCEL)


class World:
    """See the module."""

    def __init__(self, script: bytes, *, processes: int = 3, investigations: int = 2) -> None:
        self._script: Iterator[int] = iter(script)
        self.store = MemoryStore()
        self.backend = PickyBackend(store=self.store)
        self.time = 1_800_000_000_000_000
        self._marks = 0
        self.hands: list[list[Hand]] = [[] for _ in range(processes)]
        self.ids: list[str] = []
        for number in range(investigations):
            self._create(f"subject {number}", drive=number % 2 == 0)
        for process in range(1, processes):
            for id in self.ids:
                session = run_now(load(self.backend, id, ""))
                self.hands[process].append(Hand(session, (process * 2 - 3) * 10 * MINUTES))

    def run(self) -> World:
        """Play the script, then let everything arrive, and check."""
        try:
            while True:
                self.step()
        except StopIteration:
            pass
        self.drain()
        self.check()
        return self

    # ---- the script

    def pick(self, count: int) -> int:
        return next(self._script) % count

    def choose(self, among: Sequence[T]) -> T:
        return among[self.pick(len(among))]

    def step(self) -> None:
        self.time += self.pick(250) * 1000
        hand = self.hands[self.pick(len(self.hands))][self.pick(len(self.ids))]
        self._look_after(hand)
        action = self.pick(16)
        if action < 6:
            self._transport(hand)
        elif action < 14 and hand.token is not None:
            self._drive(hand, hand.token)
        elif action >= 14 or self.pick(3) == 0:
            self._from_outside(hand)

    def _now(self, hand: Hand) -> int:
        return self.time + hand.clock

    def _mark(self) -> str:
        self._marks += 1
        return f"m{self._marks}"

    def _create(self, subject: str, *, drive: bool) -> None:
        session = empty(uuid7(), "")
        hand = Hand(session, 0)
        data = {"subject": subject, "investigation_type": "t", "metadata": Json("{}"), "configuration": Json("{}")}
        data["phases"] = [{"id": uuid7(), "name": "p0"}]  # type: ignore[assignment]
        self.submit(hand, Create(time=self.time, actor=self._mark(), data=data))
        if drive:
            self._claim(hand)
        self.ids.append(session.id)
        self.hands[0].append(hand)
        self.arrive(hand)
        self._look_after(hand)

    def submit(self, hand: Hand, submission: Submission) -> Entry | None:
        try:
            entry = hand.session.submit(submission)
        except InvestigationError as error:
            require(type(submission) is not Fact, f"a fact was refused: {error!r}")
            self._check_refusal(hand, submission, error)
            hand.sent.append(Sent(submission, None))
            return None
        sent = Sent(submission, entry)
        hand.sent.append(sent)
        try:
            sent.waiter = hand.session.waiter(entry, blocking=True)
        except BackendUnavailable:
            pass
        return entry

    @staticmethod
    def _check_refusal(hand: Hand, submission: Submission, error: InvestigationError) -> None:
        if isinstance(error, BackendUnavailable) or not isinstance(submission, Append | StartPhase | Finish):
            return
        if hand.session.decided.token != submission.token:
            require(isinstance(error, LeaseLost | InvestigationCancelled), f"a stale owner got {error!r}")

    # ---- the way to the store

    def _transport(self, hand: Hand) -> None:
        if hand.conflict:
            self.mend(hand)
        elif hand.commit is None:
            hand.commit = next_commit(hand.session)
        else:
            self._deliver(hand, hand.commit)

    def _deliver(self, hand: Hand, commit: Commit) -> None:
        session, hand.commit = hand.session, None
        how = self.pick(12)
        if how == 0:
            on_unknown(session)  # lost on the way there
        elif how == 1:
            self.backend.commit_now((commit,))  # lost on the way back
            on_unknown(session)
        elif how == 2:
            pass  # busy: not applied
        elif how == 3:
            wake(on_down(session, BackendUnavailable("the disk is full")))
            self._check_withdrawn(hand)
        elif how == 4:
            self.backend.commit_now((commit,))
            on_unknown(session)
            wake(on_down(session, BackendUnavailable("no answer")))
        else:
            result = self.backend.commit_now((commit,))[0]
            if how == 5:
                self.backend.commit_now((commit,))  # delivered twice
            self._answer(hand, result)

    @staticmethod
    def _check_withdrawn(hand: Hand) -> None:
        """What is still to come is given up, but for what may be written already."""
        flight = hand.session.in_flight
        frozen = flight.entries if flight is not None and flight.unknown else []
        for sent in hand.sent:
            entry = sent.entry
            if entry is not None and not entry.acknowledged and entry.error is None and entry not in frozen:
                kept = isinstance(sent.submission, Fact | Finish | Fail | Release)
                require(kept, f"{sent.submission} was not withdrawn")

    def _answer(self, hand: Hand, result: Any) -> None:
        session = hand.session
        if result.status is CommitStatus.APPLIED:
            wake(on_applied(session))
        elif result.status is CommitStatus.CONFLICT:
            hand.conflict = session.repairing = True
        else:
            wake(refused(session, result))

    def mend(self, hand: Hand) -> None:
        session = hand.session
        woken = run_now(repair(session, self.backend))
        hand.conflict = session.repairing = False
        wake(woken)

    def refresh(self, hand: Hand) -> None:
        if hand.session.in_flight is None and not hand.conflict:
            self.mend(hand)

    def arrive(self, hand: Hand) -> None:
        """Let all of a session's commits arrive, one after another."""
        for _ in range(1000):
            if hand.conflict:
                self.mend(hand)
            hand.commit = None
            commit = next_commit(hand.session)
            if commit is None:
                return
            self._answer(hand, self.backend.commit_now((commit,))[0])
        raise AssertionError("a session does not come to rest")

    def drain(self) -> None:
        """Until nothing is on its way any more."""
        for hand in self.all_hands():
            self.arrive(hand)
        for hand in self.all_hands():
            self.refresh(hand)

    def all_hands(self) -> list[Hand]:
        return [hand for hands in self.hands for hand in hands]

    def _intrude(self, reader: Hand) -> None:
        """Another process writes a note, in between."""
        others = [hand for hand in self.all_hands() if hand.session.id == reader.session.id and hand is not reader]
        other = others[0]
        if not other.conflict and other.commit is None:
            self.submit(other, Fact(Event(uuid7(), "my.note", {"n": 1}, self._now(other)), None))
            commit = next_commit(other.session)
            assert commit is not None
            self._answer(other, self.backend.commit_now((commit,))[0])

    # ---- the block that drives

    def _look_after(self, hand: Hand) -> None:
        """What the opening does when its claim is durable, or refused."""
        if hand.claim is not None:
            entry, token = hand.claim
            if entry.acknowledged:
                hand.token, hand.claim = token, None
                hand.calls, hand.phases = [], {}
                hand.session.own(token)
            elif entry.error is not None:
                hand.claim = None

    def _claim(self, hand: Hand) -> None:
        id, token = self.new_claim(hand)
        entry = self.submit(hand, Claim(time=self._now(hand), actor=self._mark(), id=id, owner=owner_of(hand)))
        if entry is not None:
            hand.claim = entry, token

    def new_claim(self, hand: Hand) -> tuple[str, str]:
        """The id of a claim's event, and the token that it makes: the same."""
        id = uuid7()
        return id, id

    def _drive(self, hand: Hand, token: str) -> None:
        now = self._now(hand)
        action = self.pick(14)
        if action < 4:
            self._start_call(hand, token, now, waits=action == 3)
        elif action < 8 and hand.calls:
            self._end_call(hand, token, now)
        elif action < 10:
            self._phase(hand, token, now)
        elif action == 10:
            data = Json(POISON if self.pick(4) == 0 else str(now % 997))
            event = Event(uuid7(), "checkpoint.saved", {"data": data}, now, actor=self._mark())
            self.submit(hand, Append(time=now, token=token, event=event))
        elif action == 11:
            usage = {"tokens_used": 3, "cost_estimate": "0.10"}
            self.submit(hand, Fact(Event(uuid7(), "usage.reported", {"usage": usage}, now), token))
        elif action == 12:
            if self.pick(2) == 0:
                self._leave(hand, token, now)
        else:
            note: dict[str, Any] = {"n": 2} | ({"data": Json(POISON)} if self.pick(3) == 0 else {})
            self.submit(hand, Fact(Event(uuid7(), "my.note", note, now), token))

    def _start_call(self, hand: Hand, token: str, now: int, *, waits: bool) -> None:
        phase = next(iter(hand.phases.values()), None)
        data: dict[str, Any] = {"tool": "t", "agent": "a", "started_at": now, "input": Json('{"x":1}')}
        if phase is not None:
            data["phase"] = phase
        started = Event(uuid7(), "tool.started", data, now, actor=self._mark() if waits else None)
        if not waits:
            self.submit(hand, Fact(started, token))
        elif self.submit(hand, Append(time=now, token=token, event=started, needs_running=True)) is None:
            return
        hand.calls.append(started)

    def _end_call(self, hand: Hand, token: str, now: int) -> None:
        started = hand.calls.pop(self.pick(len(hand.calls)))
        waiting = (s for s in hand.sent if isinstance(s.submission, Append) and s.submission.event is started)
        command = next(waiting, None)
        if command is not None and (command.entry is None or not command.entry.acknowledged):
            if command.entry is None or command.entry.error is None:
                hand.calls.append(started)  # its body waits for its start
            return
        data: dict[str, Any] = {"call": started.id, "completed_at": now, "duration_ms": 1.5}
        kind = ("tool.completed", "tool.failed", "tool.interrupted")[self.pick(3)]
        if kind == "tool.completed":
            data |= {"output": Json('{"y":2}'), "usage": {"tokens_used": 5}}
        elif kind == "tool.failed":
            data["error"] = {"type": "ValueError", "message": "no"}
        self.submit(hand, Fact(Event(uuid7(), kind, data, now, started=started), token))

    def _phase(self, hand: Hand, token: str, now: int) -> None:
        name = f"p{self.pick(3)}"
        id = hand.phases.pop(name, None)
        if id is None:
            data = {"id": uuid7(), "name": name, "started_at": now}
            event = Event(uuid7(), "phase.started", data, now, actor=self._mark())
            if self.submit(hand, StartPhase(time=now, token=token, event=event)) is not None:
                hand.phases[name] = hand.session.decided.phases[name].id
            return
        data = {"id": id, "name": name, "completed_at": now, "duration_ms": 2.5}
        kind = ("phase.completed", "phase.failed")[self.pick(2)]
        self.submit(hand, Fact(Event(uuid7(), kind, data, now), token))

    def _leave(self, hand: Hand, token: str, now: int) -> None:
        how = self.pick(3)
        end: Command
        if how == 0:
            end = Finish(time=now, token=token, actor=self._mark(), result=Json('"done"'))
        elif how == 1:
            end = Fail(time=now, token=token, actor=self._mark(), kind="error", error={"type": "E", "message": "m"})
        else:
            end = Release(time=now, token=token, actor=self._mark())
        self.submit(hand, end)
        if self.pick(2):  # else the block's calls go on, and are late
            hand.token = None
            hand.session.disown()

    # ---- anybody

    def _from_outside(self, hand: Hand) -> None:
        now = self._now(hand)
        action = self.pick(10)
        if action < 2:
            if self.pick(2):
                self.backend.intruder = lambda: self._intrude(hand)
            self.refresh(hand)
            self.backend.intruder = None
        elif action < 5:
            verb = self.choose(_VERBS)
            self.submit(hand, Ask(time=now, actor=self._mark(), verb=verb, reason="because"))
        elif action == 5:
            ways = ALLOWED_TRANSITIONS[hand.session.decided.status or _STATES[0]] or _STATES
            state = self.choose(ways if self.pick(4) else _STATES)
            self.submit(hand, Transition(time=now, actor=self._mark(), new_state=state))
        elif action < 8:
            self.submit(hand, Fact(Event(uuid7(), "my.note", {"n": 3}, now), None))
        elif hand.claim is None and self.pick(2) == 0:
            self._claim(hand)

    # ---- what came of it

    def check(self) -> None:
        """All invariants; raises AssertionError."""
        for index, id in enumerate(self.ids):
            mine = [hands[index] for hands in self.hands]
            log = check_log(self.store, id)
            check_rows(self.store, log)
            for hand in mine:
                self._check_hand(hand, log)

    def _check_hand(self, hand: Hand, log: Any) -> None:
        session = hand.session
        require(session.broken is None, f"a session broke: {session.broken}")
        require(session.queued_events == 0, f"{session.queued_events} events are left in no queue")
        require(session.down is None, "a session believes that the store is down")
        require(session.decided.version == session.acked.version == log.version, "a session is not up to date")
        position = 0
        for sent in hand.sent:
            if sent.waiter is not None:
                self._check_waiter(sent)
            if sent.entry is None or sent.entry.error is not None:
                require(type(sent.submission) is not Fact, f"a fact was refused: {sent.submission}")
                log.check_absent(sent.submission)
                continue
            require(sent.entry.acknowledged, f"{sent.submission} was neither acknowledged nor refused")
            ids = [event.id for event in sent.entry.events]
            position = log.check_present(sent.submission, ids, position, owner_of(hand))

    @staticmethod
    def _check_waiter(sent: Sent) -> None:
        assert sent.waiter is not None
        assert sent.entry is not None
        try:
            require(sent.waiter.wait(0), f"nobody woke who waits for {sent.submission}")
        except BackendUnavailable:
            pass  # told so, while it lasted
        except InvestigationError as error:
            require(error is sent.entry.error, "a waiter was told something else than its entry")
