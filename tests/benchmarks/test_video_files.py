import encoded
import pytest

from benchmarks.video_files import prepare, videos_below
from mgm_jax.errors import VideoError


def test_an_even_part_of_the_sorted_videos_is_taken(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/1.mp4", "b/2.AVI", "0.mp4", "3.mkv", "notes.txt"):
        (tmp_path / name).touch()
    every = [tmp_path / name for name in ("0.mp4", "3.mkv", "b/1.mp4", "b/2.AVI")]
    assert videos_below(str(tmp_path), 9) == every
    assert videos_below(str(tmp_path), 2) == [every[0], every[2]]
    assert videos_below(str(tmp_path / "nothing"), 2) == []


def test_a_video_is_prepared_or_named(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(encoded.encode(encoded.moving_square(9)))
    made = prepare(path, "stride_aligned", 4, 64)
    assert made.facts["profile"] == "stride_aligned:4"
    assert made.facts["num_frames"] == 9
    path.write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"--videos: .*a\.mp4"):
        prepare(path, "low_delay", 4, 64)
