"""A few clips as pictures: masked by every strategy, reconstructed by a model as it learns."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from mgm_jax import pictures, reconstruction, steps, tubelets
from mgm_jax.data.clips import make_clip_loader
from mgm_jax.data.pipeline import HOST_FIELDS
from mgm_jax.data.sources import VideoSource
from mgm_jax.errors import VideoError


def read_clips(config: ConfigDict, source: VideoSource) -> tuple[list[str], dict[str, np.ndarray]]:
    """Reads clips evenly spaced over the videos, cropped at the centre.

    Args:
        config: The run's config; `num_pictures` clips are read.
        source: The videos.

    Returns:
        The clips' names, and a batch of them.

    Raises:
        VideoError: None of the chosen videos can be read.
    """
    centre = config.data.copy_and_resolve_references()
    centre.update({"crop": "centre", "repeated_augmentation": 1})
    load = make_clip_loader(centre, source)
    count = min(config.num_pictures, len(source))
    chosen = np.linspace(0, len(source) - 1, count).astype(int).tolist()
    clips = [
        load.random_map((video, video), np.random.default_rng(config.seed)) for video in chosen
    ]
    readable = [clip for clip in clips if clip["valid"].all()]
    if not readable:
        raise VideoError(
            "no picture can be made, for none of these videos can be read: "
            + ", ".join(source.describe(video) for video in chosen)
        )
    names = [source[int(clip["video"][0])].video_id for clip in readable]
    batch = {
        name: np.concatenate([clip[name] for clip in readable])
        for name in readable[0]
        if name not in HOST_FIELDS
    }
    return names, batch


def mask_clips(
    config: ConfigDict, source: VideoSource, strategies: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Masks of several strategies on the same clips, at the config's ratio (Figure 4).

    Args:
        config: The run's config.
        source: The videos.
        strategies: Names in `masking.STRATEGIES`.

    Yields:
        The arguments of `pictures.mask_sheet`, by name.

    Raises:
        ConfigError: No such strategy.
        VideoError: None of the chosen videos can be read.
    """
    grid = tubelets.token_grid(
        config.data.clip_frames, config.data.size, config.data.size, tuple(config.model.tubelet)
    )
    prepare_fns = {}
    for strategy in strategies:
        changed = config.copy_and_resolve_references()
        changed.masking.strategy = strategy
        prepare_fns[strategy] = jax.jit(steps.make_prepare_fn(changed, grid))
    names, batch = read_clips(config, source)
    key = jax.random.key(config.seed)
    made = {name: jax.device_get(prepare(batch, key)) for name, prepare in prepare_fns.items()}
    clips = next(iter(made.values()))[0]
    for i, name in enumerate(names):
        yield {
            "frames": clips[i],
            "motion": batch["motion"][i],
            "motion_valid": batch["motion_valid"][i],
            "masks": {strategy: masks[i] for strategy, (_, masks) in made.items()},
            "clip_id": name,
        }


def save_pictures(
    stem: pathlib.Path, sheet: UInt8[np.ndarray, "h w 3"], animation: UInt8[np.ndarray, "T y x 3"]
) -> list[pathlib.Path]:
    """Writes a sheet as PNG and an animation as GIF, 8 frames a second, and names the files."""
    files = [stem.with_suffix(".png"), stem.with_suffix(".gif")]
    pictures.save_png(files[0], sheet)
    pictures.save_animation(files[1], animation, fps=8)
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
        self._reconstruct_fn = jax.jit(steps.make_reconstruct_fn(config, model))
        self._names, self._batch = read_clips(config, source)

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
        for i, name in enumerate(self._names):
            clip = (made["predictions"][i], made["masked_ids"][i], made["clips"][i], tubelet)
            if self._config.target == "pixels":
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
                "motion": self._batch["motion"][i],
                "motion_valid": self._batch["motion_valid"][i],
                "mask": made["mask"][i],
                "clip_id": name,
                "strategy": self._config.masking.strategy,
                "step": step,
                **views,
            }

    def sheets(self, params: Any, step: int) -> Iterator[tuple[str, UInt8[np.ndarray, "h w 3"]]]:
        """Yields a name and a sheet for each clip."""
        for number, clip in enumerate(self.clips(params, step)):
            yield f"reconstruction/{number}", pictures.reconstruction_sheet(**clip)

    def write(
        self, params: Any, step: int, folder: pathlib.Path, *, leaky: bool = False
    ) -> list[pathlib.Path]:
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
