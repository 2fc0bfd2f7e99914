import fractions
import functools
import io
import pathlib
import re
import socket
import struct
import subprocess
import sys
import time

import av
import encoded
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from data_prep.frames import VideoFrames
from mgm_jax.data.decoding import Video
from mgm_jax.data.video.containers import DemuxedFile, Mp4File, open_container
from mgm_jax.data.video.planes import yuv_to_rgb
from mgm_jax.errors import VideoError


def decode(file, position):
    decoder = file.make_decoder(False)
    return [*decoder.decode(file.index.packets[position]), *decoder.decode(None)][0]


@pytest.mark.parametrize("in_stream", ["fullrange=on:colormatrix=bt709", "fullrange=off", None])
def test_colours_are_those_that_the_container_or_the_stream_states(in_stream):
    options = {"x264-params": f"bframes=0:{in_stream or 'fullrange=off'}:log-level=none"}
    data = encoded.encode(encoded.moving_square(3), options=options)
    if in_stream is None:
        at = data.index(b"btrt") - 4
        # In the place of another box of 20 bytes: BT.709, full range, and a byte to spare.
        box = b"\0\0\0\x14colrnclx" + bytes([0, 1, 0, 1, 0, 1, 128, 0])
        assert data[at : at + 4] == box[:4]
        data = data[:at] + box + data[at + 20 :]
    ours, theirs = open_container(data, "clip"), DemuxedFile(data, "clip")
    assert isinstance(ours, Mp4File)
    np.testing.assert_array_equal(yuv_to_rgb(decode(ours, 0)), yuv_to_rgb(decode(theirs, 0)))


def test_a_first_packet_whose_units_do_not_fit_is_left_to_demultiplexing():
    data = encoded.encode(encoded.moving_square(4))
    with av.open(io.BytesIO(data)) as container:
        start = data.index(bytes(next(container.demux(video=0))))
    supplement = int.from_bytes(data[start : start + 4], "big")
    slice_size = start + 4 + supplement
    longer = int.from_bytes(data[slice_size : slice_size + 4], "big") + 4
    damaged = data[:slice_size] + longer.to_bytes(4, "big") + data[slice_size + 4 :]
    assert isinstance(open_container(data, "clip"), Mp4File)
    assert isinstance(open_container(damaged, "clip"), DemuxedFile)


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


def turned_by_the_stream(data, container, turn="rotate=90"):
    """States in the stream itself how the picture is turned, once, in its first packet."""
    filters = []

    def state(number, packet):
        if not filters:
            description = f"h264_metadata=display_orientation=insert:{turn}"
            filters.append(BitStreamFilterContext(description, packet.stream))
        return filters[0].filter(packet)[0]

    return encoded.remux(data, container, state)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_orientation_that_only_the_stream_states(container):
    data = encoded.encode(encoded.moving_square(14))
    with Video(turned_by_the_stream(data, container)) as video, Video(data) as upright:
        assert (video.height, video.width) == (176, 144)
        luma = video.read([0, 13]).luma
        np.testing.assert_array_equal(luma, np.rot90(upright.read([0, 13]).luma, axes=(1, 2)))


def test_orientation_that_changes_in_mid_file():
    data = encoded.encode(encoded.moving_square(4), container="h264")
    turned = [turned_by_the_stream(data, "h264", f"rotate={angle}") for angle in (90, 270)]
    for parts in (turned, [data, turned[0]]):
        for container in ("mp4", "matroska"):
            file = encoded.remux(b"".join(parts), container)
            with Video(file, "clip") as video, pytest.raises(VideoError, match="frame 4 is turned"):
                video.read([2, 6])


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "avi"])
@pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
def test_the_film_is_read_whatever_is_listed_before_it(container, codec, tmp_path):
    # A second, smaller film, or a larger picture that is not marked as a cover.
    size = (96, 112, 26) if codec == "libx264" else (288, 352, 1)
    path = tmp_path / f"film.{container}"
    with av.open(path, "w", format=container) as output:
        others = encoded.moving_square(size[2], height=size[0], width=size[1])
        streams = [output.add_stream(name, rate=25) for name in (codec, "libx264")]
        for stream, frames in zip(streams, (others, encoded.moving_square(26)), strict=True):
            stream.width, stream.height = frames[0].width, frames[0].height
            stream.pix_fmt = "yuvj420p" if stream.name == "mjpeg" else "yuv420p"
        for stream, frames in zip(streams, (others, encoded.moving_square(26)), strict=True):
            for number, frame in enumerate(frames):
                frame = frame.reformat(format=stream.pix_fmt)
                frame.pts, frame.time_base = number, fractions.Fraction(1, 25)
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
    for source in (path, path.read_bytes()):
        with Video(source) as video:
            assert (video.height, video.width) == (144, 176)
    with VideoFrames(str(path), "film") as opened:
        assert next(opened.read()).width == 176


NAMES = ("12:30 clip", "http:", "-", "concat:a|b", "%03d", "data:,", "subfile,,start,1,:a")


@pytest.mark.parametrize("name", [*NAMES, "a\nb", "\udcff"])
@pytest.mark.parametrize("container", ["mp4", "avi"])
def test_a_name_is_never_a_protocol_or_an_option(name, container, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = f"{name}.{container}"
    pathlib.Path(path).write_bytes(encoded.encode(encoded.moving_square(3), "mpeg4", container))
    with Video(path) as video, VideoFrames(path, "clip") as frames:
        assert video.num_frames == len(list(frames.read())) == 3


def lists_of_other_files(port, folder):
    """Files that hold no video, but tell FFmpeg to look elsewhere for it."""
    address, film = f"127.0.0.1:{port}/a.mp4", folder / "film.mp4"
    return {
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\n"
        f"m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://{address}\n#EXT-X-ENDLIST\n",
        "local m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{film}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile '{film}'\n",
        "mpd": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
        f"<BaseURL>http://{address}</BaseURL></MPD>",
        "rtsp": f"rtsptext\nrtsp://{address}\n",
        "text": "Fifty lines of a poem.\n" * 50,
    }


@pytest.mark.parametrize("from_path", [True, False])
def test_a_file_never_opens_another_or_the_network(from_path, tmp_path):
    (tmp_path / "film.mp4").write_bytes(encoded.encode(encoded.moving_square(3)))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        port = server.getsockname()[1]
        for kind, text in lists_of_other_files(port, tmp_path).items():
            path = tmp_path / f"a.{kind.split()[-1]}"
            path.write_text(text)
            began = time.monotonic()
            with pytest.raises(VideoError, match="clip: it cannot be opened as a video"):
                open_container(path if from_path else path.read_bytes(), "clip")
            with pytest.raises(VideoError, match="clip: it cannot be opened as a video"):
                VideoFrames(str(path), "clip")
            assert time.monotonic() - began < 5, kind
        with pytest.raises(TimeoutError):
            server.accept()


def mp4_with(data, box, content):
    """An mp4 whose last box of a kind has another content; the sizes of those around it follow."""
    at = data.rindex(box) - 4
    size = int.from_bytes(data[at : at + 4], "big")
    new = struct.pack(">I4s", 8 + len(content), box) + content
    changed = bytearray(data[:at] + new + data[at + size :])
    for outer in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        place = data.rindex(outer) - 4
        old = int.from_bytes(data[place : place + 4], "big")
        if place < at < place + old:
            changed[place : place + 4] = (old + len(new) - size).to_bytes(4, "big")
    return bytes(changed)


def greedy_files():
    """Small files that ask for much memory or time."""
    data = encoded.encode(encoded.moving_square(2))
    first = data.index(b"mdat") + 4
    count, padded = 2000, data + bytes(500_000)
    sizes = struct.pack(f">III{count}I", 0, 0, count, *[500_000] * count)
    same, tables = struct.pack(">III", 0, 1, 80_000_000), {}
    tables[b"stco"] = struct.pack(f">II{count}I", 0, count, *range(first, first + count))
    tables[b"stsc"] = struct.pack(">IIIII", 0, 1, 1, 1, 1)
    tables[b"stts"] = struct.pack(">IIII", 0, 1, count, 512)
    overlapping = functools.reduce(lambda file, box: mp4_with(file, *box), tables.items(), padded)
    record = data[data.rindex(b"avcC") + 4 :][:60]
    zeros = record[:6] + struct.pack(">H", 60_000) + record[8:12] + bytes(60_000)
    huge = encoded.encode([av.VideoFrame(8208, 4112, "yuv420p")], options={"preset": "ultrafast"})
    return {
        "claim more data": mp4_with(overlapping, b"stsz", sizes),
        "80000000 frames": mp4_with(data, b"stsz", same),
        "decoded|opened": mp4_with(data, b"avcC", zeros),
        "8208x4112": huge,
    }


OPEN_WITH_LITTLE = """
import resource, signal, sys
from mgm_jax.data.decoding import Video
from mgm_jax.errors import VideoError

pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**28,) * 2)
for path in sys.argv[1:]:
    signal.setitimer(signal.ITIMER_PROF, 2)  # Of processor time; its signal ends the process.
    try:
        with Video(path, "clip") as video:
            print(video.read([0]).luma.shape)
    except VideoError as error:
        print(error)
"""


def test_a_small_file_takes_little_memory_and_time(tmp_path):
    files = greedy_files()
    for number, content in enumerate(files.values()):
        (tmp_path / f"{number}.mp4").write_bytes(content)
    paths = [str(tmp_path / f"{number}.mp4") for number in range(len(files))]
    command = [sys.executable, "-c", OPEN_WITH_LITTLE, *paths]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    for expected, line in zip(files, lines, strict=True):
        assert re.match(f"clip: .*({expected})", line), line
