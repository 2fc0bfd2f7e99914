"""RandAugment: each operation against Pillow at timm's arguments, and what is drawn.

This also tests the operations of `enhance`, `tables` and `warp`, through RandAugment.
"""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from mgm_jax.errors import ConfigError
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
FILL = {"resample": Image.Resampling.BILINEAR, "fillcolor": (128, 128, 128)}
# From pixels of the result to pixels of the frame.
MATRICES = {
    "ShearX": lambda argument: (1, argument, 0, 0, 1, 0),
    "ShearY": lambda argument: (1, 0, 0, argument, 1, 0),
    "TranslateXRel": lambda argument: (1, 0, argument * WIDTH, 0, 1, 0),
    "TranslateYRel": lambda argument: (1, 0, 0, 0, 1, argument * HEIGHT),
}
GEOMETRIC = ("Rotate", *MATRICES)


def by_pillow(name, argument, frames):
    """What timm's operation of this name does to each frame, but bilinear."""

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


@pytest.fixture(scope="module")
def apply():
    """Applies up to four operations, given as (name, index of the level, sign)."""
    compiled = jax.jit(rand_augment.apply)

    def apply(layers, frames):
        operation = np.full(4, -1, np.int32)
        level, sign = np.ones((2, 4), np.float32)
        for i, (name, index, direction) in enumerate(layers):
            operation[i] = OPERATIONS.index(name)
            level[i], sign[i] = LEVELS[index], direction
        drawn = rand_augment.Draw(*map(jnp.asarray, (operation, level, sign)))
        levels = 255 * np.asarray(compiled(jnp.asarray(frames / 255, jnp.float32), drawn))
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


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_each_geometric_operation_is_pillows_at_timms_arguments(apply, name, sign):
    # Pillow computes rotations in fixed point: its samples lie elsewhere by a fraction of a pixel.
    kind, most = ("smooth", 4) if name == "Rotate" else ("noise", 1)
    frames = FRAMES[kind]
    for index, argument in enumerate(ARGUMENTS[name][f"{sign:+d}"]):
        got, expected = apply([(name, index, sign)], frames), by_pillow(name, argument, frames)
        difference = abs(got - expected)
        if name == "Rotate":  # At the border a pixel may be filled here and not there.
            outside = (expected == 128).all(-1) | (got == 128).all(-1)
            near = [np.roll(outside, by, (1, 2)) for by in itertools.product((-1, 0, 1), repeat=2)]
            near = np.any(near, axis=0)
            near[:, [0, -1]] = near[:, :, [0, -1]] = True
            assert near.mean() < 0.6
            difference = difference[~near]
        assert difference.max() <= most
        assert difference.mean() < 0.6  # Pillow cuts off, we round.


layers = st.tuples(
    st.sampled_from([name for name in POINTWISE if name != "AutoContrast"]),
    st.integers(0, len(LEVELS) - 1),
    st.sampled_from([1, -1]),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(layers, min_size=2, max_size=4), st.integers(0, 5))
def test_point_operations_follow_each_other_as_drawn(apply, drawn, seed):
    frames = images.noise((2, HEIGHT, WIDTH, 3), seed, lowest=10 * seed, highest=90 + 30 * seed)
    expected = frames
    for name, index, sign in drawn:
        expected = by_pillow(name, ARGUMENTS[name][f"{sign:+d}"][index], expected)
    different = apply(drawn, frames) != expected
    # Where a brightened level is whole, rounding decides.
    assert different.mean() <= 0.02 * any(name == "BrightnessIncreasing" for name, *_ in drawn)


def test_geometric_operations_follow_each_other_as_drawn(apply):
    drawn = [("Rotate", 4, 1), ("ShearX", 4, 1), ("TranslateYRel", 1, -1)]
    expected = FRAMES["smooth"]
    for name, index, sign in drawn:
        expected = by_pillow(name, ARGUMENTS[name][f"{sign:+d}"][index], expected)
    right, wrong = (
        np.median(abs(apply(layers, FRAMES["smooth"]) - expected)[:, 12:-12, 16:-16])
        for layers in (drawn, drawn[::-1])
    )
    assert right <= 1
    assert wrong > 2


@pytest.mark.parametrize(
    ("later", "earlier"),
    [
        (("SolarizeIncreasing", 4, 1), ("TranslateXRel", 8, 1)),
        (("ColorIncreasing", 8, 1), ("SolarizeIncreasing", 4, 1)),
        (("SharpnessIncreasing", 8, 1), ("ColorIncreasing", 8, 1)),
    ],
)
def test_the_order_of_the_kinds_is_fixed(apply, later, earlier):
    frames = images.noise((2, HEIGHT, WIDTH, 3))
    expected = frames
    for name, index, sign in (earlier, later):
        expected = by_pillow(name, ARGUMENTS[name][f"{sign:+d}"][index], expected)
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
    assert len(counts) == 15
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
    frames = np.concatenate([images.smooth(2, 24, 32, seed) for seed in range(8)])
    clips = jnp.asarray(frames.reshape(8, 2, 24, 32, 3) / 255, jnp.float32)
    return keys, clips


@pytest.fixture(scope="module")
def augment():
    return jax.jit(lambda *arguments: rand_augment.rand_augment(*arguments, probability=0.9))


def test_a_clip_depends_on_its_key_alone(batch, augment):
    keys, clips = batch
    out = augment(keys, clips)
    assert out.min() >= 0.0
    assert out.max() <= 1.0
    np.testing.assert_array_equal(augment(keys[::-1], clips[::-1]), out[::-1])
    # All frames of a clip get the same.
    still = augment(keys, clips.at[:, 1].set(clips[:, 0]))
    np.testing.assert_array_equal(still[:, 0], still[:, 1])
    others = clips.at[1:].set(0.5)
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


@pytest.mark.parametrize("wrong", [{"num_layers": -1}, {"magnitude": 11.0}, {"probability": 1.5}])
def test_settings_out_of_range_are_refused(batch, wrong):
    with pytest.raises(ConfigError):
        rand_augment.rand_augment(*batch, **wrong)
