import encoded
import pytest

from data_prep.frames import VideoFrames
from mgm_jax.data.decoding import Video
from mgm_jax.data.video.announced_size import HEAD_BYTES, announced_size
from mgm_jax.errors import VideoError

FORMATS = {
    "avi": ("mpeg4", {"b_frames": 0}),
    "matroska": ("libx264", {"options": encoded.LOW_DELAY}),
    "webm": ("libvpx-vp9", {"options": {"deadline": "realtime", "cpu-used": "8"}}),
}


@pytest.fixture(scope="module", params=FORMATS)
def whole(request):
    codec, settings = FORMATS[request.param]
    return encoded.encode(encoded.moving_square(26), codec, request.param, **settings)


def test_the_size_is_that_of_the_file(whole):
    assert announced_size(whole[:HEAD_BYTES]) == len(whole)
    with Video(whole + bytes(9)) as video:
        assert video.num_frames == 26


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_is_cut_off_is_refused_with_both_sizes(whole, share, tmp_path):
    cut = whole[: int(share * len(whole))]
    path = tmp_path / "cut"
    path.write_bytes(cut)
    said = rf"cut: the file is cut off: it holds {len(cut):,} of {len(whole):,} bytes"
    for source in (cut, str(path)):
        with pytest.raises(VideoError, match=said):
            Video(source, "cut")
    with pytest.raises(VideoError, match=said):
        VideoFrames(str(path), "cut")


def test_a_recording_need_not_say_its_size():
    data = encoded.encode(encoded.moving_square(26))
    data = encoded.remux(data, "matroska", options={"live": "1"})
    assert announced_size(data[:HEAD_BYTES]) is None
    with Video(data[: len(data) // 2]) as video:
        assert 0 < video.num_frames < 26


@pytest.mark.parametrize(
    "head",
    [
        *(b"", b"RIFF", b"RIFF\0\0\0\0AVI ", b"RIFF\xff\xff\xff\xffAVI ", b"RIFF\x09\0\0\0WAVE"),
        *(bytes.fromhex("1a45dfa3") + rest for rest in (b"", b"\x80", b"\0", b"\x81", b"\x40")),
        bytes.fromhex("1a45dfa3 80 18538067"),
        bytes.fromhex("1a45dfa3 80 18538067 0000000000000000ff"),
        bytes.fromhex("1a45dfa3 80 18538067 01ffffffffffffff"),
    ],
)
def test_other_headers_say_nothing(head):
    assert announced_size(head) is None


def test_every_length_of_the_size():
    for length in range(1, 9):
        field = ((1 << 7 * length) + 77).to_bytes(length, "big")
        head = bytes.fromhex("1a45dfa3 81 ff 18538067") + field
        assert announced_size(head + bytes(9)) == 10 + length + 77
