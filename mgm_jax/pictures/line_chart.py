"""Curves as SVG, for a page that needs nothing but itself."""

import html
import math
from collections.abc import Mapping, Sequence

Points = Sequence[tuple[float, float]]

_COLOURS = ("#1754a0", "#c44214", "#4f7a28", "#7a4fa0")
_TEXT, _FAINT_TEXT, _GRID = "#2d2d30", "#737378", "#e2e2e6"
_KEY_LEFT = 12
_FEW = 30  # Points of a curve that shows them.
_MARGIN_LEFT, _MARGIN_RIGHT, _MARGIN_TOP, _MARGIN_BOTTOM = 56, 28, 44, 38


def line_chart(
    title: str,
    series: Mapping[str, Points],
    *,
    x_label: str = "step",
    percent: bool = False,
    size: tuple[int, int] = (360, 250),
) -> str:
    """Draws curves over a common axis.

    Args:
        title: Text above.
        series: Points (x, y) of each curve by its name, at most 4 curves; points that are not
            finite are left out. A curve of few points shows them.
        x_label: Text below.
        percent: Whether y is a share, to be shown in percent from 0 to 100.
        size: (width, height), pixels.

    Returns:
        An `<svg>` element.

    Raises:
        ValueError: More curves than there are colours for.
    """
    if len(series) > len(_COLOURS):
        raise ValueError(f"{len(series)} curves in one chart; at most {len(_COLOURS)}")
    finite = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        for name, points in series.items()
    }
    width, height = size
    left, right = _MARGIN_LEFT, width - _MARGIN_RIGHT
    top, bottom = _MARGIN_TOP, height - _MARGIN_BOTTOM
    xs = [x for points in finite.values() for x, _ in points] or [0.0]
    ys = [y for points in finite.values() for _, y in points] or [0.0]
    x_ticks = nice_ticks(min(xs), max(xs))
    y_ticks = [0.0, 0.25, 0.5, 0.75, 1.0] if percent else nice_ticks(min(0.0, *ys), max(ys))
    (x_low, x_high), (y_low, y_high) = ((ticks[0], ticks[-1]) for ticks in (x_ticks, y_ticks))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (right - left) * (x - x_low) / (x_high - x_low),
            bottom - (bottom - top) * (y - y_low) / (y_high - y_low),
        )

    parts = [
        f'<svg role="img" aria-label="{html.escape(title)}" font-family="sans-serif" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        _text((_KEY_LEFT, 16), title, "start", size=13, colour=_TEXT),
    ]
    for y in y_ticks:
        level = place(x_low, y)[1]
        parts.append(
            f'<line stroke="{_GRID}" x1="{left}" x2="{right}" y1="{level:.1f}" y2="{level:.1f}"/>'
        )
        label = f"{100 * y:.0f} %" if percent else f"{y:g}"
        parts.append(_text((left - 6, level + 4), label, "end"))
    for x in x_ticks:
        parts.append(_text((place(x, y_low)[0], bottom + 16), f"{x:g}", "middle"))
    parts.append(_text(((left + right) / 2, height - 4), x_label, "middle"))
    key = _KEY_LEFT
    for (name, points), colour in zip(finite.items(), _COLOURS, strict=False):
        places = [place(x, y) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        if len(points) <= _FEW:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places
            ]
        last = f"{name} {_value(points[-1][1], percent)}" if points else f"{name}: none"
        parts.append(f'<rect x="{key}" y="25" width="10" height="10" fill="{colour}"/>')
        parts.append(_text((key + 14, 34), last, "start"))
        key += 26 + 6 * len(last)
    return "\n".join([*parts, "</svg>"])


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers at equal distances that enclose a range.

    Args:
        low: Start of the range.
        high: Its end; where it is the start, or next to it, the range from 0 is taken.
        count: How many distances there are, about.

    Returns:
        At least two ascending numbers, the first at most `low`, the last at least `high`.
    """
    largest = max(abs(low), abs(high))
    if largest < 1e-300:
        low, high = 0.0, 1.0
    elif high - low <= 1e-9 * largest:
        low, high = min(0.0, low), max(0.0, high)
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    # Rounded to 12 digits, or 3 x 0.1 would be shown as 0.30000000000000004.
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def _value(value: float, percent: bool) -> str:
    return f"{100 * value:.1f} %" if percent else f"{value:.3g}"


def _text(
    place: tuple[float, float], text: str, anchor: str, size: int = 11, colour: str = _FAINT_TEXT
) -> str:
    return (
        f'<text x="{place[0]:.1f}" y="{place[1]:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{colour}">{html.escape(text)}</text>'
    )
