"""Workers in processes of their own: killed, told to end, with wrong clocks; what they leave is gone on with."""

import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from investigation_sdk import InvestigationSDK, InvestigationState
from investigation_sdk.engine import opening
from investigation_sdk.work import recovery
from tests.work.processes import LONG, end, notes, start, wait_until

Start = Callable[..., Any]


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    return tmp_path / "effects"


@pytest.fixture
def place(request: pytest.FixtureRequest, sqlite_url: str) -> str:
    """The URL of a store that processes share: a SQLite file, unless a test asks for a server."""
    kind = getattr(request, "param", "sqlite")
    return sqlite_url if kind == "sqlite" else str(request.getfixturevalue(f"{kind}_store"))


@pytest.fixture
def worker(place: str, effects: Path) -> Iterator[Start]:
    """Starts worker processes, which end with the test."""
    started: list[Any] = []

    def begin(**options: object) -> Any:
        started.append(start(place, effects, **options))
        return started[-1]

    yield begin
    for process in started:
        end(process)


def steps(effects: Path, subject: str) -> list[str]:
    return [line.split()[1] for line in notes(effects) if line.startswith(f"{subject} ")]


@pytest.mark.parametrize("kind", ["async", pytest.param("sync", marks=pytest.mark.server)])
def test_what_a_killed_worker_left_is_gone_on_with(
    lite: InvestigationSDK, worker: Start, effects: Path, kind: str
) -> None:
    made = lite.sync.submit(kind, "case", configuration={"steps": 5, "seconds": 0.1})
    first = worker()
    wait_until(lambda: len(steps(effects, "case")) == 3, "three steps begun")
    first.kill()
    first.wait(LONG)
    worker()
    done = lite.sync.wait(made.id, timeout=LONG)
    assert (done.status, done.result) == (InvestigationState.COMPLETED, 10)
    assert steps(effects, "case") == ["0", "1", "2", "2", "3", "4"], "what had finished is not done again"
    assert lite.sync.verify(made.id).ok


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["poison", "poison_phase", "poison_checkpoint", "poison_result"])
def test_what_kills_its_workers_is_given_up(lite: InvestigationSDK, worker: Start, effects: Path, kind: str) -> None:
    made = lite.sync.submit(kind, "case")
    for _ in range(3):
        killed = worker(recoveries=2)
        assert killed.wait(LONG) == -signal.SIGKILL
    worker(recoveries=2)
    done = lite.sync.wait(made.id, timeout=LONG)
    assert (done.status, done.failure_kind) == (InvestigationState.FAILED, "max_recoveries")
    assert "Taken over 2 times from a worker that had stopped" in (done.error_message or "")
    assert steps(effects, "poison") == ["1", "2", "3"]
    assert lite.sync.submit("sync", "alive", configuration={"steps": 1, "seconds": 0}).status == "queued"
    assert lite.sync.verify(made.id).ok


@pytest.mark.server
def test_told_to_end_a_worker_waits_for_what_runs(lite: InvestigationSDK, worker: Start, effects: Path) -> None:
    ids = [lite.sync.submit(kind, kind, configuration={"steps": 4, "seconds": 0.1}).id for kind in ("async", "sync")]
    process = worker()
    wait_until(lambda: steps(effects, "async") and steps(effects, "sync"), "both begun")
    later = lite.sync.submit("async", "later", configuration={"steps": 1, "seconds": 0})
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=LONG)
    assert process.returncode == 0, said
    assert [lite.sync.get(id).status for id in ids] == [InvestigationState.COMPLETED] * 2
    assert lite.sync.get(later.id).status in (InvestigationState.QUEUED, InvestigationState.COMPLETED)


@pytest.mark.chaos
def test_out_of_patience_it_lets_go_at_a_boundary(lite: InvestigationSDK, worker: Start, effects: Path) -> None:
    made = [lite.sync.submit(kind, kind, configuration={"steps": 8, "seconds": 0.3}) for kind in ("async", "sync")]
    process = worker(patience=0)
    wait_until(lambda: steps(effects, "async") and steps(effects, "sync"), "both begun")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=LONG)
    assert process.returncode == 0, said
    for one in made:
        left = lite.sync.get(one.id)
        assert left.status == InvestigationState.RUNNING
        assert {call.status for call in lite.sync.tools(one.id)} == {"completed"}, "no call was cut off"
    worker()
    for one in made:
        assert lite.sync.wait(one.id, timeout=LONG).result == 28
        assert steps(effects, one.subject) == [str(n) for n in range(8)], "and none was made twice"
        assert lite.sync.get(one.id).retry_count == 1


@pytest.mark.parametrize(
    ("place", "minutes"),
    [
        pytest.param("sqlite", -10, marks=pytest.mark.chaos),
        *(pytest.param(kind, 10, marks=pytest.mark.server) for kind in ("sqlite", "postgres", "mongo")),
        *(pytest.param(kind, -10, marks=pytest.mark.server) for kind in ("postgres", "mongo")),
    ],
    indirect=["place"],
)
def test_a_wrong_clock_changes_nothing(
    place: str, make_sdk: Callable[..., InvestigationSDK], worker: Start, minutes: int
) -> None:
    """The store's clock is right: a machine that is ahead takes nothing too early, and one behind nothing too late."""
    sdk = make_sdk(place)
    soon = datetime.now(UTC) + timedelta(seconds=1)
    later = datetime.now(UTC) + timedelta(minutes=5)
    given = {"steps": 1, "seconds": 0.05}
    held = sdk.sync.submit("async", "later", configuration=given, not_before=later)
    made = [
        sdk.sync.submit("async", "soon", configuration=given, not_before=soon),
        sdk.sync.submit("async", "again", configuration={**given, "fail": True}),
    ]
    worker(clock=60 * minutes)
    for one in made:
        done = sdk.sync.wait(one.id, timeout=LONG)
        assert done.status == InvestigationState.COMPLETED, done.error_message
        assert sdk.sync.verify(one.id).ok
    assert sdk.sync.get(made[1].id).retry_count == 1
    assert sdk.sync.get(held.id).status == InvestigationState.QUEUED


async def test_a_stale_look_at_the_queue_takes_nothing_up(sdk: InvestigationSDK) -> None:
    """As where rows lag behind the log: the lease is given for one that has failed, or is paused, since."""
    ran: list[str] = []
    sdk.investigator("case")(lambda run: ran.append(run.id))
    failed = await sdk.submit("case", "x")
    with pytest.raises(LookupError):
        async with sdk.attach(failed.id):
            raise LookupError
    paused = await sdk.submit("case", "y")
    with pytest.raises(LookupError):
        async with sdk.attach(paused.id):
            raise LookupError
    await sdk.service.cancel(paused.id)
    recorder = sdk._recorder
    for one, state in ((failed, "failed"), (paused, "cancelled")):
        lease, _ = await recorder.acall(opening.leased(recorder, one.id, 0))
        executed = await sdk._desk.attempt("case", lease, 0).run()
        assert executed == (one.id, "busy", None)
        assert (await sdk.get(one.id)).status == state
        assert await recorder.acall(recorder.backend.holder(one.id)) is None, "the lease is given back"
    assert ran == []


def test_pauses_grow_and_differ() -> None:
    for times in range(1, 12):
        longest = min(recovery.LONGEST_PAUSE, recovery.FIRST_PAUSE * 2 ** (times - 1))
        pauses = {recovery.pause(times) for _ in range(50)}
        assert len(pauses) == 50
        assert all(longest / 2 <= one <= longest for one in pauses)
    assert recovery.pause(10_000) <= recovery.LONGEST_PAUSE
