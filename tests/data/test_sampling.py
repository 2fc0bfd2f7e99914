import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgm_jax.data.sampling import training_frames


@given(
    num_frames=st.integers(1, 400),
    clip_frames=st.integers(1, 32),
    stride=st.integers(1, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_frames_exist_and_keep_their_distance(num_frames, clip_frames, stride, seed):
    frames = training_frames(
        np.random.default_rng(seed), num_frames, clip_frames=clip_frames, stride=stride
    )
    assert frames.shape == (clip_frames,)
    assert frames.min() >= 0
    assert frames.max() < num_frames
    if num_frames >= (clip_frames - 1) * stride + 1:
        assert (np.diff(frames) == stride).all()


def test_every_start_is_drawn():
    rng = np.random.default_rng(0)
    starts = {training_frames(rng, 40, clip_frames=16, stride=2)[0] for _ in range(300)}
    assert starts == set(range(40 - 30))


def test_a_short_video_repeats_its_last_frame():
    frames = training_frames(np.random.default_rng(0), 20, clip_frames=16, stride=2)
    assert frames.tolist() == [*range(0, 20, 2), *[19] * 6]


def test_a_video_shorter_than_the_clip_is_looped():
    frames = training_frames(np.random.default_rng(0), 3, clip_frames=8, stride=4)
    assert frames.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_no_frames_is_an_error():
    with pytest.raises(ValueError, match="at least one frame"):
        training_frames(np.random.default_rng(0), 0, clip_frames=8, stride=4)
