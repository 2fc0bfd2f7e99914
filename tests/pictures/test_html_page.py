import base64
import io

import numpy as np
import pytest
from PIL import Image

from mgm_jax.pictures import html_page


def test_text_is_escaped_and_markup_is_not():
    made = html_page.table(["<name>"], [["<b>&", html_page.bar(0.5)]])
    assert "<th>&lt;name&gt;</th>" in made
    assert "<td>&lt;b&gt;&amp;</td>" in made
    assert f"<td>{html_page.bar(0.5)}</td>" in made
    assert "&lt;b&gt;" in html_page.faint("<b>")
    assert html_page.folded("<b>", html_page.Markup("<i>x</i>")).count("<i>x</i>") == 1
    assert "<title>a &amp; b</title>" in html_page.page("a & b", ["<p>part</p>"])


@pytest.mark.parametrize(("share", "width"), [(0, "0.0%"), (1 / 3, "33.3%"), (1, "100.0%")])
def test_bars_have_the_width_of_their_share(share, width):
    assert f'style="width:{width}"' in html_page.bar(share)


def test_pictures_are_held_without_loss():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    made = html_page.picture(image, 'a "quoted" name')
    assert "&quot;quoted&quot;" in made
    data = made.split("base64,")[1].split('"')[0]
    np.testing.assert_array_equal(Image.open(io.BytesIO(base64.b64decode(data))), image)
