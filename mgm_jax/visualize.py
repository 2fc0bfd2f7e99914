"""Pictures of a run: frames, motion, mask and reconstruction of a few clips.

    python -m mgm_jax.visualize --workdir=runs/demo --out=runs/demo/pictures

The checkpoint's own config says which data; `--data_source`, `--data_path` and `--split` choose
others. Reconstructions take the colours that the model does not predict (each tubelet's mean and
variance) from visible tubelets; `--leaky` adds a row that takes them from the target, labelled so.
"""

import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from absl import app, flags, logging
from jaxtyping import UInt8
from ml_collections import ConfigDict

from mgm_jax import optim, pictures, reconstruction, sharding, steps
from mgm_jax.checkpoints import Checkpoints
from mgm_jax.data.clips import make_clip_loader
from mgm_jax.data.sources import VideoSource, make_source
from mgm_jax.errors import CheckpointError, MgmError, VideoError
from mgm_jax.models import mae
from mgm_jax.state import abstract_state, make_init_fn

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run whose last checkpoint is shown.")
_OUT = flags.DEFINE_string("out", None, "Folder for the pictures; WORKDIR/pictures by default.")
_NUM_CLIPS = flags.DEFINE_integer("num_clips", 4, "Clips to show, evenly spaced over the videos.")
_LEAKY = flags.DEFINE_bool("leaky", False, "Add the row that uses the target's mean and variance.")
_SOURCE = flags.DEFINE_string("data_source", None, "Instead of the run's: records or folder.")
_PATH = flags.DEFINE_string("data_path", None, "Instead of the run's.")
_SPLIT = flags.DEFINE_string("split", None, "Instead of the run's.")


class Gallery:
    """A few clips, always the same, to be reconstructed by a model as it learns."""

    def __init__(self, config: ConfigDict, model: nn.Module, source: VideoSource):
        """Reads the clips: evenly spaced over the videos, cropped at the centre.

        Args:
            config: The run's config; `num_pictures` clips are read.
            model: The masked autoencoder.
            source: The videos.

        Raises:
            VideoError: None of the chosen videos can be read.
        """
        self._config = config
        self._reconstruct_fn = jax.jit(steps.make_reconstruct_fn(config, model))
        centre = config.copy_and_resolve_references()
        centre.data.crop = "centre"
        load = make_clip_loader(centre.data, source)
        count = min(config.num_pictures, len(source))
        chosen = np.linspace(0, len(source) - 1, count).astype(int).tolist()
        clips = [
            load.random_map((video, video), np.random.default_rng(config.seed)) for video in chosen
        ]
        readable = [clip for clip in clips if clip["valid"]]
        if not readable:
            raise VideoError(
                "no picture can be made, for none of these videos can be read: "
                + ", ".join(source.describe(video) for video in chosen)
            )
        self._names = [source.describe(int(clip["video"])) for clip in readable]
        self._batch = {
            name: np.stack([clip[name] for clip in readable])
            for name in readable[0]
            if name not in ("video", "error")
        }

    def clips(self, params: Any, step: int, *, leaky: bool = False) -> Iterator[dict[str, Any]]:
        """Reconstructs the clips.

        Args:
            params: The model's parameters.
            step: The training step they are of.
            leaky: Whether to add the reconstruction that uses the target's statistics.

        Yields:
            The arguments of `pictures.reconstruction_sheet`, by name.
        """
        key = jax.random.key(self._config.seed)
        made = jax.device_get(self._reconstruct_fn(params, self._batch, key))
        tubelet = tuple(self._config.model.tubelet)
        for i, name in enumerate(self._names):
            views = {
                row: reconstruction.denormalise(
                    made["predictions"][i],
                    made["masked_ids"][i],
                    made["clips"][i],
                    tubelet,
                    statistics=statistics,
                )
                for row, statistics in (
                    ("reconstruction", "visible"),
                    ("leaky_reconstruction", "target"),
                )
                if leaky or statistics == "visible"
            }
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
            sheet = folder / f"step{step:07d}_clip{number}.png"
            pictures.save_png(sheet, pictures.reconstruction_sheet(**clip))
            animation = sheet.with_suffix(".gif")
            pictures.save_animation(animation, pictures.reconstruction_animation(**clip), fps=8)
            files += [sheet, animation]
        return files


def visualize(
    workdir: pathlib.Path,
    out: pathlib.Path,
    *,
    num_clips: int,
    leaky: bool = False,
    data: dict[str, str] | None = None,
) -> list[pathlib.Path]:
    """Pictures of a run's last checkpoint.

    Args:
        workdir: Folder of the run.
        out: Folder for the pictures.
        num_clips: Clips to show.
        leaky: Whether to add the row that uses the target's statistics.
        data: Values of `config.data` that replace the run's.

    Returns:
        The files written.

    Raises:
        CheckpointError: There is no checkpoint.
    """
    if not (workdir / "config.json").exists():
        raise CheckpointError(f"no run at {workdir}: it has no config.json; give its --workdir")
    config = ConfigDict(json.loads((workdir / "config.json").read_text()))
    config.data.update(data or {})
    config.num_pictures = num_clips
    checkpoints = Checkpoints(workdir / "checkpoints")
    if checkpoints.latest_step() is None:
        raise CheckpointError(f"the run at {workdir} has no complete checkpoint yet")

    source = make_source(config.data.source, config.data.path, config.data.split)
    model = mae.make_autoencoder(config.model, config.data.clip_frames, config.data.size)
    optimizer, _ = optim.make_optimizer(config.optimizer, 1, 0, config.batch_size)
    mesh = sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
    state, _ = checkpoints.restore(abstract_state(make_init_fn(config, model, optimizer), mesh))
    checkpoints.close()
    return Gallery(config, model, source).write(state.params, int(state.step), out, leaky=leaky)


def main(_: Sequence[str]) -> None:
    """Writes the pictures that the flags ask for; bad input ends with its message."""
    workdir = pathlib.Path(_WORKDIR.value)
    chosen = {"source": _SOURCE.value, "path": _PATH.value, "split": _SPLIT.value}
    try:
        files = visualize(
            workdir,
            pathlib.Path(_OUT.value) if _OUT.value else workdir / "pictures",
            num_clips=_NUM_CLIPS.value,
            leaky=_LEAKY.value,
            data={name: value for name, value in chosen.items() if value is not None},
        )
    except MgmError as error:
        sys.exit(f"error: {error}")
    for file in files:
        logging.info("wrote %s", file)


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    logging.set_verbosity(logging.INFO)
    app.run(main)
