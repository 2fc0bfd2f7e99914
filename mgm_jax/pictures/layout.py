"""Sheets of pictures: rows and panels with readable labels."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

TEXT = (45, 45, 48)
FAINT_TEXT = (115, 115, 120)
_HAIRLINE = (205, 205, 210)
_MARGIN = 24
_GAP = 6
_LABEL_WIDTH = 150
LEGEND_SIZE = 64
_TITLE_SIZE, _LABEL_SIZE, _DETAIL_SIZE = 20, 16, 13
_BUILT_IN_FONT_EXTRAS = "·…±"


@dataclasses.dataclass(frozen=True)
class Row:
    """One labelled row of a sheet, or one labelled panel of an animation.

    Attributes:
        label: What it shows.
        tiles: RGB pictures of one size; one per column of a sheet, one per frame of an animation.
        detail: A second, fainter text under the label.
        legend: A picture beside its text, such as the colour wheel and its scale.
    """

    label: str
    tiles: UInt8[np.ndarray, "n tile_height tile_width 3"]
    detail: str = ""
    legend: tuple[UInt8[np.ndarray, "legend_height legend_width 3"], str] | None = None


def tile_size(
    size: tuple[int, int], grid: tuple[int, int], columns: int, sheet_width: int = 1440
) -> tuple[int, int]:
    """Size at which frames are drawn: every token a whole number of pixels, the sheet not too wide.

    Args:
        size: (height, width) of the frames, pixels.
        grid: (h, w) tokens per frame; it divides the size.
        columns: Pictures beside each other.
        sheet_width: What the columns may take together, pixels.

    Returns:
        (height, width): a whole multiple of `size` if the frames are small, else a reduction.
    """
    (height, width), (h, w) = size, grid
    limit = min(sheet_width // columns, 256)
    if width <= limit:
        return (height * (limit // width), width * (limit // width))
    cell_width = max(limit // w, 1)
    cell_height = max(round(cell_width * (height / h) / (width / w)), 1)
    return (cell_height * h, cell_width * w)


def resize(
    frames: UInt8[np.ndarray, "n h w 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "n height width 3"]:
    """Resizes pictures: up by repeating pixels, down with an antialiasing filter.

    Args:
        frames: RGB.
        size: (height, width).

    Returns:
        RGB.
    """
    enlarge = size[0] >= frames.shape[1]
    method = Image.Resampling.NEAREST if enlarge else Image.Resampling.LANCZOS
    wanted = (size[1], size[0])
    return np.stack([np.asarray(Image.fromarray(f).resize(wanted, method)) for f in frames])


def sheet(
    rows: Sequence[Row], column_labels: Sequence[str], title: str, subtitle: str = ""
) -> UInt8[np.ndarray, "height width 3"]:
    """A table of pictures with a title, labelled columns, and labelled rows.

    Args:
        rows: From top to bottom, each with one tile per column.
        column_labels: Texts above the columns.
        title: First line.
        subtitle: Fainter second line.

    Returns:
        RGB on white.
    """
    columns = len(column_labels)
    tile_height, tile_width = rows[0].tiles.shape[1:3]
    left = _MARGIN + _LABEL_WIDTH
    width = left + columns * (tile_width + _GAP) - _GAP + _MARGIN
    top = _MARGIN + _title_height(subtitle) + _LABEL_SIZE + _GAP
    row_height = max(tile_height, _LABEL_SIZE * 4 + LEGEND_SIZE)
    height = top + len(rows) * (row_height + _GAP) - _GAP + _MARGIN

    image, draw = _canvas(height, width)
    _draw_title(draw, title, subtitle, width - 2 * _MARGIN)
    for column, label in enumerate(column_labels):
        x = left + column * (tile_width + _GAP)
        draw_text(draw, (x + tile_width // 2, top - _GAP), label, _DETAIL_SIZE, FAINT_TEXT, "ms")
    for index, row in enumerate(rows):
        y = top + index * (row_height + _GAP)
        _draw_row_label(image, draw, row, y, row_height)
        for column, tile in enumerate(row.tiles):
            corner = (left + column * (tile_width + _GAP), y + (row_height - tile_height) // 2)
            _paste_framed(image, draw, tile, corner)
    return np.asarray(image)


def panels(
    rows: Sequence[Row], title: str, subtitle: str = "", columns: int = 5
) -> UInt8[np.ndarray, "T height width 3"]:
    """The frames of an animation: panels side by side, captions above, a frame count.

    Args:
        rows: The panels, each with one tile per frame.
        title: First line.
        subtitle: Fainter second line.
        columns: Panels in one line at most; more are spread evenly over several.

    Returns:
        RGB on white, one picture per frame.
    """
    frames, tile_height, tile_width = rows[0].tiles.shape[:3]
    lines = -(-len(rows) // columns)
    columns = -(-len(rows) // lines)
    details = [_wrap(row.detail, _DETAIL_SIZE, tile_width) for row in rows]
    text_height = _LABEL_SIZE + max(map(len, details)) * (_DETAIL_SIZE + _GAP // 2)
    caption = max([text_height, *(LEGEND_SIZE // 2 for row in rows if row.legend)]) + _GAP
    top = _MARGIN + _title_height(subtitle)
    width = 2 * _MARGIN + columns * (tile_width + 2 * _GAP) - 2 * _GAP
    line_height = caption + tile_height + 2 * _GAP
    height = top + lines * line_height - 2 * _GAP + _MARGIN

    image, draw = _canvas(height, width)
    count_width = 130
    _draw_title(draw, title, subtitle, width - 2 * _MARGIN - count_width)
    corners = []
    for index, row in enumerate(rows):
        line, column = divmod(index, columns)
        x = _MARGIN + column * (tile_width + 2 * _GAP)
        y = top + line * line_height
        corners.append((x, y + caption))
        _draw_caption(image, draw, row, (x, y), (caption, tile_width))
    pictures = []
    for frame in range(frames):
        picture = image.copy()
        draw = ImageDraw.Draw(picture)
        for row, corner in zip(rows, corners, strict=True):
            _paste_framed(picture, draw, row.tiles[frame], corner)
        count = f"frame {frame + 1} of {frames}"
        place = (width - _MARGIN, _MARGIN + _TITLE_SIZE)
        draw_text(draw, place, count, _LABEL_SIZE, FAINT_TEXT, "rs")
        pictures.append(np.asarray(picture))
    return np.stack(pictures)


def _canvas(height: int, width: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), "white")
    return image, ImageDraw.Draw(image)


def _title_height(subtitle: str) -> int:
    return _TITLE_SIZE + (_LABEL_SIZE + _GAP if subtitle else 0) + 3 * _GAP


def _draw_title(draw: ImageDraw.ImageDraw, title: str, subtitle: str, width: int) -> None:
    y = _MARGIN + _TITLE_SIZE
    draw_text(draw, (_MARGIN, y), shorten(title, _TITLE_SIZE, width), _TITLE_SIZE, TEXT, "ls")
    second = shorten(subtitle, _LABEL_SIZE, width)
    draw_text(draw, (_MARGIN, y + _GAP + _LABEL_SIZE), second, _LABEL_SIZE, FAINT_TEXT, "ls")


def _paste_framed(
    image: Image.Image, draw: ImageDraw.ImageDraw, tile: np.ndarray, corner: tuple[int, int]
) -> None:
    """A hairline around the tile sets white pictures, such as still motion maps, off the page."""
    (x, y), (height, width) = corner, tile.shape[:2]
    draw.rectangle((x - 1, y - 1, x + width, y + height), outline=_HAIRLINE)
    image.paste(Image.fromarray(tile), corner)


def _draw_row_label(
    image: Image.Image, draw: ImageDraw.ImageDraw, row: Row, top: int, height: int
) -> None:
    """Label, wrapped detail and legend, centred beside the row."""
    width = _LABEL_WIDTH - 2 * _GAP
    lines = [(line, _LABEL_SIZE, TEXT) for line in _wrap(row.label, _LABEL_SIZE, width)]
    lines += [(line, _DETAIL_SIZE, FAINT_TEXT) for line in _wrap(row.detail, _DETAIL_SIZE, width)]
    needed = sum(size + _GAP // 2 for _, size, _ in lines)
    if row.legend:
        needed += _GAP + row.legend[0].shape[0]
    y = top + (height - needed) // 2
    for line, size, colour in lines:
        y += size + _GAP // 2
        draw_text(draw, (_MARGIN, y), line, size, colour, "ls")
    if row.legend:
        picture, caption = row.legend
        y += _GAP
        image.paste(Image.fromarray(picture), (_MARGIN, y))
        place = (_MARGIN + picture.shape[1] + _GAP, y + picture.shape[0] // 2)
        draw_text(draw, place, caption, _DETAIL_SIZE, FAINT_TEXT, "lm")


def _draw_caption(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    row: Row,
    corner: tuple[int, int],
    size: tuple[int, int],
) -> None:
    """Label and wrapped detail in a box of (height, width) at the corner; legend at its right."""
    (x, y), (height, width) = corner, size
    if row.legend:
        picture, caption = row.legend
        side = LEGEND_SIZE // 2
        small = Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)
        left, top = x + width - side, y + height - side - _GAP
        image.paste(small, (left, top))
        draw_text(draw, (left - _GAP, top + side // 2), caption, _DETAIL_SIZE, FAINT_TEXT, "rm")
    y += _LABEL_SIZE
    draw_text(draw, (x, y), shorten(row.label, _LABEL_SIZE, width), _LABEL_SIZE, TEXT, "ls")
    for line in _wrap(row.detail, _DETAIL_SIZE, width):
        y += _DETAIL_SIZE + _GAP // 2
        draw_text(draw, (x, y), line, _DETAIL_SIZE, FAINT_TEXT, "ls")


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def draw_text(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    size: int,
    colour: tuple[int, int, int],
    anchor: str,
) -> None:
    """Writes text; a character that the built-in font lacks becomes a question mark."""
    known = "".join(c if c.isascii() or c in _BUILT_IN_FONT_EXTRAS else "?" for c in text)
    draw.text(place, known, fill=colour, font=_font(size), anchor=anchor)


def shorten(text: str, size: int, width: int) -> str:
    """The text with its middle left out if it is wider than `width` pixels."""
    font, kept = _font(size), len(text)
    shortened = text
    while font.getlength(shortened) > width and kept > 2:
        kept -= 1
        shortened = text[: (kept + 1) // 2] + "…" + text[-(kept // 2) :]
    return shortened


def _wrap(text: str, size: int, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _font(size).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(shorten(word, size, width))
    return lines
