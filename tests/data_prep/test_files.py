import pytest

from data_prep.files import VideoFiles, VideoFinder, stem
from mgm_jax.errors import ConfigError


def test_folders_without_videos_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"--videos: .*nowhere"):
        VideoFiles(tmp_path / "nowhere")
    (tmp_path / "a.txt").touch()
    with pytest.raises(ConfigError, match=r"--videos: no video file .* found \.txt \(1\)"):
        assert VideoFiles(tmp_path).paths


def test_a_class_that_the_data_set_does_not_have_is_named(lay_out):
    rows = [("train", "a", "Clap"), ("train", "b", "clap")]
    with pytest.raises(ConfigError, match=r"--annotations: a of train .* 'Clap'"):
        VideoFinder(lay_out("a.mp4", "b.mp4"), stem).listing("x", "", ("clap",), rows)
