"""Boxes around the objects of a video: reading them, and converting them to a clip's pixels.

A box is `x1, y1, x2, y2`: left, top, right and bottom edge in pixels, with the origin at the
top-left corner of the top-left pixel, as in `crops`. So `x2 - x1` is a width, and pixel `i` alone
is the span `i, i + 1`. An absent box is four NaNs. The boxes of a video are `[num_frames, k, 4]`,
of k objects in each frame.
"""

import collections
import dataclasses
import os
import pathlib
import re
import zipfile
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float, Float32
from ml_collections import ConfigDict

from mgm_jax.data.records import VideoRecord, VideoSource
from mgm_jax.data.sources import VIDEO_SUFFIXES, open_source
from mgm_jax.data.subsets import SubsetSource
from mgm_jax.errors import ConfigError, VideoError

_JHMDB_FILE = re.compile(r"(?P<video>.+)_(?P<frame>\d{5})\.txt")


class BoxedSource(SubsetSource):
    """All videos of a source, joined with boxes from `read_jhmdb_boxes`.

    Raises:
        ConfigError: There is no box for any of the videos.
    """

    def __init__(self, source: VideoSource, boxes: Mapping[str, Float32[np.ndarray, "_ _ 4"]]):
        super().__init__(source, np.arange(len(source)))
        self._boxes = boxes
        records = (source[index] for index in range(len(source)))
        if not any(_jhmdb_name(record) in boxes for record in records):
            raise ConfigError(
                f"--boxes: none of the {len(source)} videos has a box; the boxes are of "
                f"{', '.join(list(boxes)[:2])}, …, and the first video would be "
                f"{_jhmdb_name(source[0])!r}, of {source.describe(0)}"
            )

    def __getitem__(self, index: int) -> VideoRecord:
        """The video at a position, with its boxes if there are any."""
        record = super().__getitem__(index)
        return dataclasses.replace(record, boxes=self._boxes.get(_jhmdb_name(record), record.boxes))


def open_with_boxes(config: ConfigDict, boxes: str | None = None) -> VideoSource:
    """Opens the videos that a run's config.data names, with J-HMDB's boxes of a zip if it is given.

    Raises:
        ConfigError: No such videos or boxes, or the boxes are of other videos.
    """
    source = open_source(config)
    return BoxedSource(source, read_jhmdb_boxes(boxes)) if boxes else source


def read_jhmdb_boxes(path: str | os.PathLike) -> dict[str, Float32[np.ndarray, "_ _ 4"]]:
    """Reads person boxes as they are published for J-HMDB.

    One file for each frame of a video, `class_video_frame.txt`, frames counted from 1; in it a line
    `class x1 y1 x2 y2` for each person, whole pixels counted from 1, both corners included.

    Returns:
        Boxes `[num_frames, k, 4]` by `class_video`, up to the last frame that has a file.

    Raises:
        ConfigError: There is no such file, or it does not hold boxes.
    """
    videos: dict[str, dict[int, list[list[float]]]] = collections.defaultdict(dict)
    for name, text in _text_files(path):
        match = _JHMDB_FILE.fullmatch(name)
        try:
            lines = [[float(word) for word in line.split()] for line in text.splitlines() if line]
            if not match or not int(match["frame"]) or any(len(line) != 5 for line in lines):
                raise ValueError
        except ValueError:
            raise ConfigError(
                f"--boxes: {name} in {path} is not a file of boxes: it should be named "
                "class_video_00001.txt and contain lines 'class x1 y1 x2 y2'"
            ) from None
        videos[match["video"]][int(match["frame"]) - 1] = [line[1:] for line in lines]
    if not videos:
        raise ConfigError(f"--boxes: {path} holds no file class_video_00001.txt")
    found = {}
    for name, frames in videos.items():
        most = max(map(len, frames.values()))
        boxes = np.full((max(frames) + 1, most, 4), np.nan, np.float32)
        for frame, rows in frames.items():
            # From pixels to edges: the first pixel's left edge is 0, its right edge 1.
            boxes[frame, : len(rows)] = np.reshape(rows, (-1, 4)) - (1, 1, 0, 0)
        found[name] = without_empty(boxes)
    return found


def without_empty(
    boxes: Float[np.ndarray, "*frames k 4"],
) -> Float[np.ndarray, "*frames k 4"]:
    """The boxes, with NaN in the place of those that have no area."""
    x1, y1, x2, y2 = np.moveaxis(boxes, -1, 0)
    return np.where(((x2 > x1) & (y2 > y1))[..., None], boxes, np.nan).astype(boxes.dtype)


def check_boxes(
    boxes: Float[np.ndarray, "num_frames k 4"], size: tuple[int, int], num_frames: int, name: str
) -> None:
    """Compares boxes with the size, (height, width), and the length of the video `name`.

    Raises:
        VideoError: They are of another video, or of one of another size.
    """
    right, bottom = (np.nanmax(boxes[..., axis], initial=0) for axis in (2, 3))
    if len(boxes) != num_frames or right > size[1] + 1 or bottom > size[0] + 1:
        raise VideoError(
            f"{name}: its boxes are of another video, or of another size of it: they are for "
            f"{len(boxes)} frames of at least {right:g}x{bottom:g} pixels, but it has {num_frames} "
            f"of {size[1]}x{size[0]}"
        )


def crop_boxes(
    boxes: Float[np.ndarray, "t k 4"],
    source_box: Float[np.ndarray, "4"],
    flip: bool,
    size: int,
) -> Float[np.ndarray, "t k 4"]:
    """Applies the crop (top, left, height, width), the resize and the flip of a clip to boxes.

    They are then in pixels of the clip and end at its border; NaN where nothing is left.
    """
    top, left, height, width = source_box.astype(np.float64)
    x = (boxes[..., 0::2] - left) * (size / width)
    y = (boxes[..., 1::2] - top) * (size / height)
    if flip:
        x = size - x[..., ::-1]
    corners = np.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], axis=-1)
    return without_empty(np.clip(corners, 0, size).astype(boxes.dtype))


def _jhmdb_name(record: VideoRecord) -> str:
    """`class_video` of a video in a folder of its class, by its path or its id."""
    file = pathlib.PurePath(record.video if isinstance(record.video, str) else record.video_id)
    name = file.stem if file.suffix.lower() in VIDEO_SUFFIXES else file.name
    return f"{file.parent.name}_{name}"


def _text_files(path: str | os.PathLike) -> Iterator[tuple[str, str]]:
    """Name and text of the .txt files in a zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                file = name.rpartition("/")[2]
                if file.endswith(".txt") and file[0] != ".":  # As macOS adds.
                    yield file, archive.read(name).decode(errors="replace")
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigError(f"--boxes: {path} is not a readable zip file ({error})") from error
