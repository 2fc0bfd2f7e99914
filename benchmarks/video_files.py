"""Which videos a benchmark takes of a folder, and how it prepares them."""

import pathlib

from data_prep.conversion import Conversion, convert, make_settings
from data_prep.entries import Entry
from mgm_jax.data.sources import VIDEO_SUFFIXES
from mgm_jax.errors import VideoError


def videos_below(folder: str, most: int) -> list[pathlib.Path]:
    """Some of the videos in any depth of a folder, spread evenly over the sorted list.

    Args:
        folder: The folder.
        most: How many at most.

    Returns:
        Their paths; none where there are none.
    """
    every = sorted(pathlib.Path(folder).rglob("*"))
    every = [path for path in every if path.suffix.lower() in VIDEO_SUFFIXES]
    step = max(len(every) / most, 1)
    return [every[int(step * i)] for i in range(min(most, len(every)))]


def prepare(path: pathlib.Path, profile: str, stride: int, short_side: int) -> Conversion:
    """The video as `data_prep.prepare` stores it.

    Args:
        path: As downloaded.
        profile: `low_delay` or `stride_aligned`.
        stride: Of `stride_aligned`.
        short_side: As `data_prep.prepare --short_side`.

    Returns:
        The conversion.

    Raises:
        VideoError: It cannot be read.
    """
    settings = make_settings(profile, stride, short_side)
    made = convert(str(path.parent), Entry(path.stem, "train", -1, path.name), settings)
    if not made.video:
        raise VideoError(f"--videos: {made.problem.reason}")
    return made
