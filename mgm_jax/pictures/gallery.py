"""Pictures of a few clips of a dataset: strategies' masks, reconstructions, attention."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from mgm_jax.data.centre_clips import CentreClip, CentreClips, spread
from mgm_jax.data.video_records import VideoSource
from mgm_jax.errors import VideoError
from mgm_jax.io import AnyPath
from mgm_jax.masking import motion_maps, variants
from mgm_jax.models import patches
from mgm_jax.pictures import attention_maps, image_files, motion_colours, sheets
from mgm_jax.pictures.reconstruction import to_frames
from mgm_jax.pictures.sheets import Clip, ClipPictures
from mgm_jax.preprocessing import rgb
from mgm_jax.training import pretrain_step

_FPS = 8
_STATISTICS = {
    "visible": "reconstruction\nun-normalised with the visible patches' statistics",
    "target": "reconstruction\nun-normalised with the target's statistics",
    "none": "reconstruction\npixels as predicted",
}


def read_clips(config: ConfigDict, source: VideoSource) -> list[CentreClip]:
    """Reads `config.num_pictures` clips, cropped at the centre, of evenly spaced videos.

    Videos that cannot be read are left out.

    Raises:
        VideoError: None of the videos can be read.
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
    """The masks of several strategies, otherwise as in pretraining with the config.

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
        # XLA removes the computation of the clips, which are not used.
        return jax.jit(jax.vmap(lambda batch, key: prepare_fn(batch, key)[1], in_axes=(None, 0)))

    return {name: mask_fn(name) for name in strategies}


def guiding_motion(config: ConfigDict, clip: CentreClip) -> Float[np.ndarray, "T mh mw 2"]:
    """The motion that guides a clip's masks, after camera compensation where there is any."""
    if "masking" not in config:
        return clip.batch["motion"][0]
    vectors, valid = (jnp.asarray(clip.batch[name]) for name in ("motion", "motion_valid"))
    mode = config.masking.camera_compensation
    return np.asarray(motion_maps.compensate_camera(vectors, valid, mode))[0]


def write_masks(
    config: ConfigDict, source: VideoSource, strategies: Sequence[str], folder: AnyPath
) -> list[AnyPath]:
    """Writes a sheet and an animation of several strategies' masks on a few clips (Figure 4).

    Args:
        config: The run's config; `num_pictures` clips are shown, with its mask ratio.
        source: The videos.
        strategies: Names for `variants.with_strategy`.
        folder: Where the files go.

    Raises:
        ConfigError: No such strategy.
        VideoError: None of the videos can be read.
    """
    mask_fns = make_mask_fns(config, strategies)
    to_rgb = jax.jit(functools.partial(rgb.batch_to_rgb, size=config.data.size))
    keys = jax.random.key(config.seed)[None]
    written = []
    for number, clip in enumerate(read_clips(config, source)):
        masks = {name: np.asarray(fn(clip.batch, keys))[0, 0] for name, fn in mask_fns.items()}
        written += _write_pictures(
            folder / f"masks_clip{number}",
            ClipPictures(
                _to_draw(config, clip, to_rgb(clip.batch)[0]),
                functools.partial(sheets.mask_rows, masks=masks),
                len(next(iter(masks.values()))),
                f"masking strategies, mask ratio {config.masking.ratio:g}",
            ),
        )
    return written


def write_attention(
    config: ConfigDict,
    model: nn.Module,
    params: Any,
    source: VideoSource,
    folder: AnyPath,
    *,
    step: int,
    block: int,
    query: tuple[int, int, int] | None,
) -> list[AnyPath]:
    """Writes a sheet and an animation of the attention of one token in a few clips.

    Args:
        config: The run's config; `num_pictures` clips are shown.
        model: An autoencoder, a classifier or a linear probe.
        params: Its parameters.
        source: The videos.
        folder: Where the files go.
        step: Training step of the parameters, for the title.
        block: Which block; negative numbers count from the last.
        query: Tubelet, row and column of the token; None for the centre.

    Raises:
        ConfigError: No such block or token.
        VideoError: None of the videos can be read.
    """
    query = attention_maps.check_query(query, model.grid)
    attention_fn = jax.jit(attention_maps.make_attention_fn(model, query, block))
    to_rgb = jax.jit(functools.partial(rgb.batch_to_rgb, size=config.data.size))
    name = "the last block" if block == -1 else f"block {block}"
    written = []
    for number, clip in enumerate(read_clips(config, source)):
        frames = to_rgb(clip.batch)
        attention = np.asarray(attention_fn(params, rgb.normalise(frames)))[0]
        written += _write_pictures(
            folder / f"attention_step{step:07d}_clip{number}",
            ClipPictures(
                _to_draw(config, clip, frames[0]),
                functools.partial(sheets.attention_rows, attention=attention, query=query),
                len(attention),
                f"attention of {name}, step {step:,}",
            ),
        )
    return written


class Gallery:
    """A few clips, always the same ones, that a model reconstructs as it learns."""

    def __init__(self, config: ConfigDict, model: nn.Module, source: VideoSource):
        """Reads the clips.

        Args:
            config: The run's config; `num_pictures` clips are read.
            model: The masked autoencoder.
            source: The videos.

        Raises:
            VideoError: None of the videos can be read.
        """
        self._config = config
        self._reconstruct_fn = jax.jit(pretrain_step.make_reconstruct_fn(config, model))
        self._clips = read_clips(config, source)
        self._batch = {
            name: np.concatenate([clip.batch[name] for clip in self._clips])
            for name in self._clips[0].batch
        }

    def sheets(self, params: Any, step: int) -> Iterator[tuple[str, UInt8[np.ndarray, "h w 3"]]]:
        """Yields a name and a sheet for each clip, for TensorBoard."""
        for number, pictures in enumerate(self._reconstruct(params, step)):
            yield f"reconstruction/{number}", pictures.sheet()

    def write(
        self, params: Any, step: int, folder: AnyPath, *, leaky: bool = False
    ) -> list[AnyPath]:
        """Writes a sheet and an animation for each clip.

        Args:
            params: Parameters of the model.
            step: Their training step.
            folder: Where the files go.
            leaky: Whether to add a row that is un-normalised with the target's statistics.
        """
        written = []
        for number, pictures in enumerate(self._reconstruct(params, step, leaky=leaky)):
            written += _write_pictures(folder / f"step{step:07d}_clip{number}", pictures)
        return written

    def _reconstruct(
        self, params: Any, step: int, *, leaky: bool = False
    ) -> Iterator[ClipPictures]:
        key = jax.random.key(self._config.seed)
        made = jax.device_get(self._reconstruct_fn(params, self._batch, key))
        tubelet = tuple(self._config.model.tubelet)
        statistics = ["none"]
        if self._config.norm_pix_loss:
            statistics = ["visible", "target"] if leaky else ["visible"]
        masking = self._config.masking
        for i, shown in enumerate(self._clips):
            output = (made["predictions"][i], made["masked_ids"][i], made["clips"][i], tubelet)
            reconstructions = {
                _STATISTICS[name]: _to_uint8(to_frames(*output, name)) for name in statistics
            }
            mask = made["mask"][i]
            make_rows = functools.partial(
                sheets.reconstruction_rows, mask=mask, reconstructions=reconstructions
            )
            subtitle = f"{masking.strategy}, mask ratio {mask.mean():.3g}, step {step:,}"
            clip = _to_draw(self._config, shown, made["clips"][i])
            yield ClipPictures(clip, make_rows, len(mask), subtitle)


def _to_draw(
    config: ConfigDict, clip: CentreClip, frames: Float[np.ndarray | Array, "T H W 3"]
) -> Clip:
    motion, valid = guiding_motion(config, clip), clip.batch["motion_valid"][0]
    scale = motion_colours.motion_scale(motion, valid)
    return Clip(clip.name, _to_uint8(frames), motion, valid, clip.boxes, scale)


def _to_uint8(frames: Float[np.ndarray | Array, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    return np.round(np.clip(np.asarray(frames), 0, 1) * 255).astype(np.uint8)


def _write_pictures(stem: AnyPath, pictures: ClipPictures) -> list[AnyPath]:
    written = [stem.with_suffix(".png"), stem.with_suffix(".webp")]
    image_files.save_png(written[0], pictures.sheet())
    image_files.save_animation(written[1], pictures.animation(), _FPS)
    return written
