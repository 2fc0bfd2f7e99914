"""RAFT-Small (Teed & Deng, 2020) in Flax, and the motion of clips by it (Table 4b).

The network is torchvision's `raft_small`: all pairs of 1/8-resolution features are correlated
once; then a small recurrent network refines the flow twelve times, each time by looking up the
correlations around the current estimate. `weights` reads torchvision's weights.

Accelerators multiply float32 with reduced precision by default, which changes the flow slightly;
`jax.default_matmul_precision("highest")` gives torchvision's numbers.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Float32

from mgm_jax.data.motion.codec_vectors import MOTION_CELL
from mgm_jax.flow.correlation import PYRAMID_LEVELS, correlation_pyramid, look_up

FEATURE_STRIDE = 8
"""Pixels per cell of the feature maps, along each axis."""
HIDDEN_CHANNELS, CONTEXT_CHANNELS = 96, 64
SMALLEST_SIDE = FEATURE_STRIDE * 2 ** (PYRAMID_LEVELS - 1)
"""Shortest side of a frame in pixels. *Decision*: the coarsest level has at least one cell;
torchvision requires 128 pixels."""


class Bottleneck(nn.Module):
    """Residual block of a 1x1, a strided 3x3 and a 1x1 convolution."""

    features: int
    stride: int
    normalise: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 {self.features}"]:
        """Returns the block's features."""
        norm = instance_norm if self.normalise else lambda x: x
        y = nn.relu(norm(_conv(self.features // 4, 1, name="reduce")(x)))
        y = nn.relu(norm(_conv(self.features // 4, 3, self.stride, name="spatial")(y)))
        y = nn.relu(norm(_conv(self.features, 1, name="expand")(y)))
        if self.stride > 1:
            x = norm(_conv(self.features, 1, self.stride, name="shortcut")(x))
        return nn.relu(x + y)


class Encoder(nn.Module):
    """Maps images in [-1, 1] to features at 1/8 resolution, with or without instance norm."""

    features: int
    normalise: bool

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h8 w8 {self.features}"]:
        """Returns the features."""
        norm = instance_norm if self.normalise else lambda x: x
        x = nn.relu(norm(_conv(32, 7, 2, name="stem")(images)))
        for stage, (features, stride) in enumerate(((32, 1), (64, 2), (96, 2)), start=1):
            x = Bottleneck(features, stride, self.normalise, name=f"stage{stage}_block1")(x)
            x = Bottleneck(features, 1, self.normalise, name=f"stage{stage}_block2")(x)
        return _conv(self.features, 1, name="projection")(x)


class MotionEncoder(nn.Module):
    """Encodes correlations and flow as motion features; the last two are the flow itself."""

    @nn.compact
    def __call__(
        self, correlations: Float[Array, "b h w c"], flow: Float[Array, "b h w 2"]
    ) -> Float[Array, "b h w 82"]:
        """Returns the motion features."""
        of_correlations = nn.relu(_conv(96, 1, name="correlations")(correlations))
        of_flow = nn.relu(_conv(64, 7, name="flow1")(flow))
        of_flow = nn.relu(_conv(32, 3, name="flow2")(of_flow))
        both = jnp.concatenate([of_correlations, of_flow], axis=-1)
        return jnp.concatenate([nn.relu(_conv(80, 3, name="joint")(both)), flow], axis=-1)


class ConvGRU(nn.Module):
    """Gated recurrent unit with 3x3 convolutions."""

    @nn.compact
    def __call__(
        self, hidden: Float[Array, "b h w c"], x: Float[Array, "b h w c2"]
    ) -> Float[Array, "b h w c"]:
        """Returns the next hidden state."""
        features = hidden.shape[-1]
        joint = jnp.concatenate([hidden, x], axis=-1)
        update = nn.sigmoid(_conv(features, 3, name="update_gate")(joint))
        reset = nn.sigmoid(_conv(features, 3, name="reset_gate")(joint))
        joint = jnp.concatenate([reset * hidden, x], axis=-1)
        candidate = jnp.tanh(_conv(features, 3, name="candidate")(joint))
        return (1 - update) * hidden + update * candidate


class FlowHead(nn.Module):
    """Predicts a change of the flow from the hidden state."""

    @nn.compact
    def __call__(self, hidden: Float[Array, "b h w c"]) -> Float[Array, "b h w 2"]:
        """Returns the change, in cells."""
        return _conv(2, 3, name="conv2")(nn.relu(_conv(128, 3, name="conv1")(hidden)))


class FlowUpdate(nn.Module):
    """One step of the recurrent network."""

    @nn.compact
    def __call__(
        self,
        state: tuple[Float[Array, "b h w c"], Float[Array, "b h w 2"]],
        context: Float[Array, "b h w c2"],
        pyramid: tuple[Float[Array, "b n _ _"], ...],
    ) -> tuple[tuple[Float[Array, "b h w c"], Float[Array, "b h w 2"]], Float[Array, "b h w 2"]]:
        """Updates the state, which is the hidden features and the flow in cells.

        Returns the new state, and the new flow again for the scan to collect.
        """
        hidden, flow = state
        y, x = np.mgrid[: flow.shape[1], : flow.shape[2]].astype(np.float32)
        correlations = look_up(pyramid, flow + np.stack([x, y], axis=-1))
        motion = MotionEncoder(name="motion_encoder")(correlations, flow)
        hidden = ConvGRU(name="gru")(hidden, jnp.concatenate([context, motion], axis=-1))
        flow = flow + FlowHead(name="flow_head")(hidden)
        return (hidden, flow), flow


class RaftSmall(nn.Module):
    """Estimates the optical flow between two images in `num_flow_updates` refinements."""

    num_flow_updates: int = 12

    def setup(self) -> None:
        """Creates the submodules."""
        self.feature_encoder = Encoder(128, normalise=True)
        self.context_encoder = Encoder(HIDDEN_CHANNELS + CONTEXT_CHANNELS, normalise=False)
        # Scanned, so that one step is compiled instead of twelve.
        self.update = nn.scan(
            FlowUpdate,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=(nn.broadcast, nn.broadcast),
            length=self.num_flow_updates,
        )()

    def __call__(
        self, clips: Float[Array, "b T h w 3"]
    ) -> Float[Array, "{self.num_flow_updates} b T-1 h/8 w/8 2"]:
        """Flow (dx, dy) from each frame but the first to the previous one, after each update.

        Each frame's features are computed once, for the pairs with both of its neighbours.

        Args:
            clips: RGB in [0, 1]; sides are multiples of 8, at least 64 pixels.

        Returns:
            Flow in cells of `FEATURE_STRIDE` pixels; `upsample_flow` gives pixels.

        Raises:
            ValueError: The size of the frames does not fit.
        """
        batch, frames, height, width, _ = clips.shape
        if min(height, width) < SMALLEST_SIDE or height % FEATURE_STRIDE or width % FEATURE_STRIDE:
            raise ValueError(
                f"RAFT needs frames whose sides are multiples of {FEATURE_STRIDE} and at least "
                f"{SMALLEST_SIDE} pixels, not {width}x{height} (width x height); resize or pad them"
            )
        clips = 2 * clips - 1
        features = self.feature_encoder(clips.reshape(-1, height, width, 3))
        features = features.reshape(batch, frames, *features.shape[1:])
        later, earlier = (
            part.reshape(-1, *features.shape[2:]) for part in (features[:, 1:], features[:, :-1])
        )
        context = self.context_encoder(clips[:, 1:].reshape(-1, height, width, 3))
        hidden, context = jnp.split(context, [HIDDEN_CHANNELS], axis=-1)
        state = jnp.tanh(hidden), jnp.zeros((*later.shape[:3], 2), later.dtype)
        _, flows = self.update(state, nn.relu(context), correlation_pyramid(later, earlier))
        return flows.reshape(-1, batch, frames - 1, *flows.shape[2:])


def flow_motion(
    params: Any, clips: Float[Array, "b T h w 3"], *, num_flow_updates: int = 12
) -> tuple[Float[Array, "b T h/8 w/8 2"], Bool[Array, "b T"]]:
    """Motion maps of clips by optical flow, computed on the device.

    Like a codec's motion vectors, motion is a position in frame t minus the position in the
    previous frame, stored at the position in frame t. So the flow is estimated from frame t to the
    previous frame, and negated. The previous frame is the one **in the clip**: with stride s the
    motion spans s frames of the video. A cell's motion is the mean of its 8x8 pixels (*decision*).

    Args:
        params: Parameters of `RaftSmall`, from `weights.load_weights`.
        clips: RGB in [0, 1] after cropping and flipping; sides are multiples of 8, at least 64.
        num_flow_updates: Number of refinements of the flow.

    Returns:
        Displacement (dx, dy) from the previous frame, in pixels of the clip, and whether the frame
        has motion. Frame 0 has none; its map is zero.

    Raises:
        ValueError: The size of the frames does not fit, or the clips have a single frame.
    """
    batch, frames, height, width, _ = clips.shape
    if frames < 2:
        raise ValueError("optical flow needs clips of at least 2 frames; these have 1")
    flows = RaftSmall(num_flow_updates).apply({"params": params}, clips)
    assert isinstance(flows, jax.Array)
    flow = upsample_flow(flows[-1].reshape(-1, *flows.shape[3:]))
    rows, columns = height // MOTION_CELL, width // MOTION_CELL
    cells = flow.reshape(batch, frames - 1, rows, MOTION_CELL, columns, MOTION_CELL, 2)
    motion = jnp.pad(-cells.mean(axis=(3, 5)), ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))
    return motion, jnp.broadcast_to(jnp.arange(frames) > 0, (batch, frames))


def instance_norm(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Normalises each channel of each image as PyTorch does: biased variance, eps 1e-5."""
    mean = x.mean(axis=(1, 2), keepdims=True)
    variance = jnp.square(x - mean).mean(axis=(1, 2), keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5)


def upsample_flow(flow: Float[Array, "b h8 w8 2"]) -> Float[Array, "b h w 2"]:
    """Upsamples flow in cells to flow in pixels, bilinearly, with corners aligned."""
    rows, columns = (_upsampling_matrix(size) for size in flow.shape[1:3])
    flow = jnp.einsum("ih,bhwc->biwc", rows, flow, precision=jax.lax.Precision.HIGHEST)
    flow = jnp.einsum("jw,biwc->bijc", columns, flow, precision=jax.lax.Precision.HIGHEST)
    return FEATURE_STRIDE * flow


def _upsampling_matrix(size: int) -> Float32[np.ndarray, "pixels {size}"]:
    positions = np.linspace(0, size - 1, size * FEATURE_STRIDE)
    return np.maximum(1 - np.abs(positions[:, None] - np.arange(size)), 0).astype(np.float32)


def _conv(features: int, kernel: int, stride: int = 1, *, name: str) -> nn.Conv:
    return nn.Conv(features, (kernel, kernel), stride, padding=kernel // 2, name=name)
