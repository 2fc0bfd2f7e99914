import pytest

from data_prep.files import VideoFiles
from mgm_jax.errors import ConfigError


def test_links_are_followed_once(tmp_path):
    (tmp_path / "videos" / "real").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.webm").touch()
    (tmp_path / "videos" / "real" / "a.mp4").touch()
    (tmp_path / "videos" / "loop").symlink_to(tmp_path / "videos")
    (tmp_path / "videos" / "linked").symlink_to(tmp_path / "elsewhere")
    assert VideoFiles(tmp_path / "videos").paths == ("linked/b.webm", "real/a.mp4")


def test_folders_without_videos_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"--videos: .*nowhere"):
        VideoFiles(tmp_path / "nowhere")
    (tmp_path / "a.txt").touch()
    with pytest.raises(ConfigError, match="--videos: there is no video"):
        VideoFiles(tmp_path)
