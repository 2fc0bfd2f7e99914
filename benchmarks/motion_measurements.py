"""Measures what motion costs on top of decoding; `motion_cost` makes tables of it."""

import collections
import dataclasses
import functools
import importlib.util
import pathlib
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from av.video.frame import PictureType
from flax import traverse_util

from benchmarks.timing import interleaved_medians, timed
from benchmarks.video_files import prepare, videos_below
from mgm_jax import io
from mgm_jax.data.decoding import Video
from mgm_jax.data.motion.codec_vectors import rasterise, vectors_of
from mgm_jax.data.sampling import training_frames
from mgm_jax.data.video.decoder import EXPORTING_CODECS, FrameDecoder
from mgm_jax.errors import ConfigError
from mgm_jax.flow import estimators, raft

CLIP_FRAMES, STRIDE = 16, 4
SHORT_SIDE = 256
PREPARED = "prepared (low_delay)"

DECODE, VECTORS = "decode only", "decode + codec vectors"
MAPS = "decode + codec vectors, painted into a map per frame"
BLOCKS, DIS, RAFT = "decode + block matching", "decode + DIS flow", "decode + RAFT-Small"
EXPORT, HAND_OVER, PAINT = "export in libavcodec", "hand-over to Python", "painting the maps"

FLOW_PAIRS = 8
"""Pairs of frames on which the flow methods are measured; RAFT-Small computes as many at once."""
FLOW_ROUNDS = 3
"""Most rounds of measuring them: they take long, and what they cost is far from everything else."""


@dataclasses.dataclass
class Costs:
    """Seconds that a kind of videos takes, added up.

    Attributes:
        has_b_frames: Whether the videos have B-frames.
        num_videos: How many there are.
        num_frames: Their frames.
        whole: By method, every frame of every video: decoding alone, and with what the method adds.
        clips: By method, one training clip of every video.
        parts: By part of what vectors cost, every frame of every video.
    """

    has_b_frames: bool
    num_videos: int = 0
    num_frames: int = 0
    whole: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    clips: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    parts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


def find_videos(folder: str, most: int) -> list[pathlib.Path]:
    """Videos below a folder whose codec exports vectors, spread evenly over the sorted list.

    Args:
        folder: The folder.
        most: How many at most.

    Returns:
        Their paths.

    Raises:
        ConfigError: There is none.
    """
    found = []
    for path in videos_below(folder, most):
        with Video(path) as video:
            if video.codec in EXPORTING_CODECS:
                found.append(path)
    if not found:
        raise ConfigError(f"--videos={folder}: no video with motion vectors (H.264, MPEG) in it")
    return found


def random_raft_weights(folder: pathlib.Path) -> pathlib.Path:
    """Writes weights of the right shapes: what they are does not change how long they take."""
    image = jax.ShapeDtypeStruct((1, raft.SMALLEST_SIDE, raft.SMALLEST_SIDE, 3), np.float32)
    shapes = jax.eval_shape(raft.RaftSmall().init, jax.random.key(0), image, image)["params"]
    rng = np.random.default_rng(0)
    params = {
        name: rng.normal(0, 0.05, leaf.shape).astype(np.float32)
        for name, leaf in traverse_util.flatten_dict(shapes, sep="/").items()
    }
    path = folder / "raft_small_random.npz"
    io.write_arrays(path, params)
    return path


def on_accelerator() -> bool:
    """Whether jax computes elsewhere than on the processor, whose time is then not CPU time."""
    return jax.default_backend() != "cpu"


class Flows:
    """Seconds per frame of the flow methods.

    Args:
        raft_weights: File of `flow.convert`.
        rounds: Of measurements.
    """

    def __init__(self, raft_weights: pathlib.Path, rounds: int) -> None:
        self._raft = estimators.make_raft_flow(raft_weights)
        self._rounds = rounds
        self._raft_seconds: dict[tuple[int, int], float] = {}

    def seconds(self, data: bytes) -> dict[str, float]:
        """Measures on the first frames of a video; RAFT-Small once per size of frame."""
        with Video(data) as video:
            frames = np.minimum(np.arange(FLOW_PAIRS + 1), video.num_frames - 1)
            size = estimators.processing_size(video.height, video.width, SHORT_SIDE)
            clip = video.read(frames, size=size, motion="none")
            pairs = min(FLOW_PAIRS, video.num_frames - 1)
            reads = {
                motion: timed(functools.partial(video.read, frames, motion=motion))
                for motion in ("none", "estimate")
            }
            times = interleaved_medians(reads, self._rounds)
            seconds = {BLOCKS: (times["estimate"] - times["none"]) / pairs}
        if importlib.util.find_spec("cv2"):
            dis = timed(functools.partial(estimators.make_dis_flow(), clip))
            seconds[DIS] = interleaved_medians({DIS: dis}, self._rounds)[DIS] / FLOW_PAIRS
        if size not in self._raft_seconds:
            clock = time.perf_counter if on_accelerator() else time.process_time
            network = timed(functools.partial(self._raft, clip), clock)
            times = interleaved_medians({RAFT: network}, self._rounds)
            self._raft_seconds[size] = times[RAFT] / FLOW_PAIRS
        return seconds | {RAFT: self._raft_seconds[size]}


def read_all(data: bytes, motion: str) -> None:
    """Reads every frame of a video."""
    with Video(data, with_vectors=motion == "codec") as video:
        video.read(range(video.num_frames), motion=motion)


def read_clip(data: bytes, motion: str) -> None:
    """Reads a training clip from the middle of a video."""
    with Video(data, with_vectors=motion == "codec") as video:
        frames = training_frames(
            np.random.default_rng(0), video.num_frames, clip_frames=CLIP_FRAMES, stride=STRIDE
        )
        video.read(frames, motion=motion, motion_fallback_distance=STRIDE)


def decode(decoder: FrameDecoder, export: bool) -> None:
    """Decodes every frame and looks at none."""
    for _ in decoder.frames(0, range(decoder.num_frames), (), export):
        pass


def hand_over(decoder: FrameDecoder) -> float:
    """Decodes every frame; seconds that it took to get at their vectors."""
    seconds = 0.0
    for _, frame in decoder.frames(0, range(decoder.num_frames), (), True):
        start = time.process_time()
        vectors_of(frame)
        seconds += time.process_time() - start
    return seconds


def measure_parts(data: bytes, rounds: int) -> tuple[dict[str, float], int, bool]:
    """Where the time for vectors goes.

    Args:
        data: A video.
        rounds: Of measurements.

    Returns:
        Seconds by part, for every frame; number of frames; whether there are B-frames.
    """
    plain, exporting = (FrameDecoder(data, "video") for _ in range(2))
    num_frames, types, vectors = plain.num_frames, set(), []
    for _, frame in exporting.frames(0, range(num_frames), (), True):
        types.add(frame.pict_type)
        vectors.append(vectors_of(frame))
        height, width = frame.height, frame.width

    def paint() -> None:
        for first in range(0, num_frames, CLIP_FRAMES):
            rasterise(vectors[first : first + CLIP_FRAMES], height, width)

    times = interleaved_medians(
        {
            DECODE: timed(functools.partial(decode, plain, False)),
            EXPORT: timed(functools.partial(decode, exporting, True)),
            HAND_OVER: functools.partial(hand_over, exporting),
            PAINT: timed(paint),
        },
        rounds,
    )
    plain.close()
    exporting.close()
    times[EXPORT] -= times[DECODE]
    return times, num_frames, PictureType.B in types


def measure(
    paths: Sequence[pathlib.Path],
    raft_weights: pathlib.Path,
    rounds: int,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Costs]:
    """Measures videos as they are and prepared.

    Args:
        paths: The videos.
        raft_weights: File of `flow.convert`.
        rounds: Of measurements.
        report: Told what is being measured.

    Returns:
        Costs by kind of video.
    """
    flows = Flows(raft_weights, min(rounds, FLOW_ROUNDS))
    costs: dict[str, Costs] = {}
    for position, path in enumerate(paths, 1):
        report(f"{position} of {len(paths)}: {path.name}")
        encoded = prepare(path, "low_delay", STRIDE, SHORT_SIDE).video
        for data, kind in ((path.read_bytes(), None), (encoded, PREPARED)):
            parts, num_frames, has_b_frames = measure_parts(data, rounds)
            reads = interleaved_medians(
                {
                    motion: timed(functools.partial(read_all, data, motion))
                    for motion in ("none", "codec")
                },
                rounds,
            )
            whole = {
                DECODE: parts[DECODE],
                VECTORS: parts[DECODE] + parts[EXPORT] + parts[HAND_OVER],
                MAPS: parts[DECODE] + reads["codec"] - reads["none"],
            }
            clips = interleaved_medians(
                {
                    DECODE: timed(functools.partial(read_clip, data, "none")),
                    VECTORS: timed(functools.partial(read_clip, data, "codec")),
                },
                rounds,
            )
            for method, seconds in flows.seconds(data).items():
                whole[method] = whole[DECODE] + (num_frames - 1) * seconds
            if kind is None:
                with Video(data) as video:
                    codec = video.codec
                kind = f"as downloaded ({codec}{', B-frames' if has_b_frames else ''})"
            cost = costs.setdefault(kind, Costs(has_b_frames))
            cost.num_videos += 1
            cost.num_frames += num_frames
            for sums, new in ((cost.whole, whole), (cost.clips, clips), (cost.parts, parts)):
                sums.update(new)
    return costs
