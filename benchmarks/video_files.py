"""Which videos a benchmark takes of a folder."""

import pathlib

from mgm_jax.data.sources import VIDEO_SUFFIXES


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
