import pytest

from tests.soak import CHECKPOINT_EVERY, Soak


@pytest.mark.slow
def test_a_run_killed_again_and_again_equals_one_left_alone(tmp_path):
    """`python -m tests.soak` does this a hundred times, also in the middle of starting."""
    soak = Soak(tmp_path, seed=0)
    soak.kill("saving", group=False, workers=1)
    assert soak.compare() >= 2 * CHECKPOINT_EVERY
