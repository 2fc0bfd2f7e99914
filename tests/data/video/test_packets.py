import io
import itertools

import av
import encoded
import numpy as np
import pytest

from mgm_jax.data.decoding import Video
from mgm_jax.data.video.containers import METADATA_ERRORS, DemuxedFile, open_container
from mgm_jax.data.video.packets import PacketIndex, index_packets
from mgm_jax.errors import VideoError

STRIDE_ALIGNED = {
    "x264-params": "bframes=3:b-adapt=0:b-pyramid=none:ref=1:weightb=0:scenecut=0:keyint=12"
    ":open-gop=0:log-level=none"
}
INTERLACED = {"x264-params": "bframes=0:interlaced=1:log-level=none"}


def index(data: bytes) -> PacketIndex:
    with av.open(io.BytesIO(data), **METADATA_ERRORS) as container:
        return index_packets(container, container.streams.video[0], "clip")


@pytest.fixture(scope="module")
def frames():
    return encoded.moving_square(26)


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_numbers_frames_in_presentation_order(frames, container):
    packets = index(encoded.encode(frames, container=container, options=STRIDE_ALIGNED))
    assert packets.timed
    assert sum(packets.shown) == 26
    assert sorted(packets.key_frames) == [0, 12, 24]
    numbers = packets.numbers
    assert sorted(numbers) == list(range(26))
    # Key frame, the next reference, then the three B-frames between them.
    assert numbers[:5] == [0, 4, 1, 2, 3]
    starts = [numbers[packets.start_for(frame)] for frame in (0, 3, 11, 12, 25)]
    assert starts == [0, 0, 0, 12, 24]


def test_times_that_do_not_tell_frames_apart_are_not_trusted(frames):
    def forget_presentation(number, packet):
        packet.pts = packet.dts
        return packet

    def double(number, packet):
        if number == 3:  # a B-frame
            packet.pts += packet.duration
        return packet

    assert index(encoded.encode(frames, "mpeg4", "avi", b_frames=0)).timed
    assert index(encoded.encode(frames, "mpeg2video", "mpeg", b_frames=0)).timed
    data = encoded.encode(frames, options=STRIDE_ALIGNED)
    assert index(encoded.remux(data, "mp4")).timed
    forgotten = encoded.remux(data, "mp4", forget_presentation)
    assert not index(forgotten).timed
    assert isinstance(open_container(forgotten, "clip"), DemuxedFile)
    assert not index(encoded.remux(data, "mp4", double)).timed
    assert not index(encoded.encode(frames, container="h264", options=encoded.B_FRAMES)).timed
    # Two packets may hold the fields of one frame.
    for container in ("mp4", "mpegts"):
        assert not index(encoded.encode(frames, container=container, options=INTERLACED)).timed


def test_edit_list_hides_frames(frames):
    def shift(number, packet):
        # Times before zero become an edit list that starts in mid-group.
        packet.pts, packet.dts = packet.pts - 5 * 512, packet.dts - 5 * 512
        return packet

    data = encoded.encode(frames)
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.video[0].time_base.denominator == 25 * 512
    packets = index(encoded.remux(data, "mp4", shift))
    assert len(packets.packets) == 26
    assert sum(packets.shown) == 21
    assert packets.start_for(0) == 0


def test_a_file_that_is_cut_off_names_the_frame(frames):
    # The table of contents of the mp4 is in front, so that the file can be opened.
    front = encoded.remux(encoded.encode(frames), "mp4", options={"movflags": "faststart"})
    avi = encoded.encode(frames, "mpeg4", "avi")
    for data in (front[: int(len(front) * 0.6)], avi[: int(len(avi) * 0.8)]):
        with pytest.raises(VideoError, match=r"clip: .*cut off in frame \d+ of \d+"):
            index(data)
    # One frame short is usable.
    assert sum(index(front[: -index(front).packets[-1].size]).shown) == 25


X264, X265 = "keyint=12:log-level=none:", "keyint=12:log-level=none:pools=1:bframes=3:"
RECORDED = {
    "h264": ("libx264", {"options": {"x264-params": X264 + "bframes=2"}}),
    "h264 open groups": ("libx264", {"options": {"x264-params": X264 + "bframes=3:open-gop=1"}}),
    "h264 refresh": ("libx264", {"options": {"x264-params": X264 + "bframes=0:intra-refresh=1"}}),
    "hevc": ("libx265", {"options": {"x265-params": X265 + "open-gop=0:repeat-headers=1"}}),
    "hevc open groups": ("libx265", {"options": {"x265-params": X265 + "repeat-headers=1"}}),
    "mpeg1": ("mpeg1video", {"b_frames": 2, "gop": 12}),
    "mpeg2": ("mpeg2video", {"b_frames": 2, "gop": 12}),
    "mpeg4": ("mpeg4", {"b_frames": 2, "gop": 12}),
    "mpeg4 without B-frames": ("mpeg4", {"b_frames": 0, "gop": 12}),
    "vp9": ("libvpx-vp9", {"gop": 12, "options": {"deadline": "realtime", "cpu-used": "8"}}),
}


def recording(codec, settings):
    container = "matroska" if codec == "libvpx-vp9" else "mpegts"
    return encoded.encode(encoded.scroll(48, (4, 2)), codec, container, **settings)


def cut_bytes(data, share):
    return data[int(share * len(data)) :]


def cut_packets(data, share):
    return encoded.remux(data, "matroska", lambda n, packet: packet if n > share * 48 else None)


@pytest.mark.parametrize("recorded", RECORDED)
def test_a_recording_begins_with_its_first_decodable_frame(recorded):
    whole = recording(*RECORDED[recorded])
    expected = [encoded.stored_planes(frame)[0] for frame in encoded.decode_all(whole)]
    # Matroska has its headers in front.
    cuts = [cut_packets] if recorded == "vp9" else [cut_bytes, cut_packets]
    for cut, share in itertools.product(cuts, (0.05, 0.3, 0.5)):
        with Video(cut(whole, share)) as video:
            assert 0 < video.num_frames < 48
            clip = video.read(range(video.num_frames), motion="none")
            some = [video.num_frames - 1, 1, 0]
            again = np.concatenate([video.read([n], motion="none").luma for n in some])
        np.testing.assert_array_equal(clip.luma, expected[48 - video.num_frames :])
        np.testing.assert_array_equal(again, clip.luma[some])
