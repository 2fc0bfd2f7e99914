"""A few clips as pictures: masked by every strategy, reconstructed by a model as it learns."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict

from mgm_jax.data.centre_clips import CentreClip, CentreClips, spread
from mgm_jax.data.records import VideoSource
from mgm_jax.errors import VideoError
from mgm_jax.io import AnyPath
from mgm_jax.masking import motion_maps, variants
from mgm_jax.models import patches
from mgm_jax.pictures import picture_files, reconstruction
from mgm_jax.pictures import sheets as pictures
from mgm_jax.preprocessing import rgb
from mgm_jax.training import pretrain_step


def read_clips(config: ConfigDict, source: VideoSource) -> list[CentreClip]:
    """Reads clips evenly spaced over the videos, cropped at the centre.

    Args:
        config: The run's config; `num_pictures` clips are read.
        source: The videos.

    Returns:
        The clips of those videos that can be read.

    Raises:
        VideoError: None of the chosen videos can be read.
    """
    reader = CentreClips(config, source)
    clips, unread = [], []
    for video in spread(config.num_pictures, len(source)):
        try:
            clips.append(reader[video])
        except VideoError as error:
            logging.warning("no picture of %s", error)
            unread.append(str(error))
    if not clips:
        raise VideoError("no picture can be made: " + "\n".join(unread))
    return clips


def make_mask_fns(
    config: ConfigDict, strategies: Sequence[str]
) -> dict[str, Callable[[Mapping[str, Any], Any], Any]]:
    """The masks of several strategies as the run's config would have them.

    Args:
        config: The run's config.
        strategies: Names for `variants.with_strategy`.

    Returns:
        By name, a jitted function `(batch, keys [d]) -> masks [d, b, t, h, w]`, one draw per key.

    Raises:
        ConfigError: No such strategy.
    """
    data = config.data
    grid = patches.token_grid(data.clip_frames, data.size, data.size, tuple(config.model.tubelet))

    def mask_fn(name: str) -> Callable[[Mapping[str, Any], Any], Any]:
        prepare_fn = pretrain_step.make_prepare_fn(variants.with_strategy(config, name), grid)
        # The clip itself is not asked for, so XLA leaves it out.
        return jax.jit(jax.vmap(lambda batch, key: prepare_fn(batch, key)[1], in_axes=(None, 0)))

    return {name: mask_fn(name) for name in strategies}


def mask_clips(
    config: ConfigDict, source: VideoSource, strategies: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Masks of several strategies on the same clips, at the config's ratio (Figure 4).

    Args:
        config: The run's config.
        source: The videos.
        strategies: Names for `variants.with_strategy`.

    Yields:
        The arguments of `pictures.mask_sheet`, by name.

    Raises:
        ConfigError: No such strategy.
        VideoError: None of the chosen videos can be read.
    """
    mask_fns = make_mask_fns(config, strategies)
    to_rgb = jax.jit(functools.partial(rgb.batch_to_rgb, size=config.data.size))
    keys = jax.random.key(config.seed)[None]
    for clip in read_clips(config, source):
        masks = {name: mask_fn(clip.batch, keys) for name, mask_fn in mask_fns.items()}
        yield {
            "frames": np.asarray(to_rgb(clip.batch))[0],
            **_motion_and_boxes(config, clip),
            # Long names may go on in the next line.
            "masks": {
                name.replace("+", " +"): np.asarray(mask)[0, 0] for name, mask in masks.items()
            },
        }


def guiding_motion(config: ConfigDict, clip: CentreClip) -> Float[np.ndarray, "T mh mw 2"]:
    """The motion that guides a clip's masks: what the host read, less the camera's."""
    vectors, valid = (jnp.asarray(clip.batch[name]) for name in ("motion", "motion_valid"))
    return np.asarray(
        motion_maps.compensate_camera(vectors, valid, config.masking.camera_compensation)
    )[0]


def _motion_and_boxes(config: ConfigDict, clip: CentreClip) -> dict[str, Any]:
    """What all pictures of a clip begin with."""
    return {
        "clip_id": clip.name,
        "motion": guiding_motion(config, clip),
        "motion_valid": clip.batch["motion_valid"][0],
        "boxes": clip.boxes,
    }


def write_masks(
    config: ConfigDict, source: VideoSource, strategies: Sequence[str], folder: AnyPath
) -> list[AnyPath]:
    """Writes a sheet (PNG) and an animation (GIF) of `mask_clips` for each clip.

    Args:
        config: The run's config; `num_pictures` clips are shown.
        source: The videos.
        strategies: Names for `variants.with_strategy`.
        folder: Where the pictures go.

    Returns:
        The files.

    Raises:
        ConfigError: No such strategy.
        VideoError: None of the chosen videos can be read.
    """
    files = []
    for number, clip in enumerate(mask_clips(config, source, strategies)):
        files += save_pictures(
            folder / f"masks_clip{number}",
            pictures.mask_sheet(**clip),
            pictures.mask_animation(**clip),
        )
    return files


def save_pictures(
    stem: AnyPath, sheet: UInt8[np.ndarray, "h w 3"], animation: UInt8[np.ndarray, "T y x 3"]
) -> list[AnyPath]:
    """Writes a sheet as PNG and an animation as GIF, 8 frames a second, and names the files."""
    files = [stem.with_suffix(".png"), stem.with_suffix(".gif")]
    picture_files.save_png(files[0], sheet)
    picture_files.save_animation(files[1], animation, fps=8)
    return files


class Gallery:
    """A few clips, always the same, to be reconstructed by a model as it learns."""

    def __init__(self, config: ConfigDict, model: nn.Module, source: VideoSource):
        """Reads the clips.

        Args:
            config: The run's config; `num_pictures` clips are read.
            model: The masked autoencoder.
            source: The videos.

        Raises:
            VideoError: None of the chosen videos can be read.
        """
        self._config = config
        self._reconstruct_fn = jax.jit(pretrain_step.make_reconstruct_fn(config, model))
        self._clips = read_clips(config, source)
        self._batch = {
            name: np.concatenate([clip.batch[name] for clip in self._clips])
            for name in self._clips[0].batch
        }

    def clips(self, params: Any, step: int, *, leaky: bool = False) -> Iterator[dict[str, Any]]:
        """Reconstructs the clips.

        Args:
            params: The model's parameters.
            step: The training step they are of.
            leaky: Whether to add the reconstruction that uses the target's statistics; a model that
                predicts pixels needs none.

        Yields:
            The arguments of `pictures.reconstruction_sheet`, by name.
        """
        key = jax.random.key(self._config.seed)
        made = jax.device_get(self._reconstruct_fn(params, self._batch, key))
        tubelet = tuple(self._config.model.tubelet)
        for i, shown in enumerate(self._clips):
            clip = (made["predictions"][i], made["masked_ids"][i], made["clips"][i], tubelet)
            if not self._config.norm_pix_loss:
                views = {
                    "reconstruction": reconstruction.paste_pixels(*clip),
                    "reconstruction_note": pictures.PREDICTED_PIXELS,
                }
            else:
                views = {"reconstruction": reconstruction.denormalise(*clip)}
                if leaky:
                    views["leaky_reconstruction"] = reconstruction.denormalise(
                        *clip, statistics="target"
                    )
            yield {
                "frames": made["clips"][i],
                **_motion_and_boxes(self._config, shown),
                "mask": made["mask"][i],
                "strategy": self._config.masking.strategy,
                "step": step,
                **views,
            }

    def sheets(self, params: Any, step: int) -> Iterator[tuple[str, UInt8[np.ndarray, "h w 3"]]]:
        """Yields a name and a sheet for each clip."""
        for number, clip in enumerate(self.clips(params, step)):
            yield f"reconstruction/{number}", pictures.reconstruction_sheet(**clip)

    def write(
        self, params: Any, step: int, folder: AnyPath, *, leaky: bool = False
    ) -> list[AnyPath]:
        """Writes a sheet (PNG) and an animation (GIF) for each clip.

        Args:
            params: The model's parameters.
            step: The training step they are of.
            folder: Where the pictures go.
            leaky: Whether to add the row that uses the target's statistics.

        Returns:
            The files.
        """
        files = []
        for number, clip in enumerate(self.clips(params, step, leaky=leaky)):
            files += save_pictures(
                folder / f"step{step:07d}_clip{number}",
                pictures.reconstruction_sheet(**clip),
                pictures.reconstruction_animation(**clip),
            )
        return files
