import numpy as np
import pytest
import shrunk

from data_prep import demo
from mgm_jax.data.centre_clips import CentreClips, spread
from mgm_jax.data.records import RecordSource
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import VideoError


def test_a_video_gives_the_same_clip_whatever_the_recipe_crops(video_folder):
    config = shrunk.recipe("demo_pretrain", video_folder, data__repeated_augmentation=2)
    assert config.data.crop == "multi_scale"
    clips = CentreClips(config, FolderSource(str(video_folder)))
    assert len(clips) == 12
    first, again = clips[3], clips[3]
    assert first.name == "even/video_06.mp4"
    assert first.boxes is None
    assert first.batch["luma"].shape == (1, 8, 64, 64)
    assert "source_box" not in first.batch
    for name, array in first.batch.items():
        np.testing.assert_array_equal(array, again.batch[name])
    # A frame of 64x80 pixels: the central square.
    np.testing.assert_array_equal(first.batch["crop_box"][0], [0, 0, 64, 64])


def test_boxes_of_records_come_along_in_pixels_of_the_clip(tmp_path):
    demo.make_demo(tmp_path / "demo", num_train=1, num_validation=1, seed=0)
    source = RecordSource(str(tmp_path / "demo"), "train")
    config = shrunk.recipe("demo_pretrain", tmp_path, data__host_crop_size=64, data__clip_frames=4)
    shown = CentreClips(config, source)[0].boxes
    known = source[0].boxes
    assert shown.shape == (4, known.shape[1], 4)
    # The demo's frames are 64 pixels wide, the clip's 32.
    start = np.flatnonzero(np.abs(known / 2 - shown[0]).max(axis=(1, 2)) < 1e-4)[-1]
    assert start > 0
    np.testing.assert_allclose(shown, known[start : start + 4] / 2, atol=1e-4)


def test_an_unreadable_video_is_an_error_with_its_reason(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    config = shrunk.recipe("demo_pretrain", tmp_path)
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        CentreClips(config, FolderSource(str(tmp_path)))[0]


def test_spread_takes_the_first_the_last_and_none_twice():
    assert spread(3, 11) == [0, 5, 10]
    assert spread(5, 2) == [0, 1]
    assert spread(1, 7) == [0]
