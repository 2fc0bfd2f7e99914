"""AVA's csv files: annotated boxes with actions, detected boxes, and scored actions of boxes."""

import csv
import dataclasses
import io
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from mgm_jax.errors import ConfigError

Kind = Literal["annotations", "detections"]
_LAST_COLUMN = {"annotations": "person", "detections": "score"}
_LABEL = re.compile(r'name:\s*"([^"]*)"\s*(?:label_)?id:\s*(\d+)')
_VERSION = re.compile(r"_v(\d+\.\d+)")


@dataclasses.dataclass(frozen=True)
class BoxRows:
    """The rows of such a file: one for each action of a box.

    Attributes:
        images: Names of all key frames that the file mentions, as `key_frame_name` makes them.
        image: Key frame of each row, an index into `images`.
        boxes: x1, y1, x2, y2 as fractions of the frame's width and height.
        actions: From 0; -1 for a detected box without an action.
        scores: 1 for annotations.
        people: Numbers of annotated people, the same in neighbouring key frames; -1 for others.
    """

    images: tuple[str, ...]
    image: Int64[np.ndarray, " n"]
    boxes: Float64[np.ndarray, "n 4"]
    actions: Int64[np.ndarray, " n"]
    scores: Float64[np.ndarray, " n"]
    people: Int64[np.ndarray, " n"]


def key_frame_name(video: str, second: int) -> str:
    """The id of the record of a key frame."""
    return f"{video}_{second:04d}"


def film_of(key_frame: str) -> str:
    """The film of a key frame's id."""
    return key_frame.rpartition("_")[0]


def read_rows(
    file: str | os.PathLike, flag: str, kind: Kind, num_actions: int | None = None
) -> BoxRows:
    """Reads a file of rows `video, second, x1, y1, x2, y2, action, person` (or `..., score`).

    The action may be empty in detections. A row of a video and a second alone says that the key
    frame was looked at and has no box.

    Args:
        file: UTF-8 text, without a line of column names.
        flag: The flag that names the file, for messages.
        kind: Whether the last column is a person or a score.
        num_actions: Actions are 1 to this number; None for any.

    Raises:
        ConfigError: No such file, or a line that is not such a row; names the line.
    """
    if not os.path.isfile(file):
        raise ConfigError(f"{flag}: no csv file at {os.path.abspath(file)}")
    text = pathlib.Path(file).read_bytes().decode("utf-8-sig", errors="surrogateescape")
    numbers: dict[str, int] = {}
    rows: list[tuple[int, list[float], int, float, int]] = []
    try:
        lines = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise ConfigError(f"{flag}: {file} is not a csv file ({error})") from None
    for line, cells in enumerate(lines, 1):
        if not cells:
            continue
        try:
            if len(cells) not in (2, 8):
                raise ValueError(f"it has {len(cells)} values")
            name = key_frame_name(cells[0], _whole(cells[1], "second"))
            image = numbers.setdefault(name, len(numbers))
            if len(cells) == 8:
                rows.append((image, *_values(cells, kind, num_actions)))
        except ValueError as error:
            raise ConfigError(
                f"{flag}: {file}, line {line}: {error}; each line must be video, second, x1, y1, "
                f"x2, y2 (edges from 0 to 1), action, {_LAST_COLUMN[kind]}; found {','.join(cells)}"
            ) from None
    if not numbers:
        raise ConfigError(f"{flag}: {file} is empty")
    return make_rows(tuple(numbers), rows)


def make_rows(
    images: Sequence[str], rows: Sequence[tuple[int, Iterable[float], int, float, int]]
) -> BoxRows:
    """Rows of (key frame, box, action, score, person)."""
    image, boxes, actions, scores, people = zip(*rows, strict=True) if rows else ((),) * 5
    return BoxRows(
        tuple(images),
        np.array(image, np.int64),
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(actions, np.int64),
        np.array(scores, np.float64),
        np.array(people, np.int64),
    )


def write_rows(rows: BoxRows) -> str:
    """The text of a file of scored actions, as AVA's evaluation takes it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = (rows.image, rows.boxes, rows.actions, rows.scores)
    for image, box, action, score in zip(*(column.tolist() for column in columns), strict=True):
        video, _, second = rows.images[image].rpartition("_")
        edges = [f"{edge:.5f}" for edge in box]
        writer.writerow([video, second, *edges, action + 1, f"{score:.6f}"])
    return text.getvalue()


def read_actions(file: str | os.PathLike, flag: str, num_actions: int) -> dict[int, str]:
    """Names of actions, by their numbers from 1, of AVA's `ava_action_list_*.pbtxt`.

    Raises:
        ConfigError: No such file, or it does not name actions.
    """
    if not os.path.isfile(file):
        raise ConfigError(f"{flag}: no file at {os.path.abspath(file)}")
    text = pathlib.Path(file).read_bytes().decode("utf-8-sig", errors="surrogateescape")
    named = {int(number): name for name, number in _LABEL.findall(text)}
    if not named or not all(1 <= number <= num_actions for number in named):
        raise ConfigError(
            f"{flag}: {file} does not name actions numbered 1 to {num_actions}; get AVA's "
            "ava_action_list_v2.2.pbtxt"
        )
    return named


def check_versions(files: Iterable[str | os.PathLike], flag: str) -> None:
    """Refuses files of several versions of AVA, by their names; raises ConfigError."""
    found: dict[str, str] = {}
    for file in map(pathlib.Path, files):
        for version in _VERSION.findall(file.name)[-1:]:
            found.setdefault(version, file.name)
    if len(found) > 1:
        raise ConfigError(
            f"{flag}: {' and '.join(sorted(found.values()))} are of different versions of AVA; "
            "get all files of one"
        )


def _whole(text: str, what: str) -> int:
    if not re.fullmatch(r"\s*\d+\s*", text):
        raise ValueError(f"the {what} {text!r} is not a whole number")
    return int(text)


def _values(
    cells: Sequence[str], kind: Kind, num_actions: int | None
) -> tuple[list[float], int, float, int]:
    """Box, action, score and person of a row."""
    box = [float(cell) for cell in cells[2:6]]
    if not (0 <= box[0] <= box[2] <= 1 and 0 <= box[1] <= box[3] <= 1):
        raise ValueError("the box does not lie in the frame")
    action = 0
    if kind == "annotations" or cells[6].strip():
        action = _whole(cells[6], "action")
        if action < 1 or (num_actions is not None and action > num_actions):
            raise ValueError(f"there is no action {action}, only 1 to {num_actions or 'more'}")
    if kind == "annotations":
        return box, action - 1, 1.0, _whole(cells[7], "person")
    score = float(cells[7])
    if not 0 <= score <= 1:
        raise ValueError(f"the score {score:g} is not from 0 to 1")
    return box, action - 1, score, -1
