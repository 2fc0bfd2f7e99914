import encoded
import numpy as np
import pytest
import rendered

from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import VideoError
from mgm_jax.pictures.strips import frame_strip


def test_strips_show_the_first_to_the_last_frame(tmp_path):
    folder = rendered.write_folder(tmp_path, num_videos=2, frames=9, height=64, width=80)
    source = FolderSource(str(folder))
    strip = frame_strip(source, 1, num_frames=3, height=64)
    assert strip.shape == (64, 3 * 82 - 2, 3)
    frames = encoded.decode_all(folder / source[1].video_id)
    for place, number in enumerate((0, 4, 8)):
        shown = strip[:, place * 82 : place * 82 + 80].astype(int)
        differences = [np.abs(shown - f.to_ndarray(format="rgb24")).mean() for f in frames]
        assert int(np.argmin(differences)) == number
        assert min(differences) < 2
    assert (strip[:, 80:82] == 255).all()


def test_odd_shapes_and_broken_files(tmp_path):
    (tmp_path / "odd.avi").write_bytes(
        encoded.encode(encoded.moving_square(1, height=70, width=222), "mpeg4", "avi")
    )
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    source = FolderSource(str(tmp_path))
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        frame_strip(source, 0)
    assert frame_strip(source, 1, num_frames=2, height=48).shape[0] == 48
