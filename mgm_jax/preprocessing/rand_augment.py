"""RandAugment of clips: VideoMAE's `rand-m7-n4-mstd0.5-inc1` (timm's), on the device.

Decisions, where it differs from VideoMAE's:
- It works on the cropped clip on the device, VideoMAE's on whole frames on the host. Levels are
  rounded to 8 bits at the same places (Pillow's warps truncate).
- Order: all geometric operations of a clip are one bilinear warp, which comes first (VideoMAE: one
  bicubic warp each). Then follow the point operations in the order drawn, saturation, and
  sharpness; two operations of one of the latter kinds multiply their factors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mgm_jax.errors import ConfigError
from mgm_jax.preprocessing import enhance, tables
from mgm_jax.preprocessing.warp import warp

# timm's increasing set, in its order.
OPERATIONS = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "PosterizeIncreasing",
    "SolarizeIncreasing",
    "SolarizeAdd",
    "ColorIncreasing",
    "ContrastIncreasing",
    "BrightnessIncreasing",
    "SharpnessIncreasing",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
)
LARGEST_LEVEL = 10.0
FILL = 128  # Grey, for what a warp brings in from outside the frame.


class Draw(NamedTuple):
    """The operations of one clip, in the order drawn."""

    operation: Int[Array, " n"]  # Index in OPERATIONS; -1 where none is applied.
    level: Float[Array, " n"]  # Strength, 0 to 10.
    sign: Float[Array, " n"]  # 1 or -1, the direction of operations that have one.


def rand_augment(
    keys: Key[Array, " b"],
    clips: Float[Array, "b T H W 3"],
    *,
    num_layers: int = 4,
    magnitude: float = 7.0,
    magnitude_std: float = 0.5,
    probability: float = 0.5,
) -> Float[Array, "b T H W 3"]:
    """Augments each clip with operations drawn by its key, all frames alike.

    Args:
        keys: One key per clip.
        clips: RGB in [0, 1], after the crop. The result is rounded to multiples of 1/255.
        num_layers: Operations drawn per clip, uniformly and with replacement.
        magnitude: Mean level of an operation, 0 to 10.
        magnitude_std: Standard deviation of the level.
        probability: Probability that a drawn operation is applied.

    Raises:
        ConfigError: A setting is out of range.
    """
    if num_layers < 0 or magnitude_std < 0:
        raise ConfigError(
            f"RandAugment with {num_layers} layers and a standard deviation of {magnitude_std}: "
            "neither can be negative"
        )
    if not 0 <= magnitude <= LARGEST_LEVEL or not 0 <= probability <= 1:
        raise ConfigError(
            f"RandAugment with magnitude {magnitude} and probability {probability}: the first is "
            f"between 0 and {LARGEST_LEVEL:g}, the second between 0 and 1"
        )

    def augment(key: Key[Array, ""], clip: Float[Array, "T H W 3"]) -> Float[Array, "T H W 3"]:
        return apply(clip, draw(key, num_layers, magnitude, magnitude_std, probability))

    return jax.vmap(augment)(keys, clips)


def draw(
    key: Key[Array, ""],
    num_layers: int,
    magnitude: float | Float[Array, ""],
    magnitude_std: float | Float[Array, ""],
    probability: float | Float[Array, ""],
) -> Draw:
    """Draws the operations of a clip; see `rand_augment`."""
    uniform_key, level_key = jax.random.split(key)
    which, applied, direction = jax.random.uniform(uniform_key, (3, num_layers))
    operation = jnp.floor(len(OPERATIONS) * which).astype(jnp.int32)
    level = magnitude + magnitude_std * jax.random.normal(level_key, (num_layers,))
    return Draw(
        operation=jnp.where(applied < probability, operation, -1),
        level=jnp.clip(level, 0.0, LARGEST_LEVEL),
        sign=jnp.where(direction < 0.5, 1.0, -1.0),
    )


def apply(clip: Float[Array, "T H W 3"], drawn: Draw) -> Float[Array, "T H W 3"]:
    """Applies drawn operations to a clip of RGB in [0, 1]; see `rand_augment`."""
    frames, height, width, channels = clip.shape
    clip = jnp.floor(255.0 * clip + 0.5)
    clip = jnp.floor(warp(clip, affine_matrix(drawn, height, width), FILL) + 0.5)

    rows = clip.astype(jnp.int32).transpose(0, 3, 1, 2).reshape(frames * channels, -1)
    counts = tables.count_levels(rows).reshape(frames, channels, -1)
    table = compose_tables(drawn, counts).reshape(frames * channels, -1)
    rows = tables.look_up(table, rows).astype(jnp.float32)
    clip = rows.reshape(frames, channels, height, width).transpose(0, 2, 3, 1)

    factor = enhance_factor(drawn.level, drawn.sign)
    saturation = jnp.where(_is(drawn, "ColorIncreasing"), factor, 1.0).prod()
    sharpness = jnp.where(_is(drawn, "SharpnessIncreasing"), factor, 1.0).prod()
    return enhance.sharpen(enhance.saturate(clip, saturation), sharpness) / 255.0


def affine_matrix(drawn: Draw, height: int, width: int) -> Float[Array, "3 3"]:
    """The geometric operations as one map of (x, y, 1) from output to source pixels."""
    strength = drawn.sign * drawn.level / LARGEST_LEVEL
    rotates = _is(drawn, "Rotate")
    angle = jnp.where(rotates, jnp.deg2rad(30.0 * strength), 0.0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    shear_x = jnp.where(_is(drawn, "ShearX"), 0.3 * strength, 0.0)
    shear_y = jnp.where(_is(drawn, "ShearY"), 0.3 * strength, 0.0)
    shift_x = jnp.where(_is(drawn, "TranslateXRel"), 0.45 * width * strength, 0.0)
    shift_y = jnp.where(_is(drawn, "TranslateYRel"), 0.45 * height * strength, 0.0)
    x, y = width / 2, height / 2
    rows = (
        (cos, shear_x - sin, shift_x + x - cos * x + sin * y),
        (shear_y + sin, cos, shift_y + y - sin * x - cos * y),
        (jnp.zeros_like(cos), jnp.zeros_like(cos), jnp.ones_like(cos)),
    )
    matrices = jnp.array(rows).transpose(2, 0, 1)
    total = jnp.eye(3)
    for matrix in matrices:
        total = jnp.matmul(total, matrix, precision=jax.lax.Precision.HIGHEST)
    return total


def compose_tables(drawn: Draw, counts: Int[Array, "T 3 256"]) -> Int[Array, "T 3 256"]:
    """The point operations in the order drawn, as one table of new levels per frame and channel.

    `counts` is how often each level occurs; other operations change nothing.
    """

    def compose(table: Int[Array, "T 3 256"], layer: Draw) -> tuple[Int[Array, "T 3 256"], None]:
        strength = layer.level / LARGEST_LEVEL
        factor = enhance_factor(layer.level, layer.sign)
        bits = 4 - jnp.floor(4 * strength).astype(jnp.int32)
        threshold = 256 - jnp.floor(256 * strength).astype(jnp.int32)
        addend = jnp.floor(110 * strength).astype(jnp.int32)
        changed = {
            "AutoContrast": tables.auto_contrast(table, counts),
            "Equalize": tables.equalize(table, counts),
            "Invert": tables.invert(table),
            "PosterizeIncreasing": tables.posterize(table, bits),
            "SolarizeIncreasing": tables.solarize(table, threshold),
            "SolarizeAdd": tables.solarize_add(table, addend),
            "ContrastIncreasing": tables.contrast(table, counts, factor),
            "BrightnessIncreasing": tables.brighten(table, factor),
        }
        chosen = [layer.operation == OPERATIONS.index(name) for name in changed]
        return jnp.select(chosen, list(changed.values()), table), None

    # A scan, because XLA for CPU would recompute the tables of a Python loop for every pixel.
    unchanged = jnp.broadcast_to(jnp.arange(tables.LEVELS), counts.shape)
    return jax.lax.scan(compose, unchanged, drawn)[0]


def enhance_factor(level: Float[Array, "*n"], sign: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Factor of an enhancement, 0.1 to 1.9; level 0 gives 1, which changes nothing."""
    return jnp.maximum(1.0 + 0.9 * sign * level / LARGEST_LEVEL, 0.1)


def _is(drawn: Draw, name: str) -> Array:
    return drawn.operation == OPERATIONS.index(name)
