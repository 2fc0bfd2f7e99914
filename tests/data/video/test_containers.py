import av
import encoded
import numpy as np
import pytest

from mgm_jax.data.video.containers import DemuxedFile, Mp4File, open_container
from mgm_jax.data.video.planes import yuv_to_rgb
from mgm_jax.errors import VideoError


def decode(file, position):
    decoder = file.make_decoder(False)
    return [*decoder.decode(file.index.packets[position]), *decoder.decode(None)][0]


@pytest.mark.parametrize("from_path", [True, False])
def test_tables_and_demultiplexing_open_the_same_video(from_path, tmp_path):
    data = encoded.encode(encoded.moving_square(26), options=encoded.B_FRAMES)
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    source = path if from_path else data
    ours, theirs = open_container(source, "clip"), DemuxedFile(source, "clip")
    assert isinstance(ours, Mp4File)
    assert (ours.codec, ours.size) == (theirs.codec, (144, 176))
    for index in (ours.index, theirs.index):
        assert index.timed
        assert index.num_shown == len(index.packets) == 26
    for position in range(26):
        assert ours.index.number_at(position) == theirs.index.number_at(position)
        assert ours.index.is_unreferenced(position) == theirs.index.is_unreferenced(position)
    assert ours.index.key_frames == theirs.index.key_frames
    start = ours.index.start_for(14)
    one, other = decode(ours, start), decode(theirs, start)
    np.testing.assert_array_equal(encoded.stored_planes(one)[0], encoded.stored_planes(other)[0])
    ours.close()
    theirs.close()


def test_order_that_the_tables_do_not_tell_is_left_to_demultiplexing():
    def forget_presentation(number, packet):
        packet.pts = packet.dts
        return packet

    data = encoded.encode(encoded.moving_square(26), options=encoded.B_FRAMES)
    file = open_container(encoded.remux(data, "mp4", forget_presentation), "clip")
    assert isinstance(file, DemuxedFile)
    assert not file.index.timed


@pytest.mark.parametrize("told", ["fullrange=on:colormatrix=bt709", "fullrange=off"])
def test_colours_are_those_that_the_container_and_the_stream_state(told, tmp_path):
    # The container repeats what the stream says, so it alone is tried with its box overwritten.
    options = {"x264-params": f"bframes=0:{told}:log-level=none"}
    data = encoded.encode(encoded.moving_square(3), options=options)
    for content in (data, data.replace(b"colr", b"btrt", 1)):
        ours, theirs = open_container(content, "clip"), DemuxedFile(content, "clip")
        assert isinstance(ours, Mp4File)
        np.testing.assert_array_equal(yuv_to_rgb(decode(ours, 0)), yuv_to_rgb(decode(theirs, 0)))


def test_colours_that_only_the_container_states():
    data = encoded.encode(encoded.moving_square(3))
    at = data.index(b"btrt") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    # 20 bytes, as the box that it replaces: BT.709, full range, and a byte to spare.
    assert size == 20
    box = b"\0\0\0\x14colrnclx" + bytes([0, 1, 0, 1, 0, 1, 128, 0])
    stated = data[:at] + box + data[at + size :]
    ours, theirs = open_container(stated, "clip"), DemuxedFile(stated, "clip")
    assert isinstance(ours, Mp4File)
    maps = [yuv_to_rgb(decode(file, 0)) for file in (ours, theirs, open_container(data, "clip"))]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert (maps[0] != maps[2]).any()


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(encoded.remux(encoded.encode(encoded.moving_square(26)), "mp4"))
    file = open_container(path, "clip")
    assert isinstance(file.index.packets[25], av.Packet)
    with path.open("rb+") as shrunk:
        shrunk.truncate(2000)
    with pytest.raises(VideoError, match=r"clip: .*frame 20 "):
        file.index.packets[20]
    file.close()
