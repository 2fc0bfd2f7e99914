"""Sheets of key frames: boxes with their annotated and their predicted actions."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from absl import logging
from jaxtyping import Float, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

from mgm_jax.data.decoding import Video
from mgm_jax.data.key_clips import key_frame_of
from mgm_jax.data.records import VideoSource
from mgm_jax.data.video.planes import Window
from mgm_jax.errors import VideoError, reading_video
from mgm_jax.pictures import figures
from mgm_jax.pictures.overlays import BOX, QUERY

_HEIGHT = 240  # Pixels.
_SHOWN, _LIKELY = 3, 0.3  # Actions of a box: at most so many, with at least this score.


@dataclasses.dataclass(frozen=True)
class Example:
    """A key frame to draw; boxes are fractions of its width and height.

    Attributes:
        index: Of its video in the source.
        truth: Annotated boxes.
        truth_actions: Other than 0 for each action of such a box.
        boxes: Those that the model was given.
        scores: Of each of these boxes and each class.
    """

    index: int
    name: str
    truth: Float[np.ndarray, "k 4"]
    truth_actions: Shaped[np.ndarray, "k classes"]
    boxes: Float[np.ndarray, "n 4"]
    scores: Float[np.ndarray, "n classes"]


def sheet(
    source: VideoSource, examples: Iterable[Example], subtitle: str
) -> UInt8[np.ndarray, "height width 3"] | None:
    """Draws key frames of a source; None if none can be read.

    The first row has the annotated boxes and actions, the second the boxes that the model was
    given, with the scores of its most probable actions.
    """
    names, labels = source.class_names, []
    tiles: list[tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"]]] = []
    for one in examples:
        try:
            frame = read_key_frame(source, one.index)
        except VideoError as error:
            logging.warning("no picture of %s", error)
            continue
        true = ["\n".join(names[i] for i in np.flatnonzero(row)) for row in one.truth_actions]
        predicted = [_most_probable(row, names) for row in one.scores]
        pair = (draw(frame, one.truth, true, BOX), draw(frame, one.boxes, predicted, QUERY))
        tiles.append(pair)
        labels.append(figures.shorten(one.name, 40))
    if not tiles:
        return None
    width = max(annotated.shape[1] for annotated, _ in tiles)
    rows = [
        figures.Row(name, np.stack([_pad(pair[number], width) for pair in tiles]))
        for number, name in enumerate(("annotated", "predicted"))
    ]
    return figures.sheet(rows, labels, f"Actions in boxes\n{subtitle}")


def read_key_frame(source: VideoSource, index: int) -> UInt8[np.ndarray, "height width 3"]:
    """The key frame in RGB, `_HEIGHT` pixels high; raises VideoError."""
    record, name = source[index], source.describe(index)
    with reading_video(name), Video(record.video, name) as video:
        size = (video.height, video.width)
        key = key_frame_of(record, len(source.class_names), size, video.num_frames)
        scaled = (_HEIGHT, max(2 * round(_HEIGHT * size[1] / size[0] / 2), 2))
        clip = video.read([key.frame], windows=[Window(scaled)], motion="none")
    chroma = clip.chroma[0].repeat(2, axis=0).repeat(2, axis=1)
    yuv = np.concatenate([clip.luma[0][..., None], chroma], axis=-1)
    pixels = yuv @ clip.yuv_to_rgb[:, :3].T + clip.yuv_to_rgb[:, 3]
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def draw(
    frame: UInt8[np.ndarray, "h w 3"],
    boxes: Float[np.ndarray, "k 4"],
    texts: Sequence[str],
    colour: tuple[int, int, int],
) -> UInt8[np.ndarray, "h w 3"]:
    """Draws boxes, given as fractions of the frame, with a text inside at the top of each."""
    image = Image.fromarray(frame)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    sides = np.tile(image.size, 2)
    for box, text in zip(np.asarray(boxes) * sides, texts, strict=True):
        left, top, right, bottom = np.round(box).astype(int).tolist()
        pen.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), outline=colour)
        place = (left + 3, top + 2)
        pen.rectangle(pen.multiline_textbbox(place, text, font), fill=(0, 0, 0))
        pen.multiline_text(place, text, fill=colour, font=font)
    return np.asarray(image)


def _most_probable(scores: Float[np.ndarray, " classes"], names: Sequence[str]) -> str:
    order = np.argsort(-scores, kind="stable")[:_SHOWN]
    likely = [number for number in order if scores[number] >= _LIKELY] or order[:1]
    return "\n".join(f"{scores[number]:.2f} {names[number]}" for number in likely)


def _pad(tile: UInt8[np.ndarray, "h w 3"], width: int) -> UInt8[np.ndarray, "h {width} 3"]:
    return np.pad(tile, ((0, 0), (0, width - tile.shape[1]), (0, 0)), constant_values=255)
