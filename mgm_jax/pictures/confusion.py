"""The confusions of a classifier as a picture, for 2 to several hundred classes."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw

from mgm_jax.pictures.layout import FAINT_TEXT, TEXT, draw_text, shorten

_RIGHT = np.array((23, 84, 160))
_WRONG = np.array((196, 66, 20))
_EMPTY_ROW = (240, 240, 242)
_LINE = (205, 205, 210)
_MARGIN = 24
_GAP = 8
_SIDE = 1000  # Of the matrix, pixels, where the classes are many.
_LARGEST_CELL = 46
_TITLE_SIZE, _LABEL_SIZE = 20, 13
_LABEL_WIDTH = 170
_OVERHANG = 8  # Of a label that is higher than its cell, pixels.
_CELL_FOR_LABELS = _LABEL_SIZE + 1
_CELL_FOR_NUMBERS = 26
_LEGEND_WIDTH, _LEGEND_HEIGHT = 180, 12
_LEGEND_TICKS = (0, 5, 25, 50, 100)  # Percent.


def confusion_picture(
    counts: Int[np.ndarray, "classes classes"],
    class_names: Sequence[str],
    title: str = "Confusion, % of each true class",
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws the share of each class's videos that are taken for each class.

    The diagonal, what is right, is blue, the rest orange. The depth of the colour is the square
    root of the share (*decision*): a class that one video in twenty is taken for shows. Classes
    are named where there is room for their names, else numbered at intervals; a row without
    videos is grey. Cells that are large enough hold the share in percent.

    Args:
        counts: Videos by true class (rows) and predicted class (columns).
        class_names: Names of the classes.
        title: First line.

    Returns:
        RGB on white.
    """
    classes = len(class_names)
    cell = min(_LARGEST_CELL, max(_SIDE // classes, 2))
    named = cell >= _CELL_FOR_LABELS
    label_width = _LABEL_WIDTH if named else 4 * _LABEL_SIZE
    left = _MARGIN + _LABEL_SIZE + _GAP + label_width
    top = _MARGIN + _TITLE_SIZE + 3 * _LABEL_SIZE + 4 * _GAP + label_width
    side = cell * classes
    width = max(left + side, _MARGIN + 2 * (_LEGEND_WIDTH + 8 * _GAP)) + _MARGIN
    image = Image.new("RGB", (width, top + side + _MARGIN), "white")
    draw = ImageDraw.Draw(image)

    draw_text(draw, (_MARGIN, _MARGIN + _TITLE_SIZE), title, _TITLE_SIZE, TEXT, "ls")
    _draw_legend(image, draw, _MARGIN + _TITLE_SIZE + _GAP)
    shares = _shares(counts)
    matrix = _colours(shares).repeat(cell, axis=0).repeat(cell, axis=1)
    image.paste(Image.fromarray(matrix), (left, top))
    if cell >= _CELL_FOR_NUMBERS:
        _draw_numbers(draw, shares, (left, top), cell)
    if named:
        _draw_grid(draw, (left, top), cell, classes)
        texts = {
            number: shorten(name, _LABEL_SIZE, label_width)
            for number, name in enumerate(class_names)
        }
    else:
        texts = {number: str(number) for number in range(0, classes, 50 if classes > 150 else 10)}
    draw.rectangle((left - 1, top - 1, left + side, top + side), outline=_LINE)

    edge = left - 1 - _GAP // 2
    strip = (label_width, side + 2 * _OVERHANG)
    image.paste(_labels(texts, cell, strip, "rm"), (edge - label_width, top - _OVERHANG))
    columns = _labels(texts, cell, strip, "lm").rotate(90, expand=True)
    image.paste(columns, (left - _OVERHANG, top - 1 - _GAP // 2 - label_width))
    true = _labels({0: "true class"}, _LABEL_SIZE, (side, _LABEL_SIZE + 2 * _OVERHANG), "mm")
    image.paste(true.rotate(90, expand=True), (_MARGIN - _OVERHANG, top))
    place = (left, top - _GAP - label_width)
    draw_text(draw, place, "predicted class", _LABEL_SIZE, FAINT_TEXT, "ls")
    return np.asarray(image)


def _labels(texts: Mapping[int, str], cell: int, size: tuple[int, int], anchor: str) -> Image.Image:
    """A strip of (width, height) with a text for each numbered cell, from top to bottom.

    The first cell begins `_OVERHANG` below its top.
    """
    strip = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(strip)
    x = {"l": 0, "m": size[0] // 2, "r": size[0] - 1}[anchor[0]]
    for number, text in texts.items():
        place = (x, _OVERHANG + number * cell + cell // 2)
        draw_text(draw, place, text, _LABEL_SIZE, FAINT_TEXT, anchor)
    return strip


def _shares(counts: Int[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """Each row over its sum; NaN where there is none."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def _colours(shares: Float[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "rows columns 3"]:
    hues = np.where(np.eye(len(shares), dtype=bool)[..., None], _RIGHT, _WRONG)
    depth = np.sqrt(np.nan_to_num(shares))[..., None]
    mixed = 255 + (hues - 255) * depth
    return np.where(np.isnan(shares)[..., None], _EMPTY_ROW, mixed).round().astype(np.uint8)


def _draw_legend(image: Image.Image, draw: ImageDraw.ImageDraw, top: int) -> None:
    ramp = np.linspace(0, 1, _LEGEND_WIDTH) ** 2
    for number, (name, hue) in enumerate((("right", _RIGHT), ("wrong", _WRONG))):
        left = _MARGIN + number * (_LEGEND_WIDTH + 8 * _GAP)
        draw_text(draw, (left, top + _LEGEND_HEIGHT), name, _LABEL_SIZE, TEXT, "ls")
        bar_left, bar_top = left + 5 * _GAP, top + _GAP // 2
        colours = 255 + (hue - 255) * np.sqrt(ramp)[:, None]
        bar = np.broadcast_to(colours.round().astype(np.uint8), (_LEGEND_HEIGHT, *colours.shape))
        image.paste(Image.fromarray(np.ascontiguousarray(bar)), (bar_left, bar_top))
        for percent in _LEGEND_TICKS:
            x = bar_left + round((_LEGEND_WIDTH - 1) * (percent / 100) ** 0.5)
            place = (x, bar_top + _LEGEND_HEIGHT + _LABEL_SIZE)
            text = f"{percent} %" if percent == 100 else str(percent)
            draw_text(draw, place, text, _LABEL_SIZE - 2, FAINT_TEXT, "ms")


def _draw_numbers(
    draw: ImageDraw.ImageDraw,
    shares: Float[np.ndarray, "rows columns"],
    corner: tuple[int, int],
    cell: int,
) -> None:
    for row, column in np.argwhere(np.nan_to_num(shares)).tolist():
        share = shares[row, column]
        place = (corner[0] + column * cell + cell // 2, corner[1] + row * cell + cell // 2)
        colour = (255, 255, 255) if share > 0.3 else TEXT
        size = _LABEL_SIZE if cell > 34 else _LABEL_SIZE - 2
        draw_text(draw, place, f"{100 * share:.0f}", size, colour, "mm")


def _draw_grid(draw: ImageDraw.ImageDraw, corner: tuple[int, int], cell: int, classes: int) -> None:
    (left, top), side = corner, cell * classes
    for number in range(1, classes):
        x, y = left + number * cell, top + number * cell
        draw.line((x, top, x, top + side - 1), fill=(232, 232, 235))
        draw.line((left, y, left + side - 1, y), fill=(232, 232, 235))
