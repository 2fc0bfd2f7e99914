import json
import sys

import encoded
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mgm_jax import io
from mgm_jax.data.clip_builder import DecodedClip
from mgm_jax.data.crops import MOTION_CELL
from mgm_jax.data.decoding import Video
from mgm_jax.errors import ConfigError, VideoError
from mgm_jax.flow import estimators, raft
from mgm_jax.flow.weights import load_weights
from tests.flow import make_reference

NEEDS = "Dense Inverse Search needs opencv-python-headless"
STEP = (4, 2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    shapes = json.loads(make_reference.FILE.read_text())["shapes"]
    path = tmp_path_factory.mktemp("weights") / "raft.npz"
    io.write_arrays(path, make_reference.make_weights(shapes))
    return path


@pytest.fixture(scope="module")
def square_video():
    """14 frames of 140x176 pixels, in which a square moves by STEP per frame."""
    return encoded.encode(encoded.moving_square(14, STEP, height=140, width=176))


@example(height=1080, width=1920, short_side=256)
@example(height=40, width=50, short_side=256)
@given(height=st.integers(16, 3000), width=st.integers(16, 3000), short_side=st.integers(64, 600))
def test_processing_sizes_fit_the_network_and_keep_the_shape(height, width, short_side):
    size = estimators.processing_size(height, width, short_side)
    for side, source_side in zip(size, (height, width), strict=True):
        assert side % 8 == 0
        assert side >= raft.SMALLEST_SIDE
        scale = min(1, short_side / min(height, width))
        assert abs(side - source_side * scale) <= 4 or side == raft.SMALLEST_SIDE


@pytest.mark.parametrize("short_side", [256, 96])
def test_classical_flow_of_a_video_is_the_step_in_source_pixels(square_video, short_side):
    pytest.importorskip("cv2", reason=NEEDS)
    with Video(square_video) as video:
        motion = estimators.video_flow(video, estimators.make_dis_flow(), short_side=short_side)
    assert motion.shape == (14, 18, 22, 2)
    assert not motion[0].any()
    for number in range(1, 13):
        # Cells wholly on the square, one cell from its edge, where flow is blurred.
        top, left = (
            -(-(corner + MOTION_CELL) // MOTION_CELL)
            for corner in encoded.square_corner(number, STEP)
        )
        found = motion[number, top : top + 5, left : left + 5].reshape(-1, 2)
        np.testing.assert_allclose(np.median(found, axis=0), STEP, atol=0.4)
        assert np.abs(motion[number, :2]).max() < 0.5


def test_without_opencv_the_cure_is_named_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match="pip install opencv-python-headless"):
        estimators.make_dis_flow()


def test_frames_and_groups_of_frames_do_not_depend_on_each_other(square_video, monkeypatch):
    def flow(clip):
        change = np.diff(clip.luma.astype(np.float32).mean(axis=(1, 2)))
        cells = (len(change), clip.luma.shape[1] // 8, clip.luma.shape[2] // 8, 2)
        return np.broadcast_to(change[:, None, None, None], cells).astype(np.float32)

    with Video(square_video) as video:
        whole = estimators.video_flow(video, flow)
        monkeypatch.setattr(estimators, "_FRAMES_PER_READ", 4)
        np.testing.assert_array_equal(estimators.video_flow(video, flow), whole)
    assert np.abs(whole[1:]).max() > 0


@pytest.mark.slow
def test_network_flow_is_flow_motion_whatever_the_groups_of_pairs(weights, monkeypatch):
    luma = np.random.default_rng(0).integers(0, 256, (5, 64, 80), np.uint8)
    clip = DecodedClip(
        planes=((luma, np.full((5, 32, 40, 2), 128, np.uint8)),),
        motion=np.zeros((5, 8, 10, 2), np.float32),
        motion_valid=np.zeros(5, bool),
        yuv_to_rgb=np.array([[1 / 255, 0, 0, 0]] * 3, np.float32),
        motion_source="none",
    )
    monkeypatch.setattr(estimators, "_PAIRS_PER_CALL", 3)
    found = estimators.make_raft_flow(weights, 2)(clip)
    grey = jnp.repeat(luma[None, ..., None] / np.float32(255), 3, axis=-1)
    expected, _ = jax.jit(lambda params: raft.flow_motion(params, grey, num_flow_updates=2))(
        load_weights(weights)
    )
    assert found.shape == (4, 8, 10, 2)
    assert np.abs(found).max() > 0.5
    np.testing.assert_allclose(found, expected[0, 1:], atol=1e-4)


def test_colours_are_those_of_ffmpeg():
    video = encoded.encode(encoded.moving_square(2))
    frames = encoded.decode_all(video)
    with Video(video) as opened:
        clip = opened.read([0, 1], motion="none")
    found = estimators._to_rgb(*map(jnp.asarray, (clip.luma, clip.chroma, clip.yuv_to_rgb)))
    expected = np.stack([frame.to_ndarray(format="rgb24") for frame in frames]) / 255
    assert np.abs(found - expected).mean() < 0.01


def test_flow_that_is_not_finite_is_refused(square_video):
    def flow(clip):
        shape = (len(clip.luma) - 1, clip.luma.shape[1] // 8, clip.luma.shape[2] // 8, 2)
        return np.full(shape, np.nan, np.float32)

    with Video(square_video, name="square") as video, pytest.raises(VideoError, match="square: "):
        estimators.video_flow(video, flow)


def test_cells_at_the_edge_are_means_of_what_is_inside():
    flow = np.random.default_rng(0).standard_normal((12, 20, 2))
    found = estimators.cell_means(flow, flow_size=(12, 20), source_size=(12, 20))
    assert found.shape == (2, 3, 2)
    for row, column in np.ndindex(2, 3):
        cell = flow[8 * row :, 8 * column :][:8, :8]
        np.testing.assert_allclose(found[row, column], cell.mean(axis=(0, 1)), rtol=1e-5)


def test_flow_is_scaled_back_along_each_axis():
    means = estimators.cell_means(np.ones((8, 8, 2)), flow_size=(64, 64), source_size=(128, 320))
    np.testing.assert_allclose(means[0, 0], (5, 2))
