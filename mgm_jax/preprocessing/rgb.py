"""From 4:2:0 planes and crop boxes to normalised RGB clips, on the device."""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

# ImageNet statistics of RGB in [0, 1], as VideoMAE uses.
MEAN = (0.485, 0.456, 0.406)
STANDARD_DEVIATION = (0.229, 0.224, 0.225)


def batch_to_rgb(batch: Mapping[str, Array], *, size: int) -> Float[Array, "b t size size 3"]:
    """The clips of a batch in RGB in [0, 1], float32: `resample_planes`, then `planes_to_rgb`.

    `size` is the output's side in pixels.
    """
    planes = resample_planes(batch, size=size)
    # Stacked in front of the pixels: XLA keeps that order in memory (`models.patches.patchify`).
    return jnp.moveaxis(planes_to_rgb(planes, batch["yuv_to_rgb"], axis=1), 1, -1)


def resample_planes(
    batch: Mapping[str, Array], *, size: int
) -> list[Float[Array, "b t {size} {size}"]]:
    """Crops, resizes and flips the planes Y, U and V of the clips of a batch, in 0..255.

    Each plane is resampled by one matrix per axis with the antialiased triangle kernel of Pillow's
    bilinear resize, restricted to the crop. Chroma samples are taken to lie at the centre of their
    four luma pixels.

    Args:
        batch: A batch of the input pipeline, of which it uses luma uint8 [b, t, window, window],
            chroma uint8 [b, t, window/2, window/2, 2] (U and V), crop_box float32 [b, 4] (top,
            left, height, width in luma pixels, may be fractional) and flip bool [b] (left to
            right).
        size: Output side, pixels.
    """
    box, flip = batch["crop_box"], batch["flip"]
    u, v = jnp.moveaxis(batch["chroma"], -1, 0)
    luma = _resample(batch["luma"], box, flip, size)
    return [luma, *(_resample(plane, box / 2, flip, size) for plane in (u, v))]


def planes_to_rgb(
    planes: Sequence[Float[Array, "b *pixels"]], yuv_to_rgb: Float[Array, "b 3 4"], *, axis: int
) -> Float[Array, "..."]:
    """Converts Y, U and V in 0..255 to RGB in [0, 1], with the channels at `axis`.

    `yuv_to_rgb` is the affine map from (Y, U, V, 1) of each clip.
    """
    # Written as sums, because a matrix product would be a 3x3 one per pixel.
    weights = yuv_to_rgb.reshape(*yuv_to_rgb.shape, *[1] * (planes[0].ndim - 1))
    channels = [
        weights[:, channel, 3] + sum(weights[:, channel, i] * planes[i] for i in range(3))
        for channel in range(3)
    ]
    return jnp.clip(jnp.stack(channels, axis=axis), 0.0, 1.0)


def normalise(clips: Float[Array, "*shape"], axis: int = -1) -> Float[Array, "*shape"]:
    """RGB in [0, 1] to zero mean and unit variance over ImageNet, the model's input.

    The channels are at `axis`, counted from the end.
    """
    mean, deviation = (_along(values, axis) for values in (MEAN, STANDARD_DEVIATION))
    return (clips - mean) / deviation


def denormalise(clips: Float[Array, "*shape"], axis: int = -1) -> Float[Array, "*shape"]:
    """The inverse of `normalise`."""
    return clips * _along(STANDARD_DEVIATION, axis) + _along(MEAN, axis)


def _along(values: tuple[float, ...], axis: int) -> Float[Array, "3 *ones"]:
    return jnp.array(values).reshape(3, *[1] * (-1 - axis))


def _resample(
    plane: UInt8[Array, "b t rows columns"],
    box: Float[Array, "b 4"],
    flip: Bool[Array, " b"],
    size: int,
) -> Float[Array, "b t size size"]:
    make_matrix = jax.vmap(resize_matrix, in_axes=(0, 0, 0, None, None))
    rows = make_matrix(box[:, 0], box[:, 2], jnp.zeros_like(flip), size, plane.shape[2])
    columns = make_matrix(box[:, 1], box[:, 3], flip, size, plane.shape[3])
    # HIGH is three passes in bfloat16 on a TPU, where samples are exact; on a GPU it is TF32.
    narrow = jax.lax.platform_dependent(
        plane.astype(jnp.float32),
        columns,
        tpu=functools.partial(_resize_columns, precision=jax.lax.Precision.HIGH),
        default=functools.partial(_resize_columns, precision=jax.lax.Precision.HIGHEST),
    )
    return jnp.einsum("bih,bthj->btij", rows, narrow, precision=jax.lax.Precision.HIGHEST)


def _resize_columns(
    plane: Float[Array, "b t h w"], columns: Float[Array, "b j w"], precision: jax.lax.Precision
) -> Float[Array, "b t h j"]:
    return jnp.einsum("bthw,bjw->bthj", plane, columns, precision=precision)


def resize_matrix(
    start: Float[Array, ""],
    length: Float[Array, ""],
    flip: Bool[Array, ""],
    size: int,
    source_size: int,
) -> Float[Array, "size source_size"]:
    """Weights that resample the pixels `[start, start + length)` of an axis to `size` pixels.

    There is one row per output pixel, which sums to one; pixels outside the crop have weight zero.
    """
    outputs = jnp.arange(size, dtype=jnp.float32)
    outputs = jnp.where(flip, size - 1 - outputs, outputs)
    scale = length / size
    centres = start + (outputs + 0.5) * scale
    pixels = jnp.arange(source_size, dtype=jnp.float32) + 0.5
    weights = 1 - jnp.abs(pixels[None, :] - centres[:, None]) / jnp.maximum(scale, 1.0)
    inside = (pixels + 0.5 > start) & (pixels - 0.5 < start + length)
    weights = jnp.where(inside, jnp.maximum(weights, 0.0), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)
