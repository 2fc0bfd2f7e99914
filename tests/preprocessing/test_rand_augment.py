"""RandAugment: each operation against Pillow at timm's arguments, and what is drawn.

This also tests the operations of `pillow` and `warp`, through RandAugment.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from mgm_jax.preprocessing import rand_augment
from mgm_jax.preprocessing.rand_augment import OPERATIONS
from mgm_jax.training import sharding
from tests.preprocessing import images, make_reference

ARGUMENTS = json.loads(make_reference.FILE.read_text())["arguments"]
LEVELS = make_reference.LEVELS
HEIGHT, WIDTH = 40, 56
SHAPE = (2, HEIGHT, WIDTH, 3)
FRAMES = {
    "smooth": images.smooth(*SHAPE[:3]),
    "noise": images.noise(SHAPE),
    "dim": images.noise(SHAPE, lowest=40, highest=90),
    "few levels": images.noise(SHAPE, highest=3) * np.uint8(60),
    "one level": np.full(SHAPE, 77, np.uint8),
}
ENHANCED = {
    "ColorIncreasing": ImageEnhance.Color,
    "ContrastIncreasing": ImageEnhance.Contrast,
    "BrightnessIncreasing": ImageEnhance.Brightness,
    "SharpnessIncreasing": ImageEnhance.Sharpness,
}
POINTWISE = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "PosterizeIncreasing",
    "SolarizeIncreasing",
    "SolarizeAdd",
    "BrightnessIncreasing",
)
FILL = {"resample": Image.Resampling.BICUBIC, "fillcolor": (128, 128, 128)}
# From pixels of the result to pixels of the frame.
MATRICES = {
    "ShearX": lambda argument: (1, argument, 0, 0, 1, 0),
    "ShearY": lambda argument: (1, 0, 0, argument, 1, 0),
    "TranslateXRel": lambda argument: (1, 0, argument * WIDTH, 0, 1, 0),
    "TranslateYRel": lambda argument: (1, 0, 0, 0, 1, argument * HEIGHT),
}
GEOMETRIC = ("Rotate", *MATRICES)


def by_pillow(name, argument, frames):
    """What timm's operation of this name does to each frame."""

    def transform(image):
        matrix = MATRICES[name](argument)
        return image.transform(image.size, Image.Transform.AFFINE, matrix, **FILL)

    functions = {
        "AutoContrast": ImageOps.autocontrast,
        "Equalize": ImageOps.equalize,
        "Invert": ImageOps.invert,
        "Rotate": lambda image: image.rotate(argument, **FILL),
        "PosterizeIncreasing": lambda image: image.point(
            [level & (0xFF00 >> argument) for level in range(256)] * 3
        ),
        "SolarizeIncreasing": lambda image: ImageOps.solarize(image, argument),
        "SolarizeAdd": lambda image: image.point(
            [min(v + argument, 255) if v < 128 else v for v in range(256)] * 3
        ),
        **dict.fromkeys(MATRICES, transform),
        **dict.fromkeys(ENHANCED, lambda image: ENHANCED[name](image).enhance(argument)),
    }
    return images.by_pillow(functions[name], frames)


def by_pillow_in_turn(layers, frames):
    """What Pillow makes of frames by operations, given as (name, index of the level, sign)."""
    for name, index, sign in layers:
        frames = by_pillow(name, ARGUMENTS[name][f"{sign:+d}"][index], frames)
    return frames


def draw_of(layers):
    """The draw of up to four such operations."""
    operation = np.full(4, -1, np.int32)
    level, sign = np.ones((2, 4), np.float32)
    for i, (name, index, direction) in enumerate(layers):
        operation[i] = OPERATIONS.index(name)
        level[i], sign[i] = LEVELS[index], direction
    return rand_augment.Draw(*map(jnp.asarray, (operation, level, sign)))


@pytest.fixture(scope="module")
def apply():
    """Applies operations other than geometric ones."""
    compiled = jax.jit(rand_augment.apply)
    unfilled = jnp.full(SHAPE[1:3], -1)

    def apply(layers, frames):
        pixels = jnp.asarray(frames / 255, jnp.float32)
        levels = 255 * np.asarray(compiled(pixels, draw_of(layers), unfilled))
        np.testing.assert_allclose(levels, levels.round(), atol=1e-3)
        return levels.round().astype(int)

    return apply


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in GEOMETRIC])
def test_each_colour_operation_is_pillows_at_timms_arguments(apply, name, kind):
    # Pillow cuts off what it computes in float64, so a whole level can come out as one less.
    exact = name in POINTWISE and name not in ("AutoContrast", "BrightnessIncreasing")
    for index, argument in enumerate(ARGUMENTS[name]["+1"]):
        got = apply([(name, index, 1)], FRAMES[kind])
        difference = abs(got - by_pillow(name, argument, FRAMES[kind]))
        assert difference.max() <= (not exact)


# What surrounds a crop of 32 pixels in a window of 48, which lacks the frame's first columns.
CROP, WINDOW, MISSING = (5, 14), 48, 8
LACKING = (np.arange(WIDTH) >= MISSING)[:, None]


@pytest.fixture(scope="module")
def crop():
    """Augments grey frames as the window of a frame, and crops."""
    compiled = jax.jit(functools.partial(rand_augment.augment, size=32))

    def crop(layers, frames):
        window = np.zeros((1, 2, WINDOW, WINDOW), np.uint8)
        window[0, :, :HEIGHT] = frames[:, :, MISSING:, 0]
        batch = {
            "luma": window,
            "chroma": np.full((1, 2, WINDOW // 2, WINDOW // 2, 2), 128, np.uint8),
            "crop_box": np.array([[CROP[0], CROP[1] - MISSING, 32, 32]], np.float32),
            "frame_box": np.array([[0, -MISSING, HEIGHT, WIDTH]], np.float32),
            "flip": np.zeros(1, bool),
            "yuv_to_rgb": np.array([[[1, 0, 0, 0]] * 3], np.float32) / 255,
        }
        drawn = jax.tree.map(lambda leaf: leaf[None], draw_of(layers))
        return np.rint(255 * compiled(batch, drawn)[0]).astype(int)

    return crop


def cropped(frames):
    return frames[:, CROP[0] : CROP[0] + 32, CROP[1] : CROP[1] + 32].astype(int)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_each_geometric_operation_is_pillows_on_the_whole_frame(crop, name, sign):
    frames = FRAMES["smooth"][..., :1].repeat(3, -1)
    for index, argument in enumerate(ARGUMENTS[name][f"{sign:+d}"]):
        got = crop([(name, index, sign)], frames)
        expected = by_pillow(name, argument, frames)
        # Pillow rounds its samples' places in rotations, which may move the border by a pixel. What
        # the window lacks is not the frame's picture, but is not grey either.
        known = by_pillow(name, argument, np.maximum(frames, 1) * LACKING) > 0
        different = abs(got - cropped(expected))[cropped(known) > 0]
        assert np.percentile(different, 98) <= 1 + (name == "Rotate")
        assert different.mean() < 0.6


def test_operations_follow_each_other_as_drawn_and_grey_goes_through_the_later_ones(crop):
    drawn = [
        ("BrightnessIncreasing", 4, 1),
        ("ShearX", 4, 1),
        ("TranslateYRel", 1, -1),
        ("SolarizeIncreasing", 4, 1),
    ]
    frames = FRAMES["smooth"][..., :1].repeat(3, -1) // 2
    expected = cropped(by_pillow_in_turn(drawn, frames))
    assert np.percentile(abs(crop(drawn, frames) - expected), 95) <= 2
    assert np.percentile(abs(crop(drawn[::-1], frames) - expected), 50) > 5


layers = st.tuples(
    st.sampled_from([name for name in POINTWISE if name != "AutoContrast"]),
    st.integers(0, len(LEVELS) - 1),
    st.sampled_from([1, -1]),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(layers, min_size=2, max_size=4), st.integers(0, 5))
def test_point_operations_follow_each_other_as_drawn(apply, drawn, seed):
    frames = images.noise((2, HEIGHT, WIDTH, 3), seed, lowest=10 * seed, highest=90 + 30 * seed)
    different = apply(drawn, frames) != by_pillow_in_turn(drawn, frames)
    # Where a brightened level is whole, rounding decides.
    assert different.mean() <= 0.02 * any(name == "BrightnessIncreasing" for name, *_ in drawn)


@pytest.mark.parametrize("name", ["Equalize", "PosterizeIncreasing", "SolarizeIncreasing"])
def test_contrast_is_that_of_what_earlier_operations_made(apply, name):
    drawn, frames = [(name, 4, 1), ("AutoContrast", 0, 1)], FRAMES["dim"]
    assert abs(apply(drawn, frames) - by_pillow_in_turn(drawn, frames)).max() <= 1


@pytest.mark.parametrize(
    ("later", "earlier"),
    [
        (("ColorIncreasing", 8, 1), ("SolarizeIncreasing", 4, 1)),
        (("SharpnessIncreasing", 8, 1), ("ColorIncreasing", 8, 1)),
    ],
)
def test_the_order_of_the_kinds_is_fixed(apply, later, earlier):
    frames = images.noise((2, HEIGHT, WIDTH, 3))
    expected = by_pillow_in_turn((earlier, later), frames)
    for drawn in ([later, earlier], [earlier, later]):
        difference = abs(apply(drawn, frames) - expected)
        # Sharpening enlarges the one level by which the saturated ones may differ.
        assert np.percentile(difference, 99.5) <= 2


@jax.jit
def draw(magnitude, magnitude_std, probability):
    keys = jax.random.split(jax.random.key(0), 4000)
    return jax.vmap(lambda key: rand_augment.draw(key, 4, magnitude, magnitude_std, probability))(
        keys
    )


def test_what_is_drawn():
    drawn = draw(7.0, 0.5, 0.5)
    operation = np.asarray(drawn.operation)
    applied = operation >= 0
    assert applied.mean() == pytest.approx(0.5, abs=0.015)
    counts = np.bincount(operation[applied], minlength=15)
    np.testing.assert_allclose(counts / counts.sum(), 1 / 15, atol=0.01)
    # With replacement, and layers independent of each other.
    both = applied[:, 0] & applied[:, 1]
    assert both.mean() == pytest.approx(0.25, abs=0.03)
    assert (operation[both, 0] == operation[both, 1]).mean() == pytest.approx(1 / 15, abs=0.03)
    level = np.asarray(drawn.level)
    assert level.mean() == pytest.approx(7.0, abs=0.02)
    assert level.std() == pytest.approx(0.5, abs=0.02)
    assert np.asarray(drawn.sign).mean() == pytest.approx(0.0, abs=0.04)
    assert set(np.unique(drawn.sign)) == {-1.0, 1.0}
    assert (draw(7.0, 0.5, 0.0).operation == -1).all()
    clipped = draw(9.0, 5.0, 1.0)
    assert (clipped.operation >= 0).all()
    assert (clipped.level.min(), clipped.level.max()) == (0.0, 10.0)


@pytest.fixture(scope="module")
def batch():
    keys = jax.random.split(jax.random.key(3), 8)
    frames = np.concatenate([images.smooth(2, 32, 32, seed) for seed in range(8)])
    whole = jnp.tile(jnp.array([0.0, 0, 32, 32]), (8, 1))
    clips = {
        "luma": jnp.asarray(frames[..., 0].reshape(8, 2, 32, 32)),
        "chroma": jnp.asarray(frames[:, ::2, ::2, 1:].reshape(8, 2, 16, 16, 2)),
        "crop_box": whole + jnp.array([2, 5, -8, -9]),
        "frame_box": whole,
        "flip": jnp.arange(8) % 2 == 0,
        "yuv_to_rgb": jnp.tile(jnp.eye(3, 4) / 255, (8, 1, 1)),
    }
    return keys, clips


@pytest.fixture(scope="module")
def augment():
    return jax.jit(functools.partial(rand_augment.rand_augment, size=24, probability=0.9))


def test_a_clip_depends_on_its_key_alone(batch, augment):
    keys, clips = batch
    out = augment(keys, clips)
    assert out.min() >= 0.0
    assert out.max() <= 1.0
    backwards = jax.tree.map(lambda leaf: leaf[::-1], clips)
    np.testing.assert_array_equal(augment(keys[::-1], backwards), out[::-1])
    # All frames of a clip get the same.
    still = {name: clips[name].at[:, 1].set(clips[name][:, 0]) for name in ("luma", "chroma")}
    still = augment(keys, clips | still)
    np.testing.assert_array_equal(still[:, 0], still[:, 1])
    others = clips | {"luma": clips["luma"].at[1:].set(99)}
    np.testing.assert_array_equal(augment(keys, others)[0], out[0])
    assert not np.array_equal(augment(keys[jnp.array([1, *range(1, 8)])], clips)[0], out[0])


def test_sharded_over_eight_devices_it_is_the_same(batch, augment):
    mesh = sharding.make_mesh({"data": 4, "fsdp": 2, "tensor": 1})
    place = sharding.batch_sharding(mesh)
    compiled = augment.lower(*jax.device_put(batch, place)).compile()
    out = compiled(*jax.device_put(batch, place))
    assert out.sharding.is_equivalent_to(place, out.ndim)
    for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert f" {collective}(" not in compiled.as_text()
    np.testing.assert_array_equal(out, augment(*batch))
