import io

import av
import encoded
import pytest

from mgm_jax.data.video.packets import PacketIndex, index_packets
from mgm_jax.errors import VideoError

STRIDE_ALIGNED = {
    "x264-params": "bframes=3:b-adapt=0:b-pyramid=none:ref=1:weightb=0:scenecut=0:keyint=12"
    ":open-gop=0:log-level=none"
}


def index(data: bytes) -> PacketIndex:
    with av.open(io.BytesIO(data), metadata_errors="ignore") as container:
        return index_packets(container, container.streams.video[0], "clip")


@pytest.fixture(scope="module")
def frames():
    return encoded.moving_square(26)


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_numbers_frames_in_presentation_order(frames, container):
    packets = index(encoded.encode(frames, container=container, options=STRIDE_ALIGNED))
    assert packets.timed
    assert packets.num_shown == 26
    assert sorted(packets.key_frames) == [0, 12, 24]
    numbers = [packets.number_at(position) for position in range(26)]
    assert sorted(numbers) == list(range(26))
    # Key frame, the next reference, then the three B-frames between them.
    assert numbers[:5] == [0, 4, 1, 2, 3]
    starts = [packets.number_at(packets.start_for(frame)) for frame in (0, 3, 11, 12, 25)]
    assert starts == [0, 0, 0, 12, 24]


@pytest.mark.parametrize("container", ["mp4", "mpegts"])  # lengths, and start codes
def test_knows_the_h264_frames_that_nothing_refers_to(frames, container):
    data = encoded.encode(frames, container=container, options=STRIDE_ALIGNED)
    packets = index(data)
    unreferenced = {packets.number_at(p) for p in range(26) if packets.is_unreferenced(p)}
    types = [frame.pict_type for frame in encoded.decode_all(data)]
    assert unreferenced == {number for number, kind in enumerate(types) if kind == 3}
    low_delay = index(encoded.encode(frames, container=container))
    assert not any(low_delay.is_unreferenced(position) for position in range(26))


@pytest.mark.parametrize("container", ["mp4", "mpegts"])
def test_groups_end_with_the_last_frame_needed_of_them(frames, container):
    packets = index(encoded.encode(frames, container=container, options=STRIDE_ALIGNED))
    # By position: frames 0 4 1 2 3 8 5 6 7 11 9 10, the same from 12 on, and 24 25.
    assert list(packets.groups(0, {2, 13, 24})) == [range(4), range(12, 15), range(24, 25)]
    assert list(packets.groups(0, {25})) == [range(0), range(12, 12), range(24, 26)]
    assert list(packets.groups(12, {13, 18, 99})) == [range(12, 20)]


def test_groups_that_are_not_closed_are_whole(frames):
    # What follows the key frame in the file may come before it, and be predicted from what was.
    open_groups = {"x264-params": "keyint=8:open-gop=1:bframes=3:scenecut=0:log-level=none"}
    packets = index(encoded.encode(frames, options=open_groups))
    assert len(packets.key_frames) > 1
    assert list(packets.groups(0, {2, 25})) == [range(26)]


def test_other_codecs_leave_nothing_out(frames):
    packets = index(encoded.encode(frames, "mpeg4", "mp4", b_frames=2))
    assert not any(packets.is_unreferenced(position) for position in range(26))
    assert list(packets.groups(0, {2, 25})) == [range(26)]


def test_order_of_decoding_is_not_taken_for_presentation_times(frames):
    def forget_presentation(number, packet):
        packet.pts = packet.dts
        return packet

    assert index(encoded.encode(frames, "mpeg4", "avi", b_frames=0)).timed
    assert index(encoded.encode(frames, "mpeg2video", "mpeg", b_frames=0)).timed
    data = encoded.encode(frames, options=encoded.B_FRAMES)
    assert index(data).timed
    assert not index(encoded.remux(data, "mp4", forget_presentation)).timed


def test_packed_mpeg4_of_hmdb51_is_counted(real_videos):
    (path,) = (real_videos / "mixed" / "torchvision_assets").glob("TrumanShow*.avi")
    packets = index(path.read_bytes())
    assert not packets.timed
    assert packets.num_shown == len(encoded.decode_all(path)) + 1  # one packet is a placeholder


def test_raw_stream_has_no_times(frames):
    raw = encoded.encode(frames, container="h264", options=encoded.B_FRAMES)
    assert not index(raw).timed


def test_doubled_times_are_not_trusted(frames):
    def double(number, packet):
        if number == 3:  # a B-frame
            packet.pts += packet.duration
        return packet

    data = encoded.encode(frames, options=STRIDE_ALIGNED)
    assert index(encoded.remux(data, "mp4")).timed
    assert not index(encoded.remux(data, "mp4", double)).timed


def test_knows_all_intra_files(frames):
    assert index(encoded.encode(frames, gop=1, options={})).all_key_frames
    assert not index(encoded.encode(frames)).all_key_frames


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
    assert packets.num_shown == 21
    assert packets.start_for(0) == 0


def cut_mp4(frames, tmp_path, fraction):
    """An mp4 with its table of contents in front, cut off."""
    path = tmp_path / "front.mp4"
    with (
        av.open(io.BytesIO(encoded.encode(frames))) as source,
        av.open(str(path), "w", container_options={"movflags": "faststart"}) as output,
    ):
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    data = path.read_bytes()
    return data[: int(len(data) * fraction)]


def test_cut_mp4_names_the_frame(frames, tmp_path):
    with pytest.raises(VideoError, match=r"clip: the file is cut off in frame \d+ of 26; get it"):
        index(cut_mp4(frames, tmp_path, 0.6))


def test_cut_avi(frames):
    data = encoded.encode(frames, "mpeg4", "avi")
    with pytest.raises(VideoError, match=r"clip: the file is cut off in frame \d+ of \d+; get it"):
        index(data[: int(len(data) * 0.8)])


def test_one_frame_short_is_usable(frames, tmp_path):
    data = cut_mp4(frames, tmp_path, 1)
    last = index(data).packets[-1].size
    assert index(data[:-last]).num_shown == 25
