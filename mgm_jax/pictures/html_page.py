"""Pieces of an HTML page that needs nothing but itself: no other files, no scripts, no network."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #2d2d30; background: #fff;
  max-width: 1120px; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem }
.faint, figcaption { color: #737378 } .faint { margin: .2rem 0 }
.numbers { display: flex; flex-wrap: wrap; gap: 2.5rem; margin: 1.4rem 0 }
.numbers b { display: block; font-size: 1.9rem; line-height: 1.2 }
.charts { display: flex; flex-wrap: wrap; gap: 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; vertical-align: top }
th { font-weight: 600; border-bottom: 1px solid #cdcdd2 }
td { overflow-wrap: anywhere }
.track { background: #eeeef1; width: 14rem; height: .8rem; margin-top: .35rem }
.bar { background: #1754a0; height: 100% }
img { max-width: 100%; height: auto } figure { margin: 0 0 1rem } figcaption b { color: #2d2d30 }
summary { cursor: pointer; margin: .6rem 0 }
"""


class Markup(str):
    """Text that is HTML already, not to be escaped."""


def page(title: str, parts: Sequence[str]) -> str:
    """A whole page.

    Args:
        title: Plain text, of the window.
        parts: HTML, from top to bottom.

    Returns:
        HTML.
    """
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            *parts,
            "</body>\n</html>\n",
        ]
    )


def faint(text: str) -> Markup:
    """A line of plain text that stands back."""
    return Markup(f'<p class="faint">{html.escape(text)}</p>')


def folded(title: str, content: str) -> Markup:
    """HTML that shows when its title, plain text, is clicked."""
    return Markup(f"<details><summary>{html.escape(title)}</summary>\n{content}</details>")


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Markup:
    """A table.

    Args:
        columns: Plain text above the columns.
        rows: Cells, shown as plain text but for `Markup`.

    Returns:
        HTML.
    """
    lines = [f"<tr>{''.join(f'<th>{html.escape(name)}</th>' for name in columns)}</tr>"]
    for row in rows:
        cells = (cell if isinstance(cell, Markup) else html.escape(str(cell)) for cell in row)
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return Markup("<table>\n" + "\n".join(lines) + "\n</table>")


def bar(share: float) -> Markup:
    """A horizontal bar for a share of 0 to 1."""
    width = f"width:{100 * share:.1f}%"
    return Markup(f'<div class="track"><div class="bar" style="{width}"></div></div>')


def picture(image: UInt8[np.ndarray, "height width 3"], description: str) -> Markup:
    """A picture, held in the page itself as PNG; the description is plain text."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return Markup(f'<img alt="{html.escape(description)}" src="data:image/png;base64,{data}">')
