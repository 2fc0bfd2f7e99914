import sys

import encoded
import numpy as np
import pytest

from mgm_jax.data.decoding import Video
from mgm_jax.errors import ConfigError
from mgm_jax.flow import classical, estimators

NEEDS = "Dense Inverse Search needs opencv-python-headless"


def frames_of_a_moving_square(step):
    background, square = encoded.scenery(140, 180, 1), encoded.scenery(64, 64, 2)
    frames = []
    for top, left in ((40, 48), (40 + step[1], 48 + step[0])):
        frame = background.copy()
        frame[top : top + 64, left : left + 64] = square
        frames.append(frame)
    return frames


@pytest.mark.parametrize("step", [(4, 2), (-3, 5)])
def test_a_moved_square_has_come_by_its_step_and_the_rest_has_not(step):
    pytest.importorskip("cv2", reason=NEEDS)
    motion = classical.dis_flow(*frames_of_a_moving_square(step))
    assert motion.shape == (18, 23, 2)
    np.testing.assert_allclose(motion[7:11, 8:12], np.broadcast_to(step, (4, 4, 2)), atol=0.2)
    np.testing.assert_allclose(motion[:3], 0, atol=0.2)
    np.testing.assert_allclose(motion[:, :3], 0, atol=0.2)


def test_flow_of_a_real_clip_agrees_with_its_codecs_vectors(real_videos):
    pytest.importorskip("cv2", reason=NEEDS)
    path = min((real_videos / "jhmdb" / "brush_hair").glob("*.avi"))
    with Video(path) as video:
        clip = video.read(range(8), motion="codec")
    pairs = zip(clip.luma[:-1], clip.luma[1:], strict=True)
    flow = np.stack([classical.dis_flow(*pair) for pair in pairs])
    codec = clip.motion[1:]
    moving = clip.motion_valid[1:, None, None] & (np.hypot(flow[..., 0], flow[..., 1]) > 1)
    assert moving.sum() > 200
    flow, codec = flow[moving], codec[moving]
    for axis in (0, 1):
        assert np.corrcoef(flow[:, axis], codec[:, axis])[0, 1] > 0.5
    ratio = (flow * codec).sum(axis=1) / (flow * flow).sum(axis=1)
    assert 0.7 < np.median(ratio) < 1.5


def test_small_frames_are_refused():
    pytest.importorskip("cv2", reason=NEEDS)
    frame = np.zeros((12, 200), np.uint8)
    with pytest.raises(ValueError, match=r"200x12.*enlarge"):
        classical.dis_flow(frame, frame)


def test_without_opencv_the_cure_is_named_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match="pip install opencv-python-headless"):
        estimators.make_dis_flow()
