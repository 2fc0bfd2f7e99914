import io

import av
import encoded
import numpy as np
import odd_videos
import pytest

from data_prep.conversion import Settings, convert
from data_prep.entries import LOST_FRAMES, UNREADABLE, Entry, KeyFrame
from data_prep.verify import check_record
from mgm_jax.data.decoding import Video
from mgm_jax.data.video.planes import Window
from mgm_jax.errors import ConfigError
from tests.data.video.test_packets import RECORDED, cut_packets, recording
from tests.data.video.test_shown_frames import FILES

LOW_DELAY = Settings("low_delay", 256)


def entry(file, **changes):
    return Entry(**{"video_id": file, "split": "train", "label": 0, "file": file, **changes})


def put(folder, data, name="a.mp4"):
    (folder / name).write_bytes(data)
    return entry(name)


def record(conversion):
    facts = {k: v.encode() if isinstance(v, str) else v for k, v in conversion.facts.items()}
    return {"video": conversion.video, "video_id": b"x", **facts}


@pytest.mark.parametrize("profile", ["low_delay", "stride_aligned:4", "stride_aligned:2"])
def test_frames_are_kept_and_motion_matches_the_profile(tmp_path, one_video, profile):
    one = put(tmp_path, one_video)
    conversion = convert(str(tmp_path), one, Settings(profile, 256))
    assert conversion.problem is None
    assert conversion.facts["fps"] == 25.0
    assert "libx264" in conversion.facts["encoder"]
    checked = check_record(record(conversion))
    assert checked.faults == ()
    with Video(one_video, "x") as video:
        before = video.read(range(20), motion="none")
    difference = checked.clip.luma.astype(int) - before.luma
    assert np.abs(difference).mean() < 3
    np.testing.assert_allclose(checked.clip.yuv_to_rgb, before.yuv_to_rgb)


@pytest.mark.parametrize(
    "name",
    [
        "mixed/decord/tests/test_data/video_270.mov",
        "mixed/20bn_talk/smth-smth-1.webm",
        "mixed/hmdb51_samples_johnppinto/Golf_Tips_-_Hit_The_Driver_300+_Yards!!!_golf_f_nm_np1_fr_med_0.avi",
        "mixed/ucf11_sample_aleksma/biking/v_biking_01/v_biking_01_01.mpg",
    ],
)
def test_real_downloads(real_videos, name):
    conversion = convert(str(real_videos), entry(name), Settings("low_delay", 128))
    checked = check_record(record(conversion))
    assert checked.faults == ()
    assert min(conversion.facts["height"], conversion.facts["width"]) == 128
    with Video(real_videos / name) as video:
        assert abs(video.num_frames - conversion.facts["num_frames"]) <= 2
        ratio = conversion.facts["height"] / conversion.facts["width"]
        assert ratio == pytest.approx(video.height / video.width, rel=0.02)
        # The display's orientation is kept.
        size = conversion.facts["height"], conversion.facts["width"]
        before = video.read([0], windows=[Window(size)], motion="none").luma[0].astype(int)
    assert np.abs(checked.clip.luma[0].astype(int) - before).mean() < 4


def test_full_range_colours_are_kept(tmp_path):
    frames = [frame.reformat(format="yuvj420p") for frame in encoded.moving_square(5)]
    one = put(tmp_path, encoded.encode(frames, "mjpeg", "avi", pix_fmt="yuvj420p"), "a.avi")
    conversion = convert(str(tmp_path), one, LOW_DELAY)
    with Video(conversion.video, "x") as after, Video(tmp_path / "a.avi") as before:
        one, other = (v.read([0], motion="none").yuv_to_rgb for v in (after, before))
    np.testing.assert_allclose(one, other)


def cut(data, share):
    """A file whose index is in order and whose later frames are garbage."""
    with av.open(io.BytesIO(data)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        first = packets[int(share * len(packets))].pos
        last = packets[-1].pos + packets[-1].size
    return data[:first] + bytes(last - first) + data[last:]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_damaged_video_is_kept_if_enough_of_it_can_be_read(tmp_path, codec):
    data = encoded.encode(encoded.moving_square(40), codec, gop=10)
    kept = convert(str(tmp_path), put(tmp_path, cut(data, 0.8)), LOW_DELAY)
    assert kept.problem.kind == LOST_FRAMES
    assert "of 40 frames" in kept.problem.reason
    assert 20 <= kept.facts["num_frames"] <= 40
    assert check_record(record(kept)).faults == ()
    for unreadable in (cut(data, 0.1), data[: len(data) // 3], b"no video", b""):
        gone = convert(str(tmp_path), put(tmp_path, unreadable), LOW_DELAY)
        assert (gone.problem.kind, gone.video, gone.facts) == (UNREADABLE, b"", {})
        assert "a.mp4" in gone.problem.reason


@pytest.mark.parametrize(
    "make",
    [
        *FILES.values(),
        *(lambda c=c: cut_packets(recording(*c), 0.3) for c in RECORDED.values()),
    ],
    ids=[*FILES, *RECORDED],
)
def test_intact_files_lose_no_frames(tmp_path, make):
    one = put(tmp_path, make())
    with Video(tmp_path / "a.mp4") as video:
        num_frames = video.num_frames
    conversion = convert(str(tmp_path), one, LOW_DELAY)
    assert conversion.problem is None
    assert conversion.facts["num_frames"] == num_frames
    assert check_record(record(conversion)).faults == ()


@pytest.mark.parametrize("profile", ["low_delay", "stride_aligned:4"])
def test_clips_around_key_frames(tmp_path, profile):
    pictures = (encoded.moving_square(24) * 8)[:180]
    film = encoded.encode(pictures, options=encoded.B_FRAMES)
    (tmp_path / "film.mp4").write_bytes(film)
    key_frame = KeyFrame(4.0, ((0.1, 0.2, 0.5, 0.6),), ((2, 5),), (7,))
    one = entry("film.mp4", key_frame=key_frame)
    conversion = convert(str(tmp_path), one, Settings(profile, 256))
    assert conversion.problem is None
    assert (conversion.facts["num_frames"], conversion.facts["key_frame"]) == (75, 37)
    checked = check_record(record(conversion))
    assert checked.faults == ()
    expected = encoded.stored_planes(encoded.decode_all(film)[100])[0].astype(int)
    difference = np.abs(checked.clip.luma - expected).mean(axis=(1, 2))
    assert difference[37] < 3
    late = entry("film.mp4", key_frame=KeyFrame(902.0, (), (), ()))
    gone = convert(str(tmp_path), late, LOW_DELAY)
    assert gone.problem.kind == UNREADABLE
    assert "second 902" in gone.problem.reason


def test_a_key_frame_where_a_film_is_slower_than_it_says(tmp_path):
    (tmp_path / "film.mkv").write_bytes(encoded.slow_then_fast())
    key_frame = KeyFrame(2.0, ((0.1, 0.2, 0.5, 0.6),), ((2, 5),), (7,))
    conversion = convert(str(tmp_path), entry("film.mkv", key_frame=key_frame), LOW_DELAY)
    assert conversion.problem is None
    assert conversion.facts["fps"] == pytest.approx(10)
    assert (conversion.facts["num_frames"], conversion.facts["key_frame"]) == (30, 15)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (("hevc", 256), "'hevc'.*--profile"),
        (("stride_aligned:1", 256), "stride_aligned:1.*--profile"),
        (("low_delay", -2), "--short_side=-2"),
    ],
)
def test_invalid_settings_are_refused(values, named):
    with pytest.raises(ConfigError, match=named):
        Settings(*values)


@pytest.mark.parametrize("file", [*odd_videos.UNREADABLE, "folder.mp4"])
def test_an_odd_video_of_any_kind_is_a_problem_and_the_rest_goes_on(tmp_path, file):
    if file == "folder.mp4":
        (tmp_path / file).mkdir()
    else:
        put(tmp_path, odd_videos.UNREADABLE[file](), file)
    conversion = convert(str(tmp_path), entry(file), LOW_DELAY)
    assert conversion.video or conversion.problem.kind == UNREADABLE
    if conversion.video:
        checked = check_record(record(conversion))
        assert checked.clip is not None or checked.faults
