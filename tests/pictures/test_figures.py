import warnings

import numpy as np
from PIL import Image

from mgm_jax.pictures import figures, image_files

NAMES = ["plain", "$x_1^{$ & <b>", "日本語 🎬", "long " * 60]


def rows(count=3, tiles=2):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (count, tiles, 60, 90, 3), np.uint8)
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


def test_sheets_and_frames_of_animations_hold_their_tiles_pixel_by_pixel():
    for row in (drawn := rows()):
        assert find(figures.sheet(drawn, ["one", "two"], "title\nsubtitle"), row.tiles[1]) == 1
    for count in (1, 5):
        drawn = rows(count)
        for frame, picture in enumerate(figures.animation(drawn, "title")):
            assert all(find(picture, row.tiles[frame]) == 1 for row in drawn)


def test_no_name_breaks_a_figure_or_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sheets = [figures.sheet(rows(), [name, name], name) for name in NAMES]
        frames = list(figures.animation(rows(5), "\n".join(NAMES[1:])))
    for picture in (*sheets, *frames):
        assert (picture[:10] == 255).all()


def test_files_hold_the_picture_and_all_frames(tmp_path):
    sheet = figures.sheet(rows(), ["one", "two"], "title")
    image_files.save_png(tmp_path / "new" / "sheet.png", sheet)
    np.testing.assert_array_equal(Image.open(tmp_path / "new" / "sheet.png"), sheet)
    shown = list(figures.animation(rows(tiles=5), "title"))
    image_files.save_animation(tmp_path / "a.webp", shown, fps=8)
    with Image.open(tmp_path / "a.webp") as saved:
        assert saved.n_frames == 5
        for frame, expected in enumerate(shown):
            saved.seek(frame)
            errors = [np.abs(np.asarray(saved.convert("RGB"), int) - one).mean() for one in shown]
            assert np.argmin(errors) == frame
            assert saved.info["duration"] == 125
            assert saved.size == expected.shape[1::-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.webp", "new"]
