"""Labelled grids of pictures, drawn by matplotlib: sheets, and the frames of animations."""

import dataclasses
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

# A power of two, so that figures of whole pixels have exact sizes in inches.
DPI = 128
TITLE_SIZE, LABEL_SIZE = 10, 7.5  # Points.

_GAP, _MARGIN, _LABEL_WIDTH, _TITLE_HEIGHT, _LINE_HEIGHT = 8, 16, 190, 86, 17  # Pixels.
_LABEL_LENGTH = 22  # Characters.
_FRAME = "0.8"
_TEXT: dict[str, Any] = {"fontsize": LABEL_SIZE, "parse_math": False}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a sheet, or a panel of an animation.

    Attributes:
        label: What it shows; long lines are wrapped.
        tiles: RGB; one for each column of a sheet, or for each frame of an animation.
        legend: A colour wheel or a colour bar.
    """

    label: str
    tiles: UInt8[np.ndarray, "n height width 3"]
    legend: UInt8[np.ndarray, "h w 3"] | None = None


def sheet(
    rows: Sequence[Row], column_labels: Sequence[str], title: str
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws a table of pictures of one size, with labels and a title of one or two lines."""
    columns = len(column_labels)
    shape = (len(rows), columns + any(row.legend is not None for row in rows))
    figure, axes = _table(shape, rows[0].tiles.shape[1:3], left=_LABEL_WIDTH, gap=_GAP)
    _write_title(figure, title)
    for row, line in zip(rows, axes, strict=True):
        for place, tile in zip(line, row.tiles, strict=False):
            _show(place, tile)
        line[0].set_ylabel(_wrap(row.label), rotation=0, ha="right", va="center", **_TEXT)
        if row.legend is not None:
            _show(line[-1], row.legend)
    for place, label in zip(axes[0], column_labels, strict=False):
        place.set_title(label, color="0.4", **_TEXT)
    return render(figure)


def animation(
    rows: Sequence[Row], title: str, columns: int = 4
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Draws the frames of an animation: panels with captions, and the frame's number.

    There are at most `columns` panels in a line, the legends after the others.
    """
    labels = [_wrap(row.label) for row in rows]
    pictures = [row.tiles[0] for row in rows]
    pictures += [row.legend for row in rows if row.legend is not None]
    lines = -(-len(pictures) // columns)
    gap = _GAP + _LINE_HEIGHT * max(label.count("\n") + 1 for label in labels)
    shape = (lines, -(-len(pictures) // lines))
    figure, axes = _table(shape, rows[0].tiles.shape[1:3], left=_MARGIN, gap=gap)
    images = [_show(*pair) for pair in zip(axes.flat, pictures, strict=False)]
    for place, label in zip(axes.flat, labels, strict=False):
        place.set_title(label, loc="left", **_TEXT)
    length = len(rows[0].tiles)
    for frame in range(length):
        for image, row in zip(images, rows, strict=False):
            image.set_data(row.tiles[frame])
        _write_title(figure, f"{title}\nframe {frame + 1} of {length}")
        yield render(figure)


def render(figure: Figure) -> UInt8[np.ndarray, "height width 3"]:
    """The figure's pixels; characters that are not in the font are drawn as boxes."""
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def shorten(text: str, length: int) -> str:
    """The text with its middle left out if it has more than `length` characters."""
    if len(text) <= length:
        return text
    return f"{text[: length // 2]}…{text[len(text) - (length - 1) // 2 :]}"


def _table(
    shape: tuple[int, int], size: tuple[int, int], *, left: int, gap: int
) -> tuple[Figure, np.ndarray]:
    """A figure with `shape` (lines, columns) of axes, each of `size` (height, width) pixels.

    The space to their left, and between lines and above them, is given in pixels.
    """
    (lines, columns), (height, width) = shape, size
    top = _TITLE_HEIGHT + gap
    full_width = left + columns * (width + _GAP) - _GAP + _MARGIN
    full_height = top + lines * (height + gap) - gap + _MARGIN
    figure = Figure(figsize=(full_width / DPI, full_height / DPI), dpi=DPI)
    places = {
        "left": left / full_width,
        "right": 1 - _MARGIN / full_width,
        "top": 1 - top / full_height,
        "bottom": _MARGIN / full_height,
        "wspace": _GAP / width,
        "hspace": gap / height,
    }
    axes = figure.subplots(lines, columns, squeeze=False, gridspec_kw=places)
    for place in axes.flat:
        place.set(xticks=(), yticks=(), anchor="W", visible=False)
        place.spines[:].set_color(_FRAME)  # White pictures stand out from the page.
    return figure, axes


def _write_title(figure: Figure, title: str) -> None:
    """Writes one to three lines, in place of those before."""
    lines = "\n".join(shorten(line, int(figure.bbox.width / 13)) for line in title.splitlines())
    figure.suptitle(
        lines,
        x=_MARGIN / figure.bbox.width,
        y=1 - _MARGIN / figure.bbox.height,
        ha="left",
        va="top",
        fontsize=TITLE_SIZE,
        parse_math=False,
    )


def _show(axes: Axes, picture: UInt8[np.ndarray, "h w 3"]) -> AxesImage:
    axes.set_visible(True)
    return axes.imshow(picture)


def _wrap(label: str) -> str:
    lines = (textwrap.wrap(line, _LABEL_LENGTH) for line in label.splitlines())
    return "\n".join(line for part in lines for line in part)
