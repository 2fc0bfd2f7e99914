import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgm_jax.data.sampling import (
    looped_frames,
    segment_frames,
    start_step,
    training_frames,
    view_frames,
)


@given(
    clip_frames=st.integers(1, 32),
    more=st.integers(0, 400),
    stride=st.integers(1, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_frames_exist_and_keep_their_distance(clip_frames, more, stride, seed):
    rng, num_frames = np.random.default_rng(seed), clip_frames + more
    frames = training_frames(rng, num_frames, clip_frames=clip_frames, stride=stride)
    of_segments = segment_frames(num_frames, rng.random(clip_frames), clip_frames=clip_frames)
    for chosen in (frames, of_segments):
        assert chosen.shape == (clip_frames,)
        assert 0 <= chosen.min() <= chosen.max() < num_frames
    if num_frames >= (clip_frames - 1) * stride + 1:
        assert (np.diff(frames) == stride).all()
    edges = np.arange(clip_frames + 1) * num_frames / clip_frames
    assert (of_segments >= np.floor(edges[:-1])).all()
    assert (of_segments <= edges[1:]).all()


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
    frames = training_frames(np.random.default_rng(0), 20, clip_frames=16, stride=2)
    assert frames.tolist() == [*range(0, 20, 2), *[19] * 6]
    assert view_frames(10, clip_frames=4, stride=4, view=1, num_views=2).tolist() == [0, 4, 8, 8]
    assert looped_frames(3, clip_frames=8).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_two_segment_views_are_the_starts_and_the_middles():
    """VideoMAE's SSv2 test: int(tick * x) and int(tick / 2 + tick * x), tick = frames / T."""
    starts, middles = (segment_frames(50, offset, clip_frames=8) for offset in (0.0, 0.5))
    assert starts.tolist() == [0, 6, 12, 18, 25, 31, 37, 43]
    assert middles.tolist() == [3, 9, 15, 21, 28, 34, 40, 46]


def test_five_views_spread_from_the_first_to_the_last_start():
    """VideoMAE's Kinetics test: every fourth frame, starts int(view * (candidates - T) / 4)."""
    views = [
        view_frames(300, clip_frames=16, stride=4, view=view, num_views=5) for view in range(5)
    ]
    assert [view[0] for view in views] == [0, 4 * 14, 4 * 29, 4 * 44, 4 * 59]
    assert all((np.diff(view) == 4).all() for view in views)
    assert views[-1][-1] == 296
    alone = view_frames(100, clip_frames=4, stride=5, view=0, num_views=1)
    assert alone.tolist() == [40, 45, 50, 55]
