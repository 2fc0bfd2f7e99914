import pathlib

import numpy as np
import pytest

from mgm_jax import io
from mgm_jax.data.motion import flow_files
from mgm_jax.errors import ConfigError, VideoError

SHAPE, VIDEO = (9, 3, 4), b"the bytes of a video"


@pytest.fixture
def stored(tmp_path):
    motion = np.random.default_rng(0).standard_normal((*SHAPE, 2)).astype(np.float16)
    motion[0] = 0
    path = flow_files.flow_path(tmp_path, "class/clip.mp4")
    flow_files.write_flow(path, motion, VIDEO)
    return path, motion


def test_frames_are_read_in_any_order_and_repeated(stored):
    path, motion = stored
    assert path.parts[-2:] == ("class", "clip.mp4.flow.npz")
    found, valid = flow_files.read_flow(path, np.array([8, 0, 3, 3]), SHAPE, VIDEO)
    np.testing.assert_array_equal(found, motion[[8, 0, 3, 3]].astype(np.float32), strict=True)
    np.testing.assert_array_equal(valid, [True, False, True, True])


def test_the_flow_of_a_longer_or_larger_video_is_refused(stored):
    for shape in ((8, 3, 4), (9, 6, 8)):
        with pytest.raises(VideoError, match=r"clip\.mp4.*another video.*\(9, 3, 4, 2\), this"):
            flow_files.read_flow(stored[0], [2, 5], shape, VIDEO)


def test_the_flow_of_another_video_of_the_same_name_and_size_is_refused(stored, tmp_path):
    path, motion = stored
    other = VIDEO[::-1]
    assert flow_files.has_flow(path, VIDEO)
    assert not flow_files.has_flow(path, other)
    with pytest.raises(VideoError, match=r"clip\.mp4.*another video of this name and size"):
        flow_files.read_flow(path, [0], SHAPE, other)
    io.write_arrays(path, {"motion": motion})  # As an earlier version does.
    assert flow_files.has_flow(path, other)
    flow_files.read_flow(path, [0], SHAPE, other)


def test_missing_and_damaged_files_are_refused_with_the_cure(stored, tmp_path):
    with pytest.raises(VideoError, match=r"absent.*python -m mgm_jax\.flow\.precompute"):
        flow_files.read_flow(tmp_path / "absent", [0], SHAPE, VIDEO)
    path, _ = stored
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(VideoError, match=r"clip\.mp4.*delete it and run"):
        flow_files.read_flow(path, [0], SHAPE, VIDEO)


def test_flow_made_in_two_ways_is_kept_apart(tmp_path):
    flow_files.check_settings(tmp_path, {"method": "dis", "short_side": 256})
    flow_files.check_settings(tmp_path, {"method": "dis", "short_side": 256})
    with pytest.raises(ConfigError, match=r"short_side: 256 -> 128\)"):
        flow_files.check_settings(tmp_path, {"method": "dis", "short_side": 128})
    with pytest.raises(ConfigError, match="preset: 'absent' -> 'fast'"):
        flow_files.check_settings(tmp_path, {"method": "dis", "short_side": 256, "preset": "fast"})
    (tmp_path / flow_files.SETTINGS_FILE).write_text('{"method":')
    with pytest.raises(ConfigError, match=r"settings\.json is damaged .*; delete the folder"):
        flow_files.check_settings(tmp_path, {"method": "dis", "short_side": 256})


def test_the_flow_of_every_video_has_its_own_place_in_the_folder(tmp_path):
    ids = ["a.mp4", "../a.mp4", "%../a.mp4", "%%../a.mp4", "/a.mp4", "%/a.mp4", "b/../../a.mp4"]
    paths = [flow_files.flow_path(tmp_path, video_id) for video_id in ids]
    assert len({path.resolve() for path in paths}) == len(ids)
    assert all(path.resolve().is_relative_to(tmp_path.resolve()) for path in paths)
    assert flow_files.flow_path("flow", "b/./a.mp4") == pathlib.Path("flow/b/a.mp4.flow.npz")
