"""Warps against Pillow's transforms, and the two ways of interpolating against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mgm_jax.preprocessing import warp
from tests.preprocessing import images

HEIGHT, WIDTH = 40, 56


@jax.jit
def cut_off(clip, matrix):
    """Pillow cuts levels off; a whole level must survive the error of float32."""
    return jnp.floor(warp.warp(clip, matrix, 128) + 1e-3)


def pillow_warp(clip, matrix):
    return images.by_pillow(
        lambda image: image.transform(
            image.size,
            Image.Transform.AFFINE,
            tuple(matrix.flat),
            resample=Image.Resampling.BILINEAR,
            fillcolor=(128, 128, 128),
        ),
        clip,
    )


def run(clip, matrix):
    matrix = np.concatenate([matrix, [[0, 0, 1]]]).astype(np.float32)
    return np.asarray(cut_off(jnp.asarray(clip, jnp.float32), jnp.asarray(matrix)))


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, 0], [0, 1, 0]],
        [[1, 0, 7.25], [0, 1, 0]],
        [[1, 0, 0], [0, 1, -12.6]],
        [[1, 0.21, 0], [0, 1, 0]],
        [[1, -0.3, 0], [0, 1, 0]],
        [[1, 0, 0], [0.21, 1, 0]],
    ],
    ids=str,
)
def test_shears_and_shifts_are_pillows_even_of_noise(matrix):
    clip = images.noise((2, HEIGHT, WIDTH, 3))
    matrix = np.array(matrix, float)
    difference = run(clip, matrix) - pillow_warp(clip, matrix)
    assert abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.1


def rotation(degrees):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    x, y = WIDTH / 2, HEIGHT / 2
    return np.array([[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]])


SHEARED = np.array([[1, 0.2, 3.5], [-0.3, 1, 0]])


@pytest.mark.parametrize("matrix", [*map(rotation, (-30, -21, 3, 21, 30, 42)), SHEARED])
def test_rotations_and_mixtures_are_close_to_pillows(matrix):
    clip = images.smooth(2, HEIGHT, WIDTH)
    got, expected = run(clip, matrix), pillow_warp(clip, matrix)
    outside = (expected == 128).all(-1) | (got == 128).all(-1)
    near = sum(np.roll(outside, (dy, dx), (1, 2)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)) > 0
    near[:, [0, -1]] = near[:, :, [0, -1]] = True
    assert near.mean() < 0.6
    difference = abs(got - expected)[~near]
    assert difference.max() <= 4
    assert difference.mean() < 0.6


def test_the_two_ways_of_interpolating_agree():
    r = np.random.default_rng(0)
    lines = jnp.asarray(r.random((5, 9, 4)), jnp.float32)
    positions = jnp.asarray(
        np.concatenate([r.uniform(0, 8, (5, 6)), np.tile([0, 3, 8], (5, 1))], 1)
    )
    by_matmul = jax.jit(warp.interpolate_by_matmul)(lines, positions)
    by_gather = jax.jit(warp.interpolate_by_gather)(lines, positions)
    np.testing.assert_allclose(by_matmul, by_gather, atol=1e-6)
    expected = [
        [np.interp(p, np.arange(9), lines[i, :, c]) for c in range(4)]
        for i in range(5)
        for p in positions[i]
    ]
    np.testing.assert_allclose(by_gather.reshape(-1, 4), expected, atol=1e-6)
