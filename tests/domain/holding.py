"""What must hold of one investigation after each step, and of its whole log."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from investigation_sdk.domain.events import Event
from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.project import investigation_row
from investigation_sdk.domain.states import ALLOWED_TRANSITIONS, InvestigationState, PhaseState
from investigation_sdk.engine.reading import to_event
from investigation_sdk.engine.snapshots import snapshot_of, unpack
from investigation_sdk.engine.texts import json_text
from investigation_sdk.storage.checking import Checker
from investigation_sdk.storage.commit import Commit
from tests.domain.harness import World, plain

S = InvestigationState

TYPE_OF = {
    S.CREATED: "investigation.created",
    S.COMPLETED: "investigation.completed",
    S.FAILED: "investigation.failed",
    S.CANCELLED: "investigation.cancelled",
}


class Holding:
    """An investigation with all that was done to it, and the checks."""

    def __init__(self) -> None:
        self.world = World("acme")
        self.reloaded = False
        self.tokens: dict[str, int] = {}
        self.calls: list[Event] = []
        self.log: list[Event] = []
        self.furthest: dict[str, tuple[int, int]] = {}
        self.used = {"tokens_used": Fraction(), "api_calls_made": Fraction(), "cost_estimate": Fraction()}

    @property
    def fold(self) -> Fold:
        return self.world.fold

    def one_log_in_order(self) -> None:
        pending = self.log[-30:]
        assert self.fold.version == len(self.log)
        assert [e.sequence for e in pending] == list(range(len(self.log) - len(pending) + 1, len(self.log) + 1))
        times = [e.at for e in pending]
        assert times == sorted(times)
        assert all(e.at >= e.time for e in pending)

    def progress_is_a_percentage_and_100_says_completed(self) -> None:
        assert type(self.fold.progress) is int
        assert 0 <= self.fold.progress <= 100
        assert (self.fold.progress == 100) == (self.fold.status is S.COMPLETED)

    def progress_never_goes_back_within_an_attempt(self) -> None:
        now = {name: (phase.attempt, phase.progress) for name, phase in self.fold.phases.items()}
        now[""] = (self.fold.attempt, self.fold.progress)
        for name, (attempt, progress) in now.items():
            before = self.furthest.get(name, (-1, 0))
            assert progress >= before[1] or attempt > before[0], (name, before, attempt, progress)
        self.furthest = now

    def who_drives_is_told_by_the_state(self) -> None:
        if self.fold.token is not None:
            assert self.fold.status in (S.RUNNING, S.PAUSED)
            assert self.fold.token in self.tokens
        else:
            assert PhaseState.RUNNING not in {phase.status for phase in self.fold.phases.values()}

    def usage_is_the_exact_sum(self) -> None:
        sums = {name: Fraction(getattr(self.fold, name)) for name in self.used}
        assert sums == self.used

    def check_now(self) -> None:
        """What holds after each step."""
        self.one_log_in_order()
        self.progress_is_a_percentage_and_100_says_completed()
        self.progress_never_goes_back_within_an_attempt()
        self.who_drives_is_told_by_the_state()
        self.usage_is_the_exact_sum()

    def check_all(self) -> None:
        """What holds of the whole log, of what is stored, and of the rows."""
        self.world.commit()
        self._every_change_of_state_is_one_legal_event()
        self._attempts_count_claims()
        self._what_is_stored_says_the_same()
        self._a_snapshot_at_every_cut_and_the_events_behind_it_say_the_same()
        checker = Checker(self.fold.id)
        checker.add(self.world.stored)
        assert checker.finish(self.fold.version, self.world.head) == []

    def _every_change_of_state_is_one_legal_event(self) -> None:
        status: S | None = None
        for event in self.log:
            if event.new_state is None:
                assert event.previous_state is None
                assert event.type not in (*TYPE_OF.values(), "state.transition")
                continue
            assert event.previous_state is status
            allowed = (S.CREATED,) if status is None else ALLOWED_TRANSITIONS[status]
            assert event.new_state in allowed
            assert event.type == TYPE_OF.get(event.new_state, "state.transition")
            status = event.new_state
        assert status is self.fold.status

    def _attempts_count_claims(self) -> None:
        count = Counter(event.type for event in self.log)
        assert self.fold.attempt == count["investigation.claimed"] == count["investigation.started"] == len(self.tokens)
        for type in ("investigation.claimed", "investigation.started"):
            of_type = [event for event in self.log if event.type == type]
            attempts = list(range(1, len(of_type) + 1))
            assert [event.attempt for event in of_type] == attempts
            assert [event.data["attempt"] for event in of_type] == attempts
        starts = [event.at for event in self.log if event.type == "investigation.started"]
        assert self.fold.started_at == (starts[0] if starts else None)
        assert self.fold.retry_count == sum(event.new_state is S.RETRYING for event in self.log)

    def _what_is_stored_says_the_same(self) -> None:
        reread, rows = self.world.reread()
        assert plain(reread, from_rows=self.reloaded) == plain(self.fold, from_rows=self.reloaded)
        assert rows == self.world.rows
        assert plain(self.world.from_rows(), from_rows=True) == plain(self.fold, from_rows=True)

    def _a_snapshot_at_every_cut_and_the_events_behind_it_say_the_same(self) -> None:
        whole, _ = self.world.reread()
        events = [to_event(stored) for stored in self.world.stored]
        before = Fold(self.fold.id, self.fold.tenant)
        for stored, event in zip(self.world.stored, events, strict=True):
            before.apply(event)
            row = investigation_row(before, before.version, stored.hash, json_text)
            commit = Commit(stored.id, before.id, before.version - 1, b"", [stored], [row])
            snapshot = snapshot_of(commit, before, "periodic", None)
            assert snapshot is not None
            fold, head = unpack(snapshot)
            assert head == stored.hash
            for later in events[before.version :]:
                fold.apply(later)
            assert plain(fold, from_rows=True) == plain(whole, from_rows=True)
            assert fold.counts == whole.counts
