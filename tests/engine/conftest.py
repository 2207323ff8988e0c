"""Lets the tests of this folder import what they share: ``from tests.engine.world import …``. And a recorder to use."""

import sys
from pathlib import Path

import pytest

_ROOT = str(Path(__file__).parents[2])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)


@pytest.fixture
def make_rig():
    from tests.engine.rig import Rig

    made: list[Rig] = []

    def make(*args, **options) -> Rig:
        made.append(Rig(*args, **options))
        return made[-1]

    yield make
    for rig in made:
        rig.plan.outage = None
        rig.plan.unreadable = False
        rig.backend.release_hanging()
        rig.recorder.close()


@pytest.fixture
def rig(make_rig):
    return make_rig()
