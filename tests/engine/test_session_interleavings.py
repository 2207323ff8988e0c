"""Sessions against each other, over one store: random interleavings, driven by hypothesis and by seeds."""


from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.world import World

SETTINGS = settings(
    max_examples=1200,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@SETTINGS
@given(st.binary(min_size=100, max_size=600))
def test_any_interleaving_leaves_one_true_record(script):
    World(script).run()
