from hypothesis import given, settings
from hypothesis import strategies as st

from mgm_jax.pictures import layout


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([4, 8, 16]), st.integers(1, 16))
@settings(max_examples=60, deadline=None)
def test_tiles_have_whole_pixels_per_token(h, w, patch, columns):
    height, width = h * patch * 4, w * patch * 4
    tile_height, tile_width = layout.tile_size((height, width), (h * 4, w * 4), columns)
    assert tile_height % (h * 4) == 0
    assert tile_width % (w * 4) == 0
    assert tile_width * columns <= 1440
    if tile_width >= width:
        assert tile_width % width == 0
