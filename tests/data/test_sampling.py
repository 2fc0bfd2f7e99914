import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgm_jax.data.sampling import (
    start_step,
    training_frames,
    training_segments,
    view_frames,
    view_segments,
)


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


@pytest.mark.parametrize(
    ("num_frames", "clip_frames", "stride", "step", "expected"),
    [(40, 16, 2, 1, range(40 - 32 + 1)), (45, 8, 4, 4, range(0, 45 - 32 + 1, 4))],
)
def test_every_start_on_the_step_is_drawn(num_frames, clip_frames, stride, step, expected):
    rng = np.random.default_rng(0)
    settings = {"clip_frames": clip_frames, "stride": stride, "start_step": step}
    starts = {training_frames(rng, num_frames, **settings)[0] for _ in range(300)}
    assert starts == set(expected)


@pytest.mark.parametrize(
    ("profile", "stride", "step"),
    [
        ("stride_aligned:4", 4, 4),
        ("stride_aligned:2", 4, 2),
        ("stride_aligned:4", 2, 1),
        ("low_delay", 4, 1),
        ("", 4, 1),
    ],
)
def test_only_clips_of_the_reference_frames_alone_are_aligned(profile, stride, step):
    assert start_step(profile, stride) == step


def test_short_videos_repeat_their_last_frame_or_loop():
    rng = np.random.default_rng(0)
    frames = training_frames(rng, 20, clip_frames=16, stride=2)
    assert frames.tolist() == [*range(0, 20, 2), *[19] * 6]
    frames = training_frames(rng, 3, clip_frames=8, stride=4)
    assert frames.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert view_frames(10, clip_frames=4, stride=4, view=1, num_views=2).tolist() == [0, 4, 8, 8]
    assert view_frames(3, clip_frames=4, stride=4, view=0, num_views=1).tolist() == [0, 1, 2, 0]
    with pytest.raises(ValueError, match="at least one frame"):
        training_frames(rng, 0, clip_frames=8, stride=4)


@given(
    num_frames=st.integers(1, 400), clip_frames=st.integers(1, 32), seed=st.integers(0, 2**32 - 1)
)
def test_each_segment_gives_a_frame(num_frames, clip_frames, seed):
    frames = training_segments(np.random.default_rng(seed), num_frames, clip_frames=clip_frames)
    assert frames.shape == (clip_frames,)
    assert frames.min() >= 0
    assert frames.max() < num_frames
    if num_frames >= clip_frames:
        length = num_frames // clip_frames  # Of VideoMAE's segments; the tail is left out.
        assert (frames // length == np.arange(clip_frames)).all()


def test_two_segment_views_are_the_starts_and_the_middles():
    """VideoMAE's SSv2 test: int(tick * x) and int(tick / 2 + tick * x), tick = frames / T."""
    views = [view_segments(50, clip_frames=8, view=view, num_views=2) for view in range(2)]
    assert views[0].tolist() == [0, 6, 12, 18, 25, 31, 37, 43]
    assert views[1].tolist() == [3, 9, 15, 21, 28, 34, 40, 46]


def test_five_views_spread_from_the_first_to_the_last_start():
    """VideoMAE's Kinetics test: every fourth frame, starts int(view * (candidates - T) / 4)."""
    views = [
        view_frames(300, clip_frames=16, stride=4, view=view, num_views=5) for view in range(5)
    ]
    assert [view[0] for view in views] == [0, 4 * 14, 4 * 29, 4 * 44, 4 * 59]
    assert all((np.diff(view) == 4).all() for view in views)
    assert views[-1][-1] == 296


def test_a_single_view_is_the_middle():
    frames = view_frames(100, clip_frames=4, stride=5, view=0, num_views=1)
    assert frames.tolist() == [40, 45, 50, 55]
    assert view_segments(40, clip_frames=4, view=0, num_views=1).tolist() == [5, 15, 25, 35]
