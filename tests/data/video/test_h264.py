import io

import av
import encoded

from mgm_jax.data.video.h264 import VideoHeader, parse_sequence_parameters


def sequence_parameters(data):
    with av.open(io.BytesIO(data)) as container:
        configuration = container.streams.video[0].codec_context.extradata
    return configuration[8 : 8 + int.from_bytes(configuration[6:8], "big")]


def parsed(height, width, parameters, **settings):
    frames = encoded.moving_square(2, height=height, width=width)
    options = {"x264-params": f"{parameters}:log-level=none"}
    return parse_sequence_parameters(
        sequence_parameters(encoded.encode(frames, options=options, **settings))
    )


def test_size_and_order_of_what_encoders_write():
    assert parsed(144, 176, "bframes=0") == VideoHeader(144, 176, 0)
    assert parsed(146, 178, "bframes=3:b-pyramid=normal") == VideoHeader(146, 178, 2)
    # Baseline, another aspect ratio of the pixels, and colours that are stated.
    told = "cabac=0:8x8dct=0:bframes=0:weightp=0:sar=40/33:colormatrix=bt709:fullrange=on"
    assert parsed(144, 176, told) == VideoHeader(144, 176, 0)
    # The parameters of a hypothetical decoder come before the reordering, and are not read.
    rate = "bframes=2:nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500:bitrate=400"
    assert parsed(144, 176, rate) == VideoHeader(144, 176, None)

    # Pairs of lines, because two fields make a frame.
    assert parsed(148, 178, "bframes=0:interlaced=1") == VideoHeader(148, 178, 0, True)


def test_leaves_the_unusual_to_ffmpeg():
    assert parsed(144, 176, "bframes=0", pix_fmt="yuv444p") is None
