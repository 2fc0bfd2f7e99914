"""Motion vectors for frames whose codec exports none, by block matching.

FFmpeg's `mestimate` filter compares two decoded frames block by block and returns the same kind of
record as the codecs do, so `motion_vectors` draws both.
"""

import av
import numpy as np
from av.filter import Graph

from mgm_jax.data.motion.codec_vectors import CELL, Vectors, vectors_of
from mgm_jax.data.video.planes import to_planar_420

# Decision: EPZS tries the neighbours' vectors first, which gives a smoother field than plain
# descent at the same cost. 16-pixel blocks match codec macroblocks; 8 would be 3x slower and
# noisier.
METHOD = "epzs"
BLOCK = 16
SEARCH_RANGE = 32  # pixels; FFmpeg's default of 7 loses fast motion


def estimate(previous: av.VideoFrame, current: av.VideoFrame) -> Vectors:
    """Finds where each block of `current` came from in `previous`.

    Args:
        previous: The frame before; its time stamp is overwritten.
        current: Of the same size; its time stamp is overwritten.

    Returns:
        Vectors of `current` in its stored orientation, whole pixels, all from the past. They cover
        the frame: blocks at the right and bottom edge are widened over what 16 does not divide.
    """
    # The filter compares each frame with the one fed before and the one fed after, and only the
    # first frame of two is ever given out. Fed backwards, that is `current`, its "after" is
    # `previous`, and its "before" is itself, which costs next to nothing.
    graph = Graph()
    source = graph.add_buffer(
        width=current.width,
        height=current.height,
        format=av.VideoFormat("yuv420p"),
        time_base=current.time_base,
    )
    matcher = graph.add(
        "mestimate", method=METHOD, mb_size=str(BLOCK), search_param=str(SEARCH_RANGE)
    )
    sink = graph.add("buffersink")
    source.link_to(matcher)
    matcher.link_to(sink)
    graph.configure()
    for position, frame in enumerate((current, previous)):
        frame = to_planar_420(frame)
        frame.pts = position  # the filter passes over frames without a time stamp
        source.push(frame)
    vectors = vectors_of(sink.pull())
    vectors = vectors[vectors["source"] > 0]
    vectors["source"] = -1
    vectors["motion_scale"] = 0  # the filter leaves the fractional shift uninitialised
    _widen_last(vectors, "x", "w", current.width)
    _widen_last(vectors, "y", "h", current.height)
    return vectors


def _widen_last(vectors: Vectors, axis: str, extent: str, frame_extent: int) -> None:
    uncovered = frame_extent % BLOCK
    last = vectors[f"dst_{axis}"] == frame_extent - uncovered - BLOCK // 2
    cells = -(-uncovered // CELL)
    vectors[extent] += (last * cells * CELL).astype(np.uint8)
    for point in ("dst", "src"):
        vectors[f"{point}_{axis}"] += (last * cells * CELL // 2).astype(np.int16)
