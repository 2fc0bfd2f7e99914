"""RandAugment of clips: VideoMAE's `rand-m7-n4-mstd0.5-inc1` (timm's), on the device.

As in VideoMAE, the frame is warped before it is cropped, in bicubic interpolation, so that what
surrounds the crop moves into it, and grey only from outside the frame. Decisions, where it differs:
- The geometric operations of a clip are one warp, of the window that the host sends. Beyond the
  window its last pixels repeat. Levels are rounded to 8 bits after the warp and the crop.
- The point operations follow in the order drawn, on the crop and its histogram; the grey of each
  warp goes through the later ones alone. Saturation, then sharpness come last; two operations of
  one of these kinds multiply their factors.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from mgm_jax.preprocessing import pillow, rgb
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
    batch: Mapping[str, Array],
    *,
    size: int,
    num_layers: int = 4,
    magnitude: float = 7.0,
    magnitude_std: float = 0.5,
    probability: float = 0.5,
) -> Float[Array, "b T size size 3"]:
    """Augments and crops each clip with operations drawn by its key, all frames alike.

    Args:
        keys: One key per clip.
        batch: A batch of the input pipeline.
        size: Output side, pixels.
        num_layers: Operations drawn per clip, uniformly and with replacement; at most 16.
        magnitude: Mean level of an operation, 0 to 10.
        magnitude_std: Standard deviation of the level.
        probability: Probability that a drawn operation is applied.

    Returns:
        RGB in [0, 1], in multiples of 1/255.
    """
    settings = (num_layers, magnitude, magnitude_std, probability)
    drawn = jax.vmap(draw, in_axes=(0, None, None, None, None))(keys, *settings)
    return augment(batch, drawn, size=size)


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


def augment(batch: Mapping[str, Array], drawn: Draw, *, size: int) -> Float[Array, "b T H W 3"]:
    """Applies the drawn operations of each clip to a batch; see `rand_augment`."""
    frame, crop = batch["frame_box"], batch["crop_box"]
    matrices = jax.vmap(affine_matrices)(drawn, frame)
    luma, chroma = jax.vmap(warp_planes)(batch["luma"], batch["chroma"], matrices, frame)
    clips = rgb.batch_to_rgb({**batch, "luma": luma, "chroma": chroma}, size=size)
    find = functools.partial(filling_layers, size=size)
    return jax.vmap(apply)(clips, drawn, jax.vmap(find)(matrices, frame, crop, batch["flip"]))


def apply(
    clip: Float[Array, "T H W 3"], drawn: Draw, filled: Int[Array, "H W"]
) -> Float[Array, "T H W 3"]:
    """Fills a warped clip of RGB in [0, 1] (`filling_layers`); applies the other operations."""
    frames, height, width, channels = clip.shape
    levels = jnp.floor(255.0 * clip + 0.5).astype(jnp.int32)
    filled = filled[:, :, None]
    rows = jnp.where(filled < 0, levels, pillow.LEVELS + filled)
    rows = rows.transpose(0, 3, 1, 2).reshape(frames * channels, -1)
    counts = pillow.count_levels(rows).reshape(frames, channels, -1)
    table = compose_tables(drawn, counts).reshape(frames * channels, -1)
    rows = pillow.look_up(table, rows).astype(jnp.float32)
    clip = rows.reshape(frames, channels, height, width).transpose(0, 2, 3, 1)

    factor = enhance_factor(drawn.level, drawn.sign)
    saturation = jnp.where(_is(drawn, "ColorIncreasing"), factor, 1.0).prod()
    sharpness = jnp.where(_is(drawn, "SharpnessIncreasing"), factor, 1.0).prod()
    return pillow.sharpen(pillow.saturate(clip, saturation), sharpness) / 255.0


def affine_matrices(drawn: Draw, frame_box: Float[Array, "4"]) -> Float[Array, "n 3 3"]:
    """The geometric operations as maps of (x, y, 1) of the frame from output to source pixels."""
    height, width = frame_box[2:]
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
    return jnp.array(rows).transpose(2, 0, 1)


def warp_planes(
    luma: UInt8[Array, "T H W"],
    chroma: UInt8[Array, "T H2 W2 2"],
    matrices: Float[Array, "n 3 3"],
    frame_box: Float[Array, "4"],
) -> tuple[UInt8[Array, "T H W"], UInt8[Array, "T H2 W2 2"]]:
    """Warps a clip's window by all geometric operations in the order drawn."""
    corner = frame_box[1::-1]
    total = jnp.eye(3).at[:2, 2].set(corner)
    for matrix in (*matrices, jnp.eye(3).at[:2, 2].set(-corner)):
        total = jnp.matmul(total, matrix, precision=jax.lax.Precision.HIGHEST)
    end = frame_box[:2] + frame_box[2:]
    half = total.at[:2, 2].divide(2.0)
    return warp(luma[..., None], total, end)[..., 0], warp(chroma, half, jnp.ceil(end / 2))


def filling_layers(
    matrices: Float[Array, "n 3 3"],
    frame_box: Float[Array, "4"],
    crop_box: Float[Array, "4"],
    flip: Bool[Array, ""],
    *,
    size: int,
) -> Int[Array, "size size"]:
    """Which operation brings a pixel of the crop in from outside the frame; -1 where none does."""
    along = (jnp.arange(size) + 0.5) / size
    rows = crop_box[0] - frame_box[0] + along * crop_box[2]
    columns = crop_box[1] - frame_box[1] + jnp.where(flip, 1 - along, along) * crop_box[3]
    y, x = jnp.meshgrid(rows, columns, indexing="ij")
    filled = jnp.full((size, size), -1)
    for layer in reversed(range(len(matrices))):
        (a, b, c), (d, e, f) = matrices[layer, 0], matrices[layer, 1]
        x, y = a * x + b * y + c, d * x + e * y + f
        outside = (x < 0) | (x >= frame_box[3]) | (y < 0) | (y >= frame_box[2])
        filled = jnp.where((filled < 0) & outside, layer, filled)
    return filled


def compose_tables(drawn: Draw, counts: Int[Array, "T 3 v"]) -> Int[Array, "T 3 v"]:
    """The point operations in the order drawn, as one table of new levels per frame and channel.

    `counts` is how often each value occurs (see `pillow.VALUES`); other operations change nothing.
    """
    values = jnp.arange(pillow.VALUES)

    def compose(table: Array, drawn_layer: tuple[Array, Draw]) -> tuple[Array, None]:
        number, layer = drawn_layer
        strength = layer.level / LARGEST_LEVEL
        factor = enhance_factor(layer.level, layer.sign)
        bits = 4 + jnp.floor(4 * strength).astype(jnp.int32)  # The lower ones, which go.
        threshold = 256 - jnp.floor(256 * strength).astype(jnp.int32)
        addend = jnp.floor(110 * strength).astype(jnp.int32)
        changed = {
            "AutoContrast": pillow.auto_contrast(table, counts),
            "Equalize": pillow.equalize(table, counts),
            "Invert": 255 - table,
            "PosterizeIncreasing": table >> bits << bits,
            "SolarizeIncreasing": jnp.where(table < threshold, table, 255 - table),
            "SolarizeAdd": jnp.where(table < 128, jnp.minimum(table + addend, 255), table),
            "ContrastIncreasing": pillow.contrast(table, counts, factor),
            "BrightnessIncreasing": pillow.blend_levels(jnp.zeros(()), table, factor),
        }
        chosen = [layer.operation == OPERATIONS.index(name) for name in changed]
        table = jnp.select(chosen, list(changed.values()), table)
        return jnp.where(values >= pillow.LEVELS + number, FILL, table), None

    # A scan, because XLA for CPU would recompute the tables of a Python loop for every pixel.
    unchanged = jnp.broadcast_to(jnp.where(values < pillow.LEVELS, values, FILL), counts.shape)
    return jax.lax.scan(compose, unchanged, (jnp.arange(len(drawn.level)), drawn))[0]


def enhance_factor(level: Float[Array, "*n"], sign: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Factor of an enhancement, 0.1 to 1.9; level 0 gives 1, which changes nothing."""
    return jnp.maximum(1.0 + 0.9 * sign * level / LARGEST_LEVEL, 0.1)


def _is(drawn: Draw, name: str) -> Array:
    return drawn.operation == OPERATIONS.index(name)
