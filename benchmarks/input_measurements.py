"""Measures the input pipeline beside other readers; `input_pipeline` makes tables of it."""

import collections
import csv
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks import clip_decoders
from benchmarks.clip_decoders import ClipToRead
from benchmarks.picture_quality import (
    Quality,
    compare,
    encode_low_delay,
    encoded_luma,
    size_at_quality,
    source_luma,
)
from benchmarks.timing import interleaved_medians, timed
from benchmarks.video_files import prepare, videos_below
from data_prep.records import write_records
from mgm_jax.data.clip_reader import ReadSpec
from mgm_jax.data.clips import LoadClip
from mgm_jax.data.decoding import Video
from mgm_jax.data.records import RecordSource, VideoSource
from mgm_jax.data.sources import CsvSource
from mgm_jax.errors import ConfigError, VideoError

CLIP_FRAMES, STRIDE, SIZE, WINDOW, SHORT_SIDE = 16, 4, 224, 256, 256

DOWNLOADED, LOW_DELAY, STRIDE_ALIGNED = "as downloaded", "low_delay", "stride_aligned"
VERSIONS = (DOWNLOADED, LOW_DELAY, STRIDE_ALIGNED)

OURS, DECORD, TORCHCODEC = "ours, with motion", "decord", "torchcodec"
NEEDED = "ours, decoding only"
LOOP, ALONE = "libavcodec with opening the file", "libavcodec, decoding only"

QUALITY_FRAMES = 120
"""Frames from the start of each video on which PSNR and SSIM are computed."""
COARSER_CRF = 24
"""A second quality of `low_delay`, to tell its size at the quality of `stride_aligned`."""

Times = dict[tuple[str, str], float]
"""Seconds per clip by (way of reading, version of the file)."""


@dataclasses.dataclass(frozen=True)
class Encoding:
    """An encoded video beside its source.

    Attributes:
        num_bytes: Of the file.
        every: Quality of all frames.
        shown: Quality of the frames that a training clip of the stride shows.
    """

    num_bytes: int
    every: Quality
    shown: Quality


@dataclasses.dataclass(frozen=True)
class VideoCosts:
    """What was measured on one video.

    Attributes:
        name: Of its file.
        facts: Its codec, size and length in words.
        downloaded_bytes: Of the file as downloaded.
        times: Per clip.
        encodings: By profile.
        low_delay_bytes: Size of `low_delay` at the quality of `stride_aligned`, in all frames.
        low_delay_bytes_shown: The same, at the quality of the frames that clips show.
    """

    name: str
    facts: str
    downloaded_bytes: int
    times: Times
    encodings: dict[str, Encoding]
    low_delay_bytes: float
    low_delay_bytes_shown: float


def find_videos(named: Sequence[str], most: int) -> list[pathlib.Path]:
    """The video files named, and of each folder named some, spread evenly over its sorted files.

    Args:
        named: Files and folders.
        most: Files of one folder at most.

    Returns:
        Their paths.

    Raises:
        ConfigError: Nothing there.
    """
    paths = []
    for name in named:
        path = pathlib.Path(name)
        if path.is_file():
            paths.append(path)
            continue
        inside = videos_below(name, most)
        if not inside:
            raise ConfigError(f"--videos={name}: no video there; name a file or a folder of videos")
        paths += inside
    return [path.absolute() for path in paths]


def make_sources(
    paths: Sequence[pathlib.Path], folder: pathlib.Path
) -> tuple[dict[str, VideoSource], dict[str, list[pathlib.Path]]]:
    """Prepares the videos under both profiles.

    Args:
        paths: The videos as downloaded.
        folder: To write to.

    Returns:
        By version: what training reads them from, a list of files or a dataset of records, in the
        order of the paths; and the same files one by one, for other readers.
    """
    listing = folder / "videos.csv"
    with listing.open("w", newline="") as file:
        csv.writer(file).writerows([("path",), *((path,) for path in paths)])
    sources: dict[str, VideoSource] = {DOWNLOADED: CsvSource(str(listing), "train")}
    files = {DOWNLOADED: list(paths)}
    for profile in (LOW_DELAY, STRIDE_ALIGNED):
        records, files[profile] = [], []
        for number, path in enumerate(paths):
            made = prepare(path, profile, STRIDE, SHORT_SIDE)
            facts = {"video_id": str(number), "label": -1, "boxes": np.zeros((0, 4), np.float32)}
            records.append(facts | made.facts | {"video": made.video})
            file = folder / f"{number}_{profile}.mp4"
            file.write_bytes(made.video)
            files[profile].append(file)
        write_records(folder / profile, profile, ["none"], {"train": records})
        sources[profile] = RecordSource(str(folder / profile), "train")
    return sources, files


def readers_of(
    loader: LoadClip, video: int, path: pathlib.Path, version: str, seed: int
) -> dict[str, Callable[[], object]]:
    """Every way of reading one random training clip; those that are not installed are left out.

    Args:
        loader: Ours.
        video: Index in its source.
        path: The same video as a file.
        version: Which one it is.
        seed: Of the draw of the clip.

    Returns:
        Functions by name, all of which read the same frames and the same crop.

    Raises:
        VideoError: It cannot be read.
    """

    def read() -> dict[str, np.ndarray]:
        return loader.random_map((0, video), np.random.default_rng(seed))

    drawn = read()
    if not drawn["valid"].all():
        raise VideoError(drawn["error"][0].tobytes().rstrip(b"\0").decode())
    clip = ClipToRead(path, drawn["frames"][0], drawn["source_box"][0])
    readers: dict[str, Callable[[], object] | None] = {
        OURS: read,
        DECORD: clip_decoders.make_decord(clip),
        TORCHCODEC: clip_decoders.make_torchcodec(clip),
    }
    if version != DOWNLOADED:
        readers[NEEDED] = clip_decoders.make_needed_decoding(clip, STRIDE)
    if version == LOW_DELAY:
        readers[LOOP] = clip_decoders.make_libavcodec_loop(clip)
        readers[ALONE] = clip_decoders.make_decoding_alone(clip)
    return {name: read for name, read in readers.items() if read is not None}


def time_readers(
    sources: dict[str, VideoSource],
    files: dict[str, list[pathlib.Path]],
    video: int,
    clips: int,
    rounds: int,
) -> Times:
    """Times every way of reading every version of a video, in turns.

    Each reads all the clips before the next does, as a worker reads clip after clip.

    Args:
        sources: Of `make_sources`.
        files: Of `make_sources`.
        video: Index in them.
        clips: Random clips.
        rounds: Of measurements.

    Returns:
        Seconds per clip, the mean over the clips of the medians over the rounds.
    """
    spec = ReadSpec(clip_frames=CLIP_FRAMES, stride=STRIDE, size=SIZE, host_crop_size=WINDOW)
    functions = {}
    for version, seed in itertools.product(VERSIONS, range(clips)):
        loader = LoadClip(sources[version], spec)
        readers = readers_of(loader, video, files[version][video], version, seed)
        functions |= {(name, version, seed): timed(read) for name, read in readers.items()}
    functions = dict(sorted(functions.items()))
    times: collections.Counter[tuple[str, str]] = collections.Counter()
    for (name, version, _), seconds in interleaved_medians(functions, rounds).items():
        times[name, version] += seconds / clips
    return dict(times)


def measure_encodings(
    path: pathlib.Path, files: dict[str, pathlib.Path]
) -> tuple[dict[str, Encoding], float, float]:
    """Sizes and qualities of the prepared versions of a video.

    Args:
        path: The video as downloaded.
        files: Its prepared versions by profile.

    Returns:
        The encodings; the size of `low_delay` at the quality of `stride_aligned`, in all frames;
        and the same for the frames that training clips show.
    """
    luma = source_luma(path, SHORT_SIDE, QUALITY_FRAMES)

    def against_source(video: bytes) -> Encoding:
        decoded = encoded_luma(video, len(luma))
        shown = slice(None, None, STRIDE)
        return Encoding(len(video), compare(luma, decoded), compare(luma[shown], decoded[shown]))

    made = {profile: against_source(files[profile].read_bytes()) for profile in files}
    fine, coarse = made[LOW_DELAY], against_source(encode_low_delay(path, SHORT_SIDE, COARSER_CRF))
    sizes = [
        size_at_quality(
            getattr(made[STRIDE_ALIGNED], which).psnr,
            *((video.num_bytes, getattr(video, which).psnr) for video in (coarse, fine)),
        )
        for which in ("every", "shown")
    ]
    return made, *sizes


def describe(path: pathlib.Path) -> str:
    """Codec, size and length of a video in words."""
    with Video(path) as video:
        return f"{video.codec}, {video.width}x{video.height}, {video.num_frames} frames"


def measure(
    paths: Sequence[pathlib.Path],
    folder: pathlib.Path,
    clips: int,
    rounds: int,
    report: Callable[[str], None] = lambda line: None,
) -> list[VideoCosts]:
    """Measures everything on every video.

    Args:
        paths: The videos as downloaded.
        folder: For the prepared ones.
        clips: Random clips of each video.
        rounds: How often each is read each way.
        report: Told what is being measured.

    Returns:
        What came out, per video.
    """
    report("preparing")
    sources, files = make_sources(paths, folder)
    costs = []
    for number, path in enumerate(paths):
        report(f"{number + 1} of {len(paths)}: {path.name}")
        prepared = {profile: files[profile][number] for profile in (LOW_DELAY, STRIDE_ALIGNED)}
        encodings = measure_encodings(path, prepared)
        times = time_readers(sources, files, number, clips, rounds)
        size = path.stat().st_size
        costs.append(VideoCosts(path.name, describe(path), size, times, *encodings))
    return costs
