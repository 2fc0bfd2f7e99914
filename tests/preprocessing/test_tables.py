"""Counting, looking up, and every point operation against Pillow."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import ImageEnhance, ImageOps

from mgm_jax.preprocessing import tables
from tests.preprocessing import images

FRAMES = {
    "noise": images.noise((2, 20, 30, 3)),
    "smooth": images.smooth(2, 20, 30),
    "dim": images.noise((2, 20, 30, 3), lowest=40, highest=90),
    "few levels": images.noise((2, 20, 30, 3), highest=3) * np.uint8(60),
    "one level": np.full((2, 20, 30, 3), 77, np.uint8),
    "tiny": images.noise((2, 4, 5, 3)),
}
OF_THE_IMAGE = [
    pytest.param(tables.equalize, (), ImageOps.equalize, 0, id="equalize"),
    # Pillow computes in float64 and cuts off, so a whole level can come out as one less.
    pytest.param(tables.auto_contrast, (), ImageOps.autocontrast, 1, id="auto contrast"),
    *[
        # Pillow takes the mean of grey that is rounded pixel by pixel.
        pytest.param(
            tables.contrast,
            (f,),
            lambda i, f=f: ImageEnhance.Contrast(i).enhance(f),
            1,
            id=f"contrast x{f}",
        )
        for f in (0.375, 1.625)
    ],
]
UNCHANGED = jnp.broadcast_to(jnp.arange(256), (2, 3, 256))


def to_rows(frames):
    return jnp.asarray(frames, jnp.int32).transpose(0, 3, 1, 2).reshape(2 * 3, -1)


def count(frames):
    return tables.count_by_scatter(to_rows(frames)).reshape(2, 3, 256)


def pixels(table, frames):
    rows = tables.look_up(table.reshape(-1, 256), to_rows(frames))
    return np.asarray(rows).reshape(2, 3, *frames.shape[1:3]).transpose(0, 2, 3, 1)


def test_levels_are_counted_and_looked_up():
    rows = images.noise((6, 1000))
    new = images.noise((6, 256), seed=1)
    levels, table = jnp.asarray(rows, jnp.int32), jnp.asarray(new, jnp.int32)
    expected = np.stack([np.bincount(row, minlength=256) for row in rows])
    for function in (tables.count_levels, tables.count_by_scatter, tables.count_by_matmul):
        np.testing.assert_array_equal(jax.jit(function)(levels), expected)
    expected = np.take_along_axis(new, rows.astype(int), axis=1)
    for function in (tables.look_up, tables.look_up_by_gather, tables.look_up_by_matmul):
        np.testing.assert_array_equal(jax.jit(function)(table, levels), expected)


def test_darker_pixels_are_counted():
    table = jnp.asarray(images.noise((2, 3, 256)), jnp.int32)
    counts = jnp.asarray(images.noise((2, 3, 256), seed=1), jnp.int32)
    darker = np.asarray(table)[..., None, :] < np.asarray(table)[..., :, None]
    expected = (darker * np.asarray(counts)[..., None, :]).sum(axis=-1)
    for function in (tables.count_darker_by_scatter, tables.count_darker_by_comparison):
        np.testing.assert_array_equal(jax.jit(function)(table, counts), expected)


def test_counting_by_products_is_exact_for_large_counts():
    levels = jnp.full((1, 50_177), 200, jnp.int32).at[0, 0].set(3)
    counts = np.asarray(tables.count_by_matmul(levels))
    assert counts[0, 200] == 50_176
    assert counts[0, 3] == 1


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize(("operation", "arguments", "pillow", "tolerance"), OF_THE_IMAGE)
def test_operation_that_asks_the_image(operation, arguments, pillow, tolerance, kind):
    frames = FRAMES[kind]
    table = operation(UNCHANGED, count(frames), *map(jnp.asarray, arguments))
    assert table.min() >= 0
    assert table.max() <= 255
    difference = pixels(table, frames) - images.by_pillow(pillow, frames).astype(int)
    assert abs(difference).max() <= tolerance
    if operation is tables.auto_contrast:
        assert (difference != 0).mean() < 0.1


@pytest.mark.parametrize("first", [tables.equalize, tables.auto_contrast, "posterize", "solarize"])
@pytest.mark.parametrize("second", [tables.equalize, tables.auto_contrast])
def test_a_composed_table_is_one_operation_after_the_other(first, second):
    frames = FRAMES["smooth"]
    counts = count(frames)
    simple = {
        "posterize": lambda table, _: tables.posterize(table, jnp.array(3)),
        "solarize": lambda table, _: tables.solarize(table, jnp.array(110)),
    }
    first = simple.get(first, first)
    composed = pixels(second(first(UNCHANGED, counts), counts), frames)
    between = pixels(first(UNCHANGED, counts), frames).astype(np.uint8)
    np.testing.assert_array_equal(composed, pixels(second(UNCHANGED, count(between)), between))


def test_operations_take_each_frame_and_channel_by_itself():
    frames = FRAMES["dim"]
    other = frames.copy()
    other[0, :, :, 1] = images.noise(frames.shape[1:3], seed=5)
    for operation in (tables.equalize, tables.auto_contrast):
        before, after = (operation(UNCHANGED, count(f)) for f in (frames, other))
        for frame, channel in itertools.product(range(2), range(3)):
            same = np.array_equal(before[frame, channel], after[frame, channel])
            assert same == ((frame, channel) != (0, 1))
