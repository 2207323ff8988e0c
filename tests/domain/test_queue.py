"""What waits for a worker, as the log says and as the rows have it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from investigation_sdk.domain.commands import Claim, Create, Fail, GiveUp
from investigation_sdk.domain.project import claimable_at
from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.domain.states import InvestigationState as S
from investigation_sdk.domain.states import Verb
from investigation_sdk.errors import (
    InvalidStateTransition,
    InvestigationCancelled,
    InvestigationError,
    InvestigationFinished,
    LeaseLost,
)
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.codec import Json
from tests.domain.harness import World

ERROR = {"type": "ValueError", "message": "no"}


def take(world: World) -> str:
    token = uuid7()
    world.submit(Claim(time=world.time, id=token, owner="host/1", queued=True))
    return token


def queued(not_before: int | None = None, **data: Any) -> World:
    world = World()
    data = {"subject": "s", "investigation_type": "t", "configuration": Json("{}"), "metadata": Json("{}"), **data}
    world.submit(Create(time=world.time, data=data, not_before=not_before))
    return world


def fail(world: World, token: str, again_at: int | None = None) -> None:
    world.submit(Fail(time=world.time, token=token, kind="error", error=ERROR, again_at=again_at))


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        *((state, 0) for state in (S.QUEUED, S.RETRYING)),
        *((state, None) for state in (S.CREATED, S.RUNNING, S.PAUSED, S.COMPLETED, S.FAILED, S.CANCELLED)),
    ],
)
def test_states(state: S, wanted: int | None) -> None:
    world = World.in_state(state)
    if state is S.RUNNING and world.fold.token is None:
        world.claim()
    assert claimable_at(world.fold) == wanted


def test_a_new_one_has_its_time_and_its_priority() -> None:
    world = queued(77, priority=5)
    world.commit()
    row = world.rows[world.fold.id]
    assert isinstance(row, InvestigationRow)
    assert (row.claimable_at, row.priority) == (77, 5)
    take(world)
    assert (claimable_at(world.fold), world.fold.not_before, world.fold.priority) == (None, None, 5)


def test_one_that_fails_may_be_tried_again_in_the_same_commit() -> None:
    world = queued()
    fail(world, take(world), again_at=99)
    assert (world.fold.status, world.fold.retry_count, world.fold.token) == (S.RETRYING, 1, None)
    assert claimable_at(world.fold) == 99
    fail(world, take(world))
    assert (world.fold.status, claimable_at(world.fold)) == (S.FAILED, None)
    world.ask(Verb.RETRY)
    assert claimable_at(world.fold) == 0, "by hand it is tried at once"


def test_a_worker_takes_up_nothing_else() -> None:
    world = queued()
    fail(world, take(world))
    with pytest.raises(InvalidStateTransition, match=r"Cannot be taken up by a worker: .* is failed"):
        take(world)
    world.claim()  # who attaches may
    world.ask(Verb.PAUSE)
    with pytest.raises(InvalidStateTransition, match="is paused"):
        take(world)
    world.ask(Verb.CANCEL)
    with pytest.raises(InvestigationCancelled):
        take(world)


def test_giving_up() -> None:
    world = queued()
    token = take(world)
    up = GiveUp(time=world.time, seen=token, kind="max_recoveries", message="in vain")
    later = take(world)
    with pytest.raises(LeaseLost, match="has another owner by now"):
        world.submit(up)
    up.seen = later
    world.submit(up)
    assert (world.fold.status, world.fold.failure_kind, world.fold.token) == (S.FAILED, "max_recoveries", None)
    up.seen = None
    with pytest.raises(InvalidStateTransition):
        world.submit(up)


@given(st.lists(st.sampled_from(["take", "fail", "again", "give up", *Verb]), max_size=12), st.integers(1, 2**40))
def test_rows_and_log_agree(doings: list[str], at: int) -> None:
    """Whatever is done: the row that is written, the one that is made from the log, and the fold that is made from
    rows say the same of the queue; and what may be taken up, can be."""
    world = queued(at, priority=at % 7 - 3)
    token = ""
    for doing in doings:
        try:
            if doing == "take":
                token = take(world)
            elif doing in ("fail", "again"):
                fail(world, token, at if doing == "again" else None)
            elif doing == "give up":
                world.submit(GiveUp(time=world.time, seen=world.fold.token, kind="max_recoveries", message="m"))
            elif doing in (Verb.PAUSE, Verb.CANCEL, Verb.RETRY, Verb.RESUME):
                world.ask(Verb(doing))
        except InvestigationError:
            pass
        world.commit()
        row = world.rows[world.fold.id]
        assert isinstance(row, InvestigationRow)
        _, again = world.reread()
        assert row == again[world.fold.id]
        found = world.from_rows()
        told = (found.not_before, found.priority, claimable_at(found))
        assert told == (world.fold.not_before, world.fold.priority, row.claimable_at)
    if claimable_at(world.fold) is not None:
        take(world)
        assert claimable_at(world.fold) is None
    elif world.fold.status in (S.COMPLETED, S.CANCELLED, S.FAILED):
        with pytest.raises((InvestigationFinished, InvestigationCancelled, InvalidStateTransition)):
            take(world)
