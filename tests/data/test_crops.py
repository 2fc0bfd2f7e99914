import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgm_jax.data.crops import (
    Crop,
    centre_crop,
    crop_motion,
    fit_host_crop,
    host_crop_region,
    multi_scale_crop,
    random_resized_crop,
    random_square,
    scaled_size,
    spatial_views,
)
from mgm_jax.preprocessing import rgb

frame_sides = st.integers(16, 400)


def assert_inside(crop, height, width):
    assert 0 <= crop.top <= height - crop.height
    assert 0 <= crop.left <= width - crop.width


@given(height=frame_sides, width=frame_sides, seed=st.integers(0, 2**32 - 1), flip=st.booleans())
def test_multi_scale_crop_lies_in_the_frame_and_in_the_host_crop(height, width, seed, flip):
    height, width = scaled_size(height, width, 256)
    rng = np.random.default_rng(seed)
    crop = multi_scale_crop(rng, height, width, size=224, flip=flip)
    assert_inside(crop, height, width)
    top, left, *_ = host_crop_region(crop, (height, width), 256)
    assert top % 2 == left % 2 == 0
    assert not crop.flip or flip


def test_multi_scale_crop_draws_every_size_and_place():
    rng = np.random.default_rng(0)
    crops = [multi_scale_crop(rng, 256, 340, size=224, flip=True) for _ in range(2000)]
    sizes = {(crop.height, crop.width) for crop in crops}
    allowed = (256, 224, 192, 168)
    assert sizes == {
        (allowed[i], allowed[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1
    }
    smallest = {(crop.top, crop.left) for crop in crops if (crop.height, crop.width) == (168, 168)}
    assert len(smallest) == 13
    assert 0.4 < np.mean([crop.flip for crop in crops]) < 0.6


@given(height=frame_sides, width=frame_sides, side=st.sampled_from([64, 128, 256]))
def test_scaling_brings_the_short_side_into_the_host_crop_and_keeps_the_shape(height, width, side):
    scaled = scaled_size(height, width, side)
    assert min(scaled) == min(height, width, side)
    assert scaled[0] / scaled[1] == pytest.approx(height / width, rel=0.02)


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(64, 300),
    width=st.integers(64, 300),
    seed=st.integers(0, 2**32 - 1),
)
def test_pixels_and_motion_share_one_geometry(height, width, seed):
    """A frame whose pixels tell their own position, beside a motion map that tells the same.

    Luma holds the column (then the row) of each pixel of the scaled frame; the motion cell holds
    its own centre. After crop, resize and flip both must name the same place, up to half a cell,
    and vectors must scale and mirror as distances between pixels do.
    """
    window, size = 128, 64
    rng = np.random.default_rng(seed)
    frame_size = scaled_size(height, width, window)
    crop = multi_scale_crop(rng, *frame_size, size=size, flip=True)
    top, left, *_ = host_crop_region(crop, frame_size, window)

    cells_y, cells_x = -(-height // 8), -(-width // 8)
    centres = np.stack(
        np.meshgrid(np.arange(cells_x) * 8 + 4.0, np.arange(cells_y) * 8 + 4.0), axis=-1
    )[None].astype(np.float32)
    geometry_of = {"source_size": (height, width), "frame_size": frame_size, "size": size}
    moved = crop_motion(centres, crop, **geometry_of)
    ones = crop_motion(np.ones_like(centres), crop, **geometry_of)

    for axis, (origin, frame_side, source_side, crop_side) in enumerate(
        [
            (left, frame_size[1], width, crop.width),
            (top, frame_size[0], height, crop.height),
        ]
    ):
        ramp = np.clip(np.arange(window) + 0.5 + origin, 0, frame_side)
        matrix = rgb.resize_matrix(
            jnp.float32((crop.left if axis == 0 else crop.top) - origin),
            jnp.float32(crop_side),
            jnp.asarray(crop.flip and axis == 0),
            size,
            window,
        )
        pixel_positions = np.asarray(matrix @ ramp).reshape(-1, 8).mean(axis=1)
        in_source = pixel_positions * source_side / frame_side
        named = (moved / ones)[0, 0, :, 0] if axis == 0 else (moved / ones)[0, :, 0, 1]
        assert np.abs(named - in_source).max() <= 4.0 + 1.0

        pixel_step = np.diff(np.asarray(matrix @ ramp))[8:-8].mean()
        expected = frame_side / source_side / pixel_step
        np.testing.assert_allclose(ones[0, 0, 0, axis], expected, rtol=0.02)


@given(
    height=st.integers(16, 400),
    width=st.integers(16, 400),
    window=st.integers(8, 64).map(lambda half: 2 * half),
    copies=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_random_resized_crops_lie_in_the_frame_and_fit_the_host_crop(
    height, width, window, copies, seed
):
    rng = np.random.default_rng(seed)
    crops = [random_resized_crop(rng, height, width, flip=True) for _ in range(copies)]
    for crop in crops:
        assert_inside(crop, height, width)
    for original in crops:
        crop, size = fit_host_crop(original, (height, width), window)
        region = host_crop_region(crop, size, window)
        starts = np.array([crop.top, crop.left]) - region[:2]
        assert (starts >= 0).all()
        assert max(starts[0] + crop.height, starts[1] + crop.width) <= window
        np.testing.assert_allclose(crop.top / size[0], original.top / height, rtol=1e-6)
        np.testing.assert_allclose(crop.width / size[1], original.width / width, rtol=1e-6)


def test_random_resized_crops_have_the_areas_and_shapes_asked_for():
    rng = np.random.default_rng(0)
    crops = [random_resized_crop(rng, 240, 320, flip=True) for _ in range(500)]
    areas = np.array([crop.height * crop.width for crop in crops]) / (240 * 320)
    shapes = np.array([crop.width / crop.height for crop in crops])
    assert 0.07 < areas.min() < 0.12
    assert 0.9 < areas.max() <= 1
    assert 0.74 < shapes.min() < 0.78
    assert 1.28 < shapes.max() < 1.35
    assert 0.4 < np.mean([crop.flip for crop in crops]) < 0.6


def test_three_spatial_views_take_both_ends_and_the_middle():
    assert [crop.left for crop in spatial_views(256, 341, 3)] == [0, 42, 84]
    assert [crop.top for crop in spatial_views(320, 240, 3)] == [0, 40, 80]
    assert spatial_views(240, 320, 1) == [centre_crop(240, 320)] == [Crop(0, 40, 240, 240)]
    assert centre_crop(122, 120) == Crop(0, 0, 120, 120)  # An odd offset is rounded down.


@given(short=st.integers(8, 160).map(lambda side: 2 * side), longer=st.integers(0, 200))
def test_views_of_prepared_videos_are_not_scaled_on_the_host(short, longer):
    for view in spatial_views(short, short + longer, 3):
        assert fit_host_crop(view, (short, short + longer), short)[0] == view


@pytest.mark.parametrize("size", [(40, 300), (300, 40)])
def test_random_squares_lie_in_the_frame(size):
    rng = np.random.default_rng(0)
    drawn = [random_square(rng, *size, scales=(0.5, 1.0)) for _ in range(50)]
    for crop in drawn:
        assert_inside(crop, *size)
    assert {(crop.height, crop.width) for crop in drawn} == {(20, 20), (40, 40)}
    assert max(crop.top + crop.left for crop in drawn) > 200


def test_a_crop_that_never_fits_is_the_largest_of_an_allowed_shape():
    rng = np.random.default_rng(0)
    assert random_resized_crop(rng, 40, 400, area=(0.9, 1.0)) == Crop(0, 173, 40, 53)
    assert random_resized_crop(rng, 400, 40, area=(0.9, 1.0)) == Crop(173, 0, 53, 40)
