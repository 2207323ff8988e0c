"""Sessions against each other, over one store: random interleavings of an owner, outsiders, takeovers, lost and
duplicated answers, poison values, and clocks 10 minutes apart. Hypothesis shrinks what it finds; seeds reach deeper."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from investigation_sdk.storage.commit import StoredEvent
from tests.engine.world import World

SETTINGS = settings(
    max_examples=1500,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@SETTINGS
@given(st.binary(min_size=100, max_size=600))
def test_any_interleaving_leaves_one_true_record(script):
    World(script).run()


@pytest.mark.parametrize("block", range(6))
def test_longer_ones_do_too(block):
    for seed in range(200):
        source = random.Random(block * 1000 + seed)
        World(source.randbytes(source.randrange(200, 1200))).run()


def test_many_processes_and_investigations():
    for seed in range(60):
        source = random.Random(seed)
        World(source.randbytes(2500), processes=5, investigations=4).run()


def test_the_script_reaches_what_it_is_to_test():
    reached: set[str] = set()
    for seed in range(60):
        world = World(random.Random(seed).randbytes(900)).run()
        for id in world.ids:
            for event in map(StoredEvent._make, world.store.files[id].events):
                reached |= {event.event_type, event.metadata or "", event.new_state or ""}
        for hand in world.all_hands():
            errors = {type(sent.entry.error).__name__ for sent in hand.sent if sent.entry is not None}
            reached |= errors
    assert reached >= {
        "investigation.claimed", "investigation.released", "investigation.resume_requested", "phase.interrupted",
        "recorder.warning", '{"late":true,"stale":true}', '{"late":true}', "paused", "retrying", "completed",
        "cancelled", "failed", "LeaseLost", "InvestigationPaused", "InvestigationCancelled", "BackendUnavailable",
        "InvalidStateTransition", "InvestigationError",
    }  # fmt: skip
