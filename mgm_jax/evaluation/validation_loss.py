"""How well an autoencoder predicts videos that it is not trained on, always with the same masks."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from mgm_jax.data.centre_clips import CentreClips, stack
from mgm_jax.data.records import VideoSource
from mgm_jax.models import patches as patches_lib
from mgm_jax.preprocessing import rgb
from mgm_jax.training import losses, pretrain_step
from mgm_jax.training.state import Batch

_CLIPS_AT_ONCE = 16


class ValidationLoss:
    """Measures an autoencoder on the centre clips of all videos of a source."""

    def __init__(self, config: ConfigDict, model: nn.Module, source: VideoSource):
        """Reads the clips and keeps them; videos that cannot be read are left out.

        Raises:
            VideoError: None of the videos can be read.
        """
        self._measure_fn = jax.jit(_make_measure_fn(config, model))
        self._key = jax.random.key(config.seed)
        clips = CentreClips(config, source).read(range(len(source)))
        self._batches = [
            stack(clips[first : first + _CLIPS_AT_ONCE])
            for first in range(0, len(clips), _CLIPS_AT_ONCE)
        ]

    def measure(self, params: Any) -> dict[str, float]:
        """Means over the clips, by name.

        Returns:
            `loss`, as in training; and without `config.norm_pix_loss` the peak signal-to-noise
            ratios of the masked pixels in decibels: `psnr` of the prediction, and
            `psnr_mean_colour` of painting them with the mean colour of the visible pixels.
        """
        parts = [jax.device_get(self._measure_fn(params, b, self._key)) for b in self._batches]
        return {
            name: float(np.concatenate([part[name] for part in parts]).mean()) for name in parts[0]
        }


def _make_measure_fn(config: ConfigDict, model: nn.Module) -> Any:
    reconstruct_fn = pretrain_step.make_reconstruct_fn(config, model)
    tubelet = tuple(config.model.tubelet)

    def measure_fn(
        params: Mapping[str, Any], batch: Batch, key: Key[Array, ""]
    ) -> dict[str, Float[Array, " b"]]:
        made = reconstruct_fn(params, batch, key)
        patches, predictions = patches_lib.patchify(made["clips"], tubelet), made["predictions"]
        targets = patches_lib.gather_tokens(patches, made["masked_ids"])
        if config.norm_pix_loss:
            targets = losses.pixel_target(targets, eps=config.norm_pix_eps)
            return {"loss": _mse(predictions, targets)}
        visible = ~made["mask"].reshape(len(patches), -1, 1, 1)
        mean_colour = patches.mean(axis=(1, 3), keepdims=True, where=visible)
        return {
            "loss": _mse(rgb.normalise(predictions, -2), rgb.normalise(targets, -2)),
            "psnr": _psnr(jnp.clip(predictions, 0.0, 1.0), targets),
            "psnr_mean_colour": _psnr(jnp.broadcast_to(mean_colour, targets.shape), targets),
        }

    return measure_fn


def _mse(one: Float[Array, "b n c p"], other: Float[Array, "b n c p"]) -> Float[Array, " b"]:
    return jnp.square(one - other).mean(axis=(1, 2, 3))


def _psnr(one: Float[Array, "b n c p"], other: Float[Array, "b n c p"]) -> Float[Array, " b"]:
    return -10 * jnp.log10(_mse(one, other))
