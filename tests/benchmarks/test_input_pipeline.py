import encoded
import numpy as np
import pytest

from benchmarks import clip_decoders, input_pipeline
from benchmarks.input_pipeline import DOWNLOADED, LIBAVCODEC, LOW_DELAY, OURS, STRIDE_ALIGNED
from mgm_jax.errors import ConfigError


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "video.mp4"
    frames = encoded.moving_square(80, height=72, width=88)
    path.write_bytes(encoded.encode(frames, options=encoded.B_FRAMES))
    return path


@pytest.fixture(scope="module")
def prepared(video, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    return input_pipeline.make_sources([video], folder), folder


def test_finds_files_and_an_even_part_of_folders(video, tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/1.mp4", "b/2.AVI", "0.mp4", "3.mkv", "notes.txt"):
        (tmp_path / name).touch()
    found = input_pipeline.choose_videos([str(tmp_path), str(video)], 2)
    assert found == [tmp_path / "0.mp4", tmp_path / "b/1.mp4", video]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"--videos: .*/empty"):
        input_pipeline.choose_videos([str(tmp_path / "empty")], 2)


def test_every_reader_of_every_version_is_timed(prepared):
    sources, folder = prepared
    (times,) = input_pipeline.measure(sources, clips=1, rounds=1, folder=folder)
    expected = {(version, OURS) for version in (DOWNLOADED, LOW_DELAY, STRIDE_ALIGNED)}
    assert expected | {(LOW_DELAY, LIBAVCODEC)} <= set(times)
    assert all(seconds > 0 for seconds in times.values())


def test_the_bare_loop_decodes_what_the_clip_needs(prepared, tmp_path):
    path = tmp_path / "low_delay.mp4"
    path.write_bytes(prepared[0][LOW_DELAY][0].video)
    # I-frames are 12 frames apart.
    assert clip_decoders.make_libavcodec(path, np.arange(26, 57, 4))() == 54 - 24 + 1


def test_rows_compare_with_ours():
    videos = [
        {(LOW_DELAY, OURS): 0.01, (LOW_DELAY, LIBAVCODEC): 0.02},
        {(LOW_DELAY, OURS): 0.03, (LOW_DELAY, LIBAVCODEC): 0.03},
    ]
    assert input_pipeline.make_rows(videos) == [
        (f"{LOW_DELAY}: {OURS}", "20.0", "1.00", "1.00 to 1.00"),
        (f"{LOW_DELAY}: {LIBAVCODEC}", "25.0", "1.25", "1.00 to 2.00"),
    ]
