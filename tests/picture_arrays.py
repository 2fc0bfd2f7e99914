"""A small clip for the tests of pictures."""

import numpy as np

from mgm_jax.pictures import sheets

T, H, W = 8, 32, 48
TUBELET = (2, 8, 8)
GRID = (4, 4, 6)
# Of the tiles of a sheet: 30 pixels for each token.
TILE = (120, 180)


def make_clip(**changes):
    """The first frames of the tubelets of a clip of noise; its first frame has no motion."""
    rng = np.random.default_rng(0)
    arrays = {
        "frames": rng.integers(0, 256, (T, H, W, 3), np.uint8),
        "motion": rng.normal(0, 3, (T, 4, 6, 2)).astype(np.float32),
        "motion_valid": np.arange(T) > 0,
        "boxes": None,
    }
    return sheets.make_clip(name="a clip", stride=2, **{**arrays, **changes})


def make_mask():
    """The same block in the middle of all tubelets."""
    mask = np.zeros(GRID, bool)
    mask[:, 1:3, 1:5] = True
    return mask
