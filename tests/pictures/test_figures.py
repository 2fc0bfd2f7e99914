import warnings

import numpy as np

from mgm_jax.pictures import figures

NAMES = ["plain", "$x_1^{$ & <b>", "日本語 🎬", "long " * 60]


def rows(count=3):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (count, 2, 60, 90, 3), np.uint8)
    wheel = pictures[0, 0, :, :60]
    labels = (NAMES * count)[:count]
    return [figures.Row(labels[i], pictures[i], wheel if i % 2 else None) for i in range(count)]


def find(picture, tile):
    """Number of places at which the tile stands, pixel by pixel within its frame."""
    tile = tile[2:-2, 2:-2]
    windows = np.lib.stride_tricks.sliding_window_view(picture[..., 0], tile.shape[1::-1][:1], 1)
    places = np.argwhere((windows == tile[0, :, 0]).all(axis=-1))
    height, width = tile.shape[:2]
    return sum((picture[y : y + height, x : x + width] == tile).all() for y, x in places)


def test_sheets_hold_their_tiles_pixel_by_pixel():
    for row in (drawn := rows()):
        assert find(figures.sheet(drawn, ["one", "two"], "title\nsubtitle"), row.tiles[1]) == 1


def test_no_name_breaks_a_figure_or_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sheets = [figures.sheet(rows(), [name, name], name) for name in NAMES]
    for picture in sheets:
        assert (picture[:10] == 255).all()
