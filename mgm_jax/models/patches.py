"""Space-time patches: clips are cut into tubelets, and each tubelet becomes one token."""

import functools
import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Shaped

from mgm_jax.models.layers import uniform_init


def token_grid(
    frames: int, height: int, width: int, tubelet: tuple[int, int, int]
) -> tuple[int, int, int]:
    """Counts the tubelets of a clip along time, height and width.

    Raises:
        ValueError: A side of the clip is not a multiple of the tubelet's.
    """
    clip = (frames, height, width)
    if any(side % part for side, part in zip(clip, tubelet, strict=True)):
        raise ValueError(
            f"a clip of {frames} frames of {height}x{width} pixels does not divide into tubelets "
            f"of {tubelet}; choose multiples of the tubelet size"
        )
    return frames // tubelet[0], height // tubelet[1], width // tubelet[2]


def patchify(
    clips: Shaped[Array, "b T H W c"], tubelet: tuple[int, int, int] = (2, 16, 16)
) -> Shaped[Array, "b n c p"]:
    """Cuts clips into tubelets, ordered by time, then row, then column.

    The p = p0·p1·p2 values of a channel keep the order (p0 p1 p2). Channels come before pixels: a
    TPU pads the last axis of an array to 128 values, so three channels there would take 43 times
    the memory.

    Args:
        clips: Whole clips; channels may lie last in their shape alone (`rgb.batch_to_rgb`).
        tubelet: Size of a tubelet in frames, pixels, pixels: (p0, p1, p2).

    Raises:
        ValueError: A side of the clip is not a multiple of the tubelet's.
    """
    _, frames, height, width, _ = clips.shape
    token_grid(frames, height, width, tubelet)
    return jax.lax.platform_dependent(
        jnp.moveaxis(clips, -1, 1),
        tpu=functools.partial(cut_by_convolution, tubelet=tubelet),
        default=functools.partial(cut_by_transposition, tubelet=tubelet),
    )


def cut_by_transposition(
    planes: Shaped[Array, "b c T H W"], tubelet: tuple[int, int, int]
) -> Shaped[Array, "b n c p"]:
    """`patchify` for CPU and GPU."""
    b, channels, frames, height, width = planes.shape
    p0, p1, p2 = tubelet
    cut = planes.reshape(b, channels, frames // p0, p0, height // p1, p1, width // p2, p2)
    return cut.transpose(0, 2, 4, 6, 1, 3, 5, 7).reshape(b, -1, channels, p0 * p1 * p2)


def cut_by_convolution(
    planes: Float[Array, "b c T H W"], tubelet: tuple[int, int, int]
) -> Float[Array, "b n c p"]:
    """`patchify` for TPUs."""
    b, channels, frames, height, width = planes.shape
    cut = _cut_frames(planes.reshape(-1, height, width), tubelet, "NHWC")
    cut = cut.reshape(b, channels, frames // tubelet[0], tubelet[0], -1, cut.shape[-1])
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(b, -1, channels, math.prod(tubelet))


def cut_tokens(
    plane: Float[Array, "b T H W"], *ids: Int[Array, "b _"], tubelet: tuple[int, int, int]
) -> tuple[Float[Array, "b _ p"], ...]:
    """Cuts the tubelets at some positions out of one plane of clips, for each array of positions.

    The same numbers as `patchify` and `gather_tokens`. Positions outside of the clip are undefined
    behaviour. On a TPU `patchify` copies whole RGB clips several times to change the order of their
    pixels in memory; this cuts planes with one such copy, and colours are converted afterwards.
    """
    return jax.lax.platform_dependent(
        plane,
        *ids,
        tpu=functools.partial(cut_tokens_by_convolution, tubelet=tubelet),
        default=functools.partial(cut_tokens_by_transposition, tubelet=tubelet),
    )


def cut_tokens_by_transposition(
    plane: Float[Array, "b T H W"], *ids: Int[Array, "b _"], tubelet: tuple[int, int, int]
) -> tuple[Float[Array, "b _ p"], ...]:
    """`cut_tokens` for CPU and GPU."""
    tokens = cut_by_transposition(plane[:, None], tubelet)[:, :, 0]
    return tuple(gather_tokens(tokens, positions) for positions in ids)


def cut_tokens_by_convolution(
    plane: Float[Array, "b T H W"], *ids: Int[Array, "b _"], tubelet: tuple[int, int, int]
) -> tuple[Float[Array, "b _ p"], ...]:
    """`cut_tokens` for TPUs: the convolution's result is gathered in the order that it has."""
    b, frames, height, width = plane.shape
    cut = _cut_frames(plane.reshape(-1, height, width), tubelet, "HWNC")
    per_frame, pixels = cut.shape[0] * cut.shape[1], cut.shape[3]
    cut = cut.reshape(per_frame, b, frames, pixels)
    clip_by_clip = jax.lax.GatherDimensionNumbers(
        offset_dims=(2,),
        collapsed_slice_dims=(0, 2),
        start_index_map=(0, 2),
        operand_batching_dims=(1,),
        start_indices_batching_dims=(0,),
    )

    def take(positions: Int[Array, "b k"], frame: int) -> Float[Array, "b k pixels"]:
        time, place = jnp.divmod(positions, per_frame)
        where = jnp.stack([place, time * tubelet[0] + frame], axis=-1)
        sizes = (1, 1, 1, pixels)
        return jax.lax.gather(cut, where, clip_by_clip, sizes, mode="promise_in_bounds")

    return tuple(
        jnp.concatenate([take(positions, frame) for frame in range(tubelet[0])], axis=-1)
        for positions in ids
    )


def _cut_frames(
    frames: Float[Array, "n H W"], tubelet: tuple[int, int, int], output: str
) -> Float[Array, "..."]:
    """Cuts frames into squares, whose pixels are the axis C of the `output`, as NHWC or HWNC.

    A TPU's matrix units move pixels between the lanes of a vector; a transposition would pad rows
    of 16 pixels to 128. The products with ones and zeros are exact.
    """
    _, p1, p2 = tubelet
    kernel = jnp.eye(p1 * p2, dtype=frames.dtype).reshape(p1, p2, 1, p1 * p2)
    return jax.lax.conv_general_dilated(
        frames[..., None],
        kernel,
        window_strides=(p1, p2),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", output),
        precision=jax.lax.Precision.HIGHEST,
    )


def gather_tokens(
    tokens: Shaped[Array, "b n *rest"], ids: Int[Array, "b k"]
) -> Shaped[Array, "b k *rest"]:
    """Selects tokens of each clip by position; positions outside [0, n) are undefined behaviour."""
    flat = tokens.reshape(*tokens.shape[:2], -1)
    chosen = jnp.take_along_axis(flat, ids[:, :, None], axis=1, mode="promise_in_bounds")
    return chosen.reshape(*ids.shape, *tokens.shape[2:])


class PatchEmbedding(nn.Module):
    """A linear layer from tubelets to tokens: a 3-D convolution with stride equal to its kernel.

    The rows of the kernel have VideoMAE's order (p0 p1 p2 c), as those of other projects.
    """

    dim: int
    dtype: str

    @nn.compact
    def __call__(self, patches: Float[Array, "b n c p"]) -> Float[Array, "b n {self.dim}"]:
        """Embeds each tubelet."""
        channels, pixels = patches.shape[2:]
        shape = (pixels * channels, self.dim)
        init = uniform_init(shape[0])
        kernel = self.param("kernel", init, shape)
        bias = self.param("bias", init, (self.dim,))
        kernel = kernel.astype(self.dtype).reshape(pixels, channels, self.dim)
        tokens = jnp.einsum("bncp,pcd->bnd", patches.astype(self.dtype), kernel)
        return tokens + bias.astype(self.dtype)


class PixelHead(nn.Module):
    """A linear layer from tokens to tubelets, its columns in VideoMAE's order (p0 p1 p2 c)."""

    pixels: int
    dtype: str

    @nn.compact
    def __call__(self, tokens: Float[Array, "b n d"]) -> Float[Array, "b n 3 {self.pixels}"]:
        """Predicts a tubelet from each token."""
        shape = (tokens.shape[-1], self.pixels * 3)
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), shape)
        bias = self.param("bias", nn.initializers.zeros, shape[1:])
        kernel = kernel.astype(self.dtype).reshape(-1, self.pixels, 3)
        pixels = jnp.einsum("bnd,dpc->bncp", tokens.astype(self.dtype), kernel)
        return pixels + bias.astype(self.dtype).reshape(self.pixels, 3).T
