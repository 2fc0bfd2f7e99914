import pytest

from data_prep.files import VideoFiles
from mgm_jax.errors import ConfigError


def test_folders_without_videos_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"--videos: .*nowhere"):
        VideoFiles(tmp_path / "nowhere")
    (tmp_path / "a.txt").touch()
    with pytest.raises(ConfigError, match=r"--videos: no video file .* found \.txt \(1\)"):
        assert VideoFiles(tmp_path).paths
