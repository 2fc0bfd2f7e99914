"""Motion vectors by block matching, for videos whose codec exports none.

FFmpeg's `mestimate` filter matches the blocks of two decoded frames and returns the same records as
the codecs do.
"""

import av
import numpy as np
from av.filter import Graph

from mgm_jax.data.motion.codec_vectors import MOTION_CELL, Vectors, vectors_of
from mgm_jax.data.video.planes import to_planar_420

# Decision: EPZS tries the neighbours' vectors first, which gives a smoother field than plain
# descent at the same cost. Blocks of 8 pixels would take 3 times as long and be noisier.
_METHOD = "epzs"
BLOCK = 16
"""Pixels of a block; smaller frames cannot be matched."""

_SEARCH_RANGE = 0.1  # Of the short side, at least 32 pixels. FFmpeg's 7 lose fast motion.


def estimate(previous: av.VideoFrame, current: av.VideoFrame) -> Vectors:
    """Finds where each block of `current` came from in `previous`, a frame of the same size.

    Overwrites the time stamps of both frames.

    Returns:
        Vectors of `current` in its stored orientation, whole pixels, all from the past. They cover
        the frame: blocks at the right and bottom edge are widened over the remainder.
    """
    # The filter compares each frame with the one pushed before and the one pushed after it, and
    # outputs only the first of two frames. Pushed in reverse, that is `current`: its "after" is
    # `previous`, and its "before" is itself, which costs next to nothing.
    graph = Graph()
    reach = max(32, round(_SEARCH_RANGE * min(current.width, current.height)))
    source = graph.add_buffer(
        width=current.width,
        height=current.height,
        format=av.VideoFormat("yuv420p"),
        time_base=current.time_base,
    )
    matcher = graph.add("mestimate", method=_METHOD, mb_size=str(BLOCK), search_param=str(reach))
    sink = graph.add("buffersink")
    source.link_to(matcher)
    matcher.link_to(sink)
    graph.configure()
    for position, frame in enumerate((current, previous)):
        frame = to_planar_420(frame)
        frame.pts = position  # The filter ignores frames without a time stamp.
        source.push(frame)
    matched = sink.pull()
    assert isinstance(matched, av.VideoFrame)
    vectors = vectors_of(matched)
    assert vectors is not None
    vectors = vectors[vectors["source"] > 0]
    vectors["source"] = -1
    vectors["motion_scale"] = 0  # The filter leaves the fractional shift uninitialised.
    _widen_last(vectors, "x", "w", current.width)
    _widen_last(vectors, "y", "h", current.height)
    return vectors


def _widen_last(vectors: Vectors, axis: str, extent: str, frame_extent: int) -> None:
    uncovered = frame_extent % BLOCK
    last = vectors[f"dst_{axis}"] == frame_extent - uncovered - BLOCK // 2
    cells = -(-uncovered // MOTION_CELL)
    vectors[extent] += (last * cells * MOTION_CELL).astype(np.uint8)
    for point in ("dst", "src"):
        vectors[f"{point}_{axis}"] += (last * cells * MOTION_CELL // 2).astype(np.int16)
