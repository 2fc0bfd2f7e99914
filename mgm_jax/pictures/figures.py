"""Sheets: labelled grids of pictures, drawn by matplotlib."""

import dataclasses
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import UInt8
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# A power of two, so that figures of whole pixels have exact sizes in inches.
DPI = 128
TITLE_SIZE, LABEL_SIZE = 10, 7.5  # Points.

_GAP, _MARGIN, _LABEL_WIDTH, _TITLE_HEIGHT = 8, 16, 190, 94  # Pixels.
_LABEL_LENGTH = 22  # Characters.
_FRAME = "0.8"
_TEXT: dict[str, Any] = {"fontsize": LABEL_SIZE, "parse_math": False}

_SCRIPTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Bengali"),
    *("Noto Sans Tamil", "Noto Sans Thai", "Hiragino Sans", "Arial Unicode MS", "Unifont"),
)
_INSTALLED = {font.name for font in font_manager.fontManager.ttflist}

with_fonts = matplotlib.rc_context(
    {"font.family": ["DejaVu Sans", *(name for name in _SCRIPTS if name in _INSTALLED)]}
)
"""Decorates functions that draw text: what DejaVu Sans lacks is in the first installed font that
has it, and boxes without one. Debian's fonts-noto-cjk has Chinese, Japanese and Korean.
After installing a font, delete matplotlib's cache (~/.cache/matplotlib)."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a sheet.

    Attributes:
        label: What it shows; long lines are wrapped.
        tiles: RGB; one for each column.
        legend: A colour wheel or a colour bar.
    """

    label: str
    tiles: UInt8[np.ndarray, "n height width 3"]
    legend: UInt8[np.ndarray, "h w 3"] | None = None


@with_fonts
def sheet(
    rows: Sequence[Row], column_labels: Sequence[str], title: str
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws a table of pictures of one size, with labels and a title of one or two lines."""
    columns = len(column_labels)
    shape = (len(rows), columns + any(row.legend is not None for row in rows))
    figure, axes = _table(shape, rows[0].tiles.shape[1:3])
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
    for row, line in zip(rows, axes, strict=True):
        for place, tile in zip(line, row.tiles, strict=False):
            place.imshow(tile)
        line[0].set_ylabel(_wrap(row.label), rotation=0, ha="right", va="center", **_TEXT)
        if row.legend is not None:
            line[-1].imshow(row.legend)
    for place in axes.flat:
        place.set_visible(bool(place.images))
    for place, label in zip(axes[0], column_labels, strict=False):
        place.set_title(label, color="0.4", **_TEXT)
    return render(figure)


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


def _table(shape: tuple[int, int], size: tuple[int, int]) -> tuple[Figure, np.ndarray]:
    """A figure with `shape` (lines, columns) of axes, each of `size` (height, width) pixels."""
    (lines, columns), (height, width) = shape, size
    full_width = _LABEL_WIDTH + columns * (width + _GAP) - _GAP + _MARGIN
    full_height = _TITLE_HEIGHT + lines * (height + _GAP) - _GAP + _MARGIN
    figure = Figure(figsize=(full_width / DPI, full_height / DPI), dpi=DPI)
    places = {
        "left": _LABEL_WIDTH / full_width,
        "right": 1 - _MARGIN / full_width,
        "top": 1 - _TITLE_HEIGHT / full_height,
        "bottom": _MARGIN / full_height,
        "wspace": _GAP / width,
        "hspace": _GAP / height,
    }
    axes = figure.subplots(lines, columns, squeeze=False, gridspec_kw=places)
    for place in axes.flat:
        place.set(xticks=(), yticks=(), anchor="W")
        place.spines[:].set_color(_FRAME)  # White pictures stand out from the page.
    return figure, axes


def _wrap(label: str) -> str:
    lines = (textwrap.wrap(line, _LABEL_LENGTH) for line in label.splitlines())
    return "\n".join(line for part in lines for line in part)
