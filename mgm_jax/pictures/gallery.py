"""Pictures of a few clips of a dataset: strategies' masks, reconstructions, attention."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict
from PIL import Image

from mgm_jax.config import check_guided, mask_ratio
from mgm_jax.data.centre_clips import CentreClip, CentreClips, spread, stack
from mgm_jax.data.records import VideoSource
from mgm_jax.io import AnyPath, replacing
from mgm_jax.masking import motion_maps, variants
from mgm_jax.models import patches
from mgm_jax.pictures import attention_maps, sheets
from mgm_jax.pictures.reconstruction import Statistics, to_frames
from mgm_jax.pictures.sheets import Clip
from mgm_jax.preprocessing import rgb
from mgm_jax.training import pretrain_step
from mgm_jax.training.runs import Run

Picture = UInt8[np.ndarray, "height width 3"]

_LABELS: Mapping[Statistics, str] = {
    "visible": "reconstruction\nun-normalised with the visible patches' statistics",
    "target": "reconstruction\nun-normalised with the target's statistics",
    "none": "reconstruction\npixels as predicted",
}


def read_clips(config: ConfigDict, source: VideoSource) -> list[CentreClip]:
    """Reads `config.num_pictures` clips, cropped at the centre, of evenly spaced videos.

    Videos that cannot be read are left out. The clips have RAFT's motion if that guides the masks.

    Raises:
        VideoError: None of the videos can be read.
    """
    clips = CentreClips(config, source).read(spread(config.num_pictures, len(source)))
    if config.data.motion != "raft":
        return clips
    motion_fn = jax.jit(pretrain_step.make_motion_fn(config))

    def with_motion(clip: CentreClip) -> CentreClip:
        motion = zip(("motion", "motion_valid"), jax.device_get(motion_fn(clip.batch)), strict=True)
        return dataclasses.replace(clip, batch=clip.batch | dict(motion))

    return [with_motion(clip) for clip in clips]


def write_pictures(folder: AnyPath, name: str, pictures: Iterable[Picture]) -> list[AnyPath]:
    """Writes pictures to the files `NAME_clip0.png`, `NAME_clip1.png` and so on.

    Earlier ones of that name are removed, since they may be of other videos.
    """
    written = []
    for number, picture in enumerate(pictures):
        written.append(folder / f"{name}_clip{number}.png")
        with replacing(written[-1]) as file:
            Image.fromarray(picture).save(file, "PNG")
    for old in set(folder.glob(f"{name}_clip*.png")) - set(written):
        old.unlink()
    return written


def make_mask_fns(
    config: ConfigDict, strategies: Sequence[str]
) -> dict[str, Callable[[Mapping[str, Any], Any], Any]]:
    """Jitted functions `(batch, keys [d]) -> masks [d, b, t, h, w]`, by strategy.

    They draw one mask per key, as pretraining does with `variants.with_strategy`.

    Raises:
        ConfigError: There is no such strategy.
    """
    data = config.data
    grid = patches.token_grid(data.clip_frames, data.size, data.size, tuple(config.model.tubelet))

    def mask_fn(name: str) -> Callable[[Mapping[str, Any], Any], Any]:
        draw = pretrain_step.make_guided_mask_fn(variants.with_strategy(config, name), grid)
        return jax.jit(jax.vmap(draw, in_axes=(None, 0)))

    return {name: mask_fn(name) for name in strategies}


def guiding_motion(config: ConfigDict, clip: CentreClip) -> Float[np.ndarray, "T mh mw 2"]:
    """The motion that guides a clip's masks, with the config's camera compensation."""
    if "masking" not in config:
        return clip.batch["motion"][0]
    vectors, valid = (jnp.asarray(clip.batch[name]) for name in ("motion", "motion_valid"))
    mode = config.masking.camera_compensation
    return np.asarray(motion_maps.compensate_camera(vectors, valid, mode))[0]


def mask_pictures(
    config: ConfigDict, source: VideoSource, strategies: Sequence[str]
) -> Iterator[Picture]:
    """Draws the masks of several strategies on `config.num_pictures` clips (Figure 4).

    Raises:
        ConfigError: There is no such strategy.
        VideoError: None of the videos can be read.
    """
    for name in strategies:
        check_guided(variants.with_strategy(config, name))
    mask_fns = make_mask_fns(config, strategies)
    to_rgb = jax.jit(functools.partial(rgb.batch_to_rgb, size=config.data.size))
    keys = jax.random.key(config.seed)[None]
    for clip in read_clips(config, source):
        masks = {name: np.asarray(fn(clip.batch, keys))[0, 0] for name, fn in mask_fns.items()}
        drawn = _to_draw(config, clip, to_rgb(clip.batch)[0])
        subtitle = f"masking strategies, mask ratio {mask_ratio(config.masking):g}"
        yield sheets.draw(drawn, sheets.mask_rows(drawn, masks), subtitle)


def attention_pictures(
    run: Run, source: VideoSource, token: Sequence[str], block: int = -1
) -> Iterator[Picture]:
    """Draws the attention of one token in `config.num_pictures` clips (Figures 5 and 6).

    `token` is for `attention_maps.parse_query`; negative blocks count from the last.

    Raises:
        ConfigError: There is no such block or token.
        VideoError: None of the videos can be read.
    """
    config = run.config
    query = attention_maps.parse_query(token, run.model.grid)
    attention_fn = jax.jit(attention_maps.make_attention_fn(run.model, query, block))
    to_rgb = jax.jit(functools.partial(rgb.batch_to_rgb, size=config.data.size))
    name = "the last block" if block == -1 else f"block {block}"
    for clip in read_clips(config, source):
        frames = to_rgb(clip.batch)
        attention = np.asarray(attention_fn(run.params, rgb.normalise(frames)))[0]
        drawn = _to_draw(config, clip, frames[0])
        rows = sheets.attention_rows(drawn, attention, query)
        yield sheets.draw(drawn, rows, f"attention of {name}, step {run.step:,}")


class Gallery:
    """A fixed set of clips, whose reconstructions show how a model learns."""

    def __init__(self, config: ConfigDict, model: nn.Module, source: VideoSource):
        """Reads `config.num_pictures` clips, for a masked autoencoder to reconstruct.

        Raises:
            VideoError: None of the videos can be read.
        """
        self._config = config
        self._reconstruct_fn = jax.jit(pretrain_step.make_reconstruct_fn(config, model))
        self._clips = read_clips(config, source)
        self._batch = stack(self._clips)

    def pictures(self, params: Any, step: int, *, leaky: bool = False) -> Iterator[Picture]:
        """Draws the reconstruction of each clip by the parameters of a step.

        With `leaky` and `norm_pix_loss`, another row is un-normalised with the target's statistics.
        """
        key = jax.random.key(self._config.seed)
        made = jax.device_get(self._reconstruct_fn(params, self._batch, key))
        tubelet, eps = tuple(self._config.model.tubelet), self._config.norm_pix_eps
        statistics: list[Statistics] = ["none"]
        if self._config.norm_pix_loss:
            statistics = ["visible", "target"] if leaky else ["visible"]
        for i, clip in enumerate(self._clips):
            output = (made["predictions"][i], made["masked_ids"][i], made["clips"][i], tubelet)
            made_frames = {
                _LABELS[name]: _to_uint8(to_frames(*output, name, eps)[:: tubelet[0]])
                for name in statistics
            }
            mask, strategy = made["mask"][i], self._config.masking.strategy
            drawn = _to_draw(self._config, clip, made["clips"][i])
            rows = sheets.reconstruction_rows(drawn, mask, made_frames)
            subtitle = f"{strategy}, mask ratio {mask.mean():.3g}, step {step:,}"
            yield sheets.draw(drawn, rows, subtitle)


def _to_draw(
    config: ConfigDict, clip: CentreClip, frames: Float[np.ndarray | Array, "T H W 3"]
) -> Clip:
    motion, valid = guiding_motion(config, clip), clip.batch["motion_valid"][0]
    stride = config.model.tubelet[0]
    return sheets.make_clip(clip.name, _to_uint8(frames), motion, valid, clip.boxes, stride)


def _to_uint8(frames: Float[np.ndarray | Array, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    return np.round(np.clip(np.asarray(frames), 0, 1) * 255).astype(np.uint8)
