"""RandAugment on planes: crops that are not square, mirrored ones, and chroma."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mgm_jax.preprocessing import rand_augment

warp = jax.jit(rand_augment.warp_planes)


def matrices(name, level, frame):
    operation = jnp.array([rand_augment.OPERATIONS.index(name)])
    draw = rand_augment.Draw(operation, jnp.array([level]), jnp.array([1.0]))
    return rand_augment.affine_matrices(draw, frame)


@pytest.mark.parametrize("name", ["TranslateXRel", "TranslateYRel"])
def test_the_grey_is_mirrored_with_the_pixels(name):
    frame, crop = jnp.array([0.0, 0, 40, 60]), jnp.array([10.0, 20, 30, 15])
    moved = matrices(name, 10.0, frame)
    plain, mirrored = (
        rand_augment.filling_layers(moved, frame, crop, jnp.array(flip), size=30)
        for flip in (False, True)
    )
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])
    if name == "TranslateYRel":
        # Up by 18 of 40 rows: rows 22 to 40 are grey, and the crop has those from 10 on.
        grey = np.arange(30)[:, None] >= 12
        np.testing.assert_array_equal(plain == 0, np.broadcast_to(grey, (30, 30)))


def test_chroma_is_warped_as_luma_is():
    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.integers(-3, 4, (1, 20, 30, 2)), axis=2)
    chroma = np.clip(steps + 128, 0, 255).astype(np.uint8)
    luma = chroma[..., 0].repeat(2, 1).repeat(2, 2)
    frame = jnp.array([-4.0, -6, 44, 66])
    turned = matrices("Rotate", 5.0, frame)
    luma, chroma = warp(jnp.asarray(luma), jnp.asarray(chroma), turned, frame)
    means = np.asarray(luma, float).reshape(1, 20, 2, 30, 2).mean((2, 4))
    assert np.abs(means - chroma[..., 0])[:, 4:-4, 4:-4].mean() < 3


def test_beyond_the_frame_its_last_pixels_repeat():
    luma, chroma = np.full((1, 40, 60), 50, np.uint8), np.full((1, 20, 30, 2), 200, np.uint8)
    luma[:, 30:], chroma[:, 15:] = 0, 0
    frame = jnp.array([0.0, 0, 30, 60])
    moved = matrices("TranslateYRel", 10.0, frame)
    luma, chroma = warp(jnp.asarray(luma), jnp.asarray(chroma), moved, frame)
    assert (luma[:, :30] == 50).all()
    assert (chroma[:, :15] == 200).all()
