"""Labelled grids of pictures, drawn by matplotlib: sheets, and the frames of animations."""

import dataclasses
import textwrap
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

# A power of two, so that figures of whole pixels have exact sizes in inches.
DPI = 128
TITLE_SIZE, LABEL_SIZE = 10, 7.5  # Points.
FAINT = "0.4"

_GAP = 6  # Pixels between pictures; those below too.
_LEFT, _RIGHT, _TOP, _BOTTOM = 190, 164, 86, 16
_LEGEND_SIZE, _LEGEND_HEIGHT = 80, 126  # Without and with the caption.
_LINE_HEIGHT = 17
_FRAME_GREY = 205
_LABEL_LENGTH = 22  # Characters.


@dataclasses.dataclass(frozen=True)
class Legend:
    """What the colours of a row mean.

    Attributes:
        picture: A colour wheel or a colour bar.
        caption: Text below it.
    """

    picture: UInt8[np.ndarray, "h w 3"]
    caption: str


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a sheet, or a panel of an animation.

    Attributes:
        label: What it shows; long lines are wrapped.
        tiles: RGB; one for each column of a sheet, or for each frame of an animation.
        legend: What its colours mean.
    """

    label: str
    tiles: UInt8[np.ndarray, "n height width 3"]
    legend: Legend | None = None


def sheet(
    rows: Sequence[Row], column_labels: Sequence[str], title: str
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws a table of pictures of one size, with labels and a title of one or two lines."""
    pictures = np.stack([_framed(row.tiles) for row in rows])
    height, width = pictures.shape[2:4]
    row_height = max(height, _LEGEND_HEIGHT if any(row.legend for row in rows) else 0)
    mosaic, corners = _mosaic(pictures, (row_height + _GAP, width + _GAP))
    figure, axes = _figure(mosaic, left=_LEFT, right=_RIGHT, top=_TOP)
    _write_title(figure, title)
    centres = corners + np.array((height / 2, width / 2))
    axes.set_xticks(centres[0, :, 1], column_labels, parse_math=False)
    axes.set_yticks(centres[:, 0, 0], [_wrap(row.label) for row in rows], parse_math=False)
    for row, (y, _) in zip(rows, centres[:, 0], strict=True):
        if row.legend:
            top = y - _LEGEND_HEIGHT / 2
            _draw_legend(axes, row.legend, mosaic.shape[1] + 2 * _GAP, top)
    return render(figure)


def animation(
    rows: Sequence[Row], title: str, columns: int = 4
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Draws the frames of an animation: panels with captions, and the frame's number.

    There are at most `columns` panels of one size in a line, spread evenly over the lines.
    """
    lines = -(-len(rows) // columns)
    columns = -(-len(rows) // lines)
    pictures = np.stack([_framed(row.tiles) for row in rows])
    empty = np.full_like(pictures[:1], 255).repeat(lines * columns - len(rows), axis=0)
    panels = np.concatenate([pictures, empty]).reshape(lines, columns, *pictures.shape[1:])
    length, height, width = pictures.shape[1:4]
    labels = [_wrap(row.label) for row in rows]
    caption = _LINE_HEIGHT * max(label.count("\n") + 1 for label in labels) + _GAP
    pitch = (height + caption, width + 2 * _GAP)
    mosaic, corners = _mosaic(panels[:, :, 0], pitch)
    legends = [row.legend for row in rows if row.legend]
    figure, axes = _figure(
        mosaic,
        left=_BOTTOM,
        right=_RIGHT if legends else _BOTTOM,
        top=_TOP - _LINE_HEIGHT + caption,
        bottom=max(len(legends) * _LEGEND_HEIGHT - len(mosaic), _BOTTOM),
    )
    _write_title(figure, title)
    number = _write_title(figure, "", align="right")
    axes.set_axis_off()
    for label, (y, x) in zip(labels, corners.reshape(-1, 2), strict=False):
        axes.text(x, y - _GAP / 2, label, va="bottom", fontsize=LABEL_SIZE, parse_math=False)
    for index, legend in enumerate(legends):
        _draw_legend(axes, legend, mosaic.shape[1] + 2 * _GAP, index * _LEGEND_HEIGHT)
    for frame in range(length):
        axes.images[0].set_data(_mosaic(panels[:, :, frame], pitch)[0])
        number.set_text(f"frame {frame + 1} of {length}")
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


def _framed(tiles: UInt8[np.ndarray, "n height width 3"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Adds a grey line around each picture, so that white ones stand out from the page."""
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    return np.pad(tiles, padding, constant_values=_FRAME_GREY)


def _mosaic(
    pictures: UInt8[np.ndarray, "rows columns height width 3"], pitch: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "H W 3"], np.ndarray]:
    """Places pictures on white at equal distances, and returns their corners (y, x)."""
    rows, columns, height, width = pictures.shape[:4]
    padding = ((0, 0), (0, 0), (0, pitch[0] - height), (0, pitch[1] - width), (0, 0))
    padded = np.pad(pictures, padding, constant_values=255)
    mosaic = padded.swapaxes(1, 2).reshape(rows * pitch[0], columns * pitch[1], 3)
    corners = np.moveaxis(np.indices((rows, columns)), 0, -1) * pitch
    return mosaic[: len(mosaic) - (pitch[0] - height), : mosaic.shape[1] - _GAP], corners


def _figure(
    mosaic: UInt8[np.ndarray, "h w 3"], *, left: int, right: int, top: int, bottom: int = _BOTTOM
) -> tuple[Figure, Axes]:
    """A figure with margins, in pixels, around an image that is drawn pixel by pixel."""
    height, width = mosaic.shape[:2]
    full_height, full_width = top + height + bottom, left + width + right
    figure = Figure(figsize=(full_width / DPI, full_height / DPI), dpi=DPI)
    box = (left, bottom, width, height)
    axes = figure.add_axes(tuple(np.divide(box, (full_width, full_height) * 2)))
    # Pixels are squares around whole numbers otherwise.
    axes.imshow(mosaic, interpolation="nearest", extent=(0, width, height, 0))
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=LABEL_SIZE)
    axes.tick_params("x", labelcolor=FAINT)
    axes.spines[:].set_visible(False)
    return figure, axes


def _write_title(figure: Figure, title: str, align: str = "left") -> Text:
    width, height = figure.bbox.size
    x = width - _BOTTOM if align == "right" else _BOTTOM
    lines = "\n".join(shorten(line, int(width / 13)) for line in title.splitlines())
    style = {"ha": align, "va": "top", "fontsize": TITLE_SIZE, "parse_math": False}
    return figure.text(x / width, 1 - _BOTTOM / height, lines, fontdict=style)


def _draw_legend(axes: Axes, legend: Legend, x: float, y: float) -> None:
    """Draws a legend at a place in the pixels of the axes."""
    height, width = legend.picture.shape[:2]
    width = _LEGEND_SIZE * width // height
    box = axes.inset_axes((x, y, width, _LEGEND_SIZE), transform=axes.transData)
    box.imshow(legend.picture, aspect="auto", interpolation="antialiased")
    box.set_axis_off()
    axes.text(x, y + _LEGEND_SIZE + _GAP, legend.caption, va="top", fontsize=LABEL_SIZE)


def _wrap(label: str) -> str:
    lines = (textwrap.wrap(line, _LABEL_LENGTH) for line in label.splitlines())
    return "\n".join(line for part in lines for line in part)
