"""kill -9 at every write, and at any moment: what finished is never run again, what is unsafe never twice."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from investigation_sdk import InvestigationSDK
from tests.chaos.killing import EFFECTS, VICTIM, check_record, effects_of, finished, go_on, victim

pytestmark = pytest.mark.chaos

Store = Callable[[], str]
"""Makes an empty store; its URL."""


@pytest.fixture(params=["sqlite", "postgres", "mongo"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    count = 0

    def sqlite() -> str:
        nonlocal count
        count += 1
        return f"sqlite:///{tmp_path}/cases{count}.db"

    if request.param == "sqlite":
        yield sqlite
    else:
        yield request.getfixturevalue(f"{request.param}_stores")


def look(store: str) -> InvestigationSDK:
    return InvestigationSDK(store)


def killed_once(url: str, effects: Path, kill: str) -> bool:
    """Kill it there, and let it go on; whether it came that far."""
    done = victim(url, effects, kill)
    if done.returncode == 0:
        return False
    assert done.returncode == -signal.SIGKILL, done.stderr
    with look(url) as sdk:
        durable, before = finished(sdk), effects_of(effects)
        go_on(sdk, url, effects)
        after = effects_of(effects)
        assert {line: after[line] for line in durable} == {line: before[line] for line in durable}
        assert sorted(after) == sorted(EFFECTS)
        assert after["freeze 42"] == 1
        check_record(sdk)
    assert victim(url, effects).returncode == 0  # it is finished: nothing runs
    assert effects_of(effects) == after
    return True


@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_at_every_commit(store: Store, where: str, tmp_path: Path) -> None:
    nth = 1
    while killed_once(store(), tmp_path / f"effects{nth}", f"{where}:{nth}"):
        nth += 1
    assert nth > 8


LIVES = [("after:5", "before:3"), ("before:8", "after:2"), ("after:10", "after:4")]
"""Where the first life is killed, and where the second, which began by going on: claims, results, phases."""


def test_the_life_that_goes_on_is_killed_too(store: Store, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    embedded = "sqlite" in request.node.name
    for turn, lives in enumerate(LIVES if embedded else LIVES[:1]):
        url, effects = store(), tmp_path / f"lives{turn}"
        with look(url) as sdk:
            for kill in lives:
                durable, before = finished(sdk), effects_of(effects)
                done = victim(url, effects, kill)
                assert done.returncode == -signal.SIGKILL, (kill, done.stderr)
                after = effects_of(effects)
                assert {line: after[line] for line in durable} == {line: before[line] for line in durable}
            durable, before = finished(sdk), effects_of(effects)
            go_on(sdk, url, effects)
            after = effects_of(effects)
            assert {line: after[line] for line in durable} == {line: before[line] for line in durable}
            assert sorted(after) == sorted(EFFECTS)
            assert after["freeze 42"] == 1
            check_record(sdk)


def test_killed_again_and_again_at_any_moment(store: Store, tmp_path: Path) -> None:
    source = random.Random(7)
    kills = 0
    for turn in range(12):
        url, effects = store(), tmp_path / f"effects{turn}"
        with look(url) as sdk:
            for _ in range(3):
                durable, before = finished(sdk), effects_of(effects)
                process = subprocess.Popen(
                    [sys.executable, VICTIM, url, effects, "never"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
                )
                time.sleep(source.uniform(0.25, 1.0))
                process.kill()
                process.communicate()
                kills += process.returncode == -signal.SIGKILL
                after = effects_of(effects)
                assert {line: after[line] for line in durable} == {line: before[line] for line in durable}
                assert after["freeze 42"] <= 1
            go_on(sdk, url, effects)
            assert effects_of(effects)["freeze 42"] == 1
            check_record(sdk)
    assert kills > 0
