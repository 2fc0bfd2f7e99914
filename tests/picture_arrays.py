"""A small clip for the tests of pictures."""

import contextlib

import numpy as np
from jaxtyping import config

T, H, W = 8, 32, 48
TUBELET = (2, 8, 8)
GRID = (4, 4, 6)


def make_clip():
    """The arguments of `pictures.reconstruction_sheet`."""
    rng = np.random.default_rng(0)
    mask = np.zeros(GRID, bool)
    mask[:, 1:3, 1:5] = True
    valid = np.ones(T, bool)
    valid[0] = False
    return {
        "frames": rng.random((T, H, W, 3), np.float32),
        "motion": rng.normal(0, 3, (T, 4, 6, 2)).astype(np.float32),
        "motion_valid": valid,
        "mask": mask,
        "reconstruction": rng.random((T, H, W, 3), np.float32),
        "clip_id": "a clip",
        "strategy": "mgm",
    }


@contextlib.contextmanager
def shape_checks_off():
    """As in use, where no import hook stands before the functions' own checks."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)
